//! A file as a slice of memory.

use super::{Descriptor, Result, stat};
use crate::error::{Errno, OnErrno};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

/// A private read-only mapping of a whole file.
///
/// Only for files that nobody else can write to or truncate: our own spool files, verified blobs. A file that
/// shrinks under its mapping kills the reader with `SIGBUS`.
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is only read, and unmapped once, by whoever owns the value last.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of `file`. An empty file maps to an empty slice.
    ///
    /// # Errors
    /// As fstat(2) and mmap(2) have it.
    pub fn of_file(file: impl AsFd) -> Result<Self> {
        let file = file.as_fd();
        let length =
            usize::try_from(stat(file)?.size).map_err(|_| Errno::EOVERFLOW).on("mmap", Descriptor(file))?;
        if length == 0 {
            return Ok(Self { start: NonNull::dangling(), length });
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last()).on("mmap", Descriptor(file));
        }
        // SAFETY: the range was just mapped. Advice is only advice: its failure changes nothing.
        unsafe { libc::madvise(start, length, libc::MADV_SEQUENTIAL) };
        let start = NonNull::new(start.cast()).ok_or(Errno::EFAULT).on("mmap", Descriptor(file))?;
        Ok(Self { start, length })
    }
}

impl std::ops::Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped for reading for as long as `self` lives (or empty and dangling, which is allowed).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: exactly the range that was mapped, and nobody can hold a slice of it any more.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mapping({} bytes)", self.length)
    }
}
