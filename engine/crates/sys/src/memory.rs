//! Memory: what this process has for itself, and what it shares with its children.

use crate::error::{Errno, Result};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Gives free heap memory back to the kernel, wherever in the heap it lies (malloc_trim(3)).
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator takes its own locks; no pointer is involved.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes the heap that of a process that does one thing and ends (mallopt(3), glibc): one arena for all threads, grown
/// in large steps and shrunk late. A thread's own arena grows by a page and a system call at a time, and memory that
/// was given back costs a page fault for each page when it is wanted again. To be called before there are threads.
pub fn shape_heap_for_a_short_life() {
    /// What the heap grows by, and may keep at its end.
    const STEP_BYTES: libc::c_int = 1 << 20;
    /// What is larger is mapped by itself.
    const MAPPED_BYTES: libc::c_int = 4 << 20;
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TOP_PAD, STEP_BYTES),
        (libc::M_TRIM_THRESHOLD, 2 * MAPPED_BYTES),
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES),
    ] {
        // SAFETY: the allocator takes its own locks; no pointer is involved. What it refuses stays as it was.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Makes the heap that of a process that lives long and is small most of the time (mallopt(3), glibc): few arenas, each
/// of which keeps what its busiest moment took, and large pieces mapped by themselves, which go back when they are
/// freed. Without a fixed threshold glibc takes pieces of up to 32 MiB from the heap once one was freed. To be called
/// before there are threads.
pub fn shape_heap_for_a_long_life() {
    /// What is larger is mapped by itself.
    const MAPPED_BYTES: libc::c_int = 256 << 10;
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_ARENA_MAX, 2),
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES),
        (libc::M_TRIM_THRESHOLD, 4 * MAPPED_BYTES),
    ] {
        // SAFETY: the allocator takes its own locks; no pointer is involved. What it refuses stays as it was.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Numbers that a process shares with the children it clones (mmap(2), MAP_SHARED). All 0 at first.
#[derive(Debug)]
pub struct SharedNumbers {
    numbers: NonNull<AtomicU64>,
    count: usize,
}

impl SharedNumbers {
    /// Maps `count` numbers, at least one.
    ///
    /// # Errors
    /// `ENOMEM`; `EINVAL` for none.
    pub fn new(count: usize) -> Result<Self> {
        let length = count.checked_mul(size_of::<AtomicU64>()).ok_or(Errno::EINVAL)?;
        // SAFETY: a new mapping anywhere, of no file.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // Page-aligned and zeroed, which is what an array of atomic numbers needs.
        NonNull::new(address.cast()).map(|numbers| Self { numbers, count }).ok_or(Errno::ENOMEM)
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[AtomicU64] {
        // SAFETY: mapped with this count and zeroed by the kernel; unmapped only on drop.
        unsafe { std::slice::from_raw_parts(self.numbers.as_ptr(), self.count) }
    }
}

impl Drop for SharedNumbers {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing borrows any more.
        unsafe { libc::munmap(self.numbers.as_ptr().cast(), self.count * size_of::<AtomicU64>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_child_writes_what_the_parent_reads() {
        let shared = SharedNumbers::new(3).unwrap();
        let child = crate::clone::fork_with(0, None, || {
            shared.as_slice()[2].store(7, Ordering::Relaxed);
            crate::process::exit_now(0)
        })
        .unwrap();
        crate::process::wait_pidfd(std::os::fd::AsFd::as_fd(&child.pidfd), true).unwrap();
        let numbers: Vec<u64> = shared.as_slice().iter().map(|n| n.load(Ordering::Relaxed)).collect();
        assert_eq!(numbers, [0, 0, 7]);
        assert_eq!(SharedNumbers::new(0).unwrap_err(), Errno::EINVAL);
    }
}
