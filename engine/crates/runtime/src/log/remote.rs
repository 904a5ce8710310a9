//! Messages for a socket that may be slow, stuck or gone.
//!
//! Nothing here waits. Messages queue, and go when the socket takes them:
//!
//! ```text
//!              connected ── EAGAIN ──► the queue grows; the poller says when it takes more
//!                 ▲  │ gone
//!   a second later│  ▼
//!               absent: the queue grows to its limit, then the newest messages are lost, and counted
//! ```
//! Where the container may be held up (blocking mode), a queue over its limit means that no more output is read
//! ([`Remote::holds_up`]), but only while somebody is there to empty it: a daemon that is gone takes nothing, and
//! as in Docker it costs messages, not the container. In non-blocking mode, what has no room is lost.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, UnixAddr, connect, getsockopt,
    send, socket, sockopt::SocketError,
};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A daemon that is gone is looked for again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// What waits at most in blocking mode.
const BLOCKING_LIMIT: usize = 1 << 20;

/// Who takes the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// A unix socket of either kind, datagrams first.
    Unix(PathBuf),
    /// A unix socket that takes datagrams.
    Datagram(PathBuf),
    /// Datagrams over the network.
    Udp(SocketAddr),
    /// A stream over the network.
    Tcp(SocketAddr),
}

/// The queue and the socket.
#[derive(Debug)]
pub(super) struct Remote {
    peer: Peer,
    link: Option<Link>,
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    /// How much of the first message has gone: on a stream, a message may go in pieces.
    sent: usize,
    limit: usize,
    blocking: bool,
    lost: u64,
    /// How many connections there were.
    links: u64,
    again: Option<Instant>,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    stream: bool,
    /// A connection that is being made.
    pending: bool,
    /// It took no more: wait for it.
    full: bool,
}

impl Remote {
    /// Connects; who is not there at the start is an error.
    pub(super) fn open(peer: Peer, non_blocking: Option<u64>) -> nix::Result<Self> {
        let limit = non_blocking.map_or(BLOCKING_LIMIT, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut link = dial(&peer)?;
        if link.pending {
            finish_connecting(&mut link, Duration::from_secs(10))?;
        }
        Ok(Self {
            peer,
            link: Some(link),
            queue: VecDeque::new(),
            queued_bytes: 0,
            sent: 0,
            limit,
            blocking: non_blocking.is_none(),
            lost: 0,
            links: 0,
            again: None,
        })
    }

    /// Takes a message; those before it may go meanwhile.
    pub(super) fn push(&mut self, message: Vec<u8>) {
        if self.queued_bytes + message.len() > self.limit {
            self.flush();
        }
        let gone = self.link.is_none();
        if self.queued_bytes + message.len() > self.limit && (!self.blocking || gone) {
            self.lost += 1;
            return;
        }
        self.queued_bytes += message.len();
        self.queue.push_back(message);
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) {
        if self.link.is_none() && self.again.is_some_and(|at| at > Instant::now()) {
            return;
        }
        // Twice: a daemon that was restarted is there, but the old connection is not.
        for _ in 0..2 {
            if self.queue.is_empty() {
                return;
            }
            if self.link.is_none() {
                match dial(&self.peer) {
                    Ok(link) => {
                        self.link = Some(link);
                        self.links += 1;
                    }
                    Err(_) => break,
                }
            }
            if self.send_all() {
                self.again = None;
                return;
            }
            self.link = None;
            // The rest of a message that was cut is of no use to the next connection.
            if self.sent > 0 {
                self.sent = 0;
                self.drop_first();
            }
        }
        self.link = None;
        self.again = Some(Instant::now() + AGAIN);
    }

    /// False when the connection is lost.
    fn send_all(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        if link.pending {
            match finish_connecting(link, Duration::ZERO) {
                Ok(()) => {}
                Err(Errno::EAGAIN) => {
                    link.full = true;
                    return true;
                }
                Err(_) => return false,
            }
        }
        link.full = false;
        while let Some(message) = self.queue.front() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(link.socket.as_raw_fd(), &message[self.sent..], flags) {
                Ok(count) if link.stream && self.sent + count < message.len() => self.sent += count,
                Ok(_) => {
                    self.queued_bytes -= message.len();
                    self.queue.pop_front();
                    self.sent = 0;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    link.full = true;
                    return true;
                }
                // Too long for a datagram: nobody will ever take it.
                Err(Errno::EMSGSIZE) => {
                    self.lost += 1;
                    self.queued_bytes -= message.len();
                    self.queue.pop_front();
                }
                Err(_) => return false,
            }
        }
        if self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        true
    }

    fn drop_first(&mut self) {
        if let Some(message) = self.queue.pop_front() {
            self.queued_bytes -= message.len();
            self.lost += 1;
        }
    }

