//! The vocabulary of a plan: what the child does, one step after the other.
//!
//! A step is plain data: it can be stored, compared and printed. `prepare.rs` turns it into an operation with
//! descriptors and C strings; `child.rs` carries that out.

use dhow_model::LowerLayer;
use dhow_model::mount::Propagation;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// One thing that the child does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Join the v1 cgroups (the v2 one was joined by the clone itself).
    JoinCgroups,
    /// Enter the namespaces of the container's first process.
    JoinNamespaces,
    /// Enter the IPC namespace of another container.
    JoinIpc,
    /// Enter the network namespace of another container.
    JoinNetwork,
    /// Have the new user namespace mapped by the monitor, and become its root.
    BecomeRoot,
    /// Become a session leader.
    NewSession,
    /// Make the cgroup just joined the root of a cgroup namespace.
    NewCgroupNamespace,
    /// Bring `lo` up.
    LoopbackUp,
    /// Wait until the monitor has connected the network namespace.
    AwaitNetwork,
    /// Cut the copied mount tree off from the host's.
    PrivateMounts,
    /// Attach the root filesystem.
    AttachRoot,
    /// Mount something.
    Mount(MountStep),
    /// Make `/.dockerenv`, by which programs see that they run in a container; with an image's own, nothing.
    MarkContainer,
    /// Put a symbolic link into the root filesystem unless something is there.
    Symlink {
        /// Absolute path of the link.
        path: String,
        /// What it says.
        target: String,
    },
    /// Show the terminal at `/dev/console`.
    Console,
    /// Write a file below `/proc/sys`.
    Sysctl {
        /// Path below `/proc/sys`.
        path: String,
        /// What is written.
        value: String,
    },
    /// Hide a file or directory below `/proc` or `/sys`.
    Mask(String),
    /// Make a file or directory below `/proc` or `/sys` read-only.
    ReadOnlyPath(String),
    /// Set the host name.
    HostName(String),
    /// Set the NIS domain name.
    DomainName(String),
    /// Make a directory in the root filesystem unless it is there.
    EnsureDirectory(String),
    /// Make the root mount read-only.
    ReadOnlyRoot,
    /// Make the root filesystem the root directory and drop the host's mounts.
    PivotRoot,
    /// Set `oom_score_adj`.
    OomScore(i32),
    /// Set a resource limit.
    Rlimit {
        /// Docker's name.
        name: String,
        /// `u64::MAX`: none.
        soft: u64,
        /// `u64::MAX`: none.
        hard: u64,
    },
    /// Put the prepared streams at 0, 1 and 2, and with a terminal take control of it.
    Stdio,
    /// Close everything from 3 on but the error pipe.
    CloseDescriptors,
    /// Change to the working directory, which must be inside the root.
    WorkingDirectory(String),
    /// Limit the bounding set, empty the ambient set.
    BoundingSet(u64),
    /// Become the user with its groups; permitted capabilities are kept.
    BecomeUser,
    /// End when the monitor ends.
    DieWithMonitor,
    /// No process gains privileges by exec.
    NoNewPrivileges,
    /// Install the filter.
    Seccomp,
    /// Set the capability sets.
    Capabilities(u64),
    /// Execute the program.
    Execute,
}

impl Step {
    /// Whether it hides something below `/sys`.
    pub(crate) fn is_below_sys(&self) -> bool {
        matches!(self, Self::Mask(path) | Self::ReadOnlyPath(path) if path.starts_with("/sys/"))
    }
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStep {
    /// What.
    pub what: MountWhat,
    /// Where: an absolute path in the container.
    pub target: String,
    /// Flags.
    pub flags: MountFlags,
    /// How later mounts travel.
    pub propagation: Propagation,
    /// How the target is found.
    pub place: Place,
}

/// How a mount's target is found and made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// One of the engine's own: no component may be a symbolic link (an image with a linked `/proc` is refused).
    Own,
    /// One of the engine's own files in `/etc`: a link of the image's there is replaced, not followed.
    OwnFile,
    /// The user's: links are followed inside the root; never onto procfs.
    User,
    /// The user's, on one of the files below `/proc` that may be covered.
    UserOnProc,
}

