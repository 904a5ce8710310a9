//! What a monitor has when it is born, in place of what its caller has. Containers, exec sessions, health probes and
//! external runtimes come from a monitor, so they have it too.
//!
//! The values are those of a service of systemd's, which Docker's daemon is: a container must not depend on the shell,
//! the service or the CI agent that typed the command. `ARCHITECTURE.md` has the whole table, with what the kernel
//! lets nobody undo ([`Irreversible`]).
//!
//! `before_moving` and `before_exec` run on the caller's memory between clone and exec: system calls on constants
//! only. What the kernel keeps with the memory of a process would change the caller there; [`after_exec`] is for that. They do what they may:
//! a process without the capability for a step keeps what it has.

use crate::error::check;
use crate::rlimit;
use std::ffi::CStr;

/// No limit.
const NONE: u64 = u64::MAX;
const MIB: u64 = 1 << 20;

/// The file mode creation mask.
const UMASK: u32 = 0o022;
/// Nanoseconds by which the kernel may delay a timer: those of the first process (init_task.c).
const TIMER_SLACK: u64 = 50_000;
/// What the kernel writes into core dumps by default: core(5).
const COREDUMP_FILTER: &[u8] = b"0x33";
/// Neither first nor last to be killed when memory runs out.
const OOM_SCORE_ADJ: &[u8] = b"0";

/// Soft and hard limits: systemd's defaults, and `LimitNPROC=`, `LimitCORE=` and `LimitNOFILE=` of Docker's unit.
/// `sigpending` depends on the machine's memory: it is that of process 1.
const LIMITS: [(u32, u64, u64); 15] = [
    (libc::RLIMIT_AS, NONE, NONE),
    (libc::RLIMIT_CORE, NONE, NONE),
    (libc::RLIMIT_CPU, NONE, NONE),
    (libc::RLIMIT_DATA, NONE, NONE),
    (libc::RLIMIT_FSIZE, NONE, NONE),
    (libc::RLIMIT_LOCKS, NONE, NONE),
    (libc::RLIMIT_MEMLOCK, 8 * MIB, 8 * MIB),
    (libc::RLIMIT_MSGQUEUE, 819_200, 819_200),
    (libc::RLIMIT_NICE, 0, 0),
    (libc::RLIMIT_NOFILE, 1 << 20, 1 << 20),
    (libc::RLIMIT_NPROC, NONE, NONE),
    (libc::RLIMIT_RSS, NONE, NONE),
    (libc::RLIMIT_RTPRIO, 0, 0),
    (libc::RLIMIT_RTTIME, NONE, NONE),
    (libc::RLIMIT_STACK, 8 * MIB, NONE),
];

/// The highest value that a monitor without CAP_SYS_RESOURCE has as hard limit, when its caller's is `own`.
pub fn hard_limit(resource: u32, own: u64) -> u64 {
    LIMITS.iter().find(|(known, ..)| *known == resource).map_or(own, |(_, _, hard)| own.min(*hard))
}

/// The part that a process may do for itself on memory that it shares, as its only thread. Does not fail: what is not
/// allowed, or not known to this kernel, stays as it is.
pub(crate) fn before_exec() {
    crate::process::umask(UMASK);
    // First: process 1 tells its limits only to whom it shares all ids with.
    credentials();
    limits();
    processors();
    // SAFETY: numbers and null pointers, which each call allows.
    unsafe {
        libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_DEFAULT, 0usize, 0usize);
        libc::syscall(libc::SYS_personality, 0usize);
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0usize);
        for (option, arguments) in ATTRIBUTES {
            libc::syscall(libc::SYS_prctl, option, arguments[0], arguments[1], arguments[2], arguments[3]);
        }
    }
    write(c"/proc/self/oom_score_adj", OOM_SCORE_ADJ);
}

/// linux/prctl.h, where `libc` does not name it.
const PR_SET_IO_FLUSHER: i32 = 57;
const PR_SCHED_CORE: i32 = 62;
const PR_SCHED_CORE_SHARE_FROM: u64 = 3;
const PR_SET_MDWE: i32 = 65;
const PR_GET_MDWE: i32 = PR_SET_MDWE + 1;
const PR_SET_MEMORY_MERGE: i32 = 67;
const PR_SET_SPECULATION_CTRL: i32 = 53;
const PR_SPEC_ENABLE: u64 = 2;
const PR_SPEC_DISABLE: u64 = 4;

