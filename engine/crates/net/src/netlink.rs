//! Netlink: batches of messages, one system call to send them and mostly one to read what became of them.
//!
//! ```text
//!   message: length, type, flags, sequence, port │ family header │ attributes (length, type, value, padding)…
//! ```
//! linux/netlink.h. Every message of a batch asks for an acknowledgement; the first refusal is the batch's error, and
//! says which message it was about.

use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// linux/netlink.h: flags of messages.
pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;

const HEADER_BYTES: usize = 16;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// An attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// The kernel answers at once; who waits so long has met a defect, and must not hang for it.
const PATIENCE_SECONDS: i64 = 10;

/// The largest batch: a table with thousands of ports fits.
const SEND_BUFFER: usize = 4 << 20;

/// Several messages on their way to the kernel.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each message begins, and what it is for.
    messages: Vec<(usize, String)>,
}

impl Batch {
    /// Begins a message; the closure writes its family header and its attributes.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        let start = self.bytes.len();
        let sequence = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.messages.push((start, what.into()));
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        body(&mut Writer(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn what(&self, sequence: u32) -> &str {
        usize::try_from(sequence)
            .ok()
            .and_then(|at| self.messages.get(at))
            .map_or("an unknown message", |m| &m.1)
    }

    /// How many of its messages ask for an acknowledgement.
    fn acks(&self) -> usize {
        self.messages.iter().filter(|(at, _)| self.flags(*at) & ACK != 0).count()
    }

    fn flags(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.bytes[at + 6], self.bytes[at + 7]])
    }

    fn has(&self, flags: u16) -> bool {
        self.messages.iter().any(|(at, _)| self.flags(*at) & flags == flags)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes into a message.
pub(crate) struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    /// Bytes as they are: the family header.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// An attribute.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }

    /// A text with its NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// A number in the machine's order: rtnetlink.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A number in network order: nfnetlink.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// One byte.
    pub(crate) fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// Attributes within an attribute.
    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        body(&mut Writer(self.0));
        // Larger than 64 KiB cannot be said: callers keep their lists short.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// One attribute of an answer.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & !NESTED;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: u16,
    /// From the family header on.
    pub(crate) body: Vec<u8>,
}

/// A netlink socket of the namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    what: &'static str,
}

impl Socket {
    /// Links, addresses, routes.
    pub(crate) fn route() -> Result<Self> {
        Self::open(SockProtocol::NetlinkRoute, "rtnetlink")
    }

