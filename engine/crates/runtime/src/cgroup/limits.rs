//! From validated limits to the control files that hold them. Pure: v1 and v2 differ only in this table.

use super::CgroupPaths;
use super::device_rules::{self, DevicePlan};
use crate::facts::HostFacts;
use crate::spec::LaunchSpec;
use dhow_model::container::HostConfig;
use dhow_model::resources::{RateKind, Resources};
use dhow_model::{ContainerId, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Microseconds; the kernel's own default period, which `--cpus` is counted in.
const CPU_PERIOD_US: u64 = 100_000;
/// The controllers that are switched on for a container's v2 cgroup, where the machine has them.
const V2_CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// A container's cgroup: where it is and what is written there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// Its directories.
    pub paths: CgroupPaths,
    /// How many directories below the mount point the container's is.
    pub depth: usize,
    /// v2 controllers to switch on.
    pub controllers: Vec<String>,
    /// Limits, in the order of writing.
    pub writes: Vec<LimitWrite>,
    /// Which devices may be used.
    pub devices: DevicePlan,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitWrite {
    /// v1 controller whose hierarchy holds the file; `None`: the v2 hierarchy.
    pub v1_controller: Option<String>,
    /// The control file; when several, the first that exists.
    pub files: Vec<String>,
    /// What is written.
    pub value: String,
    /// A block device whose numbers, which are read when the limit is written, go before the value.
    pub device: Option<PathBuf>,
    /// A file that has another scale, for kernels without those above, and the value on it.
    pub otherwise: Option<(String, String)>,
    /// What the user asked for, in words, for the error message.
    pub what: String,
    /// A missing file is fine: the limit follows from another one, nobody asked for it.
    pub optional: bool,
}

/// Plans a container's cgroup.
///
/// # Errors
/// `Unsupported` when a limit is asked for that this machine has no controller for.
pub(crate) fn plan(spec: &LaunchSpec, facts: &HostFacts) -> Result<CgroupPlan> {
    plan_for(&spec.config.host, &spec.cgroup_parent, &spec.id, facts)
}

/// The same for whoever knows only what concerns the cgroup; `default_parent` is for a configuration that names
/// none.
///
/// # Errors
/// `Unsupported` when a limit is asked for that this machine has no controller for.
pub fn plan_for(
    config: &HostConfig,
    default_parent: &str,
    id: &ContainerId,
    facts: &HostFacts,
) -> Result<CgroupPlan> {
    let resources = &config.resources;
    let parent =
        if resources.cgroup_parent.is_empty() { default_parent } else { resources.cgroup_parent.as_str() };
    let parts: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) || parent.contains('\0') {
        return Err(Error::invalid(format!("invalid cgroup parent {parent:?}")));
    }
    let layout = &facts.cgroup;
    if layout.v1.is_empty() && layout.unified.is_none() {
        return Err(Error::unsupported("no cgroup hierarchy is mounted on this machine"));
    }
    let mut table = Table { v2: layout.is_v2(), facts, writes: Vec::new() };
    table.all(resources)?;
    let controllers =
        V2_CONTROLLERS.iter().filter(|c| table.v2 && layout.has(c)).map(|c| (*c).to_owned()).collect();
    Ok(CgroupPlan {
        paths: layout.paths_for(&parts.join("/"), id.as_str()),
        depth: parts.len() + 1,
        controllers,
        writes: table.writes,
        devices: device_rules::plan(config)?,
    })
}

/// What is to be written to turn one set of limits into another, for a container that runs. Only what differs:
/// who is over a limit that does not change is left alone.
///
/// # Errors
/// `Unsupported` when a limit is asked for that this machine has no controller for.
pub fn plan_change(before: &Resources, after: &Resources, facts: &HostFacts) -> Result<Vec<LimitWrite>> {
    let table = || Table { v2: facts.cgroup.is_v2(), facts, writes: Vec::new() };
    let (mut old, mut new) = (table(), table());
    old.all(before)?;
    new.all(after)?;
    new.lift(before, after)?;
    // v1 keeps a quota and its period in two files, of which both or none are written.
    let changed = |write: &&LimitWrite| !old.writes.contains(write);
    let quota = new.writes.iter().filter(changed).any(|write| write.value_is_of_quota());
    Ok(new.writes.iter().filter(|w| changed(w) || (quota && w.value_is_of_quota())).cloned().collect())
}

impl LimitWrite {
    fn value_is_of_quota(&self) -> bool {
        self.files.iter().any(|file| file.starts_with("cpu.cfs_"))
    }
}

struct Table<'a> {
    v2: bool,
    facts: &'a HostFacts,
    writes: Vec<LimitWrite>,
}