/// prctl(2) calls, each with the kernel's default.
const ATTRIBUTES: [(i32, [u64; 4]); 8] = [
    (libc::PR_SET_TIMERSLACK, [TIMER_SLACK, 0, 0, 0]),
    // Store bypass and indirect branches as the machine has them; no flush of the L1 cache at each switch.
    (PR_SET_SPECULATION_CTRL, [0, PR_SPEC_ENABLE, 0, 0]),
    (PR_SET_SPECULATION_CTRL, [1, PR_SPEC_ENABLE, 0, 0]),
    (PR_SET_SPECULATION_CTRL, [2, PR_SPEC_DISABLE, 0, 0]),
    // The time stamp counter may be read.
    (libc::PR_SET_TSC, [1, 0, 0, 0]),
    // Memory errors kill as the machine's setting says.
    (libc::PR_MCE_KILL, [0, 0, 0, 0]),
    // Its writes wait for memory as everybody's.
    (PR_SET_IO_FLUSHER, [0, 0, 0, 0]),
    // The core scheduling group of process 1, which has none. The type 0 is this thread alone.
    (PR_SCHED_CORE, [PR_SCHED_CORE_SHARE_FROM, 1, 0, 0]),
];

fn limits() {
    for (resource, soft, hard) in LIMITS {
        limit(resource, soft, hard);
    }
    if let Ok((_, hard)) = rlimit::get_of(1, libc::RLIMIT_SIGPENDING) {
        limit(libc::RLIMIT_SIGPENDING, hard, hard);
    }
}

/// As much as is allowed: the soft limit never depends on the caller's.
fn limit(resource: u32, soft: u64, hard: u64) {
    if rlimit::set(resource, soft, hard).is_err()
        && let Ok((_, own)) = rlimit::get(resource)
    {
        let _ = rlimit::set(resource, soft.min(own), hard.min(own));
    }
}

/// struct sched_attr (linux/sched/types.h), as of Linux 5.3.
#[repr(C)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    utilisation_min: u32,
    utilisation_max: u32,
}

/// SCHED_FLAG_KEEP_ALL and SCHED_FLAG_UTIL_CLAMP.
const KEEP_ALL_BUT_CLAMPS: u64 = 0x08 | 0x10 | 0x20 | 0x40;
/// As many processors as Linux can be built for.
const PROCESSORS: usize = 8192;
const IOPRIO_WHO_PROCESS: i32 = 1;

/// Before the process is moved to other cgroups: version 1 lets no real-time process into one without real-time runtime.
pub(crate) fn before_moving() {
    let mut attributes = SchedulingAttributes {
        size: 56,
        policy: libc::SCHED_OTHER.unsigned_abs(),
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: 0,
        deadline: 0,
        period: 0,
        // All bits: no clamp of its own (Linux 5.11).
        utilisation_min: u32::MAX,
        utilisation_max: u32::MAX,
    };
    // SAFETY: the structure has the size that it says, and outlives each call; the rest are numbers.
    unsafe {
        if libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) != 0 {
            // Without CAP_SYS_NICE nobody becomes nicer to himself: the policy at least.
            let inverted = libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0);
            attributes.nice = i32::try_from(20 - inverted).unwrap_or(0);
            libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
        }
        attributes.flags = KEEP_ALL_BUT_CLAMPS;
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0);
    }
}

/// Those of process 1: all, but for those that the machine's owner set apart (`isolcpus=`, systemd's `CPUAffinity=`).
/// Who has the same already is not pinned to them: processors that come later are his as well.
fn processors() {
    let (mut own, mut first) = ([0u64; PROCESSORS / 64], [0u64; PROCESSORS / 64]);
    // SAFETY: both masks have the size that is told; the kernel reads or fills at most that.
    unsafe {
        let size = size_of_val(&own);
        let first_known = libc::syscall(libc::SYS_sched_getaffinity, 1, size, first.as_mut_ptr()) > 0;
        if !first_known || libc::syscall(libc::SYS_sched_getaffinity, 0, size, own.as_mut_ptr()) <= 0 {
            return;
        }
        if own != first {
            libc::syscall(libc::SYS_sched_setaffinity, 0, size, first.as_ptr());
        }
    }
}

