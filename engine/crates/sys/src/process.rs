//! Processes: pidfds, namespaces, credentials, and the last calls before a program runs.

use crate::error::{Errno, Error, OnErrno, Result, check};
use crate::mount::owned;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// pidfd_open(2).
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: numbers only.
    owned(check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?)
}

/// pidfd_send_signal(2).
///
/// # Errors
/// `ESRCH` when the process has been reaped.
pub fn pidfd_send_signal(process: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: numbers and a null pointer, which the call allows.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, 0usize, 0) })?;
    Ok(())
}

/// Signals a process and all of its process group, if the kernel can (6.9); else the process alone.
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn pidfd_signal_group(process: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // linux/pidfd.h: PIDFD_SIGNAL_PROCESS_GROUP
    const GROUP: u32 = 1 << 2;
    // SAFETY: numbers and a null pointer, which the call allows.
    let result = check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, 0usize, GROUP)
    });
    match result {
        Err(Errno::EINVAL) => pidfd_send_signal(process, signal),
        other => other.map(|_| ()),
    }
}

/// waitid(P_PIDFD) of a child: reaps it. `None` when it still runs and `block` is false.
///
/// # Errors
/// `ECHILD` when it is not our child or already reaped.
pub fn wait_pidfd(process: BorrowedFd<'_>, block: bool) -> Result<Option<Ended>> {
    let hang = if block { 0 } else { libc::WNOHANG };
    loop {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the buffer is what the call fills.
        let result = check(libc::c_long::from(unsafe {
            libc::waitid(
                libc::P_PIDFD,
                process.as_raw_fd().unsigned_abs(),
                info.as_mut_ptr(),
                libc::WEXITED | libc::__WALL | hang,
            )
        }));
        match result {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        // SAFETY: zeroed, then filled by the call; the two fields are those of a SIGCHLD.
        let (code, pid, status) = unsafe {
            let info = info.assume_init();
            (info.si_code, info.si_pid(), info.si_status())
        };
        if pid == 0 {
            return Ok(None);
        }
        return Ok(Some(if code == libc::CLD_EXITED {
            Ended::Exited(status)
        } else {
            Ended::Killed(status)
        }));
    }
}

/// waitpid(-1): reaps any child, in the way of a pid 1. `None` when there is no child at all.
///
/// # Errors
/// Other than `ECHILD` and `EINTR`, never on a working kernel.
pub fn wait_any(block: bool) -> Result<Option<(i32, Ended)>> {
    let mut status = 0;
    loop {
        // SAFETY: the status is what the call fills.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, if block { 0 } else { libc::WNOHANG }) };
        match check(libc::c_long::from(pid)) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) | Ok(0) => return Ok(None),
            Err(errno) => return Err(errno),
            Ok(_) if libc::WIFEXITED(status) => {
                return Ok(Some((pid, Ended::Exited(libc::WEXITSTATUS(status)))));
            }
            Ok(_) if libc::WIFSIGNALED(status) => {
                return Ok(Some((pid, Ended::Killed(libc::WTERMSIG(status)))));
            }
            Ok(_) => {}
        }
    }
}

/// Start time of a process in clock ticks since boot (proc_pid_stat(5), field 22).
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn start_ticks(pid: i32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(|_| Errno::ESRCH).on("read", &path)?;
    // The command may hold anything, so count from its closing parenthesis: field 3 comes next.
    text.rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(19))
        .and_then(|ticks| ticks.parse().ok())
        .ok_or(Errno::EPROTO)
        .on("read", &path)
}

/// setns(2): with a pidfd, any sum of namespace flags; with a namespace's own descriptor, its flag or 0.
///
/// # Errors
/// As the manual has it.
pub fn setns(fd: BorrowedFd<'_>, kinds: u64) -> Result<()> {
    let kinds = i32::try_from(kinds).map_err(|_| Errno::EINVAL)?;
    // SAFETY: numbers only.
    check(libc::c_long::from(unsafe { libc::setns(fd.as_raw_fd(), kinds) }))?;
    Ok(())
}

/// unshare(2).
///
/// # Errors
/// As the manual has it.
pub fn unshare(kinds: u64) -> Result<()> {
    // SAFETY: a number only; no flag here changes memory.
    check(unsafe { libc::syscall(libc::SYS_unshare, kinds) })?;
    Ok(())
}

/// setsid(2).
///
/// # Errors
/// `EPERM` when already a group leader.
pub fn setsid() -> Result<()> {
    // SAFETY: no arguments.
    check(libc::c_long::from(unsafe { libc::setsid() }))?;
    Ok(())
}

