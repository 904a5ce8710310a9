//! What a trace tells, in the form that clients read: one JSON object for each event.

use dhow_ebpf::{Kind, Record, What};
use dhow_model::Timestamp;
use dhow_model::signal::Signal;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One event of a trace. As JSON its `kind` is the first member:
///
/// ```json
/// {"kind":"exec","time":"2026-01-02T03:04:05.678901234Z","container":"0123…","name":"web","pid":7,"ppid":1,
///  "host_pid":4711,"host_ppid":4700,"uid":0,"gid":0,"comm":"cat","path":"/bin/cat","args":["cat","/etc/hosts"]}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum TraceEvent {
    /// A process is new. Threads are not told.
    Fork {
        /// The new process.
        #[serde(flatten)]
        process: Process,
    },
    /// A process runs another program.
    Exec {
        /// The process.
        #[serde(flatten)]
        process: Process,
        /// The program as it was named; for a script the script.
        path: String,
        /// Its arguments, from the name on.
        args: Vec<String>,
        /// Path or arguments are longer than what is recorded (4 KiB and 8 KiB).
        #[serde(skip_serializing_if = "is_false")]
        truncated: bool,
    },
    /// A process has ended, with its last thread.
    Exit {
        /// The process.
        #[serde(flatten)]
        process: Process,
        /// Its exit code, unless a signal ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// The signal that ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        /// It left a core dump.
        #[serde(skip_serializing_if = "is_false")]
        core_dumped: bool,
        /// The OOM killer had chosen it.
        #[serde(skip_serializing_if = "is_false")]
        oom_killed: bool,
    },
    /// The OOM killer had chosen a process, which now ends: its exit follows.
    Oom {
        /// The victim.
        #[serde(flatten)]
        process: Process,
        /// The size of its address space.
        total_vm_bytes: u64,
    },
    /// A process opened a file, or could not.
    Open {
        /// The process.
        #[serde(flatten)]
        process: Process,
        /// The path as it was named.
        path: String,
        /// `O_RDONLY|O_CLOEXEC` and the like.
        flags: String,
        /// The descriptor that a relative path starts from, if it is not the working directory.
        #[serde(skip_serializing_if = "Option::is_none")]
        dirfd: Option<i32>,
        /// The new descriptor.
        #[serde(skip_serializing_if = "Option::is_none")]
        fd: Option<i32>,
        /// Why there is none: `ENOENT` and the like.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// The path is not whole.
        #[serde(skip_serializing_if = "is_false")]
        truncated: bool,
    },
    /// Events that are missing from here on back.
    Lost {
        /// When it was noticed.
        #[serde(serialize_with = "as_text")]
        time: Timestamp,
        /// Whose events; none when the kernel's maps had no room for another container.
        #[serde(flatten)]
        container: Option<Arc<ContainerName>>,
        /// How many of each kind.
        lost: BTreeMap<&'static str, u64>,
        /// `ring`: the kernel had no room for them. `queue`: this client did not read them in time.
        place: &'static str,
    },
    /// The last event of a trace that ends by itself.
    End {
        /// When it ended.
        #[serde(serialize_with = "as_text")]
        time: Timestamp,
        /// How many events came before this one, those that tell of losses not counted.
        events: u64,
        /// How many were lost.
        lost: u64,
    },
}

/// A container, as events name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerName {
    /// Its full id.
    pub container: String,
    /// Its name.
    pub name: String,
}

/// The process that an event is about. Numbers without `host_` are those of its own pid namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// When it happened.
    #[serde(serialize_with = "as_text")]
    pub time: Timestamp,
    /// The container.
    #[serde(flatten)]
    pub container: Arc<ContainerName>,
    /// The process.
    pub pid: u32,
    /// The thread, if it is not the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// The parent; 0 when it is outside of the namespace.
    pub ppid: u32,
    /// The process as the host sees it.
    pub host_pid: u32,
    /// The parent as the host sees it.
    pub host_ppid: u32,
    /// The user as the host sees it.
    pub uid: u32,
    /// The group as the host sees it.
    pub gid: u32,
    /// The thread's name: that of the program, cut to 15 bytes, unless it chose another.
    pub comm: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

fn as_text<S: serde::Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

/// Bytes that a process chose, as text. JSON knows nothing else; what is no UTF-8 becomes U+FFFD.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl TraceEvent {
    /// The event that a record tells of; none for one that is for the engine alone.
    pub(super) fn of(record: &Record<'_>, time: Timestamp, container: &Arc<ContainerName>) -> Option<Self> {
        let process = Process {
            time,
            container: Arc::clone(container),
            pid: record.pid,
            tid: (record.tid != record.pid).then_some(record.tid),
            ppid: record.ppid,
            host_pid: record.host_pid,
            host_ppid: record.host_ppid,
            uid: record.uid,
            gid: record.gid,
            comm: text(record.comm()),
        };
        Some(match record.what {
            What::Fork => Self::Fork { process },
            What::Exec { path, args } => {
                Self::Exec { process, path: text(path), args: arguments(args), truncated: record.truncated }
            }
            What::Exit { status, oom } => {
                let (code, signal) = ending(status);
                Self::Exit { process, code, signal, core_dumped: status & CORE_DUMPED != 0, oom_killed: oom }
            }
            What::Oom { total_vm_pages } => {
                Self::Oom { process, total_vm_bytes: total_vm_pages.saturating_mul(page_bytes()) }
            }
            What::Open { path, directory, flags, result } => Self::Open {
                process,
                path: text(path),
                flags: open_flags(flags),
                dirfd: (!path.starts_with(b"/") && directory != nix::libc::AT_FDCWD).then_some(directory),
                fd: (result >= 0).then_some(result),
                error: (result < 0).then(|| error_name(-result)),
                truncated: record.truncated,
            },
            What::Left => return None,
        })
    }
}

