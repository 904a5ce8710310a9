//! Starting a detached program from a process that may have threads.
//!
//! ```text
//! caller ── clone(VM|VFORK|FILES) ──► middle ── clone3(VM|VFORK|PIDFD) ──► program (cgroups, birth, setsid, execveat)
//!    │ waits for middle (reaped here)      └ exits at once
//!    └ keeps the program's pidfd, which landed in the shared descriptor table
//! ```
//!
//! The program is adopted by the nearest subreaper or pid 1, so it never becomes a zombie of the caller, and
//! the caller's SIGCHLD handling never sees either process (their exit signal is 0). Both run on the caller's
//! memory while the calling thread is suspended; they touch only what was prepared and make raw calls, with
//! every signal blocked, as posix_spawn does.

use crate::error::{Errno, Error, OnErrno, check};
use crate::{birth, clone, mount, openat2, process, signal};
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Bytes of stack for each of the two short-lived contexts.
const STACK_BYTES: usize = 64 * 1024;

/// A started program.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: i32,
    /// Readable when it has ended. It is not our child: its exit status goes to its new parent.
    pub pidfd: OwnedFd,
}

struct Job {
    executable: RawFd,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// (descriptor to copy, number in the program); sources lie above every target.
    fds: Vec<(RawFd, RawFd)>,
    first_unused: RawFd,
    /// The lowest address of the program's stack, before exec.
    program_stack: *mut c_void,
    tasks: Vec<RawFd>,
    unified: Option<RawFd>,
    program_pid: AtomicI32,
    program_pidfd: AtomicI32,
    errno: AtomicI32,
    /// Not so when entering the cgroups failed.
    is_in_place: AtomicBool,
    /// It was not born in the version 2 cgroup.
    enters_unified: AtomicBool,
}

/// The cgroups that a program is born in; without any, its caller's.
#[derive(Debug, Default)]
pub struct Place {
    /// `tasks` files of version 1 hierarchies, open for writing.
    pub tasks: Vec<OwnedFd>,
    /// A directory of the version 2 hierarchy.
    pub unified: Option<OwnedFd>,
}

/// Starts `exe` in a session of its own, in the cgroups of `place`, with the attributes of [`birth`] in place of the
/// caller's: default signals, empty mask, working directory `/`, standard streams
/// on `/dev/null` unless listed, and no descriptors but those in `fds` (descriptor, its number there). Returns
/// after `execve` has succeeded.
///
/// The program is executed through a private read-only mount of its file, so that nothing that ever reaches
/// its `/proc/PID/exe` can open the file for writing (CVE-2019-5736). Without the right to mount it is
/// executed directly. It must not rely on `/proc/self/exe` to find itself by name.
///
/// # Errors
/// Names the call that failed.
pub fn spawn_detached(
    exe: &Path,
    argv: &[impl AsRef<OsStr>],
    env: &[impl AsRef<OsStr>],
    fds: &[(OwnedFd, RawFd)],
    place: &Place,
) -> Result<Spawned, Error> {
    let exe_name =
        CString::new(exe.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL).on("execve", exe.display())?;
    let executable = open_executable(&exe_name).on("open", exe.display())?;
    let strings = |list: Vec<&OsStr>| -> Result<Vec<CString>, Error> {
        list.into_iter()
            .map(|s| CString::new(s.as_bytes()).map_err(|_| Errno::EINVAL).on("execve", s.to_string_lossy()))
            .collect()
    };
    let argv_strings = strings(argv.iter().map(AsRef::as_ref).collect())?;
    let env_strings = strings(env.iter().map(AsRef::as_ref).collect())?;
    let pointers =
        |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();

    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))
        .on("open", "/dev/null")?;
    let mut wanted: Vec<(RawFd, RawFd)> = Vec::with_capacity(fds.len() + 3);
    for standard in 0..3 {
        if !fds.iter().any(|(_, target)| *target == standard) {
            wanted.push((null.as_raw_fd(), standard));
        }
    }
    wanted.extend(fds.iter().map(|(fd, target)| (fd.as_raw_fd(), *target)));
    let first_unused = wanted.iter().map(|(_, target)| target + 1).max().unwrap_or(3);
    // Copies above every target, so that placing one never destroys another that is still to be placed.
    let mut lifted = Vec::with_capacity(wanted.len());
    for (fd, target) in &wanted {
        let copy = dup_above(*fd, first_unused).on("fcntl(F_DUPFD_CLOEXEC)", fd)?;
        lifted.push((copy, *target));
    }
    let executable =
        dup_above(executable.as_raw_fd(), first_unused).on("fcntl(F_DUPFD_CLOEXEC)", exe.display())?;

    let mut middle_stack = vec![0u128; STACK_BYTES / 16];
    let mut program_stack = vec![0u128; STACK_BYTES / 16];
    let job = Job {
        executable: executable.as_raw_fd(),
        argv: pointers(&argv_strings),
        envp: pointers(&env_strings),
        fds: lifted.iter().map(|(fd, target)| (fd.as_raw_fd(), *target)).collect(),
        first_unused,
        program_stack: program_stack.as_mut_ptr().cast(),
        tasks: place.tasks.iter().map(AsRawFd::as_raw_fd).collect(),
        unified: place.unified.as_ref().map(AsRawFd::as_raw_fd),
        program_pid: AtomicI32::new(-1),
        program_pidfd: AtomicI32::new(-1),
        errno: AtomicI32::new(0),
        is_in_place: AtomicBool::new(true),
        enters_unified: AtomicBool::new(false),
    };

    let blocked = signal::block_all().on("sigprocmask", "block")?;
    // SAFETY: `middle` runs on its own stack while this thread is suspended (VFORK), touches only `job`, which
    // outlives it, and makes raw calls only. The stack pointer is the aligned end of a live allocation.
    let middle_pid = check(c_long_of(unsafe {
        libc::clone(
            middle,
            middle_stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES,
            (&raw const job).cast_mut().cast(),
        )
    }));
    signal::restore_mask(&blocked);
    let middle_pid = middle_pid.on("clone", exe.display())?;
    reap(middle_pid).on("wait4", middle_pid)?;

    let pidfd = job.program_pidfd.load(Ordering::Relaxed);
    // SAFETY: the descriptor was made by the kernel for this call and nobody else knows it.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    match (job.errno.load(Ordering::Relaxed), pidfd) {
        (0, Some(pidfd)) => Ok(Spawned { pid: job.program_pid.load(Ordering::Relaxed), pidfd }),
        (errno, _) if !job.is_in_place.load(Ordering::Relaxed) => {
            Err(Errno::from_raw(errno)).on("write", "the tasks of a cgroup")
        }
        (errno, _) => Err(Errno::from_raw(errno)).on("execve", exe.display()),
    }
}