/// fchdir(2).
///
/// # Errors
/// As the manual has it.
pub fn fchdir(dir: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: a number only.
    check(libc::c_long::from(unsafe { libc::fchdir(dir.as_raw_fd()) }))?;
    Ok(())
}

/// chdir(2).
///
/// # Errors
/// As the manual has it.
pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: a NUL-terminated string.
    check(libc::c_long::from(unsafe { libc::chdir(path.as_ptr()) }))?;
    Ok(())
}

/// Whether the working directory lies below the root directory: the kernel's getcwd(2) starts with `/` then,
/// and with `(unreachable)` otherwise.
///
/// # Errors
/// `ENOENT` when the directory is deleted.
pub fn cwd_is_inside_root() -> Result<bool> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer has the size that is given. The system call, because libc hides the mark.
    check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    Ok(buffer[0] == b'/')
}

/// umask(2).
pub fn umask(mask: u32) {
    // SAFETY: a number only; cannot fail.
    unsafe { libc::umask(mask) };
}

/// sethostname(2).
///
/// # Errors
/// `EINVAL` when longer than 64 bytes.
pub fn sethostname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length of one slice.
    check(libc::c_long::from(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }))?;
    Ok(())
}

/// setdomainname(2).
///
/// # Errors
/// `EINVAL` when longer than 64 bytes.
pub fn setdomainname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length of one slice.
    check(libc::c_long::from(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }))?;
    Ok(())
}

/// Sets supplementary groups, all three group ids and all three user ids of this thread by system calls
/// (libc's wrappers would signal other threads).
///
/// # Errors
/// `EPERM` without the capabilities, `EINVAL` for ids outside the user namespace.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length of one slice, and numbers.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

fn prctl(option: i32, argument: u64) -> Result<()> {
    // SAFETY: the options used here take numbers only; unused arguments must be zero.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, argument, 0, 0, 0) })?;
    Ok(())
}

/// PR_SET_NO_NEW_PRIVS.
///
/// # Errors
/// Never on a working kernel.
pub fn set_no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// PR_SET_PDEATHSIG: this signal when the parent ends.
///
/// # Errors
/// `EINVAL` for a bad signal.
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, u64::from(signal.unsigned_abs()))
}

/// PR_SET_KEEPCAPS: permitted capabilities survive the change to another user.
///
/// # Errors
/// `EPERM` when locked.
pub fn set_keep_capabilities(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep))
}

/// PR_SET_DUMPABLE: whether others of the same user may trace this process and read its `/proc`.
///
/// # Errors
/// Never on a working kernel.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(dumpable))
}

/// PR_SET_CHILD_SUBREAPER: orphaned descendants become our children.
///
/// # Errors
/// Never on a working kernel.
pub fn set_child_subreaper(reap: bool) -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, u64::from(reap))
}

/// PR_SET_NAME: what `ps` shows for this thread; at most 15 bytes count.
///
/// # Errors
/// Never on a working kernel.
pub fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: a NUL-terminated string; the kernel reads 16 bytes at most and stops at the NUL.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) })?;
    Ok(())
}

/// Moves `keep` to number 3, close-on-exec, and closes everything above (close_range(2)). For a child that is
/// about to exec: every other descriptor that it has is void afterwards.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn keep_only(keep: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NUMBER: i32 = 3;
    dup_onto(keep, NUMBER, true)?;
    // SAFETY: the caller gives up every descriptor above, as documented.
    check(unsafe { libc::syscall(libc::SYS_close_range, NUMBER + 1, u32::MAX, 0) })?;
    owned(i64::from(NUMBER))
}

/// close_range(2) at exec: every descriptor from `first` on is marked close-on-exec.
///
/// # Errors
/// `ENOSYS` before Linux 5.9, `EINVAL` before 5.11.
pub fn close_range_cloexec(first: u32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// dup3(2) onto a number, without close-on-exec unless asked for. A descriptor that already has the number
/// only has its flag set.
///
/// # Errors
/// As the manual has it.
pub fn dup_onto(fd: BorrowedFd<'_>, number: i32, cloexec: bool) -> Result<()> {
    if fd.as_raw_fd() == number {
        let flag = if cloexec { libc::FD_CLOEXEC } else { 0 };
        // SAFETY: numbers only.
        check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_SETFD, flag) }))?;
        return Ok(());
    }
    let flag = if cloexec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: numbers only; the caller gives up whatever had the number.
    check(libc::c_long::from(unsafe { libc::dup3(fd.as_raw_fd(), number, flag) }))?;
    Ok(())
}

