//! One record of the ring, in Rust's terms.

use crate::bindings::{
    TRACE_EXEC, TRACE_EXIT, TRACE_FORK, TRACE_LEFT, TRACE_OOM, TRACE_OPEN, TRACE_TRUNCATED, trace_exec,
    trace_exit, trace_head, trace_oom, trace_open,
};
use crate::bytes::split;
use crate::kind::Kind;

/// What happened to one process. Text is borrowed from the ring and of whatever bytes the process chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'r> {
    /// CLOCK_BOOTTIME, in nanoseconds.
    pub boot_ns: u64,
    /// Id of the traced cgroup, which may be above the process's own.
    pub cgroup: u64,
    /// The process in the initial pid namespace.
    pub host_pid: u32,
    /// Its parent there.
    pub host_ppid: u32,
    /// The process in its own pid namespace.
    pub pid: u32,
    /// The thread there.
    pub tid: u32,
    /// Its parent there; 0 when it is outside.
    pub ppid: u32,
    /// Its user as the host sees it.
    pub uid: u32,
    /// Its group as the host sees it.
    pub gid: u32,
    comm: [u8; 16],
    /// A path or arguments are not whole.
    pub truncated: bool,
    /// What it was.
    pub what: What<'r>,
}

/// The part of a record that is of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'r> {
    /// The process is new.
    Fork,
    /// It runs another program.
    Exec {
        /// The program as it was named.
        path: &'r [u8],
        /// Its arguments, each ended by a zero byte; the last may be cut.
        args: &'r [u8],
    },
    /// Its last thread ended.
    Exit {
        /// As wait(2) gives it.
        status: u32,
        /// The OOM killer had chosen it.
        oom: bool,
    },
    /// The OOM killer had chosen it, and it ends.
    Oom {
        /// Pages of its address space.
        total_vm_pages: u64,
    },
    /// It opened a file, or could not.
    Open {
        /// The path as it was named.
        path: &'r [u8],
        /// The descriptor that a relative path starts from, or AT_FDCWD.
        directory: i32,
        /// `O_RDONLY` and the like.
        flags: u32,
        /// A descriptor, or an error number below zero.
        result: i32,
    },
    /// The cgroup was removed: no more of it will come.
    Left,
}

impl What<'_> {
    /// The kind that it counts as; none for the end of a cgroup.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            What::Fork => Some(Kind::Fork),
            What::Exec { .. } => Some(Kind::Exec),
            What::Exit { .. } => Some(Kind::Exit),
            What::Oom { .. } => Some(Kind::Oom),
            What::Open { .. } => Some(Kind::Open),
            What::Left => None,
        }
    }
}

impl<'r> Record<'r> {
    /// Reads a record; `None` for what this version does not know, or a record that is too short.
    pub(crate) fn parse(bytes: &'r [u8]) -> Option<Self> {
        let (head, _) = split::<trace_head>(bytes)?;
        let what = match head.kind {
            TRACE_FORK => What::Fork,
            TRACE_LEFT => What::Left,
            TRACE_EXEC => {
                let (exec, text) = split::<trace_exec>(bytes)?;
                let (path, rest) = text.split_at_checked(length(exec.path_bytes))?;
                What::Exec { path: until_zero(path), args: rest.get(..length(exec.args_bytes))? }
            }
            TRACE_EXIT => {
                let (exit, _) = split::<trace_exit>(bytes)?;
                What::Exit { status: exit.status, oom: exit.oom != 0 }
            }
            TRACE_OOM => {
                let (oom, _) = split::<trace_oom>(bytes)?;
                What::Oom { total_vm_pages: oom.total_vm_pages }
            }
            TRACE_OPEN => {
                let (open, text) = split::<trace_open>(bytes)?;
                What::Open {
                    path: until_zero(text.get(..length(open.path_bytes))?),
                    directory: open.directory,
                    flags: open.open_flags,
                    result: open.result,
                }
            }
            _ => return None,
        };
        Some(Self {
            boot_ns: head.boot_ns,
            cgroup: head.cgroup,
            host_pid: head.host_pid,
            host_ppid: head.host_ppid,
            pid: head.pid,
            tid: head.tid,
            ppid: head.ppid,
            uid: head.uid,
            gid: head.gid,
            comm: head.comm,
            truncated: head.flags & TRACE_TRUNCATED != 0,
            what,
        })
    }

    /// The name of the thread.
    pub fn comm(&self) -> &[u8] {
        until_zero(&self.comm)
    }
}

fn length(bytes: u32) -> usize {
    // Where usize is smaller, the length cannot be right, and the slice is refused.
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<trace_head>()];
        bytes[16..20].copy_from_slice(&kind.to_ne_bytes());
        bytes[56..59].copy_from_slice(b"cat");
        bytes
    }

    #[test]
    fn an_exec_has_a_path_and_arguments() {
        let mut bytes = head(TRACE_EXEC);
        bytes.extend_from_slice(&9_u32.to_ne_bytes());
        bytes.extend_from_slice(&6_u32.to_ne_bytes());
        bytes.extend_from_slice(b"/bin/cat\0cat\0-x\0and what was there before");
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.comm(), b"cat");
        assert_eq!(record.what, What::Exec { path: b"/bin/cat", args: b"cat\0-x" });
    }

    #[test]
    fn a_record_that_claims_too_much_is_none() {
        let mut bytes = head(TRACE_OPEN);
        for word in [3_i32, -100, 0, 50] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(b"/etc/passwd\0");
        assert_eq!(Record::parse(&bytes), None);
        assert_eq!(Record::parse(&head(99)), None);
        assert_eq!(Record::parse(&head(TRACE_EXIT)), None);
        assert_eq!(Record::parse(&[]), None);
    }
}
