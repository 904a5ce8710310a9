//! Writing to standard output and standard error: whole pieces, in order, without stopping the event loop.

use crate::cli::exit::{Failure, Outcome};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Whether what is printed was asked for by a template, so that it stays as it is.
static AS_IT_IS: AtomicBool = AtomicBool::new(false);

/// From now on, standard output gets what a template of the person's own makes, whatever is in it.
pub(crate) fn print_as_it_is() {
    AS_IT_IS.store(true, Ordering::Relaxed);
}

/// Prints text. Names and words in it may be an image's or a container's: a terminal is not to act on them.
pub(crate) fn print(text: &str) -> Outcome<()> {
    if io::stdout().is_terminal() && !AS_IT_IS.load(Ordering::Relaxed) {
        return print_raw(&escaped(text));
    }
    print_raw(text)
}

/// The text with what steers a terminal, or turns the order of what is read, in a form that only shows: control
/// characters (C0 without tab and newline, C1) and marks of writing direction (Unicode annex 9).
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let steers = |c: char| match c {
        '\t' | '\n' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match (steers(c), u32::from(c)) {
            (false, _) => out.push(c),
            (true, number @ ..0x100) => out.push_str(&format!("\\x{number:02x}")),
            (true, number) => out.push_str(&format!("\\u{{{number:x}}}")),
        }
    }
    Cow::Owned(out)
}

/// The same for a line or lines on standard error.
pub(crate) fn for_stderr(text: &str) -> Cow<'_, str> {
    if io::stderr().is_terminal() { escaped(text) } else { Cow::Borrowed(text) }
}

/// Prints what holds sequences of our own that move a terminal's cursor.
pub(crate) fn print_raw(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| output_failure(&e))
}

/// Prints a line.
pub(crate) fn print_line(text: &str) -> Outcome<()> {
    print(&format!("{text}\n"))
}

/// Prints a line on standard error, beside the work: nothing depends on it.
pub(crate) fn warn_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", for_stderr(text));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_only_shows() {
        for (text, shown) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}[2J\r\u{7f}", "\\x1b[2J\\x0d\\x7f"),
            ("\u{9b}31m", "\\x9b31m"),
            ("user\u{202e}gpj.exe", "user\\u{202e}gpj.exe"),
            ("größer …", "größer …"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }
}
