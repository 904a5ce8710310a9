//! The records of the probes, made from `probes/events.h` by `cargo xtask bpf`. Do not edit.

#![allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    reason = "names, comments and visibility are those of the C header"
)]

pub const TRACE_FORK: u32 = 0;
pub const TRACE_EXEC: u32 = 1;
pub const TRACE_EXIT: u32 = 2;
pub const TRACE_OOM: u32 = 3;
pub const TRACE_OPEN: u32 = 4;
pub const TRACE_KINDS: u32 = 5;
pub const TRACE_LEFT: u32 = 5;
pub const TRACE_NAME_BYTES: u32 = 64;
pub const TRACE_DEPTHS: u32 = 32;
pub const TRACE_TRUNCATED: u32 = 1;
#[doc = " What every record begins with."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct trace_head {
    #[doc = " CLOCK_BOOTTIME, in nanoseconds."]
    pub boot_ns: u64,
    #[doc = " Id of the container's own cgroup, also when the process is in one below it."]
    pub cgroup: u64,
    #[doc = " One of TRACE_FORK and its like."]
    pub kind: u32,
    #[doc = " TRACE_TRUNCATED."]
    pub flags: u32,
    #[doc = " The process in the initial pid namespace."]
    pub host_pid: u32,
    #[doc = " The thread in the initial pid namespace."]
    pub host_tid: u32,
    #[doc = " The parent in the initial pid namespace."]
    pub host_ppid: u32,
    #[doc = " The process in its own pid namespace."]
    pub pid: u32,
    #[doc = " The thread in that namespace."]
    pub tid: u32,
    #[doc = " The parent in that namespace; 0 when it is outside."]
    pub ppid: u32,
    #[doc = " Its user as the host sees it."]
    pub uid: u32,
    #[doc = " Its group as the host sees it."]
    pub gid: u32,
    #[doc = " The name of the thread, ended by a zero byte."]
    pub comm: [u8; 16usize],
}
#[doc = " TRACE_EXEC. The path follows, then the arguments, each ended by a zero byte."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct trace_exec {
    pub head: trace_head,
    #[doc = " Bytes of the path in this record, with its zero byte."]
    pub path_bytes: u32,
    #[doc = " Bytes of arguments in this record."]
    pub args_bytes: u32,
}
#[doc = " TRACE_EXIT."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct trace_exit {
    pub head: trace_head,
    #[doc = " As wait(2) gives it."]
    pub status: u32,
    #[doc = " Whether the OOM killer had chosen it."]
    pub oom: u32,
}
#[doc = " TRACE_OOM."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct trace_oom {
    pub head: trace_head,
    #[doc = " Pages of the address space."]
    pub total_vm_pages: u64,
}
#[doc = " TRACE_OPEN. The path follows."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct trace_open {
    pub head: trace_head,
    #[doc = " What the call returned: a descriptor, or an error number below zero."]
    pub result: i32,
    #[doc = " The directory that a relative path starts from: a descriptor, or AT_FDCWD."]
    pub directory: i32,
    #[doc = " O_RDONLY and the like."]
    pub open_flags: u32,
    #[doc = " Bytes of the path in this record, with its zero byte."]
    pub path_bytes: u32,
}
#[doc = " A cgroup that is traced, and what of it was lost."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct trace_scope {
    #[doc = " The cgroup's name: the container's id."]
    pub name: [u8; 64usize],
    #[doc = " Records for which there was no room, by kind."]
    pub lost: [u64; 5usize],
    #[doc = " The cgroup was removed: whoever reads this may remove the entry."]
    pub gone: u32,
    pub unused: u32,
}
