//! Limits: what a container may use at most. Zero or `None` means no limit, as Docker has it.

use serde::{Deserialize, Serialize};

/// Resource limits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory; at least 6 MiB.
    pub memory_bytes: Option<u64>,
    /// Bytes of memory and swap together; `Some(-1)`: swap without limit; `None`: twice the memory limit.
    pub memory_swap_bytes: Option<i64>,
    /// Soft limit in bytes.
    pub memory_reservation_bytes: Option<u64>,
    /// Keep the OOM killer away (v1 only).
    pub oom_kill_disable: bool,
    /// Preference for swapping over dropping file pages, 0 to 100 (v1 only); `None`: the kernel's.
    pub memory_swappiness: Option<u8>,
    /// `/proc/self/oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: i32,
    /// Billionths of a CPU (`--cpus 1.5` = 1,500,000,000).
    pub nano_cpus: Option<u64>,
    /// Microseconds of CPU per period; with `cpu_period_us`, the other way to write `nano_cpus`.
    pub cpu_quota_us: Option<i64>,
    /// Microseconds, 1,000 to 1,000,000.
    pub cpu_period_us: Option<u64>,
    /// Microseconds in each `cpu_rt_period_us` for processes with real-time scheduling (v1 only).
    pub cpu_rt_runtime_us: Option<u64>,
    /// Microseconds.
    pub cpu_rt_period_us: Option<u64>,
    /// Relative weight, 2 to 262,144; 1,024 is even.
    pub cpu_shares: Option<u64>,
    /// `0-2,4`.
    pub cpuset_cpus: String,
    /// NUMA nodes, `0,1`.
    pub cpuset_mems: String,
    /// Number of processes and threads; `None`: no limit.
    pub pids_limit: Option<u64>,
    /// Relative weight of block I/O, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Other weights for some devices.
    pub blkio_weight_devices: Vec<DeviceWeight>,
    /// What some devices may carry in a second.
    pub blkio_rates: Vec<DeviceRate>,
    /// Resource limits of the first process.
    pub ulimits: Vec<Ulimit>,
    /// cgroup below which the container's is made; empty: the engine's.
    pub cgroup_parent: String,
    /// Host devices that appear in the container.
    pub devices: Vec<Device>,
    /// Further device rules, `c 1:3 rwm`.
    pub device_cgroup_rules: Vec<String>,
}

/// A resource limit (getrlimit(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Lower-case without `RLIMIT_`: `nofile`, `core`, ….
    pub name: String,
    /// -1: no limit.
    pub soft: i64,
    /// -1: no limit.
    pub hard: i64,
}

/// A host device in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute host path.
    pub host_path: String,
    /// Absolute path in the container.
    pub container_path: String,
    /// Subset of `rwm`.
    pub permissions: String,
}

/// A relative weight of I/O to one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// The device's node on the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// A limit of I/O to one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// The device's node on the host.
    pub path: String,
    /// What is counted.
    pub kind: RateKind,
    /// How many in a second.
    pub rate: u64,
}

/// What a [`DeviceRate`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateKind {
    /// Bytes that are read.
    ReadBytes,
    /// Bytes that are written.
    WriteBytes,
    /// Requests to read.
    ReadRequests,
    /// Requests to write.
    WriteRequests,
}
