//! Capability sets of the calling thread (capabilities(7)).

use crate::error::{Errno, Result, check};

/// _LINUX_CAPABILITY_VERSION_3: 64-bit sets in two halves.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// capset(2) with effective = permitted = `mask`, nothing inheritable.
///
/// # Errors
/// `EPERM` when `mask` is not within the permitted set.
pub fn set(mask: u64) -> Result<()> {
    let half = |shift: u32| {
        let bits = u32::try_from((mask >> shift) & u64::from(u32::MAX)).unwrap_or(0);
        Data { effective: bits, permitted: bits, inheritable: 0 }
    };
    let header = Header { version: VERSION, pid: 0 };
    let data = [half(0), half(32)];
    // SAFETY: header and two data structures are what version 3 reads.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// Makes everything effective that is permitted.
///
/// # Errors
/// Never on a working kernel.
pub(crate) fn raise_permitted() -> Result<()> {
    change(|half| half.effective = half.permitted)
}

/// Empties the inheritable set, and with it the ambient one, which is never larger.
///
/// # Errors
/// Never on a working kernel.
pub(crate) fn clear_inheritable() -> Result<()> {
    change(|half| half.inheritable = 0)
}

/// Whether the effective set has capability `number`.
///
/// # Errors
/// Never on a working kernel.
pub(crate) fn is_effective(number: u32) -> Result<bool> {
    let halves = get()?;
    let half = usize::try_from(number / 32).unwrap_or(usize::MAX);
    Ok(halves.get(half).is_some_and(|half| half.effective & 1 << (number % 32) != 0))
}

/// Gives up what is not in `mask`, for good and for whatever this process executes; what is not there is not asked for.
///
/// # Errors
/// Never on a working kernel. Without CAP_SETPCAP the bounding set stays, which gives nothing by itself.
pub fn keep_only(mask: u64) -> Result<()> {
    match limit_bounding(mask) {
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    let half = |shift: u32| u32::try_from((mask >> shift) & u64::from(u32::MAX)).unwrap_or(0);
    let mut halves = [half(0), half(32)].into_iter();
    change(|data| {
        data.permitted &= halves.next().unwrap_or(0);
        data.effective = data.permitted;
        data.inheritable = 0;
    })
}

fn get() -> Result<[Data; 2]> {
    let header = Header { version: VERSION, pid: 0 };
    let mut data = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: header and two data structures are what version 3 fills.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    Ok(data)
}

fn change(half: impl FnMut(&mut Data)) -> Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    let mut data = get()?;
    data.iter_mut().for_each(half);
    // SAFETY: header and two data structures are what version 3 reads.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// Drops from the bounding set everything that is not in `mask`; numbers above the kernel's last are ignored.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn limit_bounding(mask: u64) -> Result<()> {
    for number in 0..64u64 {
        if mask & (1 << number) != 0 {
            continue;
        }
        // SAFETY: numbers only.
        match check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, number, 0, 0, 0) }) {
            Ok(_) => {}
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Empties the ambient set.
///
/// # Errors
/// `EINVAL` before Linux 4.3.
pub fn clear_ambient() -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    })?;
    Ok(())
}
