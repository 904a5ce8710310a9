//! Installing a system call filter (seccomp(2)).

use crate::error::{Errno, Result, check};

/// Size of struct sock_filter: a classic BPF instruction.
pub const INSTRUCTION_BYTES: usize = 8;
/// BPF_MAXINSNS: the kernel takes no more instructions.
pub const MAX_INSTRUCTIONS: usize = 4096;

const SECCOMP_SET_MODE_FILTER: u32 = 1;

#[repr(C)]
struct Program {
    length: u16,
    filter: *const u8,
}

/// Installs a filter for the calling thread: an array of `sock_filter` in native byte order. Needs
/// no-new-privileges or CAP_SYS_ADMIN.
///
/// # Errors
/// `EINVAL` for a malformed program, `EACCES` without the right.
pub fn install(program: &[u8]) -> Result<()> {
    let instructions = program.len() / INSTRUCTION_BYTES;
    if !program.len().is_multiple_of(INSTRUCTION_BYTES) || instructions > MAX_INSTRUCTIONS {
        return Err(Errno::EINVAL);
    }
    let length = u16::try_from(instructions).map_err(|_| Errno::EINVAL)?;
    let program = Program { length, filter: program.as_ptr() };
    // SAFETY: the kernel copies `length` instructions, which the slice holds; it wants no alignment.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw const program) })?;
    Ok(())
}