/// Mount flags as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MountFlags {
    /// `ro`
    pub readonly: bool,
    /// `nosuid`
    pub nosuid: bool,
    /// `nodev`
    pub nodev: bool,
    /// `noexec`
    pub noexec: bool,
}

impl MountFlags {
    /// `nosuid,nodev,noexec`
    pub const HARMLESS: Self = Self { readonly: false, nosuid: true, nodev: true, noexec: true };

    /// The bits of mount_setattr(2).
    pub fn attributes(self) -> u64 {
        use dhow_sys::mount as m;
        [
            (self.readonly, m::ATTR_RDONLY),
            (self.nosuid, m::ATTR_NOSUID),
            (self.nodev, m::ATTR_NODEV),
            (self.noexec, m::ATTR_NOEXEC),
        ]
        .iter()
        .filter(|(on, _)| *on)
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountWhat {
    /// procfs of the container's pid namespace.
    Proc,
    /// sysfs of the container's network namespace.
    Sysfs,
    /// POSIX message queues of the container's IPC namespace.
    Mqueue,
    /// A tmpfs with device nodes.
    Dev(DevPlan),
    /// An own instance of devpts.
    Devpts,
    /// A tmpfs; options as `key` or `key=value`.
    Tmpfs {
        /// What mount tables show as the device.
        name: String,
        /// Options of tmpfs(5).
        options: Vec<String>,
    },
    /// The directory that holds the v1 hierarchies.
    CgroupDirectory,
    /// The container's directory in one v1 hierarchy, by its place in the cgroup plan.
    CgroupV1(usize),
    /// The container's directory in the v2 hierarchy.
    CgroupV2,
    /// The machine's whole cgroup tree.
    CgroupHost(PathBuf),
    /// `/dev/shm` of the container whose IPC namespace is joined.
    SharedMemory,
    /// A host file or directory.
    Bind(BindPlan),
    /// The files of an image, read-only.
    Image(ImagePlan),
}

/// An image that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePlan {
    /// Its layers, topmost first.
    pub lower: Vec<LowerLayer>,
    /// What of it is mounted; empty: all of it.
    pub subpath: String,
    /// A directory of the container's own, which something may be mounted on for a moment, out of everybody's sight.
    pub scratch: PathBuf,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindPlan {
    /// On the host.
    pub path: PathBuf,
    /// Mounts below the source come along.
    pub recursive: bool,
    /// Make a directory on the host when the source is missing.
    pub create: bool,
    /// Fill an empty source from the image.
    pub copy_up: bool,
    /// What of the source is mounted; empty: all of it. It never leads out of the source.
    pub subpath: String,
    /// A read-only mount leaves the mounts below it as they are.
    pub writable_below: bool,
    /// Whose ids its files have, when the container has a user namespace.
    pub ids: SourceIds,
}

/// What becomes of a source's owners in a container with a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceIds {
    /// They are the host's, as for every directory of the user's: the container has no power over files of
    /// users that it does not map.
    Host,
    /// They are the container's: the mount is id-mapped.
    Container,
    /// A file of this container alone: it is given to the container's root.
    Given,
}

/// What the container's `/dev` holds beside the standard links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DevPlan {
    /// Copy every device node of the host.
    pub all_of_host: bool,
    /// Nodes copied from the host: (host path, path in the container below `/dev`).
    pub from_host: Vec<(PathBuf, String)>,
    /// Make a place for `/dev/console`.
    pub console: bool,
}