/// Root as root is after a boot: its groups, no special rules for its capabilities, nothing inheritable and so nothing
/// ambient. A caller who is not root stays who it is.
fn credentials() {
    // SAFETY: numbers and a null pointer for no groups.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_SECUREBITS, 0, 0, 0, 0);
        if libc::syscall(libc::SYS_geteuid) == 0 {
            libc::syscall(libc::SYS_setgroups, 0, 0usize);
            libc::syscall(libc::SYS_setresgid, 0, 0, 0);
            libc::syscall(libc::SYS_setresuid, 0, 0, 0);
        }
    }
    let _ = crate::caps::clear_inheritable();
}

/// What is kept with the memory, and exec hands on.
pub fn after_exec() {
    // SAFETY: numbers only.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
        libc::syscall(libc::SYS_prctl, PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
    }
    write(c"/proc/self/coredump_filter", COREDUMP_FILTER);
}

fn write(path: &CStr, value: &[u8]) {
    // SAFETY: a NUL-terminated string, and as many bytes as are told; the descriptor is closed here.
    unsafe {
        let file = libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOCTTY,
            0,
        );
        if file >= 0 {
            libc::syscall(libc::SYS_write, file, value.as_ptr(), value.len());
            libc::syscall(libc::SYS_close, file);
        }
    }
}

/// What this process cannot undo, and so hands on to each container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Irreversible {
    /// No program gains privileges: setuid programs run as who calls them.
    pub no_new_privileges: bool,
    /// A filter refuses system calls.
    pub seccomp: bool,
    /// Memory is never writable and executable.
    pub no_writable_code: bool,
    /// Securebits that are locked.
    pub securebits: bool,
    /// Only higher numbers of niceness are allowed.
    pub nice: bool,
}

impl Irreversible {
    /// Those of the calling thread.
    pub fn of_this_process() -> Self {
        let ask = |option: i32| -> i64 {
            // SAFETY: numbers only.
            check(unsafe { libc::syscall(libc::SYS_prctl, option, 0, 0, 0, 0) }).unwrap_or(0)
        };
        // The odd bits lock the even ones (linux/securebits.h); those of the ambient set alone do no harm.
        let securebits = ask(libc::PR_GET_SECUREBITS);
        Self {
            no_new_privileges: ask(libc::PR_GET_NO_NEW_PRIVS) != 0,
            seccomp: ask(libc::PR_GET_SECCOMP) != 0,
            no_writable_code: ask(PR_GET_MDWE) != 0,
            securebits: securebits & (securebits >> 1) & 0b101 != 0,
            nice: is_held_down(),
        }
    }
}

/// Niceness above 0, and no right to lower it.
fn is_held_down() -> bool {
    // SAFETY: numbers only. The raw call gives 20 minus the niceness.
    let inverted = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    const CAP_SYS_NICE: u32 = 23;
    inverted < 20 && !crate::caps::is_effective(CAP_SYS_NICE).unwrap_or(false)
}

const _: () = assert!(size_of::<SchedulingAttributes>() == 56);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_value() {
        for (name, number) in rlimit::NAMES {
            let times = LIMITS.iter().filter(|(resource, ..)| *resource == number).count();
            assert_eq!(times, usize::from(name != "sigpending"), "{name}");
        }
        assert!(LIMITS.iter().all(|(_, soft, hard)| soft <= hard));
    }

    #[test]
    fn hard_limits_are_only_lowered() {
        assert_eq!(hard_limit(libc::RLIMIT_NOFILE, 4096), 4096);
        assert_eq!(hard_limit(libc::RLIMIT_NOFILE, NONE), 1 << 20);
        assert_eq!(hard_limit(libc::RLIMIT_SIGPENDING, 77), 77);
    }
}
