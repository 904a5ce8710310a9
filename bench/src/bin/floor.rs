//! `floor LOWER SCRATCH`: runs LOWER's `/bin/true` in a container, with the unavoidable kernel work only.
//!
//! One overlay, six namespaces, proc, a /dev with the usual devices, pivot, exec, wait, clean-up: what any
//! engine has to ask of the kernel, in the cheapest way known, without configuration, state, cgroup, logs,
//! security or error messages. Its time is the unit in which `cargo xtask bench start` measures.
//! Prints nothing; exit code: the command's, or 100 plus the number of the step that failed.

#![allow(
    unsafe_code,
    reason = "the raw calls are the point: dhow's own wrappers must not be part of what dhow is measured against"
)]

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt;

/// The namespaces that a container without a network has in Docker.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// Name, major and minor number (Documentation/admin-guide/devices.txt).
const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"dev/null", 1, 3),
    (c"dev/zero", 1, 5),
    (c"dev/full", 1, 7),
    (c"dev/random", 1, 8),
    (c"dev/urandom", 1, 9),
    (c"dev/tty", 5, 0),
];

/// From include/uapi/linux/mount.h.
const FSOPEN_CLOEXEC: libc::c_long = 1;
const FSMOUNT_CLOEXEC: libc::c_long = 1;
const FSCONFIG_SET_STRING: libc::c_long = 1;
const FSCONFIG_CMD_CREATE: libc::c_long = 6;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_long = 4;

/// `struct clone_args`, as far as it is used (clone3(2)).
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
}

fn main() {
    let mut arguments = std::env::args_os().skip(1).filter_map(|a| CString::new(a.into_vec()).ok());
    let (Some(lower), Some(scratch), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        std::process::exit(2);
    };
    std::process::exit(run(&lower, &scratch));
}

/// Everything from the writable layer's directories to their removal.
fn run(lower: &CStr, scratch: &CStr) -> i32 {
    let below = |name: &str| CString::new([scratch.to_bytes(), name.as_bytes()].concat()).unwrap_or_default();
    let (upper, work, inner_work) = (below("/upper"), below("/work"), below("/work/work"));
    // SAFETY: both paths are NUL-terminated and outlive the calls.
    if unsafe { libc::mkdir(upper.as_ptr(), 0o700) | libc::mkdir(work.as_ptr(), 0o700) } != 0 {
        return 100;
    }
    let mut pidfd: libc::c_int = -1;
    let arguments = CloneArgs {
        flags: (NAMESPACES | libc::CLONE_PIDFD) as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: no stack is given, so the child continues here on a copy of this one; this process has one
    // thread, so the child may do anything. The kernel writes the descriptor to `pidfd`, which lives.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    let code = match pid {
        0 => {
            let step = child(lower, scratch, &upper, &work);
            // SAFETY: it does not return, and runs nothing of the parent's.
            unsafe { libc::_exit(100 + step) }
        }
        // SAFETY: all zero bytes are a valid siginfo_t; the kernel fills it for a child that exited.
        1.. => unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            match libc::waitid(libc::P_PIDFD, pidfd.unsigned_abs(), &raw mut info, libc::WEXITED) {
                0 => info.si_status(),
                _ => 101,
            }
        },
        _ => 102,
    };
    // SAFETY: the paths are NUL-terminated and outlive the calls. overlayfs leaves an empty work/work.
    unsafe {
        libc::rmdir(inner_work.as_ptr());
        libc::rmdir(work.as_ptr());
        libc::rmdir(upper.as_ptr());
    }
    code
}

/// From the clone to the exec; returns the number of the step that failed.
fn child(lower: &CStr, scratch: &CStr, upper: &CStr, work: &CStr) -> i32 {
    // SAFETY: every pointer is to a NUL-terminated string that outlives its call, or null where the call
    // allows it; every descriptor was just opened. The process is this program's own copy, with one thread.
    unsafe {
        let none = std::ptr::null::<libc::c_char>();
        if libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()) != 0 {
            return 3;
        }
        let layers = [(c"lowerdir", lower), (c"upperdir", upper), (c"workdir", work)];
        if !mount(c"overlay", &layers, scratch) || libc::chdir(scratch.as_ptr()) != 0 {
            return 4;
        }
        if !mount(c"proc", &[], c"proc") {
            return 5;
        }
        if !mount(c"tmpfs", &[(c"mode", c"755")], c"dev") {
            return 6;
        }
        for (path, major, minor) in DEVICES {
            if libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)) != 0 {
                return 7;
            }
        }
        if libc::sethostname(c"floor".as_ptr(), 5) != 0 {
            return 8;
        }
        // The old root comes to lie over the new one, and goes: no directory for it is needed (pivot_root(2)).
        if libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) != 0
            || libc::umount2(c".".as_ptr(), libc::MNT_DETACH) != 0
            || libc::chdir(c"/".as_ptr()) != 0
        {
            return 9;
        }
        let argv = [c"true".as_ptr(), std::ptr::null()];
        let environment = [std::ptr::null()];
        libc::execve(c"/bin/true".as_ptr(), argv.as_ptr(), environment.as_ptr());
        10
    }
}

/// A new filesystem at `target`.
///
/// # Safety
/// None beyond its callers': it is `unsafe` only because it must run after the clone, in the child.
unsafe fn mount(kind: &CStr, options: &[(&CStr, &CStr)], target: &CStr) -> bool {
    // SAFETY: as in `child`.
    unsafe {
        let context = libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC);
        for (key, value) in options {
            if libc::syscall(
                libc::SYS_fsconfig,
                context,
                FSCONFIG_SET_STRING,
                key.as_ptr(),
                value.as_ptr(),
                0,
            ) != 0
            {
                return false;
            }
        }
        if libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0) != 0 {
            return false;
        }
        let mounted = libc::syscall(libc::SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
        let here = libc::c_long::from(libc::AT_FDCWD);
        let to = target.as_ptr();
        // Both descriptors are closed by the exec.
        libc::syscall(libc::SYS_move_mount, mounted, c"".as_ptr(), here, to, MOVE_MOUNT_F_EMPTY_PATH) == 0
    }
}