impl fmt::Display for MountFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.readonly { "ro" } else { "rw" })?;
        for (on, word) in [(self.nosuid, ",nosuid"), (self.nodev, ",nodev"), (self.noexec, ",noexec")] {
            if on {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for MountWhat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proc => f.write_str("proc"),
            Self::Sysfs => f.write_str("sysfs"),
            Self::Mqueue => f.write_str("mqueue"),
            Self::Dev(plan) => {
                f.write_str("dev")?;
                if plan.all_of_host {
                    f.write_str(" (all of the host's devices)")?;
                }
                plan.from_host.iter().try_for_each(|(host, name)| write!(f, " {}→{name}", host.display()))
            }
            Self::Devpts => f.write_str("devpts"),
            Self::Tmpfs { name, options } if name == "tmpfs" => write!(f, "tmpfs[{}]", options.join(",")),
            Self::Tmpfs { name, options } => write!(f, "tmpfs {name}[{}]", options.join(",")),
            Self::CgroupDirectory => f.write_str("cgroup directory"),
            Self::CgroupV1(index) => write!(f, "cgroup v1 #{index}"),
            Self::CgroupV2 => f.write_str("cgroup v2"),
            Self::SharedMemory => f.write_str("the other container's shared memory"),
            Self::CgroupHost(path) => write!(f, "host cgroups {}", path.display()),
            Self::Image(image) => {
                write!(f, "image of {} layers", image.lower.len())?;
                if image.subpath.is_empty() { Ok(()) } else { write!(f, " // {}", image.subpath) }
            }
            Self::Bind(bind) => {
                write!(f, "{} {}", if bind.recursive { "rbind" } else { "bind" }, bind.path.display())?;
                if !bind.subpath.is_empty() {
                    write!(f, " // {}", bind.subpath)?;
                }
                for (on, word) in [
                    (bind.create, " create"),
                    (bind.copy_up, " copy-up"),
                    (bind.writable_below, " writable-below"),
                ] {
                    if on {
                        f.write_str(word)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// One readable line: what golden tests compare and what error messages quote.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinCgroups => f.write_str("join cgroups"),
            Self::JoinNamespaces => f.write_str("join the container's namespaces"),
            Self::JoinIpc => f.write_str("join the other container's IPC namespace"),
            Self::JoinNetwork => f.write_str("join the other container's network"),
            Self::BecomeRoot => f.write_str("become root of the user namespace"),
            Self::NewSession => f.write_str("new session"),
            Self::NewCgroupNamespace => f.write_str("new cgroup namespace"),
            Self::LoopbackUp => f.write_str("bring the loopback interface up"),
            Self::AwaitNetwork => f.write_str("wait for the network"),
            Self::PrivateMounts => f.write_str("make mounts private"),
            Self::AttachRoot => f.write_str("attach the root filesystem"),
            Self::Mount(m) => {
                write!(f, "mount {} at {} ({}", m.what, m.target, m.flags)?;
                if m.propagation != Propagation::Rprivate {
                    write!(f, ",{:?}", m.propagation)?;
                }
                f.write_str(")")?;
                if matches!(m.place, Place::Own | Place::OwnFile) {
                    Ok(())
                } else {
                    f.write_str(" for the user")
                }
            }
            Self::MarkContainer => f.write_str("make /.dockerenv"),
            Self::Symlink { path, target } => write!(f, "link {path} to {target}"),
            Self::Console => f.write_str("show the terminal at /dev/console"),
            Self::Sysctl { path, value } => write!(f, "write {value:?} to /proc/sys/{path}"),
            Self::Mask(path) => write!(f, "mask {path}"),
            Self::ReadOnlyPath(path) => write!(f, "make {path} read-only"),
            Self::HostName(name) => write!(f, "set the host name to {name:?}"),
            Self::DomainName(name) => write!(f, "set the domain name to {name:?}"),
            Self::EnsureDirectory(path) => write!(f, "make directory {path}"),
            Self::ReadOnlyRoot => f.write_str("make the root filesystem read-only"),
            Self::PivotRoot => f.write_str("change the root directory"),
            Self::OomScore(score) => write!(f, "set oom_score_adj to {score}"),
            Self::Rlimit { name, soft, hard } => write!(f, "set the limit {name} to {soft}:{hard}"),
            Self::Stdio => f.write_str("connect the standard streams"),
            Self::CloseDescriptors => f.write_str("close other descriptors"),
            Self::WorkingDirectory(path) => write!(f, "chdir to cwd ({path:?})"),
            Self::BoundingSet(mask) => write!(f, "limit the bounding set to {mask:#x}"),
            Self::BecomeUser => f.write_str("become the user"),
            Self::DieWithMonitor => f.write_str("tie the process to its monitor"),
            Self::NoNewPrivileges => f.write_str("forbid new privileges"),
            Self::Seccomp => f.write_str("install the system call filter"),
            Self::Capabilities(mask) => write!(f, "set capabilities to {mask:#x}"),
            Self::Execute => f.write_str("exec"),
        }
    }
}