/// fcntl(F_DUPFD_CLOEXEC): a copy with a number of at least `lowest`.
///
/// # Errors
/// `EMFILE`.
pub fn dup_above(fd: BorrowedFd<'_>, lowest: i32) -> Result<OwnedFd> {
    // SAFETY: numbers only.
    owned(check(libc::c_long::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }))?)
}

/// write(2) of a few bytes, all or nothing; for control files and small pipe messages.
///
/// # Errors
/// As write(2); `EIO` for a short write.
pub fn write_once(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    loop {
        // SAFETY: pointer and length of one slice.
        match check(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) } as libc::c_long)
        {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(written) => {
                return if written.unsigned_abs() == bytes.len() as u64 { Ok(()) } else { Err(Errno::EIO) };
            }
        }
    }
}

/// read(2), again when a signal interrupts it. 0: the end.
///
/// # Errors
/// As read(2).
pub fn read_once(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: pointer and length of one slice.
        let length = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match check(length as libc::c_long) {
            Err(Errno::EINTR) => {}
            // Never negative here.
            other => return other.map(|length| usize::try_from(length).unwrap_or(0)),
        }
    }
}

/// Whether the other end of a pipe or socket is gone (poll(2) says POLLERR or POLLHUP).
pub fn peer_is_gone(fd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one structure and its count.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & (libc::POLLERR | libc::POLLHUP) != 0
}

/// close(2) in a cloned child that never returns: its copy of the owner is never dropped.
pub(crate) fn close_in_child(fd: BorrowedFd<'_>) {
    // SAFETY: the number is not used again by this process, which ends without running destructors.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// _exit(2).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing of ours runs after it.
    unsafe { libc::_exit(code) }
}

/// Strings in the form that execve(2) takes, made before the clone.
#[derive(Debug)]
pub struct ExecStrings {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl ExecStrings {
    /// Takes the strings.
    pub fn new(strings: Vec<CString>) -> Self {
        // CString owns a heap buffer: moving the vector does not move the bytes.
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Self { strings, pointers }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// execve(2). Returns only on failure.
pub fn execve(program: &CStr, argv: &ExecStrings, env: &ExecStrings) -> Errno {
    // SAFETY: NUL-terminated strings, and null-terminated arrays of such, all alive.
    unsafe { libc::execve(program.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    Errno::last()
}

/// Whether this process may execute a file: `EACCES` for a directory too.
///
/// # Errors
/// Why not.
pub fn may_execute(path: &CStr) -> Result<()> {
    // SAFETY: a NUL-terminated string and numbers.
    check(libc::c_long::from(unsafe { libc::access(path.as_ptr(), libc::X_OK) }))?;
    let is_directory = crate::openat2::stat_path(path)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if is_directory { Err(Errno::EACCES) } else { Ok(()) }
}

/// Brings the loopback interface of this network namespace up (netdevice(7), SIOCSIFFLAGS).
///
/// # Errors
/// As socket(2) and ioctl(2).
pub fn loopback_up() -> Result<()> {
    // SAFETY: numbers only.
    let socket = owned(check(libc::c_long::from(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    }))?)?;
    // SAFETY: an all-zero request is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags =
        i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the request is what the call reads.
    check(libc::c_long::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    }))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_child_is_started_signalled_and_reaped() {
        let child = crate::clone::fork_with(0, None, || {
            loop {
                // SAFETY: pause(2) takes nothing.
                unsafe { libc::pause() };
            }
        })
        .unwrap();
        assert_eq!(wait_pidfd(child.pidfd.as_fd(), false).unwrap(), None);
        assert!(start_ticks(child.pid).unwrap() > 0);
        pidfd_send_signal(child.pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert_eq!(wait_pidfd(child.pidfd.as_fd(), true).unwrap(), Some(Ended::Killed(libc::SIGKILL)));
        assert_eq!(wait_pidfd(child.pidfd.as_fd(), true), Err(Errno::ECHILD));
    }

    #[test]
    fn exec_strings_survive_a_move() {
        let strings = Box::new(ExecStrings::new(vec![c"sh".into(), c"-c".into(), c"exit 7".into()]));
        let env = ExecStrings::new(vec![]);
        let child = crate::clone::fork_with(0, None, || {
            execve(c"/bin/sh", &strings, &env);
            exit_now(1)
        })
        .unwrap();
        assert_eq!(wait_pidfd(child.pidfd.as_fd(), true).unwrap(), Some(Ended::Exited(7)));
    }
}
