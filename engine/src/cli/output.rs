//! Writing to standard output and standard error: whole pieces, in order, without stopping the event loop.

use crate::cli::exit::{Failure, Outcome};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

/// 128 + SIGPIPE: whoever read our output went away, and has no use for an error message.
const BROKEN_PIPE: i32 = 141;
/// A pipe that polls as writable takes this much without blocking (`PIPE_BUF`, pipe(7)).
const ATOMIC_WRITE_BYTES: usize = 4096;

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Prints text.
pub(crate) fn print(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| output_failure(&e))
}

/// Prints a line.
pub(crate) fn print_line(text: &str) -> Outcome<()> {
    print(&format!("{text}\n"))
}

/// Prints a line on standard error, beside the work: nothing depends on it.
pub(crate) fn warn_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub(crate) fn output_failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::silent(BROKEN_PIPE),
        _ => Failure::new(format!("write output: {error}")),
    }
}

/// Writes a stream's bytes past any buffer of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer {
    sink: Sink,
    /// A regular file never makes us wait for a reader.
    never_blocks: bool,
}

impl Writer {
    pub(crate) fn new(sink: Sink) -> Self {
        let status = match sink {
            Sink::Stdout => fstat(io::stdout()),
            Sink::Stderr => fstat(io::stderr()),
        };
        let never_blocks =
            status.is_ok_and(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG);
        Self { sink, never_blocks }
    }

    /// Writes all of it. What might wait for a reader is written by another thread, so that signals, input
    /// and the in-process engine go on meanwhile.
    pub(crate) async fn write(&self, bytes: Vec<u8>) -> Outcome<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let at_once = self.never_blocks || (bytes.len() <= ATOMIC_WRITE_BYTES && self.is_writable());
        let sink = self.sink;
        let written = if at_once {
            write_all(sink, &bytes)
        } else {
            tokio::task::spawn_blocking(move || write_all(sink, &bytes))
                .await
                .unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
        };
        written.map_err(|e| output_failure(&e))
    }

    fn is_writable(&self) -> bool {
        match self.sink {
            Sink::Stdout => polls_writable(&io::stdout()),
            Sink::Stderr => polls_writable(&io::stderr()),
        }
    }
}

fn polls_writable(stream: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT))
}

fn write_all(sink: Sink, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match sink {
            Sink::Stdout => nix::unistd::write(io::stdout(), bytes),
            Sink::Stderr => nix::unistd::write(io::stderr(), bytes),
        };
        match written {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(nix::errno::Errno::EINTR) => {}
            // Somebody made our terminal or pipe non-blocking: wait for it.
            Err(nix::errno::Errno::EAGAIN) => wait_writable(sink)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn wait_writable(sink: Sink) -> io::Result<()> {
    let wait = |fd: std::os::fd::BorrowedFd<'_>| {
        let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    };
    match sink {
        Sink::Stdout => wait(io::stdout().as_fd()),
        Sink::Stderr => wait(io::stderr().as_fd()),
    }
}