fn c_long_of(value: c_int) -> libc::c_long {
    libc::c_long::from(value)
}

/// Opens a program through a detached read-only mount of its own, or plainly where mounting is not allowed.
fn open_executable(path: &CStr) -> Result<OwnedFd, Errno> {
    match mount::open_tree(None, path, mount::OPEN_TREE_CLONE) {
        Ok(tree) => {
            mount::set_attributes(tree.as_fd(), mount::ATTR_RDONLY, 0, 0, false)?;
            Ok(tree)
        }
        // No CAP_SYS_ADMIN, or a kernel or filter without the mount API.
        Err(Errno::EPERM | Errno::ENOSYS | Errno::EINVAL) => mount::open_path(path),
        Err(errno) => Err(errno),
    }
}

fn dup_above(fd: RawFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is involved; a stale descriptor gives EBADF.
    let copy = check(c_long_of(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) }))?;
    // SAFETY: a fresh descriptor that only we own.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(copy).map_err(|_| Errno::EBADF)?) })
}

fn reap(pid: libc::c_long) -> Result<(), Errno> {
    loop {
        // SAFETY: null status and usage pointers are allowed. __WALL: the exit signal is not SIGCHLD.
        match check(unsafe { libc::syscall(libc::SYS_wait4, pid, 0usize, libc::__WALL, 0usize) }) {
            // ECHILD: a program that waits for whatever it has, with __WALL, was quicker.
            Ok(_) | Err(Errno::ECHILD) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

extern "C" fn middle(job: *mut c_void) -> c_int {
    // SAFETY: the pointer is to the `Job` on the suspended caller's stack; all changed fields are atomics.
    let job = unsafe { &*job.cast::<Job>() };
    let mut pidfd: c_int = -1;
    // SAFETY: as for `middle` itself; without FILES, so that the program arranges its own descriptors. `program` never
    // returns, and its stack is this live allocation.
    let made = unsafe {
        clone::vfork_into(
            job.unified,
            (job.program_stack, STACK_BYTES),
            program,
            (&raw const *job).cast_mut().cast(),
            &raw mut pidfd,
        )
    };
    // Under valgrind, and some filters, there is no clone3: then it enters its cgroup by itself, which waits for a grace
    // period of the kernel's.
    let made = match made {
        Err(Errno::ENOSYS) => {
            job.enters_unified.store(true, Ordering::Relaxed);
            // SAFETY: as above; clone(2) wants the aligned end of the stack.
            check(c_long_of(unsafe {
                libc::clone(
                    program_of_clone,
                    job.program_stack.cast::<u8>().add(STACK_BYTES).cast(),
                    libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD,
                    (&raw const *job).cast_mut().cast(),
                    &raw mut pidfd,
                )
            }))
            .and_then(|pid| i32::try_from(pid).map_err(|_| Errno::EINVAL))
        }
        other => other,
    };
    match made {
        Ok(pid) => job.program_pid.store(pid, Ordering::Relaxed),
        Err(errno) => job.errno.store(errno as i32, Ordering::Relaxed),
    }
    job.program_pidfd.store(pidfd, Ordering::Relaxed);
    0
}

extern "C" fn program_of_clone(job: *mut c_void) -> c_int {
    program(job)
}

extern "C" fn program(job: *mut c_void) -> ! {
    // SAFETY: as in `middle`.
    let job = unsafe { &*job.cast::<Job>() };
    let errno = match become_program(job) {
        Ok(()) => 0,
        Err(errno) => errno as i32,
    };
    job.errno.store(errno, Ordering::Relaxed);
    // SAFETY: ends this process without running anything of the caller's.
    unsafe { libc::_exit(127) }
}

fn become_program(job: &Job) -> Result<(), Errno> {
    birth::before_moving();
    enter_cgroups(job).inspect_err(|_| job.is_in_place.store(false, Ordering::Relaxed))?;
    birth::before_exec();
    // SAFETY: plain calls on numbers and on strings prepared by the caller, all of which outlive this.
    unsafe {
        check(libc::syscall(libc::SYS_setsid))?;
        signal::reset_handlers();
        for (fd, target) in &job.fds {
            check(libc::syscall(libc::SYS_dup3, *fd, *target, 0))?;
        }
        check(libc::syscall(libc::SYS_chdir, c"/".as_ptr()))?;
        // The executable's descriptor is above and closes itself at exec.
        process::close_range_cloexec(job.first_unused.unsigned_abs())?;
        signal::unblock_all();
        check(libc::syscall(
            libc::SYS_execveat,
            job.executable,
            c"".as_ptr(),
            job.argv.as_ptr(),
            job.envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        ))?;
    }
    Ok(())
}

fn enter_cgroups(job: &Job) -> Result<(), Errno> {
    // SAFETY: the descriptors of the caller's `Place`, which are open in this process too, outlive this.
    let borrowed = |fd: RawFd| unsafe { BorrowedFd::borrow_raw(fd) };
    for tasks in &job.tasks {
        process::write_once(borrowed(*tasks), b"0")?;
    }
    match job.unified {
        Some(unified) if job.enters_unified.load(Ordering::Relaxed) => {
            let processes = openat2::open_in_root(borrowed(unified), c"cgroup.procs", libc::O_WRONLY, 0)?;
            process::write_once(processes.as_fd(), b"0")
        }
        _ => Ok(()),
    }
}

/// Borrows the standard streams, for callers that want to hand on their own.
pub fn standard_stream(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: 0 to 2 stay open for the life of the process by convention.
    (0..3).contains(&number).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_shell_runs_detached_with_its_descriptors_only() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let script =
            "echo $A; ls /proc/self/fd | tr '\\n' ' '; pwd; readlink /proc/$$/fd/0; cat /proc/$$/stat";
        let spawned = spawn_detached(
            Path::new("/bin/sh"),
            &["sh", "-c", script],
            &["A=b"],
            &[(theirs.into(), 1)],
            &Place::default(),
        )
        .unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["b", "0 1 2 3 /", "/dev/null"], "{text}");
        let stat: Vec<&str> = lines[3].split(' ').collect();
        assert_eq!(stat[0], spawned.pid.to_string());
        assert_eq!(stat[5], spawned.pid.to_string(), "its own session");
        assert_ne!(stat[3], std::process::id().to_string(), "not our child");
    }

    /// CVE-2019-5736: whoever reaches the program's `/proc/PID/exe` cannot write to the file, not even after the
    /// program has ended and the text-busy protection with it.
    #[test]
    fn the_program_file_is_out_of_reach_of_its_proc_exe() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sleep");
        std::fs::copy("/bin/busybox", &program).expect("busybox-static is installed");
        let none: [&str; 0] = [];
        let spawned = spawn_detached(&program, &["sleep", "100"], &none, &[], &Place::default()).unwrap();
        let exe = std::fs::File::open(format!("/proc/{}/exe", spawned.pid)).unwrap();
        crate::process::pidfd_send_signal(spawned.pidfd.as_fd(), libc::SIGKILL).unwrap();
        let again = format!("/proc/self/fd/{}", exe.as_raw_fd());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        // Busy while it runs, read-only for ever after.
        let errno = loop {
            let error = std::fs::OpenOptions::new().write(true).open(&again).unwrap_err();
            let errno = error.raw_os_error().unwrap();
            if errno != libc::ETXTBSY || std::time::Instant::now() > deadline {
                break errno;
            }
        };
        assert_eq!(Errno::from_raw(errno), Errno::EROFS);
        assert!(
            std::fs::OpenOptions::new().write(true).open(&program).is_ok(),
            "by its own path it is a plain file"
        );
    }

    #[test]
    fn a_missing_program_is_an_error_and_leaves_nothing() {
        let none: [&str; 0] = [];
        let error = spawn_detached(Path::new("/nowhere"), &["x"], &none, &[], &Place::default()).unwrap_err();
        assert_eq!(error.errno, Errno::ENOENT);
        let error =
            spawn_detached(Path::new("/etc/passwd"), &["x"], &none, &[], &Place::default()).unwrap_err();
        assert_eq!(error.to_string(), "execve /etc/passwd: permission denied");
    }
}