/// The words of a kernel's argument area.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let whole = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() { Vec::new() } else { whole.split(|byte| *byte == 0).map(text).collect() }
}

/// wait(2): the lowest seven bits are the signal, the eighth says that there is a core dump.
const CORE_DUMPED: u32 = 0x80;

/// An exit code, or a signal's name.
fn ending(status: u32) -> (Option<i32>, Option<String>) {
    let number = i32::try_from(status & 0x7f).unwrap_or_default();
    if number == 0 {
        return (i32::try_from(status >> 8 & 0xff).ok(), None);
    }
    let name = Signal::parse(&number.to_string()).map_or_else(|_| number.to_string(), |s| s.to_string());
    (None, Some(name))
}

/// 4 KiB where sysconf(3) has no answer.
fn page_bytes() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

fn error_name(number: i32) -> String {
    format!("{:?}", Errno::from_raw(number))
}

/// Flags by name, as one writes them; what has no name as a number.
fn open_flags(bits: u32) -> String {
    let flags = OFlag::from_bits_retain(bits.cast_signed());
    let access = match flags & OFlag::O_ACCMODE {
        OFlag::O_WRONLY => "O_WRONLY",
        OFlag::O_RDWR => "O_RDWR",
        _ => "O_RDONLY",
    };
    let mut names = vec![access.to_owned()];
    let mut rest = flags - OFlag::O_ACCMODE;
    // Some contain the bits of others: the wider ones first.
    for (name, flag) in [
        ("O_TMPFILE", OFlag::O_TMPFILE),
        ("O_SYNC", OFlag::O_SYNC),
        ("O_APPEND", OFlag::O_APPEND),
        ("O_CLOEXEC", OFlag::O_CLOEXEC),
        ("O_CREAT", OFlag::O_CREAT),
        ("O_DIRECT", OFlag::O_DIRECT),
        ("O_DIRECTORY", OFlag::O_DIRECTORY),
        ("O_DSYNC", OFlag::O_DSYNC),
        ("O_EXCL", OFlag::O_EXCL),
        ("O_NOATIME", OFlag::O_NOATIME),
        ("O_NOCTTY", OFlag::O_NOCTTY),
        ("O_NOFOLLOW", OFlag::O_NOFOLLOW),
        ("O_NONBLOCK", OFlag::O_NONBLOCK),
        ("O_PATH", OFlag::O_PATH),
        ("O_TRUNC", OFlag::O_TRUNC),
    ] {
        if rest.contains(flag) {
            rest -= flag;
            names.push(name.to_owned());
        }
    }
    // What 64-bit programs get anyway: nothing that anybody asked for.
    rest -= OFlag::from_bits_retain(KERNEL_O_LARGEFILE);
    if !rest.is_empty() {
        names.push(format!("{:#o}", rest.bits()));
    }
    names.join("|")
}

/// The kernel's bit on x86-64 (`asm-generic/fcntl.h`); libc calls it 0.
const KERNEL_O_LARGEFILE: i32 = 0o100_000;

/// How many of each kind, for a [`TraceEvent::Lost`].
pub(super) fn losses(counts: impl IntoIterator<Item = (Kind, u64)>) -> BTreeMap<&'static str, u64> {
    counts.into_iter().filter(|(_, n)| *n > 0).map(|(kind, n)| (kind.as_str(), n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(ending(3 << 8), (Some(3), None));
        assert_eq!(ending(0), (Some(0), None));
        assert_eq!(ending(9), (None, Some("SIGKILL".to_owned())));
        assert_eq!(ending(11 | CORE_DUMPED), (None, Some("SIGSEGV".to_owned())));
    }

    #[test]
    fn words_of_the_argument_area() {
        assert_eq!(arguments(b"sh\0-c\0\0"), ["sh", "-c", ""]);
        assert_eq!(arguments(b"cut"), ["cut"]);
        assert_eq!(arguments(b""), Vec::<String>::new());
    }

    #[test]
    fn flags_by_name() {
        assert_eq!(open_flags(0), "O_RDONLY");
        assert_eq!(open_flags(0o100_000 | 0o2_000_000), "O_RDONLY|O_CLOEXEC");
        assert_eq!(open_flags(0o1101), "O_WRONLY|O_CREAT|O_TRUNC");
        assert_eq!(open_flags(0o4_010_000 | 2), "O_RDWR|O_SYNC");
        assert_eq!(open_flags(0o20_000_000_000), "O_RDONLY|0o20000000000");
    }

    #[test]
    fn losses_come_with_their_container() {
        let container = Some(Arc::new(ContainerName { container: "ab".to_owned(), name: "web".to_owned() }));
        let event = TraceEvent::Lost {
            time: Timestamp(1),
            container,
            lost: losses([(Kind::Exec, 2), (Kind::Fork, 0)]),
            place: "ring",
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"kind":"lost","time":"1970-01-01T00:00:00.000000001Z","container":"ab","name":"web","lost":{"exec":2},"place":"ring"}"#
        );
    }
}
