//! clone3(2) as a fork: the child gets a copy of this memory and runs a closure.

use crate::error::{Errno, Result, check};
use crate::mount::owned;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// New mount namespace.
pub const NEWNS: u64 = 0x0002_0000;
/// New cgroup namespace.
pub const NEWCGROUP: u64 = 0x0200_0000;
/// New host name namespace.
pub const NEWUTS: u64 = 0x0400_0000;
/// New System V IPC and message queue namespace.
pub const NEWIPC: u64 = 0x0800_0000;
/// New user namespace.
pub const NEWUSER: u64 = 0x1000_0000;
/// New process id namespace.
pub const NEWPID: u64 = 0x2000_0000;
/// New network namespace.
pub const NEWNET: u64 = 0x4000_0000;
/// New clock offsets; for unshare(2) and setns(2).
pub const NEWTIME: u64 = 0x0000_0080;

const CLONE_PIDFD: u64 = 0x0000_1000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// struct clone_args, version 2 (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child made by [`fork_with`].
#[derive(Debug)]
pub struct Child {
    /// As the caller's pid namespace sees it.
    pub pid: i32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Clones with new `namespaces` (a sum of the constants here), straight into the v2 cgroup `cgroup` if given.
/// The child has default signal actions, the caller's mask, and runs `child`, which must never return: it ends
/// in exec or exit.
///
/// `child` may only make system calls and touch memory that was ready before: another thread of the caller may
/// have held any lock, the allocator's included, at the moment of the clone.
///
/// # Errors
/// As clone3(2).
pub fn fork_with(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> std::convert::Infallible,
) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let mut arguments = CloneArgs {
        flags: namespaces | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without CLONE_VM the child has its own copy of the stack and returns here like fork(2); the
    // structure is the size that the last argument says; `pidfd` outlives the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        child();
    }
    Ok(Child { pid: i32::try_from(pid).map_err(|_| Errno::EINVAL)?, pidfd: owned(i64::from(pidfd))? })
}