    /// Whether no more output should be read.
    pub(super) fn holds_up(&self) -> bool {
        self.blocking && self.link.is_some() && self.queued_bytes > self.limit
    }

    /// Messages that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Counts what still waits as lost.
    pub(super) fn give_up(&mut self) {
        self.lost += self.queue.len() as u64;
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// Whether messages wait.
    pub(super) fn waits(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The socket, and which it is of all that there were, when it has to take something before anything goes on.
    pub(super) fn waits_for(&self) -> Option<(u64, BorrowedFd<'_>)> {
        let link = self.link.as_ref()?;
        (link.full && self.waits()).then(|| (self.links, link.socket.as_fd()))
    }

    /// The socket, while there is one.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(|link| link.socket.as_fd())
    }

    /// When to look for the daemon again.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.again.filter(|_| self.link.is_none() && self.waits())
    }
}

/// Opens a socket and connects it, without waiting.
fn dial(peer: &Peer) -> nix::Result<Link> {
    let unix = |path: &PathBuf, kind| -> nix::Result<Link> {
        let socket =
            socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Link { socket, stream: kind == SockType::Stream, pending: false, full: false })
    };
    let net = |address: &SocketAddr, kind| -> nix::Result<Link> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        let connected = match address {
            SocketAddr::V4(address) => connect(socket.as_raw_fd(), &SockaddrIn::from(*address)),
            SocketAddr::V6(address) => connect(socket.as_raw_fd(), &SockaddrIn6::from(*address)),
        };
        let pending = match connected {
            Ok(()) => false,
            Err(Errno::EINPROGRESS) => true,
            Err(error) => return Err(error),
        };
        Ok(Link { socket, stream: kind == SockType::Stream, pending, full: false })
    };
    match peer {
        Peer::Unix(path) => match unix(path, SockType::Datagram) {
            Err(Errno::EPROTOTYPE) => unix(path, SockType::Stream),
            other => other,
        },
        Peer::Datagram(path) => unix(path, SockType::Datagram),
        Peer::Udp(address) => net(address, SockType::Datagram),
        Peer::Tcp(address) => net(address, SockType::Stream),
    }
}

/// Waits for a connection to be made; `EAGAIN` when it is not after this time.
fn finish_connecting(link: &mut Link, patience: Duration) -> nix::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    if poll(&mut [PollFd::new(link.socket.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
        return Err(if patience.is_zero() { Errno::EAGAIN } else { Errno::ETIMEDOUT });
    }
    match getsockopt(&link.socket, SocketError)? {
        0 => {
            link.pending = false;
            Ok(())
        }
        errno => Err(Errno::from_raw(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_daemon_that_takes_nothing_costs_lines_only_where_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let fill = |remote: &mut Remote| {
            for _ in 0..5_000 {
                remote.push(vec![b'x'; 1000]);
                remote.flush();
            }
        };
        let mut strict = Remote::open(Peer::Unix(path.clone()), None).unwrap();
        fill(&mut strict);
        assert!(strict.holds_up() && strict.lost() == 0 && strict.waits_for().is_some());
        let mut lax = Remote::open(Peer::Unix(path.clone()), Some(10_000)).unwrap();
        fill(&mut lax);
        assert!(!lax.holds_up() && lax.lost() > 4_000, "{}", lax.lost());

        // It is gone: then nobody is held up for it, and what has no room is lost.
        drop(daemon);
        std::fs::remove_file(&path).unwrap();
        strict.flush();
        assert!(!strict.holds_up() && strict.wakes_at().is_some());
        let before = strict.lost();
        strict.push(vec![b'y'; 10]);
        assert_eq!(strict.lost(), before + 1);

        // It comes back, and gets what waited.
        let daemon = UnixDatagram::bind(&path).unwrap();
        daemon.set_nonblocking(true).unwrap();
        strict.again = None;
        let mut got = 0;
        while strict.waits() {
            strict.flush();
            let mut buffer = [0; 2000];
            while daemon.recv(&mut buffer).is_ok() {
                got += 1;
            }
        }
        assert!(got > 1000, "{got}");
    }

    #[test]
    fn a_stream_gets_every_byte_and_whole_messages() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut remote = Remote::open(Peer::Tcp(listener.local_addr().unwrap()), None).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
            all
        });
        let mut want = Vec::new();
        for number in 0..3_000 {
            let message = format!("{number} {}\n", "z".repeat(500)).into_bytes();
            want.extend_from_slice(&message);
            remote.push(message);
            remote.flush();
        }
        while remote.waits() {
            remote.flush();
            std::thread::yield_now();
        }
        assert_eq!(remote.lost(), 0);
        drop(remote);
        assert!(reader.join().unwrap() == want);
    }
}
