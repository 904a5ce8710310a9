//! Signal masks and dispositions around clones.

use crate::error::{Result, check};

/// Number of signals, and so the size of the kernel's mask in bits (include/uapi/asm-generic/signal.h).
const SIGNALS: i32 = 64;

/// A saved signal mask, in the kernel's form.
#[derive(Debug, Clone, Copy)]
pub struct SavedMask(u64);

fn sigprocmask(how: i32, set: u64) -> Result<SavedMask> {
    let mut old = 0u64;
    // SAFETY: both masks are eight bytes, as the last argument says.
    check(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, &raw mut old, size_of::<u64>())
    })?;
    Ok(SavedMask(old))
}

/// Blocks every signal of this thread, also the two that libc hides.
///
/// # Errors
/// Never on a working kernel.
pub fn block_all() -> Result<SavedMask> {
    sigprocmask(libc::SIG_BLOCK, u64::MAX)
}

/// Puts a saved mask back.
pub fn restore_mask(mask: &SavedMask) {
    // It was this thread's mask before: the kernel takes it.
    let _ = sigprocmask(libc::SIG_SETMASK, mask.0);
}

/// Lets every signal through.
pub fn unblock_all() {
    let _ = sigprocmask(libc::SIG_SETMASK, 0);
}

/// Gives every signal its default action, also ignored ones (exec would keep those ignored).
pub fn reset_handlers() {
    // struct sigaction of the kernel: handler, flags, restorer, mask. All zero is SIG_DFL.
    let default = [0u64; 4];
    for signal in 1..=SIGNALS {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: the structure is large enough on every architecture; no old action is asked for.
            unsafe {
                libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0usize, size_of::<u64>());
            }
        }
    }
}
