//! Resource limits by number and by name (getrlimit(2)).

use crate::error::{Result, check};

/// Docker's names, without `RLIMIT_`.
pub const NAMES: [(&str, u32); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// The number of a limit by its name.
pub fn number(name: &str) -> Option<u32> {
    NAMES.iter().find(|(n, _)| *n == name).map(|(_, number)| *number)
}

/// Soft and hard limit of this process; `u64::MAX` is no limit.
///
/// # Errors
/// `EINVAL` for an unknown number.
pub fn get(resource: u32) -> Result<(u64, u64)> {
    get_of(0, resource)
}

/// Soft and hard limit of process `pid`; 0 is this one.
///
/// # Errors
/// `EPERM` for a foreign process without CAP_SYS_RESOURCE in its user namespace; as [`get`].
pub fn get_of(pid: i32, resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a null new limit is allowed; the old one is what the call fills.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, 0usize, &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets soft and hard limit of this process.
///
/// # Errors
/// `EPERM` when raising the hard limit without CAP_SYS_RESOURCE.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<()> {
    set_of(0, resource, soft, hard)
}

/// Sets soft and hard limit of process `pid`; 0 is this one (prlimit(2)).
///
/// # Errors
/// `EPERM` for a foreign process without CAP_SYS_RESOURCE in its user namespace; as [`set`].
pub fn set_of(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the new limit is what the call reads; a null old one is allowed.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, 0usize) })?;
    Ok(())
}
