//! What the engine hands to the planner: plain data, already validated and resolved.

use crate::cgroup::CgroupPaths;
use crate::idmap::IdMaps;
use crate::volume_fs::VolumeFilesystem;
use dhow_model::container::ContainerConfig;
use dhow_model::mount::{Mount, MountSource};
use dhow_model::resources::Ulimit;
use dhow_model::{ContainerId, LowerLayer};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that [`crate::plan_launch`] needs to know about a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// Whose launch it is; names the cgroup.
    pub id: ContainerId,
    /// The validated configuration.
    pub config: ContainerConfig,
    /// Its root filesystem.
    pub rootfs: Rootfs,
    /// Appears as `/etc/hostname`.
    pub hostname_file: PathBuf,
    /// Appears as `/etc/hosts`.
    pub hosts_file: PathBuf,
    /// Appears as `/etc/resolv.conf`.
    pub resolv_conf_file: PathBuf,
    /// Every mount of the configuration with its host path.
    pub volumes: Vec<ResolvedMount>,
    /// The cgroup below which the container's is made, `dhow` unless the user says otherwise.
    pub cgroup_parent: String,
    /// With `--init`: the program that appears as `/sbin/dhow-init` and runs as pid 1. It must be static, and is
    /// called as `dhow-init FILE ARGV0 ARGUMENTS…`.
    pub init_binary: Option<PathBuf>,
    /// Running containers whose namespaces are joined; one for each namespace that the configuration says so of.
    pub donors: Donors,
    /// A compiled filter ([`crate::seccomp::compile`]); `None`: unconfined.
    pub seccomp: Option<Vec<u8>>,
    /// A user namespace of its own with these maps; `None`: the host's.
    pub id_maps: Option<IdMaps>,
}

/// The containers whose namespaces a container joins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Donors {
    /// Whose processes it sees.
    pub pid: Option<Donor>,
    /// Whose IPC objects and `/dev/shm` it uses.
    pub ipc: Option<Donor>,
    /// Whose network it has.
    pub network: Option<Donor>,
}

/// The first process of a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Donor {
    /// As the host sees it.
    pub pid: i32,
    /// Its start time in clock ticks since boot, which tells a reused pid.
    pub start_ticks: u64,
}

/// Where a container's root filesystem comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay of read-only layers with a writable one on top.
    Overlay {
        /// The layers, topmost first. May be empty (an image without layers), and longer than 127.
        lower: Vec<LowerLayer>,
        /// What the container writes.
        upper: PathBuf,
        /// The overlay's scratch directory, on the same filesystem as `upper`.
        work: PathBuf,
        /// Nobody will want what is written once the machine has gone down: nothing is synced, neither when the
        /// container asks for it nor when it ends (overlayfs.rst, "Volatile mount"; Linux 5.10).
        #[serde(default)]
        volatile: bool,
    },
    /// A plain directory, changed in place.
    Directory(PathBuf),
}

/// A mount of the configuration whose source is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedMount {
    /// As configured.
    pub mount: Mount,
    /// The file or directory on the host; `None` for a tmpfs and for an image.
    pub host_path: Option<PathBuf>,
    /// Fill the volume with what the image has at the target, if the volume is still empty.
    pub copy_up: bool,
    /// What is mounted at the host path first, in the monitor's mount namespace.
    pub filesystem: Option<VolumeFilesystem>,
    /// Of an image that is mounted: its layers, topmost first.
    pub layers: Vec<LowerLayer>,
}

impl ResolvedMount {
    /// Whether it shows files, which others may look for: of the host, of a volume or of an image.
    pub(crate) fn has_files(&self) -> bool {
        self.host_path.is_some() || matches!(self.mount.source, MountSource::Image { .. })
    }

    /// What of the volume is mounted; empty: all of it.
    pub(crate) fn subpath(&self) -> &str {
        match &self.mount.source {
            MountSource::Volume { details, .. } => &details.subpath,
            MountSource::Image { subpath, .. } => subpath,
            MountSource::Bind { .. } | MountSource::Tmpfs { .. } => "",
        }
    }
}

/// A further process in a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The container's first process, as the host sees it.
    pub container_pid: i32,
    /// Its start time in clock ticks since boot, which tells a reused pid.
    pub container_start_ticks: u64,
    /// Program and arguments; not empty.
    pub argv: Vec<String>,
    /// `NAME=value`: the container's and the session's, each name once.
    pub env: Vec<String>,
    /// Absolute, or empty for `/`.
    pub working_dir: String,
    /// `user[:group]`, resolved in the container's filesystem. Empty: root.
    pub user: String,
    /// Supplementary groups by name or number, beside those of the group file.
    pub group_add: Vec<String>,
    /// A pseudo-terminal.
    pub tty: bool,
    /// All capabilities and no seccomp.
    pub privileged: bool,
    /// The capabilities if not privileged.
    pub capability_mask: u64,
    /// No process gains privileges by exec.
    pub no_new_privileges: bool,
    /// A compiled filter; ignored when privileged.
    pub seccomp: Option<Vec<u8>>,
    /// The container's cgroup.
    pub cgroup: CgroupPaths,
    /// Resource limits, the container's.
    pub ulimits: Vec<Ulimit>,
    /// `oom_score_adj`, the container's.
    pub oom_score_adj: i32,
}
