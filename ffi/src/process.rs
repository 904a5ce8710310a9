//! A process that was started, as descriptors.

use crate::boundary::{known_flags, quietly};
use crate::error::dhow_error;
use crate::options::{self, Sized};
use engine::embed::{Started, WantedStreams};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// Standard input.
pub const DHOW_STREAM_STDIN: u32 = 1;
/// Standard output; with a terminal, all output.
pub const DHOW_STREAM_STDOUT: u32 = 2;
/// Standard error. With a terminal there is none.
pub const DHOW_STREAM_STDERR: u32 = 4;

/// A process in a container, as `dhow_container_start` and `dhow_container_exec` fill it in. Every descriptor is
/// close-on-exec and the caller's to close, each by itself or all with `dhow_process_close`; -1 is one that is not
/// there.
///
/// The streams are bare bytes. Who reads slower than the process writes is waited for: a megabyte is kept between,
/// then the process waits. Closing an output only means that its bytes are no longer wanted; the container's log has
/// them all the same.
#[repr(C)]
pub struct dhow_process {
    /// `sizeof(dhow_process)`, set by the caller.
    pub struct_size: usize,
    /// Its process id, as the caller's pid namespace has it.
    pub pid: i32,
    /// A pidfd: poll it for input, which comes when the process has ended, then ask for the exit code with
    /// `dhow_container_wait` or `dhow_exec_wait`. It is no child of the caller's, so waitid(2) does not know it;
    /// pidfd_send_signal(2) does. It tells of this run only, not of one after a restart.
    pub pidfd: i32,
    /// Standard input, to write to; blocking until fcntl(2) says otherwise. It is a socket: `send` with `MSG_NOSIGNAL`
    /// raises no SIGPIPE when the process has gone. Closing it ends the input of a container made with `StdinOnce`,
    /// and of any exec session; without `StdinOnce` others may still attach and give more.
    pub stdin_fd: i32,
    /// Standard output, to read from: a pipe. Its end comes after the exit was recorded.
    pub stdout_fd: i32,
    /// Standard error, the same.
    pub stderr_fd: i32,
}

// SAFETY: numbers only.
unsafe impl Sized for dhow_process {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_process";
}

impl From<Started> for dhow_process {
    fn from(started: Started) -> Self {
        let number = |fd: Option<OwnedFd>| fd.map_or(-1, IntoRawFd::into_raw_fd);
        Self {
            struct_size: size_of::<Self>(),
            pid: started.pid,
            pidfd: number(started.pidfd),
            stdin_fd: number(started.streams.stdin),
            stdout_fd: number(started.streams.stdout),
            stderr_fd: number(started.streams.stderr),
        }
    }
}

impl dhow_process {
    /// What a place holds before there is a process.
    pub(crate) const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        pid: 0,
        pidfd: -1,
        stdin_fd: -1,
        stdout_fd: -1,
        stderr_fd: -1,
    };

    /// Takes the descriptors back: they close when the result is dropped.
    fn into_fds(self) -> [Option<OwnedFd>; 4] {
        [self.pidfd, self.stdin_fd, self.stdout_fd, self.stderr_fd].map(|fd| {
            // SAFETY: not negative, so one that this library handed out, and by its contract not closed yet.
            (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
        })
    }
}

/// What a set of `DHOW_STREAM_*` asks for.
pub(crate) fn wanted(streams: u32) -> Result<WantedStreams, dhow_error> {
    let known = DHOW_STREAM_STDIN | DHOW_STREAM_STDOUT | DHOW_STREAM_STDERR;
    let streams = known_flags(streams, known, "streams")?;
    Ok(WantedStreams {
        stdin: streams & DHOW_STREAM_STDIN != 0,
        stdout: streams & DHOW_STREAM_STDOUT != 0,
        stderr: streams & DHOW_STREAM_STDERR != 0,
    })
}

/// Closes every descriptor of a process that is not -1, and makes them -1. NULL is fine. The process lives on.
///
/// Ownership: takes the descriptors, not the structure. A caller that has closed one by itself sets it to -1 before.
/// Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_process_close(process: *mut dhow_process) {
    // SAFETY: NULL, or a structure that was filled in by this library, with its size in front.
    unsafe {
        if options::check(process).is_err() {
            return;
        }
        let Ok(inside) = options::read(process.cast_const()) else { return };
        options::write(process, dhow_process { pid: inside.pid, ..dhow_process::NONE });
        quietly(|| drop(inside.into_fds()));
    }
}
