//! This process's own memory.

/// Gives free heap memory back to the kernel, wherever in the heap it lies (malloc_trim(3)).
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator takes its own locks; no pointer is involved.
    unsafe {
        libc::malloc_trim(0);
    }
}
