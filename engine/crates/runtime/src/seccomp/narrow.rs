//! Arguments of system calls that the kernel reads as 32-bit numbers.
//!
//! A filter sees whole 64-bit registers; the kernel cuts an `int` argument to its low half before it looks at it.
//! `socket(0x1_0000_0028, …)` is therefore `socket(AF_VSOCK, …)` to the kernel, and something else to a filter that
//! compares 64 bits. Tests of these arguments compare the low half alone, in custom profiles too.

/// Calls and the arguments (bit N: argument N) that their SYSCALL_DEFINE declares as `int`, `unsigned int`, `u32`,
/// `pid_t`, `uid_t` or a key serial (Linux 6.18). `clone` is here because kernel/fork.c takes `lower_32_bits()` of its flags.
const NARROW: &[(&str, u8)] = &[
    ("accept4", 0b1001),
    ("add_key", 0b1_0000),
    ("arch_prctl", 0b1),
    ("bind", 0b101),
    ("bpf", 0b101),
    ("clock_adjtime", 0b1),
    ("clock_nanosleep", 0b11),
    ("clock_settime", 0b1),
    ("clone", 0b1),
    ("close_range", 0b111),
    ("connect", 0b101),
    ("delete_module", 0b10),
    ("dup3", 0b111),
    ("epoll_create1", 0b1),
    ("epoll_ctl", 0b111),
    ("eventfd2", 0b11),
    ("execveat", 0b1_0001),
    ("faccessat2", 0b1101),
    ("fanotify_init", 0b11),
    ("fanotify_mark", 0b1011),
    ("fchmodat", 0b101),
    ("fchmodat2", 0b1101),
    ("fchownat", 0b1_1101),
    ("fcntl", 0b11),
    ("fcntl64", 0b11),
    ("finit_module", 0b101),
    ("flock", 0b11),
    ("fsconfig", 0b1_0011),
    ("fsmount", 0b111),
    ("fsopen", 0b10),
    ("fspick", 0b101),
    ("futex", 0b10_0110),
    ("getpriority", 0b11),
    ("getrandom", 0b100),
    ("getrlimit", 0b1),
    ("getsockopt", 0b111),
    ("inotify_init1", 0b1),
    ("io_uring_enter", 0b1111),
    ("io_uring_register", 0b1011),
    ("io_uring_setup", 0b1),
    ("ioctl", 0b11),
    ("iopl", 0b1),
    ("ioprio_get", 0b11),
    ("ioprio_set", 0b111),
    ("kcmp", 0b111),
    ("keyctl", 0b1),
    ("kill", 0b11),
    ("landlock_create_ruleset", 0b100),
    ("landlock_restrict_self", 0b11),
    ("linkat", 0b1_0101),
    ("listen", 0b11),
    ("lseek", 0b101),
    ("madvise", 0b100),
    ("membarrier", 0b111),
    ("memfd_create", 0b10),
    ("mkdirat", 0b101),
    ("mknod", 0b110),
    ("mknodat", 0b1101),
    ("mlock2", 0b100),
    ("mlockall", 0b1),
    ("modify_ldt", 0b1),
    ("mount_setattr", 0b101),
    ("move_mount", 0b1_0101),
    ("msgctl", 0b11),
    ("msgget", 0b11),
    ("msync", 0b100),
    ("name_to_handle_at", 0b1_0001),
    ("open", 0b110),
    ("open_by_handle_at", 0b101),
    ("open_tree", 0b101),
    ("openat", 0b1101),
    ("perf_event_open", 0b1110),
    ("personality", 0b1),
    ("pidfd_getfd", 0b111),
    ("pidfd_open", 0b11),
    ("pidfd_send_signal", 0b1011),
    ("pipe2", 0b10),
    ("prctl", 0b1),
    ("prlimit64", 0b11),
    ("process_madvise", 0b1_1001),
    ("quotactl", 0b101),
    ("quotactl_fd", 0b111),
    ("reboot", 0b111),
    ("recvfrom", 0b1001),
    ("recvmsg", 0b101),
    ("renameat2", 0b1_0101),
    ("rt_sigqueueinfo", 0b11),
    ("sched_setattr", 0b101),
    ("sched_setscheduler", 0b11),
    ("seccomp", 0b11),
    ("semctl", 0b111),
    ("semget", 0b111),
    ("send", 0b1001),
    ("sendmsg", 0b101),
    ("sendto", 0b10_1001),
    ("setdomainname", 0b10),
    ("setgid", 0b1),
    ("sethostname", 0b10),
    ("setns", 0b11),
    ("setpriority", 0b111),
    ("setresgid", 0b111),
    ("setresuid", 0b111),
    ("setrlimit", 0b1),
    ("setsockopt", 0b1_0111),
    ("setuid", 0b1),
    ("shmat", 0b101),
    ("shmctl", 0b11),
    ("shmget", 0b101),
    ("shutdown", 0b11),
    ("signalfd4", 0b1001),
    ("socket", 0b111),
    ("socketcall", 0b1),
    ("socketpair", 0b111),
    ("splice", 0b10_0101),
    ("statx", 0b1101),
    ("swapon", 0b10),
    ("symlinkat", 0b10),
    ("sync_file_range", 0b1001),
    ("syslog", 0b101),
    ("tgkill", 0b111),
    ("timerfd_create", 0b11),
    ("timerfd_settime", 0b11),
    ("tkill", 0b11),
    ("umount2", 0b10),
    ("unlinkat", 0b101),
    ("userfaultfd", 0b1),
    ("utimensat", 0b1001),
    ("vmsplice", 0b1001),
    ("wait4", 0b101),
    ("waitid", 0b1011),
];

/// Whether the kernel reads only the low 32 bits of this argument.
pub(super) fn is_narrow(call: &str, argument: u32) -> bool {
    NARROW
        .binary_search_by_key(&call, |(name, _)| *name)
        .is_ok_and(|at| argument < u8::BITS && NARROW[at].1 >> argument & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_calls_that_exist() {
        assert!(NARROW.is_sorted_by(|a, b| a.0 < b.0));
        for (name, _) in NARROW {
            assert!(super::super::table::lookup(name).is_some(), "{name}");
        }
        assert!(is_narrow("socket", 0) && is_narrow("clone", 0) && is_narrow("personality", 0));
        assert!(
            !is_narrow("socket", 3) && !is_narrow("unshare", 0) && !is_narrow("mount", 3),
            "unsigned long"
        );
        assert!(!is_narrow("socket", 40) && !is_narrow("no_such_call", 0));
    }
}