impl Table<'_> {
    fn all(&mut self, resources: &Resources) -> Result<()> {
        self.memory(resources)?;
        self.cpu(resources)?;
        self.others(resources)?;
        self.block_devices(resources)
    }

    /// Takes away limits that are no more.
    fn lift(&mut self, before: &Resources, after: &Resources) -> Result<()> {
        if before.pids_limit.is_some() && after.pids_limit.is_none() {
            self.add("the pids limit", "pids", &["pids.max"], "max")?;
        }
        let limited = |r: &Resources| r.nano_cpus.is_some() || r.cpu_quota_us.is_some();
        if limited(before) && !limited(after) {
            let period = after.cpu_period_us.unwrap_or(CPU_PERIOD_US);
            if self.v2 {
                self.add("the CPU quota", "cpu", &["cpu.max"], format_args!("max {period}"))?;
            } else {
                self.add("the CPU quota", "cpu", &["cpu.cfs_quota_us"], -1)?;
            }
        }
        Ok(())
    }

    /// Adds one write: `v1` is (controller, file), `v2` a file; the same value in both.
    fn add(&mut self, what: &str, controller: &str, files: &[&str], value: impl fmt::Display) -> Result<()> {
        let present = self.facts.cgroup.has(controller);
        if !present {
            return Err(Error::unsupported(format!(
                "{what} cannot be set: this machine has no cgroup controller {controller:?}"
            )));
        }
        self.writes.push(LimitWrite {
            v1_controller: (!self.v2).then(|| controller.to_owned()),
            files: files.iter().map(|f| (*f).to_owned()).collect(),
            value: value.to_string(),
            device: None,
            otherwise: None,
            what: what.to_owned(),
            optional: false,
        });
        Ok(())
    }

    fn make_last_optional(&mut self) {
        if let Some(last) = self.writes.last_mut() {
            last.optional = true;
        }
    }

    fn memory(&mut self, r: &Resources) -> Result<()> {
        if let Some(limit) = r.memory_bytes {
            let file = if self.v2 { "memory.max" } else { "memory.limit_in_bytes" };
            self.add("the memory limit", "memory", &[file], limit)?;
            self.swap(limit, r.memory_swap_bytes)?;
        } else if r.memory_swap_bytes.is_some_and(|swap| swap > 0) {
            return Err(Error::invalid("the memory and swap limit needs a memory limit"));
        }
        if let Some(soft) = r.memory_reservation_bytes {
            let file = if self.v2 { "memory.low" } else { "memory.soft_limit_in_bytes" };
            self.add("the memory reservation", "memory", &[file], soft)?;
        }
        if let Some(swappiness) = r.memory_swappiness {
            if self.v2 {
                return Err(Error::unsupported("memory swappiness cannot be set on cgroup v2"));
            }
            self.add("the memory swappiness", "memory", &["memory.swappiness"], swappiness)?;
        }
        if r.oom_kill_disable {
            if self.v2 {
                return Err(Error::unsupported("the OOM killer cannot be kept away on cgroup v2"));
            }
            self.add("OOM killer disabling", "memory", &["memory.oom_control"], 1)?;
        }
        Ok(())
    }

    /// Weights and rates of single devices.
    fn block_devices(&mut self, r: &Resources) -> Result<()> {
        let controller = if self.v2 { "io" } else { "blkio" };
        for device in &r.blkio_weight_devices {
            let what = format!("the block I/O weight of {}", device.path);
            let files: &[&str] = if self.v2 {
                &["io.bfq.weight"]
            } else {
                &["blkio.weight_device", "blkio.bfq.weight_device"]
            };
            self.add(&what, controller, files, device.weight)?;
            self.of_device(&device.path);
            if self.v2 {
                self.otherwise("io.weight", io_weight(device.weight));
            }
        }
        for device in &r.blkio_rates {
            let (what, v1, v2) = match device.kind {
                RateKind::ReadBytes => ("read rate", "blkio.throttle.read_bps_device", "rbps"),
                RateKind::WriteBytes => ("write rate", "blkio.throttle.write_bps_device", "wbps"),
                RateKind::ReadRequests => ("rate of reads", "blkio.throttle.read_iops_device", "riops"),
                RateKind::WriteRequests => ("rate of writes", "blkio.throttle.write_iops_device", "wiops"),
            };
            let what = format!("the {what} of {}", device.path);
            if self.v2 {
                self.add(&what, controller, &["io.max"], format_args!("{v2}={}", device.rate))?;
            } else {
                self.add(&what, controller, &[v1], device.rate)?;
            }
            self.of_device(&device.path);
        }
        Ok(())
    }

    fn of_device(&mut self, path: &str) {
        if let Some(last) = self.writes.last_mut() {
            last.device = Some(path.into());
        }
    }

    fn otherwise(&mut self, file: &str, value: u16) {
        if let Some(last) = self.writes.last_mut() {
            last.otherwise = Some((file.to_owned(), value.to_string()));
        }
    }

    /// v1 limits memory and swap together, v2 swap alone.
    fn swap(&mut self, memory: u64, both: Option<i64>) -> Result<()> {
        let asked = both.is_some_and(|bytes| bytes != 0);
        let value = match both {
            Some(bytes) if bytes < 0 => {
                if self.v2 {
                    "max".to_owned()
                } else {
                    "-1".to_owned()
                }
            }
            Some(bytes) if bytes > 0 => {
                let both = bytes.unsigned_abs();
                let swap = both.checked_sub(memory).ok_or_else(|| {
                    Error::invalid("the memory and swap limit must not be smaller than the memory limit")
                })?;
                if self.v2 { swap.to_string() } else { both.to_string() }
            }
            // Docker's default: as much swap as memory.
            _ => {
                if self.v2 {
                    memory.to_string()
                } else {
                    memory.saturating_mul(2).to_string()
                }
            }
        };
        let file = if self.v2 { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
        self.add("the memory and swap limit", "memory", &[file], value)?;
        if !asked {
            self.make_last_optional();
        }
        Ok(())
    }

    fn cpu(&mut self, r: &Resources) -> Result<()> {
        let period = r.cpu_period_us.unwrap_or(CPU_PERIOD_US);
        let quota = match (r.nano_cpus, r.cpu_quota_us) {
            (Some(nano), _) => {
                let micros = u128::from(nano) * u128::from(CPU_PERIOD_US) / 1_000_000_000;
                Some((u64::try_from(micros).unwrap_or(u64::MAX), CPU_PERIOD_US))
            }
            (None, Some(quota)) if quota > 0 => Some((quota.unsigned_abs(), period)),
            _ => None,
        };
        if let Some((quota, period)) = quota {
            if self.v2 {
                self.add("the CPU quota", "cpu", &["cpu.max"], format_args!("{quota} {period}"))?;
            } else {
                self.add("the CPU period", "cpu", &["cpu.cfs_period_us"], period)?;
                self.add("the CPU quota", "cpu", &["cpu.cfs_quota_us"], quota)?;
            }
        } else if let Some(period) = r.cpu_period_us {
            let (file, value) = if self.v2 {
                ("cpu.max", format!("max {period}"))
            } else {
                ("cpu.cfs_period_us", period.to_string())
            };
            self.add("the CPU period", "cpu", &[file], value)?;
        }
        if let Some(shares) = r.cpu_shares {
            if self.v2 {
                // 2..262144 onto 1..10000, as runc and systemd do.
                let weight = 1 + shares.clamp(2, 262_144).saturating_sub(2) * 9999 / 262_142;
                self.add("CPU shares", "cpu", &["cpu.weight"], weight)?;
            } else {
                self.add("CPU shares", "cpu", &["cpu.shares"], shares)?;
            }
        }
        for (what, file, value) in [
            ("the real-time period", "cpu.rt_period_us", r.cpu_rt_period_us),
            ("the real-time runtime", "cpu.rt_runtime_us", r.cpu_rt_runtime_us),
        ] {
            if let Some(value) = value {
                if self.v2 {
                    return Err(Error::unsupported(format!("{what} cannot be set on cgroup v2")));
                }
                self.add(what, "cpu", &[file], value)?;
            }
        }
        for (what, file, list) in [
            ("the CPU set", "cpuset.cpus", &r.cpuset_cpus),
            ("the memory node set", "cpuset.mems", &r.cpuset_mems),
        ] {
            if !list.is_empty() {
                self.add(what, "cpuset", &[file], list)?;
            }
        }
        Ok(())
    }

    fn others(&mut self, r: &Resources) -> Result<()> {
        if let Some(limit) = r.pids_limit {
            self.add("the pids limit", "pids", &["pids.max"], limit)?;
        }
        if let Some(weight) = r.blkio_weight {
            if self.v2 {
                // bfq takes Docker's own scale and is tried first.
                self.add("the block I/O weight", "io", &["io.bfq.weight"], weight)?;
                self.otherwise("io.weight", io_weight(weight));
            } else {
                let files = ["blkio.weight", "blkio.bfq.weight"];
                self.add("the block I/O weight", "blkio", &files, weight)?;
            }
        }
        Ok(())
    }
}

/// 10..1000 onto 1..10000, as runc does.
fn io_weight(weight: u16) -> u16 {
    let scaled = 1 + u32::from(weight.clamp(10, 1000) - 10) * 9999 / 990;
    u16::try_from(scaled).unwrap_or(u16::MAX)
}

impl fmt::Display for CgroupPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for v1 in &self.paths.v1 {
            writeln!(f, "cgroup {} {}", v1.controllers.join(","), v1.path.display())?;
        }
        if let Some(path) = &self.paths.unified {
            writeln!(f, "cgroup v2 {} +[{}]", path.display(), self.controllers.join(" "))?;
        }
        for write in &self.writes {
            let optional = if write.optional { " (if it exists)" } else { "" };
            let device = write.device.as_ref().map(|d| format!("{} ", d.display())).unwrap_or_default();
            write!(f, "  {} = {device}{}", write.files.join("|"), write.value)?;
            if let Some((file, value)) = &write.otherwise {
                write!(f, ", else {file} = {device}{value}")?;
            }
            writeln!(f, "{optional}")?;
        }
        writeln!(f, "devices {}", self.devices)
    }
}
