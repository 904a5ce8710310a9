//! The process's outputs: pipes, or the master side of its terminal.

use super::poller::{Poller, Token};
use crate::log::Stream;
use dhow_model::Result;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::os::fd::OwnedFd;

/// Bytes of a pipe whose writer fills it faster than we are scheduled. 64 KiB is the kernel's default, 1 MiB
/// what it allows everyone (`/proc/sys/fs/pipe-max-size`).
const LARGE_PIPE: i32 = 1 << 20;

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing, and nobody holds the other end (a terminal: now).
    End,
}

/// One of them.
pub(super) struct Output {
    fd: OwnedFd,
    index: usize,
    stream: Stream,
    is_terminal: bool,
    /// A pipe that has its final size.
    sized: bool,
    /// In the poller.
    waiting: bool,
}

impl Output {
    pub(super) fn new(fd: OwnedFd, index: usize, stream: Stream, is_terminal: bool) -> Self {
        Self { fd, index, stream, is_terminal, sized: is_terminal, waiting: false }
    }

    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Waits for output, or stops waiting.
    pub(super) fn set_waiting(&mut self, poller: &Poller, wait: bool) -> Result<()> {
        if wait && !self.waiting {
            poller.add(&self.fd, Token::Output(self.index), true, false)?;
        } else if !wait && self.waiting {
            poller.remove(&self.fd);
        }
        self.waiting = wait;
        Ok(())
    }

    /// Reads what is there, at most a buffer full. A terminal gives at most 4 KiB a read, so it is read
    /// until it has no more: one log write and one frame for all of it.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Got {
        let mut have = 0;
        loop {
            match nix::unistd::read(&self.fd, &mut buffer[have..]) {
                Ok(count) if count > 0 => {
                    have += count;
                    self.grow(have);
                    if !self.is_terminal || have + 4096 > buffer.len() {
                        return Got::Bytes(have);
                    }
                }
                Err(Errno::EINTR) => {}
                // The end, if it is one, comes again at the next read.
                _ if have > 0 => return Got::Bytes(have),
                Err(Errno::EAGAIN) => return Got::Nothing,
                // EIO: nobody has the terminal's other side open.
                Ok(_) | Err(_) => return Got::End,
            }
        }
    }

    /// A pipe that was found full is made larger, once: fewer, larger reads, and the writer is held up less.
    /// Idle and quiet containers keep the small one.
    fn grow(&mut self, read: usize) {
        if !self.sized && read >= 64 << 10 {
            self.sized = true;
            // Refused when the user has too many large pipes: the small one will do.
            let _ = fcntl(&self.fd, FcntlArg::F_SETPIPE_SZ(LARGE_PIPE));
        }
    }
}
