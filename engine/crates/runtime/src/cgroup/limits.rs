//! From validated limits to the control files that hold them. Pure: v1 and v2 differ only in this table.

use super::CgroupPaths;
use super::device_rules::{self, DevicePlan};
use crate::facts::HostFacts;
use crate::spec::LaunchSpec;
use dhow_model::resources::Resources;
use dhow_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

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
    let config = &spec.config.host;
    let resources = &config.resources;
    let parent =
        if resources.cgroup_parent.is_empty() { &spec.cgroup_parent } else { &resources.cgroup_parent };
    let parts: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) || parent.contains('\0') {
        return Err(Error::invalid(format!("invalid cgroup parent {parent:?}")));
    }
    let layout = &facts.cgroup;
    if layout.v1.is_empty() && layout.unified.is_none() {
        return Err(Error::unsupported("no cgroup hierarchy is mounted on this machine"));
    }
    let mut table = Table { v2: layout.is_v2(), facts, writes: Vec::new() };
    table.memory(resources)?;
    table.cpu(resources)?;
    table.others(resources)?;
    let controllers =
        V2_CONTROLLERS.iter().filter(|c| table.v2 && layout.has(c)).map(|c| (*c).to_owned()).collect();
    Ok(CgroupPlan {
        paths: layout.paths_for(&parts.join("/"), spec.id.as_str()),
        depth: parts.len() + 1,
        controllers,
        writes: table.writes,
        devices: device_rules::plan(config)?,
    })
}

struct Table<'a> {
    v2: bool,
    facts: &'a HostFacts,
    writes: Vec<LimitWrite>,
}

impl Table<'_> {
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
        if r.oom_kill_disable {
            if self.v2 {
                return Err(Error::unsupported("the OOM killer cannot be kept away on cgroup v2"));
            }
            self.add("OOM killer disabling", "memory", &["memory.oom_control"], 1)?;
        }
        Ok(())
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
                // 10..1000 onto 1..10000; bfq takes Docker's own scale and is tried first.
                self.add("the block I/O weight", "io", &["io.bfq.weight"], weight)?;
                if let Some(last) = self.writes.last_mut() {
                    last.files.push("io.weight".to_owned());
                }
            } else {
                let files = ["blkio.weight", "blkio.bfq.weight"];
                self.add("the block I/O weight", "blkio", &files, weight)?;
            }
        }
        Ok(())
    }
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
            writeln!(f, "  {} = {}{optional}", write.files.join("|"), write.value)?;
        }
        writeln!(f, "devices {}", self.devices)
    }
}
