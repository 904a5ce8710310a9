//! Which limits this kernel has at all: what a request is checked against, and warned about.

use super::layout::CgroupLayout;
use std::path::Path;

/// Which limits can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each thing that a kernel may lack")]
pub struct Support {
    /// `-m`.
    pub memory: bool,
    /// `--memory-swap`.
    pub swap: bool,
    /// `--memory-reservation`.
    pub memory_reservation: bool,
    /// `--memory-swappiness`: v1 only.
    pub swappiness: bool,
    /// `--oom-kill-disable`: v1 only.
    pub oom_kill_disable: bool,
    /// `--cpu-shares`.
    pub cpu_shares: bool,
    /// `--cpus`, `--cpu-quota`, `--cpu-period`.
    pub cpu_quota: bool,
    /// `--cpu-rt-runtime`, `--cpu-rt-period`: v1 only.
    pub cpu_realtime: bool,
    /// `--cpuset-cpus`, `--cpuset-mems`.
    pub cpuset: bool,
    /// `--pids-limit`.
    pub pids: bool,
    /// `--blkio-weight`.
    pub io_weight: bool,
    /// `--blkio-weight-device`.
    pub io_weight_device: bool,
    /// `--device-read-bps` and its three siblings.
    pub io_rates: bool,
}

impl Support {
    /// Everything: for tests of what does not depend on the kernel.
    pub fn all() -> Self {
        Self {
            memory: true,
            swap: true,
            memory_reservation: true,
            swappiness: true,
            oom_kill_disable: true,
            cpu_shares: true,
            cpu_quota: true,
            cpu_realtime: true,
            cpuset: true,
            pids: true,
            io_weight: true,
            io_weight_device: true,
            io_rates: true,
        }
    }

    /// Looks for the control files. On v1 the root of a hierarchy has those that its cgroups have, but for weights;
    /// on v2 the root has none, and a controller has all of its files.
    pub fn probe(layout: &CgroupLayout) -> Self {
        if layout.is_v2() {
            let has = |controller| layout.has(controller);
            return Self {
                memory: has("memory"),
                // There only in kernels that can swap at all.
                swap: has("memory") && Path::new("/proc/swaps").exists(),
                memory_reservation: has("memory"),
                swappiness: false,
                oom_kill_disable: false,
                cpu_shares: has("cpu"),
                cpu_quota: has("cpu"),
                cpu_realtime: false,
                cpuset: has("cpuset"),
                pids: has("pids"),
                io_weight: has("io"),
                io_weight_device: has("io"),
                io_rates: has("io"),
            };
        }
        let has = |controller: &str, files: &[&str]| {
            let of = |h: &&super::layout::V1Hierarchy| h.controllers.iter().any(|c| c == controller);
            let hierarchy = layout.v1.iter().find(of);
            hierarchy.is_some_and(|h| files.iter().any(|file| h.mount_point.join(file).exists()))
        };
        // A kernel that counts bfq's requests at the root has its weights below.
        let weight = |own| has("blkio", &[own, "blkio.bfq.io_serviced"]);
        Self {
            memory: has("memory", &["memory.limit_in_bytes"]),
            swap: has("memory", &["memory.memsw.limit_in_bytes"]),
            memory_reservation: has("memory", &["memory.soft_limit_in_bytes"]),
            swappiness: has("memory", &["memory.swappiness"]),
            oom_kill_disable: has("memory", &["memory.oom_control"]),
            cpu_shares: has("cpu", &["cpu.shares"]),
            cpu_quota: has("cpu", &["cpu.cfs_quota_us"]),
            cpu_realtime: has("cpu", &["cpu.rt_runtime_us"]),
            cpuset: has("cpuset", &["cpuset.cpus"]),
            pids: layout.has("pids"),
            io_weight: weight("blkio.weight"),
            io_weight_device: weight("blkio.weight_device"),
            io_rates: has("blkio", &["blkio.throttle.read_bps_device"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v2_has_not() {
        let mut layout = CgroupLayout::parse("26 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        layout.unified_controllers = ["cpu", "memory"].map(str::to_owned).to_vec();
        let support = Support::probe(&layout);
        assert!(support.memory && support.cpu_quota && support.cpu_shares);
        assert!(!support.swappiness && !support.oom_kill_disable && !support.cpu_realtime);
        assert!(!support.pids && !support.cpuset && !support.io_weight && !support.io_rates);
    }

    #[test]
    fn v1_by_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(directory.path().join(name), "").unwrap();
        let at = directory.path().display();
        let layout = CgroupLayout::parse(&format!("35 31 0:32 / {at} rw - cgroup cgroup rw,memory,blkio\n"));
        touch("memory.limit_in_bytes");
        touch("blkio.bfq.io_serviced");
        let support = Support::probe(&layout);
        assert!(support.memory && support.io_weight && support.io_weight_device);
        assert!(!support.swap && !support.io_rates && !support.cpu_shares && !support.pids);
    }
}
