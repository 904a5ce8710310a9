//! Which cgroup hierarchies this machine has, and where a container's directories go in them.

use super::{CgroupPaths, V1Path};
use dhow_model::{Result, ResultExt};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The mounted cgroup hierarchies.
///
/// Three kinds of machine: *v1* (only `v1` filled), *v2* (only `unified`, and it has controllers), *hybrid*
/// (both: controllers are in v1, the v2 tree carries identity: its id tells containers apart in eBPF).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CgroupLayout {
    /// v1 hierarchies with at least one controller.
    pub v1: Vec<V1Hierarchy>,
    /// Mount points of v1 hierarchies without controllers (`name=systemd`): they only group processes.
    pub named: Vec<PathBuf>,
    /// Mount point of the v2 hierarchy.
    pub unified: Option<PathBuf>,
    /// Controllers that the v2 hierarchy offers; empty on a hybrid machine.
    pub unified_controllers: Vec<String>,
}

/// A mounted v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1Hierarchy {
    /// Its controllers.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount_point: PathBuf,
}

/// The v1 controllers that exist (Documentation/admin-guide/cgroup-v1), to tell them from mount options.
const V1_CONTROLLERS: [&str; 13] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "net_cls",
    "net_prio",
    "perf_event",
    "hugetlb",
    "rdma",
];

impl CgroupLayout {
    /// Reads the mount table.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn probe() -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo")
            .context(|| "read /proc/thread-self/mountinfo".to_owned())?;
        let mut layout = Self::parse(&mounts);
        if let Some(unified) = &layout.unified {
            // Absent when a container runtime hides it; then there are no controllers for us.
            let text = std::fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
            layout.unified_controllers = text.split_whitespace().map(str::to_owned).collect();
        }
        Ok(layout)
    }

    /// The pure part of [`CgroupLayout::probe`].
    pub fn parse(mountinfo: &str) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (Some(point), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else {
                continue;
            };
            // Mount points with blanks are escaped as \040; nobody mounts cgroups there.
            let mount_point = PathBuf::from(point);
            match kind {
                "cgroup2" if layout.unified.is_none() => layout.unified = Some(mount_point),
                "cgroup" => {
                    let options = right.split(' ').nth(2).unwrap_or_default();
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|o| V1_CONTROLLERS.contains(o))
                        .map(str::to_owned)
                        .collect();
                    if options.split(',').any(|option| option.starts_with("name=")) {
                        layout.named.push(mount_point);
                        continue;
                    }
                    let known = layout.v1.iter().any(|h| h.controllers == controllers);
                    if !controllers.is_empty() && !known {
                        layout.v1.push(V1Hierarchy { controllers, mount_point });
                    }
                }
                _ => {}
            }
        }
        layout
    }

    /// Whether limits go to the v2 hierarchy.
    pub fn is_v2(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    /// Whether `controller` can limit anything here.
    pub fn has(&self, controller: &str) -> bool {
        self.v1.iter().any(|h| h.controllers.iter().any(|c| c == controller))
            || self.unified_controllers.iter().any(|c| c == controller)
    }

    /// The directories of the cgroup `parent/name`.
    pub fn paths_for(&self, parent: &str, name: &str) -> CgroupPaths {
        let below = |mount_point: &Path| mount_point.join(parent.trim_matches('/')).join(name);
        CgroupPaths {
            v1: self
                .v1
                .iter()
                .map(|h| V1Path { controllers: h.controllers.clone(), path: below(&h.mount_point) })
                .collect(),
            unified: self.unified.as_deref().map(below),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid() {
        let layout = CgroupLayout::parse(HYBRID);
        assert_eq!(layout.v1.len(), 2);
        assert_eq!(layout.named, [Path::new("/sys/fs/cgroup/systemd")]);
        assert!(layout.has("cpuacct") && layout.has("memory") && !layout.has("pids") && !layout.is_v2());
        let paths = layout.paths_for("/dhow", "abc");
        assert_eq!(paths.v1[0].path, Path::new("/sys/fs/cgroup/cpu,cpuacct/dhow/abc"));
        assert_eq!(paths.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/dhow/abc")));
    }

    #[test]
    fn pure_v2() {
        let layout =
            CgroupLayout::parse("26 25 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
        assert!(layout.is_v2() && layout.v1.is_empty());
    }
}
