//! One attached client: what it still has to be told, and how far its own frames were read.
//!
//! A *bare* client is one stream without frames: the end of a pipe or of a socket pair. It has said what it
//! wants by being there, and its closing is all that it says and is told.

use super::poller::{Poller, Token};
use super::spec::BareStream;
use crate::attach::{ClientDecoder, Hello};
use dhow_model::Result;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, sendmsg};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// A connection, from the moment that it is accepted.
pub(super) struct Client {
    id: u64,
    socket: OwnedFd,
    /// Bytes only, no frames.
    bare: bool,
    pub(super) decoder: ClientDecoder,
    /// Who it is; `None` until it said so, and until then it gets nothing.
    pub(super) hello: Option<Hello>,
    /// Bytes that its socket did not take yet.
    queue: VecDeque<u8>,
    /// It sends nothing more.
    pub(super) silent: bool,
    /// It is gone altogether; there may still be input of its to read.
    hung_up: bool,
    /// It was told of the exit, and goes when its queue is empty: since when it took no byte.
    leaving: Option<Instant>,
    /// What the poller waits for: reading, writing. `None`: it is not in the poller.
    interest: Option<(bool, bool)>,
}

impl Client {
    pub(super) fn new(id: u64, socket: OwnedFd) -> Self {
        Self {
            id,
            socket,
            bare: false,
            decoder: ClientDecoder::default(),
            hello: None,
            queue: VecDeque::new(),
            silent: false,
            hung_up: false,
            leaving: None,
            interest: None,
        }
    }

    /// A stream without frames.
    pub(super) fn bare(id: u64, stream: BareStream, fd: OwnedFd) -> Self {
        let hello = Hello {
            stdin: stream == BareStream::Stdin,
            stdout: stream == BareStream::Stdout,
            stderr: stream == BareStream::Stderr,
            control_only: false,
        };
        // What is written to says nothing.
        let silent = stream != BareStream::Stdin;
        Self { bare: true, hello: Some(hello), silent, ..Self::new(id, fd) }
    }

    pub(super) fn is_bare(&self) -> bool {
        self.bare
    }

    /// Bytes that it is behind.
    pub(super) fn behind(&self) -> usize {
        self.queue.len()
    }

    /// Since when it keeps us from leaving.
    pub(super) fn leaving_since(&self) -> Option<Instant> {
        self.leaving
    }

    pub(super) fn gives_stdin(&self) -> bool {
        self.hello.is_some_and(|hello| hello.stdin)
    }

    /// Reads what it sent. No bytes: it sends nothing more. `None`: nothing is there now.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match nix::unistd::read(&self.socket, buffer) {
            Err(Errno::EAGAIN | Errno::EINTR) => None,
            // Reset, most likely: it went without reading everything.
            Ok(0) | Err(_) => {
                self.silent = true;
                Some(0)
            }
            Ok(count) => Some(count),
        }
    }

    /// Sends a header and its bytes, now or as soon as the client takes them.
    pub(super) fn send(&mut self, header: &[u8], bytes: &[u8]) {
        let header = if self.bare { &[] } else { header };
        let mut sent = 0;
        if self.queue.is_empty() && !(header.is_empty() && bytes.is_empty()) {
            match self.send_some(header, bytes) {
                Ok(count) => sent = count,
                Err(_) => return self.turn_deaf(),
            }
        }
        self.queue.extend(header.get(sent..).unwrap_or_default());
        self.queue.extend(bytes.get(sent.saturating_sub(header.len())..).unwrap_or_default());
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self) {
        while !self.queue.is_empty() {
            let (front, back) = self.queue.as_slices();
            match self.send_some(front, back) {
                Ok(0) => return,
                Ok(count) => {
                    self.queue.drain(..count);
                    if self.leaving.is_some() {
                        self.leaving = Some(Instant::now());
                    }
                }
                Err(_) => return self.turn_deaf(),
            }
        }
        // It may have grown to a megabyte.
        self.queue = VecDeque::new();
    }

    /// Bytes that the other side took without blocking; 0 when it is full.
    fn send_some(&self, first: &[u8], second: &[u8]) -> nix::Result<usize> {
        let sent = if self.bare {
            // A pipe, perhaps. Its SIGPIPE is blocked like all signals.
            nix::unistd::write(&self.socket, if first.is_empty() { second } else { first })
        } else {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let parts = [IoSlice::new(first), IoSlice::new(second)];
            sendmsg::<()>(self.socket.as_raw_fd(), &parts, &[], flags, None)
        };
        match sent {
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM) => Ok(0),
            other => other,
        }
    }

    /// Sends its last frame, if frames are what it gets; it goes when that is sent.
    pub(super) fn finish(&mut self, last: &[u8]) {
        if !self.bare {
            self.send(last, &[]);
        }
        self.leaving = Some(Instant::now());
    }

    /// The other side is gone: it hears nothing, but may have said something that was not read yet.
    pub(super) fn hang_up(&mut self) {
        self.hung_up = true;
        self.turn_deaf();
    }

    /// Whether nothing can pass between us any more, in either direction.
    pub(super) fn is_done(&self) -> bool {
        match self.leaving {
            Some(_) => self.queue.is_empty() || self.hung_up,
            None => self.hung_up && self.silent,
        }
    }

    /// Tells the poller what this client waits for. While `input_full`, nothing is read from a client that
    /// gives standard input: that is the back-pressure.
    pub(super) fn update(&mut self, poller: &Poller, input_full: bool) -> Result<()> {
        let read = !self.silent && self.leaving.is_none() && !(input_full && self.gives_stdin());
        let write = !self.queue.is_empty();
        // The poller always tells of a hang-up: one that is known must not be told again and again.
        let wanted = if self.hung_up && !read { None } else { Some((read, write)) };
        if wanted == self.interest {
            return Ok(());
        }
        let token = Token::Client(self.id);
        match (self.interest, wanted) {
            (None, Some((read, write))) => poller.add(&self.socket, token, read, write)?,
            (Some(_), Some((read, write))) => poller.change(&self.socket, token, read, write)?,
            (_, None) => poller.remove(&self.socket),
        }
        self.interest = wanted;
        Ok(())
    }

    fn turn_deaf(&mut self) {
        self.queue = VecDeque::new();
        if let Some(hello) = &mut self.hello {
            (hello.stdout, hello.stderr) = (false, false);
        }
    }
}
