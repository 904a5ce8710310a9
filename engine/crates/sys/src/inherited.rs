//! Descriptors that a program was started with, by their agreed numbers.

use crate::error::{Result, check};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Which numbers below 64 were taken already.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes possession of descriptor `number`, which whoever started this program left open, and makes it
/// close-on-exec. Each can be taken once. To be called before anything opens descriptors of its own, which
/// could get the number if nothing was inherited there.
///
/// # Errors
/// `EBADF` when it is not open, was taken before, or is a standard stream or above 63.
pub fn take(number: RawFd) -> Result<OwnedFd> {
    if !(3..64).contains(&number) || TAKEN.fetch_or(1 << number, Ordering::Relaxed) & (1 << number) != 0 {
        return Err(crate::Errno::EBADF);
    }
    // SAFETY: numbers only; a closed descriptor gives EBADF.
    check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }))?;
    // SAFETY: it is open, and nobody else owns it: by the contract above nothing of ours has opened it, and
    // `TAKEN` keeps it from being taken twice.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_cannot_be_taken() {
        assert!(take(0).is_err());
        assert!(take(64).is_err());
        assert!(take(-1).is_err());
        // Nothing in a test process goes that high.
        assert!(take(63).is_err());
    }
}
