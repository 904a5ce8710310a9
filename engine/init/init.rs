//! pid 1 of a container with `--init`: starts the command, passes signals on to it, reaps whatever is
//! orphaned, and exits as the command did.
//!
//! A static program without a library, because it runs in the container's filesystem, which may hold none.
//! `build.rs` compiles it with the same compiler as the engine.

#![no_std]
#![no_main]

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("dhow-init knows the system calls of x86_64 and aarch64 only");

use core::arch::{asm, naked_asm};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}

/// Numbers and the call instruction of x86_64 (arch/x86/entry/syscalls/syscall_64.tbl).
#[cfg(target_arch = "x86_64")]
mod arch {
    use super::*;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const EXIT_GROUP: usize = 231;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const SIGPROCMASK: usize = 14;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const SETPGID: usize = 109;
    pub const IOCTL: usize = 16;
    pub const WRITE: usize = 1;
    pub const GETPID: usize = 39;
    pub unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
        let result: isize;
        // SAFETY: the caller passes arguments that are valid for call `n`.
        unsafe {
            asm!("syscall", inlateout("rax") n as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
                 in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        result
    }
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub extern "C" fn _start() -> ! {
        naked_asm!("mov rdi, rsp", "and rsp, -16", "call {main}", "ud2", main = sym super::main)
    }
}

/// The same for aarch64 (include/uapi/asm-generic/unistd.h).
#[cfg(target_arch = "aarch64")]
mod arch {
    use super::*;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const EXIT_GROUP: usize = 94;
    pub const WAIT4: usize = 260;
    pub const KILL: usize = 129;
    pub const SIGPROCMASK: usize = 135;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const SETPGID: usize = 154;
    pub const IOCTL: usize = 29;
    pub const WRITE: usize = 64;
    pub const GETPID: usize = 172;
    /// See x86_64.
    pub unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
        let result: isize;
        // SAFETY: the caller passes arguments that are valid for call `n`.
        unsafe {
            asm!("svc 0", in("x8") n, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
                 in("x4") e, options(nostack));
        }
        result
    }
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub extern "C" fn _start() -> ! {
        naked_asm!("mov x0, sp", "and sp, x0, #-16", "bl {main}", "brk #1", main = sym super::main)
    }
}

use arch::syscall;

const SIGHUP: i32 = 1;
const SIGCHLD: i32 = 17;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;
const SIG_SETMASK: usize = 2;
const WNOHANG: usize = 1;
const TIOCSPGRP: usize = 0x5410;
const ENOENT: isize = -2;

fn exit(code: i32) -> ! {
    loop {
        // SAFETY: takes an integer and does not return.
        unsafe { syscall(arch::EXIT_GROUP, code as usize, 0, 0, 0, 0) };
    }
}

/// `stack` is what the kernel leaves: argc, argv…, NULL, envp…, NULL (execve(2)).
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the layout of the initial stack is the kernel's ABI. argv is `dhow-init PATH ARGV0 ARGUMENTS…`.
    let (path, argv, envp) = unsafe {
        let argc = *stack;
        let argv = stack.add(1);
        if argc < 3 {
            let message = b"dhow-init: usage: dhow-init PATH ARGV0 [ARG...]\n";
            syscall(arch::WRITE, 2, message.as_ptr() as usize, message.len(), 0, 0);
            exit(125);
        }
        (*argv.add(1), argv.add(2), argv.add(argc + 1))
    };
    // Everything is blocked and taken one by one: no handler, no race between check and sleep.
    let all = !0u64;
    let mut before = 0u64;
    // SAFETY: both masks live on this frame; eight bytes is the kernel's sigset size.
    unsafe { syscall(arch::SIGPROCMASK, SIG_SETMASK, &raw const all as usize, &raw mut before as usize, 8, 0) };
    // SAFETY: a plain fork: flags hold only the signal that tells of its end.
    let child = unsafe { syscall(arch::CLONE, SIGCHLD as usize, 0, 0, 0, 0) };
    if child < 0 {
        exit(125);
    }
    if child == 0 {
        // SAFETY: integers; a group of its own, in front of the terminal if there is one (SIGTTOU is blocked
        // still); then the command with the vectors that the kernel gave us.
        let error = unsafe {
            syscall(arch::SETPGID, 0, 0, 0, 0, 0);
            let group = syscall(arch::GETPID, 0, 0, 0, 0, 0) as i32;
            syscall(arch::IOCTL, 0, TIOCSPGRP, &raw const group as usize, 0, 0);
            syscall(arch::SIGPROCMASK, SIG_SETMASK, &raw const before as usize, 0, 8, 0);
            syscall(arch::EXECVE, path, argv as usize, envp as usize, 0, 0)
        };
        exit(if error == ENOENT { 127 } else { 126 });
    }
    supervise(child, all)
}

fn supervise(child: isize, all: u64) -> ! {
    let mut ended = None;
    loop {
        // SAFETY: the mask lives on this frame; no information and no timeout are asked for.
        let signal = unsafe { syscall(arch::SIGTIMEDWAIT, &raw const all as usize, 0, 0, 8, 0) };
        match signal as i32 {
            SIGCHLD => {
                let mut status = 0i32;
                loop {
                    // SAFETY: the status lives on this frame.
                    let pid =
                        unsafe { syscall(arch::WAIT4, usize::MAX, &raw mut status as usize, WNOHANG, 0, 0) };
                    if pid <= 0 {
                        break;
                    }
                    if pid == child {
                        let signal = status & 0x7f;
                        ended = Some(if signal == 0 { status >> 8 & 0xff } else { 128 + signal });
                    }
                }
                if let Some(code) = ended {
                    exit(code);
                }
            }
            // Meant for whoever reads the terminal, not for us.
            SIGTTIN | SIGTTOU => {}
            number if number >= SIGHUP => {
                // SAFETY: integers. The child is ours until it is waited for, so its pid is not reused.
                unsafe { syscall(arch::KILL, child as usize, number as usize, 0, 0, 0) };
            }
            _ => {}
        }
    }
}