    /// The firewall.
    pub(crate) fn netfilter() -> Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter, "nfnetlink")
    }

    /// Hears what is told to a group of listeners to the firewall; never waits.
    pub(crate) fn netfilter_group(group: u32) -> Result<Self> {
        let context = || "listen to nfnetlink".to_owned();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)
            .map_err(|errno| refused(errno, &context()))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 1 << (group - 1))).context(context)?;
        Ok(Self { fd, what: "nfnetlink" })
    }

    /// What a group was told since the last time. `None`: more than there was room for.
    pub(crate) fn heard(&self) -> Result<Option<Vec<Answer>>> {
        let mut heard = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(count) => heard.extend(
                    messages(&buffer[..count]).map(|(kind, _, body)| Answer { kind, body: body.to_vec() }),
                ),
                Err(Errno::EAGAIN) => return Ok(Some(heard)),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => return Ok(None),
                Err(errno) => return Err(errno).context(|| format!("read from {}", self.what)),
            }
        }
    }

    fn open(protocol: SockProtocol, what: &'static str) -> Result<Self> {
        let context = || format!("open an {what} socket");
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .map_err(|errno| refused(errno, &context()))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).context(context)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECONDS)).context(context)?;
        Ok(Self { fd, what })
    }

    /// Sends a batch and waits for every acknowledgement.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) fn run(&self, batch: &Batch) -> Result<()> {
        self.ask(batch).map(drop)
    }

    /// Sends a batch, and returns what the kernel answers beside acknowledgements.
    pub(crate) fn ask(&self, batch: &Batch) -> Result<Vec<Answer>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let context = || format!("send to {}", self.what);
        if batch.bytes.len() > 100 << 10 {
            // Beyond what a socket has room for; root may force more.
            setsockopt(&self.fd, sockopt::SndBufForce, &SEND_BUFFER).context(context)?;
            setsockopt(&self.fd, sockopt::RcvBufForce, &SEND_BUFFER).context(context)?;
        }
        send(self.fd.as_raw_fd(), &batch.bytes, MsgFlags::empty()).context(context)?;
        let mut waiting = batch.acks();
        let dumps = batch.has(DUMP);
        let mut answers = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        let mut first_error = None;
        while waiting > 0 || dumps {
            let count = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {
                    return Err(Error::new(ErrorKind::Unavailable, format!("{} does not answer", self.what)));
                }
                Err(errno) => return Err(errno).context(|| format!("read from {}", self.what)),
            };
            for (kind, sequence, body) in messages(&buffer[..count]) {
                match kind {
                    TYPE_ERROR => {
                        waiting = waiting.saturating_sub(1);
                        let code =
                            body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                        if code != 0 && first_error.is_none() {
                            first_error = Some(refused(Errno::from_raw(-code), batch.what(sequence)));
                        }
                        if code != 0 && dumps {
                            return Err(first_error.unwrap_or_else(|| Error::internal("netlink")));
                        }
                    }
                    TYPE_DONE => {
                        waiting = waiting.saturating_sub(1);
                        if dumps {
                            return Ok(answers);
                        }
                    }
                    kind => answers.push(Answer { kind, body: body.to_vec() }),
                }
            }
            // A failed transaction of nftables tells every failed message, and acknowledges no other.
            if self.what == "nfnetlink" && first_error.is_some() {
                self.forget_answers(&mut buffer);
                break;
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(answers),
        }
    }
}

impl Socket {
    /// Reads what else was said of a batch, each message by itself: all of it is there when send(2) returns, and would
    /// be taken for answers to the next batch.
    fn forget_answers(&self, buffer: &mut [u8]) {
        while recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A refusal, with the kind that callers act on.
fn refused(errno: Errno, what: &str) -> Error {
    let kind = match errno {
        Errno::EEXIST | Errno::EBUSY | Errno::EADDRINUSE => ErrorKind::Conflict,
        Errno::ENODEV | Errno::ENOENT | Errno::ENXIO => ErrorKind::NotFound,
        Errno::EPERM | Errno::EACCES => ErrorKind::Forbidden,
        Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    };
    Error::caused(kind, what.to_owned(), std::io::Error::from_raw_os_error(errno as i32))
}

fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.get(..HEADER_BYTES)?;
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = usize::try_from(word(0)).ok()?;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = rest.get(HEADER_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, word(8), body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut batch = Batch::default();
        batch.add("one", 20, ACK, |w| {
            w.raw(&[1, 2, 3, 4]);
            w.text(3, "abc");
            w.nest(4, |w| {
                w.u32(1, 7);
                w.u8(2, 9);
            });
        });
        batch.add("two", 21, 0, |w| w.raw(&[5; 8]));
        let found: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!(found.iter().map(|m| (m.0, m.1)).collect::<Vec<_>>(), [(20, 0), (21, 1)]);
        let all: Vec<_> = attributes(&found[0].2[4..]).collect();
        assert_eq!(all[0], (3, &b"abc\0"[..]));
        let inner: Vec<_> = attributes(all[1].1).collect();
        assert_eq!(inner, [(1, &7u32.to_ne_bytes()[..]), (2, &[9][..])]);
        assert_eq!((batch.acks(), batch.what(1), batch.what(9)), (1, "two", "an unknown message"));
    }

    #[test]
    fn cut_messages_end_the_list() {
        assert_eq!(messages(&[40, 0, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[9, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attributes(&[0, 0, 0, 0, 0, 0]).count(), 0);
    }
}
