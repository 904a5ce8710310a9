//! What a container may do: capabilities, system calls, namespaces shared with the host, hidden paths.

use serde::{Deserialize, Serialize};

/// Security options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Security {
    /// All capabilities, all devices, no seccomp, nothing masked.
    pub privileged: bool,
    /// `CAP_…` names or `ALL`, validated.
    pub cap_add: Vec<String>,
    /// `CAP_…` names or `ALL`, validated.
    pub cap_drop: Vec<String>,
    /// No process gains privileges by exec.
    pub no_new_privileges: bool,
    /// Which system calls are allowed.
    pub seccomp: SeccompProfile,
    /// `systempaths=unconfined`: nothing masked, nothing read-only below /proc and /sys.
    pub systempaths_unconfined: bool,
    /// `--security-opt` as typed, for `inspect`.
    pub options: Vec<String>,
    /// PID namespace.
    pub pid: Namespace,
    /// System V IPC and POSIX message queue namespace.
    pub ipc: Ipc,
    /// Host name namespace.
    pub uts: Namespace,
    /// cgroup namespace.
    pub cgroup: Namespace,
    /// User namespace, as asked for.
    #[serde(default)]
    pub userns: UserNamespace,
    /// And what that came to; `None`: the host's ids.
    #[serde(default)]
    pub ids: Option<IdShift>,
}

/// Whose ids a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespace {
    /// What the engine's settings say.
    #[default]
    Default,
    /// The host's.
    Host,
    /// Those that all containers with a user namespace share.
    Private,
    /// Some that no other container has.
    Auto,
}

impl UserNamespace {
    /// The word for it on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Host => "host",
            Self::Private => "private",
            Self::Auto => "auto",
        }
    }
}

/// The ids from 0 on inside are the host's from `first_uid` and `first_gid` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdShift {
    /// The container's root, as a user of the host.
    pub first_uid: u32,
    /// The same as a group.
    pub first_gid: u32,
    /// How many.
    pub count: u32,
}

/// Whose a namespace is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// A new one.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of another container: its name in a request, its id in a configuration.
    Container(String),
}

/// Whose IPC namespace and `/dev/shm` a container has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipc {
    /// Its own, which no other may join.
    #[default]
    Private,
    /// Its own, which others may join.
    Shareable,
    /// Its own, without a `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// Those of another container: its name in a request, its id in a configuration.
    Container(String),
}

impl Ipc {
    /// Whether the namespace is made for this container.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Private | Self::Shareable | Self::None)
    }
}

/// Which system calls are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompProfile {
    /// Docker's default policy.
    #[default]
    Default,
    /// Every one.
    Unconfined,
    /// A profile in Docker's JSON form, as text.
    Custom(String),
}

/// Capabilities by number, Linux 6.18 (capabilities(7), include/uapi/linux/capability.h).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The 14 capabilities that Docker gives by default.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The bit set of one capability; `None` for an unknown name.
pub fn capability_bit(name: &str) -> Option<u64> {
    CAPABILITIES.iter().position(|c| *c == name).map(|number| 1 << number)
}

impl Security {
    /// The capability set that results from `privileged`, `cap_add` and `cap_drop`, as a bit mask.
    ///
    /// Docker's order: with `--cap-add ALL` all but the dropped; with `--cap-drop ALL` only the added;
    /// else the default, minus the dropped, plus the added.
    pub fn capability_mask(&self) -> u64 {
        let all = (1 << CAPABILITIES.len()) - 1;
        let mask = |names: &[String]| names.iter().filter_map(|n| capability_bit(n)).fold(0, |a, b| a | b);
        let has_all = |names: &[String]| names.iter().any(|n| n == "ALL");
        if self.privileged {
            return all;
        }
        let default = DEFAULT_CAPABILITIES.iter().filter_map(|n| capability_bit(n)).fold(0, |a, b| a | b);
        if has_all(&self.cap_add) {
            all & !mask(&self.cap_drop)
        } else if has_all(&self.cap_drop) {
            mask(&self.cap_add)
        } else {
            (default & !mask(&self.cap_drop)) | mask(&self.cap_add)
        }
    }
}

/// Paths that are hidden in an unprivileged container.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/interrupts",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that are read-only in an unprivileged container.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capability_sets() {
        let mut s = Security::default();
        assert_eq!(s.capability_mask(), 0xa80425fb);
        s.cap_drop = vec!["ALL".into()];
        assert_eq!(s.capability_mask(), 0);
        s.cap_add = vec!["CAP_NET_ADMIN".into()];
        assert_eq!(s.capability_mask(), 1 << 12);
        s.cap_add = vec!["ALL".into()];
        s.cap_drop = vec!["CAP_CHOWN".into()];
        assert_eq!(s.capability_mask(), (1 << 41) - 2);
    }
}
