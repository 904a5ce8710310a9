//! Bare descriptors for a process's streams: what a program that embeds the engine reads, writes and polls
//! itself, without frames and without a thread between.
//!
//! They are made before the start and handed to the monitor, so no byte is missed. The monitor treats them as
//! it treats any client: one that is more than a megabyte behind stops the reading of output, one that is
//! closed is forgotten, and all of them end with the run.

use dhow_model::{Result, ResultExt};
use dhow_runtime::monitor::BareStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Which streams a caller wants to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WantedStreams {
    /// To write standard input.
    pub stdin: bool,
    /// To read standard output; with a terminal, all output.
    pub stdout: bool,
    /// To read standard error; with a terminal there is none.
    pub stderr: bool,
}

/// The caller's ends, close-on-exec and blocking.
#[derive(Debug, Default)]
pub struct Streams {
    /// One end of a socket pair, so that it can be written to without a SIGPIPE (`send` with `MSG_NOSIGNAL`).
    /// Closing it is the end of the input, if the container was made with `StdinOnce`.
    pub stdin: Option<OwnedFd>,
    /// The reading end of a pipe.
    pub stdout: Option<OwnedFd>,
    /// The same.
    pub stderr: Option<OwnedFd>,
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    /// Its process id as this process's pid namespace has it.
    pub pid: i32,
    /// Readable when it has ended. `None` only when the monitor could not hand it over.
    pub pidfd: Option<OwnedFd>,
    /// What was asked for.
    pub streams: Streams,
}

/// The monitor's ends.
pub(super) type MonitorEnds = Vec<(BareStream, OwnedFd)>;

/// Makes what is wanted and what the process has: no standard input for one that takes none, no standard error
/// for one with a terminal.
pub(super) fn open(wanted: WantedStreams, tty: bool, takes_stdin: bool) -> Result<(Streams, MonitorEnds)> {
    let what = || "make the streams of a process".to_owned();
    let mut streams = Streams::default();
    let mut ends = Vec::new();
    if wanted.stdin && takes_stdin {
        let (ours, theirs) = UnixStream::pair().context(what)?;
        streams.stdin = Some(ours.into());
        ends.push((BareStream::Stdin, theirs.into()));
    }
    if wanted.stdout {
        let (ours, theirs) = std::io::pipe().context(what)?;
        streams.stdout = Some(ours.into());
        ends.push((BareStream::Stdout, theirs.into()));
    }
    if wanted.stderr && !tty {
        let (ours, theirs) = std::io::pipe().context(what)?;
        streams.stderr = Some(ours.into());
        ends.push((BareStream::Stderr, theirs.into()));
    }
    Ok((streams, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_and_there() {
        let all = WantedStreams { stdin: true, stdout: true, stderr: true };
        let kinds = |wanted, tty, stdin| {
            let (_, ends) = open(wanted, tty, stdin).unwrap();
            ends.iter().map(|(kind, _)| *kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(all, false, true), [BareStream::Stdin, BareStream::Stdout, BareStream::Stderr]);
        assert_eq!(kinds(all, true, true), [BareStream::Stdin, BareStream::Stdout]);
        assert_eq!(kinds(all, false, false), [BareStream::Stdout, BareStream::Stderr]);
        assert_eq!(kinds(WantedStreams::default(), false, true), []);
    }
}
