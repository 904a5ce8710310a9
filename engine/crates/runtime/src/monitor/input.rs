//! The process's standard input: what clients gave and it has not taken yet.

use super::poller::{Poller, Token};
use dhow_model::Result;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// From here on, nothing more is read from clients that give input. One read of theirs may exceed it.
const FULL: usize = 64 << 10;

/// Standard input of this run, or of the next one.
#[derive(Default)]
pub(super) struct Input {
    /// Where it goes; `None` before the launch, after the process closed it, and when there is none.
    fd: Option<OwnedFd>,
    /// Closing means something: a pipe, not a terminal.
    is_pipe: bool,
    queue: VecDeque<u8>,
    /// Close it when the queue is empty.
    closing: bool,
    /// Nothing can take bytes any more (in this run): they are dropped.
    deaf: bool,
    /// In the poller, for writing.
    waiting: bool,
}

impl Input {
    /// For a process without standard input.
    pub(super) fn none() -> Self {
        Self { deaf: true, ..Self::default() }
    }

    /// A process runs and reads from `fd`.
    pub(super) fn open(&mut self, fd: Option<OwnedFd>, is_pipe: bool) {
        if fd.is_none() {
            self.deaf = true;
            self.queue = VecDeque::new();
        }
        self.fd = fd;
        self.is_pipe = is_pipe;
        self.write_out();
    }

    /// The process ended: what it did not read is lost.
    pub(super) fn close(&mut self, poller: &Poller) {
        if let Some(fd) = self.fd.take() {
            poller.remove(fd);
        }
        self.queue = VecDeque::new();
        (self.closing, self.deaf, self.waiting) = (false, false, false);
    }

    /// Whether clients should be left waiting with their input.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= FULL
    }

    /// Takes bytes from a client.
    pub(super) fn give(&mut self, mut bytes: &[u8]) {
        if self.deaf || self.closing {
            return;
        }
        if self.queue.is_empty() {
            bytes = self.write_some(bytes);
        }
        if !self.deaf {
            self.queue.extend(bytes);
        }
    }

    /// Takes no more bytes, and closes when those that it has are written.
    pub(super) fn finish(&mut self) {
        self.closing = true;
        self.write_out();
    }

    /// Writes what waits, as far as the process reads.
    pub(super) fn write_out(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let (front, back) = queue.as_slices();
        let mut left = self.write_some(front).len();
        left += if left == 0 { self.write_some(back).len() } else { back.len() };
        if left > 0 && !self.deaf {
            self.queue = queue;
            self.queue.drain(..self.queue.len() - left);
        }
    }

    /// Tells the poller whether to wait until the process reads, and closes what is to be closed.
    pub(super) fn update(&mut self, poller: &Poller) -> Result<()> {
        let Some(fd) = &self.fd else { return Ok(()) };
        if self.deaf || self.closing && self.queue.is_empty() && self.is_pipe {
            if self.waiting {
                poller.remove(fd);
            }
            (self.fd, self.waiting, self.deaf) = (None, false, true);
            return Ok(());
        }
        let wait = !self.queue.is_empty();
        if wait && !self.waiting {
            poller.add(fd, Token::Input, false, true)?;
        } else if !wait && self.waiting {
            poller.remove(fd);
        }
        self.waiting = wait;
        Ok(())
    }

    /// Writes without blocking; returns what is left.
    fn write_some<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        let Some(fd) = &self.fd else { return bytes };
        while !bytes.is_empty() && !self.deaf {
            match nix::unistd::write(fd, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                // It closed its end.
                Err(_) => self.deaf = true,
            }
        }
        bytes
    }
}
