//! clone3(2) as a fork: the child gets a copy of this memory and runs a closure.

use crate::error::{Errno, Result, check};
use crate::mount::owned;
use crate::{process, signal};
use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

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

/// The working directory and the umask, for unshare(2).
pub const FS: u64 = 0x0000_0200;

const CLONE_VM: u64 = 0x0000_0100;
const CLONE_VFORK: u64 = 0x0000_4000;
const CLONE_FILES: u64 = 0x0000_0400;
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
    fork(namespaces, libc::SIGCHLD, cgroup, child)
}

/// The same for a child that ends within the call it is made in, in a program that may be anybody's, with threads
/// and children of its own. No signal tells of its end, and no wait of the program's finds it (but one with
/// `__WALL`, as [`process::wait_pidfd`] has); none of the program's signals reaches it; it dies with the thread
/// that made it.
///
/// # Errors
/// As clone3(2).
pub fn fork_unseen(flags: u64, child: impl FnOnce() -> std::convert::Infallible) -> Result<Child> {
    // The child has this mask too.
    let mask = signal::block_all()?;
    let made = fork(flags, NO_SIGNAL, None, || {
        // It fails for no valid signal.
        let _ = process::set_parent_death_signal(libc::SIGKILL);
        child()
    });
    signal::restore_mask(&mask);
    made
}

/// A vfork that runs `program` on a stack of its own: this thread waits until that has ended or become another program.
/// The child is born in the v2 cgroup `cgroup` if given, has a copy of the descriptors, and sends no signal at its end.
/// Its pidfd is put into `pidfd`.
///
/// # Errors
/// As clone3(2).
///
/// # Safety
/// `program` runs on the caller's memory: it may touch only what was prepared for it, and must not return. `stack` is
/// the lowest address and the size of memory that nobody else uses, aligned to 16 bytes.
pub(crate) unsafe fn vfork_into(
    cgroup: Option<RawFd>,
    stack: (*mut c_void, usize),
    program: extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
    pidfd: *mut RawFd,
) -> Result<i32> {
    let mut arguments = CloneArgs {
        flags: CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
        pidfd: pidfd as u64,
        stack: stack.0 as u64,
        stack_size: stack.1 as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.unsigned_abs());
    }
    // The child comes back from the call on its own stack, where there is nothing to return to: so the call and the
    // jump are one piece.
    // SAFETY: the parent leaves as from any system call; the child never leaves, by the contract of this function.
    let made: libc::c_long = unsafe {
        let made: libc::c_long;
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => made,
            in("rdi") &raw mut arguments,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") argument,
            in("r13") program,
            lateout("rcx") _,
            lateout("r11") _,
        );
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") &raw mut arguments => made,
            in("x1") size_of::<CloneArgs>(),
            in("x20") argument,
            in("x21") program,
        );
        made
    };
    if made < 0 {
        return Err(Errno::from_raw(i32::try_from(-made).unwrap_or(libc::EINVAL)));
    }
    i32::try_from(made).map_err(|_| Errno::EINVAL)
}

/// An exit signal that is none (clone(2)).
const NO_SIGNAL: i32 = 0;

fn fork(
    flags: u64,
    exit_signal: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> std::convert::Infallible,
) -> Result<Child> {
    let mut pidfd: i32 = -1;
    let mut arguments = CloneArgs {
        flags: flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: u64::from(exit_signal.unsigned_abs()),
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

/// Runs `make` in a child with a mount namespace of its own, a copy of ours from which nothing travels back, and
/// returns the descriptor that it made. The child ([`fork_unseen`]) shares our descriptors, and ends with the call;
/// its mounts end with it, unless the descriptor holds them.
///
/// `make` is bound as the child of [`fork_with`] is: system calls only, on what is ready.
///
/// # Errors
/// Of the clone, and of `make`.
pub fn in_mount_namespace(make: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    in_copied_mounts(|| {
        crate::mount::set_root_propagation(crate::mount::PRIVATE)?;
        make()
    })
}

/// The same, but mounts there are peers of ours, as they are by themselves: `make` mounts and unmounts nothing. The copy
/// has no mounts of mount namespaces' files: the kernel leaves them out (copy_mnt_ns, fs/namespace.c).
///
/// # Errors
/// Of the clone, and of `make`.
pub fn in_copied_mounts(make: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    let (answer, question) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let child = fork_unseen(NEWNS | CLONE_FILES, || {
        let number = match make() {
            Ok(fd) => fd.into_raw_fd(),
            Err(errno) => -(errno as i32),
        };
        // If it cannot be written, the parent reads nothing, and knows as much.
        let _ = process::write_once(question.as_fd(), &number.to_ne_bytes());
        process::exit_now(0)
    })?;
    process::wait_pidfd(child.pidfd.as_fd(), true)?;
    // Nobody else has the other end now: the read ends.
    drop(question);
    let mut number = [0; 4];
    if process::read_once(answer.as_fd(), &mut number)? != number.len() {
        return Err(Errno::ECHILD);
    }
    match i32::from_ne_bytes(number) {
        fd if fd >= 0 => owned(i64::from(fd)),
        errno => Err(Errno::from_raw(-errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_reaps_it() {
        // Another thread waits for any child, again and again, and signals go to the whole group meanwhile.
        let stop = std::sync::atomic::AtomicBool::new(false);
        let reaped = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut found = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // SAFETY: asks for nothing but a number.
                    if unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {
                        found += 1;
                    }
                }
                found
            });
            for _ in 0..200 {
                assert_eq!(in_mount_namespace(|| Err(Errno::EBADMSG)).unwrap_err(), Errno::EBADMSG);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            waiting.join().unwrap()
        });
        assert_eq!(reaped, 0);
    }

    #[test]
    fn what_a_namespace_made_outlives_it() {
        let directory = tempfile::tempdir().unwrap();
        let target = std::ffi::CString::new(directory.path().to_str().unwrap()).unwrap();
        let tree = in_mount_namespace(|| {
            crate::mount::mount_with_options(c"tmpfs", &target, c"mode=0711")?;
            crate::mount::open_tree(None, &target, crate::mount::OPEN_TREE_CLONE)
        })
        .expect("this test needs root");
        assert_eq!(crate::openat2::stat(tree.as_fd()).unwrap().st_mode & 0o777, 0o711);
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(directory.path().to_str().unwrap()), "the host's table is as it was");
        assert_eq!(in_mount_namespace(|| Err(Errno::EBADMSG)).unwrap_err(), Errno::EBADMSG);
    }
}
