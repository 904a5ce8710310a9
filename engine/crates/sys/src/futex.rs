//! A counter in a file that several processes map, and sleep on (futex(2), the shared form).

use crate::error::{Error, OnErrno, Result, check};
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Bytes that the counter occupies at the beginning of its file.
pub const COUNTER_BYTES: u64 = 4;

/// A mapped counter. Made of a file, it lasts as long as the value, whatever becomes of the descriptor.
#[derive(Debug)]
pub struct SharedCounter {
    address: NonNull<AtomicU32>,
}

// SAFETY: the mapping is shared memory that is touched through an atomic only.
unsafe impl Send for SharedCounter {}
// SAFETY: as above.
unsafe impl Sync for SharedCounter {}

impl SharedCounter {
    /// Maps the counter at the beginning of `file`, which is made long enough first. Nobody may shorten the
    /// file while it is mapped: the next access would end the process (SIGBUS, mmap(2)).
    ///
    /// # Errors
    /// As fstat(2), ftruncate(2) and mmap(2).
    pub fn map(file: &File) -> std::result::Result<Self, Error> {
        let length = file.metadata().map(|m| m.len()).map_err(|e| errno(&e)).on("fstat", "event counter")?;
        if length < COUNTER_BYTES {
            // Two processes may both do so: the same length, and a hole of zeros.
            file.set_len(COUNTER_BYTES).map_err(|e| errno(&e)).on("ftruncate", "event counter")?;
        }
        // SAFETY: a new mapping of at least one whole page of the file, at an address that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(Errno::last()).on("mmap", "event counter");
        }
        NonNull::new(address.cast())
            .map(|address| Self { address })
            .ok_or(Errno::EFAULT)
            .on("mmap", "event counter")
    }

    fn counter(&self) -> &AtomicU32 {
        // SAFETY: mapped, aligned to a page, and unmapped only on drop.
        unsafe { self.address.as_ref() }
    }

    /// Its value now.
    pub fn load(&self) -> u32 {
        self.counter().load(Ordering::Acquire)
    }

    /// Adds one, and wakes everyone who sleeps on it, in any process.
    pub fn advance(&self) {
        self.counter().fetch_add(1, Ordering::Release);
        // SAFETY: the address is mapped; waking changes no memory. It cannot fail for a valid address.
        unsafe { libc::syscall(libc::SYS_futex, self.address.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Sleeps while the value is `seen`, for `timeout` at most. May return early.
    ///
    /// # Errors
    /// Those of futex(2) that are not "it changed", "a signal came" or "the time is over".
    pub fn wait(&self, seen: u32, timeout: Option<Duration>) -> Result<()> {
        let limit = timeout.map(|t| libc::timespec {
            tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(t.subsec_nanos()),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the address is mapped, and the time is null or lives on this frame.
        let slept = check(unsafe {
            libc::syscall(libc::SYS_futex, self.address.as_ptr(), libc::FUTEX_WAIT, seen, limit)
        });
        match slept {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for SharedCounter {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nobody holds a reference any more. It cannot fail for
        // a valid range.
        unsafe { libc::munmap(self.address.as_ptr().cast(), PAGE) };
    }
}

/// The length of the mapping; the kernel rounds up to its page size anyway.
const PAGE: usize = 4096;

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_sleeper_is_woken_through_another_mapping() {
        let file = tempfile::tempfile().unwrap();
        let (sleeper, waker) = (SharedCounter::map(&file).unwrap(), SharedCounter::map(&file).unwrap());
        let seen = sleeper.load();
        let thread = std::thread::spawn(move || {
            while sleeper.load() == seen {
                sleeper.wait(seen, None).unwrap();
            }
            sleeper.load()
        });
        std::thread::sleep(Duration::from_millis(20));
        waker.advance();
        assert_eq!(thread.join().unwrap(), seen.wrapping_add(1));
    }

    #[test]
    fn a_change_before_the_sleep_is_not_slept_through() {
        let counter = SharedCounter::map(&tempfile::tempfile().unwrap()).unwrap();
        let seen = counter.load();
        counter.advance();
        let begin = Instant::now();
        counter.wait(seen, Some(Duration::from_secs(60))).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
