//! Answers for names at 127.0.0.11, in the container's own namespace.
//!
//! ```text
//!   container ──► port 53 of 127.0.0.11 ──(redirected in its namespace)──► our sockets
//!      ▲                                                                     │ names of its networks: from the database
//!      └──────────────── answer ◄── servers outside, asked from the host ◄───┘ anything else, unless all are internal
//! ```
//! A question is answered at once, or forwarded under a number of our own to one server after the other; what nobody
//! answers in time is told as a failure. All of it is bounded: questions under way, connections, bytes.

mod message;

use crate::{nft, service};
use dhow_model::{Result, ResultExt};
use message::{CLASS_IN, Question, REFUSED, RESOLVED, SERVER_FAILED, TYPE_A, TYPE_AAAA, TYPE_PTR};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What is known of names.
pub trait Names {
    /// The addresses behind a name, of one family. `None`: the name is none of ours; no address: it has none of
    /// this family.
    fn addresses(&mut self, name: &str, v6: bool) -> Option<Vec<IpAddr>>;

    /// The name behind an address of ours.
    fn name_of(&mut self, address: IpAddr) -> Option<String>;

    /// Whether questions may leave: not from containers whose networks are all internal.
    fn may_forward(&mut self) -> bool;

    /// There was nothing to answer for a while: what is only kept for speed may go.
    fn rest(&mut self) {}
}

/// How long one server may take.
const SERVER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a TCP client may say nothing.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// Questions under way; beyond it, they are refused.
const PENDING_MAX: usize = 256;
/// TCP clients at a time.
const CLIENTS_MAX: usize = 32;
/// Seconds that an answer of ours may be kept: as Docker.
const TIME_TO_LIVE: u32 = 600;
/// The largest message.
const MESSAGE_MAX: usize = 65535;
/// After so long without a question, what was kept for speed goes.
const REST_AFTER: Duration = Duration::from_secs(1);

const UDP: u64 = service::NAMES;
const TCP: u64 = service::NAMES + 1;
const FIRST: u64 = service::NAMES + 16;

/// The sockets of a container's name server.
#[derive(Debug)]
pub struct NameServer {
    udp: UdpSocket,
    tcp: TcpListener,
    servers: Vec<SocketAddr>,
    pending: BTreeMap<u64, Pending>,
    clients: BTreeMap<u64, Client>,
    next: u64,
    rest_at: Option<Instant>,
    /// Round robin: where the next list of addresses begins.
    turn: usize,
}

/// A question that a server outside is asked.
#[derive(Debug)]
struct Pending {
    asker: Asker,
    /// As the container sent it.
    question: Vec<u8>,
    socket: Outside,
    server: usize,
    until: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Asker {
    Udp(SocketAddr),
    Tcp(u64),
}

#[derive(Debug)]
enum Outside {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, sent: bool, received: Vec<u8> },
}

/// A TCP client.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    until: Instant,
}

impl NameServer {
    /// Opens the sockets in the calling thread's namespace, which is the container's, and has port 53 redirected to
    /// them. Questions that are none of ours go to `servers`.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn open(address: Ipv4Addr, servers: Vec<SocketAddr>) -> Result<Self> {
        let what = || format!("listen for names at {address}");
        let udp = UdpSocket::bind((address, 0)).context(what)?;
        let tcp = TcpListener::bind((address, 0)).context(what)?;
        udp.set_nonblocking(true).context(what)?;
        tcp.set_nonblocking(true).context(what)?;
        let ports = (udp.local_addr().context(what)?.port(), tcp.local_addr().context(what)?.port());
        nft::redirect_names(address, ports.0, ports.1)?;
        Ok(Self {
            udp,
            tcp,
            servers,
            pending: BTreeMap::new(),
            clients: BTreeMap::new(),
            next: 0,
            rest_at: None,
            turn: 0,
        })
    }

    pub(crate) fn register(&self, epoll: &Epoll) -> Result<()> {
        let what = || "epoll_ctl".to_owned();
        epoll.add(&self.udp, EpollEvent::new(EpollFlags::EPOLLIN, UDP)).context(what)?;
        epoll.add(&self.tcp, EpollEvent::new(EpollFlags::EPOLLIN, TCP)).context(what)
    }

    pub(crate) fn handle(&mut self, epoll: &Epoll, number: u64, names: &mut dyn Names) {
        match number {
            UDP => self.hear(epoll, names),
            TCP => self.admit(epoll),
            number if self.clients.contains_key(&number) => self.hear_client(epoll, number, names),
            number => self.hear_server(number),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        FIRST + self.next
    }

    fn hear(&mut self, epoll: &Epoll, names: &mut dyn Names) {
        let mut buffer = [0; 4096];
        // Bounded: a container that floods its name server must not keep the monitor from anything else.
        for _ in 0..64 {
            let Ok((count, from)) = self.udp.recv_from(&mut buffer) else { return };
            self.ask(epoll, Asker::Udp(from), &buffer[..count], names);
        }
    }

    fn admit(&mut self, epoll: &Epoll) {
        while let Ok((stream, _)) = self.tcp.accept() {
            if self.clients.len() >= CLIENTS_MAX || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let number = self.number();
            if epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number)).is_ok() {
                let until = Instant::now() + CLIENT_PATIENCE;
                self.clients.insert(number, Client { stream, received: Vec::new(), until });
            }
        }
    }

    fn hear_client(&mut self, epoll: &Epoll, number: u64, names: &mut dyn Names) {
        let mut questions = Vec::new();
        if let Some(client) = self.clients.get_mut(&number) {
            let mut buffer = [0; 4096];
            match client.stream.read(&mut buffer) {
                Ok(0) => return drop(self.clients.remove(&number)),
                Ok(count) => {
                    client.until = Instant::now() + CLIENT_PATIENCE;
                    client.received.extend_from_slice(&buffer[..count]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => return drop(self.clients.remove(&number)),
            }
            while let Some(message) = take_framed(&mut client.received) {
                questions.push(message);
            }
        }
        for question in questions {
            self.ask(epoll, Asker::Tcp(number), &question, names);
        }
    }

    /// Answers a question, or forwards it.
    fn ask(&mut self, epoll: &Epoll, asker: Asker, bytes: &[u8], names: &mut dyn Names) {
        self.rest_at = Some(Instant::now() + REST_AFTER);
        // What is no question at all gets no answer.
        let Some(question) = Question::parse(bytes) else { return };
        let answer = match self.own_answer(&question, bytes, names) {
            Some(answer) => answer,
            None if !names.may_forward() => message::failure(bytes, &question, SERVER_FAILED),
            None if self.pending.len() >= PENDING_MAX => message::failure(bytes, &question, REFUSED),
            None => match self.forward(epoll, asker, bytes.to_vec(), 0) {
                true => return,
                false => message::failure(bytes, &question, SERVER_FAILED),
            },
        };
        self.reply(asker, &answer);
    }

    fn own_answer(&mut self, question: &Question, bytes: &[u8], names: &mut dyn Names) -> Option<Vec<u8>> {
        if question.class != CLASS_IN {
            return None;
        }
        if question.kind == TYPE_PTR {
            let name = names.name_of(question.reversed_address()?)?;
            return Some(message::pointer(bytes, question, &name, TIME_TO_LIVE));
        }
        let v6 = question.kind == TYPE_AAAA;
        let mut found = names.addresses(&question.name, v6)?;
        if question.kind != TYPE_A && !v6 {
            // The name is ours, and has nothing else.
            return Some(message::failure(bytes, question, RESOLVED));
        }
        if !found.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let at = self.turn % found.len();
            found.rotate_left(at);
        }
        Some(message::addresses(bytes, question, &found, TIME_TO_LIVE))
    }

    /// Asks the server of this number, or one after it; false when there is none left.
    fn forward(&mut self, epoll: &Epoll, asker: Asker, question: Vec<u8>, first: usize) -> bool {
        for server in first..self.servers.len() {
            let socket = match asker {
                Asker::Udp(_) => ask_by_udp(self.servers[server], &question),
                Asker::Tcp(_) => ask_by_tcp(self.servers[server]),
            };
            let Ok(socket) = socket else { continue };
            let number = self.number();
            let (fd, flags) = match &socket {
                Outside::Udp(socket) => (socket.as_fd(), EpollFlags::EPOLLIN),
                Outside::Tcp { stream, .. } => {
                    (stream.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET)
                }
            };
            if epoll.add(fd, EpollEvent::new(flags, number)).is_err() {
                continue;
            }
            let until = Instant::now() + SERVER_PATIENCE;
            self.pending.insert(number, Pending { asker, question, socket, server, until });
            return true;
        }
        false
    }

    fn hear_server(&mut self, number: u64) {
        let Some(pending) = self.pending.get_mut(&number) else { return };
        let answer = match &mut pending.socket {
            Outside::Udp(socket) => {
                let mut buffer = [0; 4096];
                match socket.recv(&mut buffer) {
                    Ok(count) => Some(buffer[..count].to_vec()),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
                    // Nobody listens there: the next one is asked at once.
                    Err(_) => return pending.until = Instant::now(),
                }
            }
            Outside::Tcp { stream, sent, received } => {
                match talk(stream, sent, received, &pending.question) {
                    Ok(answer) => answer,
                    Err(_) => return pending.until = Instant::now(),
                }
            }
        };
        let Some(answer) = answer else { return };
        // Someone else's answer: the right one may still come.
        if !message::answers(&answer, &pending.question) {
            return;
        }
        if let Some(pending) = self.pending.remove(&number) {
            let answer = message::with_id_of(answer, &pending.question);
            self.reply(pending.asker, &answer);
        }
    }

    fn reply(&mut self, asker: Asker, answer: &[u8]) {
        match asker {
            Asker::Udp(to) => {
                let _ = self.udp.send_to(answer, to);
            }
            Asker::Tcp(number) => {
                let Some(client) = self.clients.get_mut(&number) else { return };
                let framed = framed(answer);
                // An answer fits into an empty socket; a client that does not read loses its connection.
                if !matches!(client.stream.write(&framed), Ok(count) if count == framed.len()) {
                    self.clients.remove(&number);
                }
            }
        }
    }

    /// Asks the next server, where one took too long; says when to look again.
    pub(crate) fn tidy(&mut self, epoll: &Epoll, names: &mut dyn Names) -> Option<Instant> {
        let now = Instant::now();
        let late: Vec<u64> = self.pending.iter().filter(|(_, p)| p.until <= now).map(|(n, _)| *n).collect();
        for number in late {
            let Some(Pending { asker, question, server, .. }) = self.pending.remove(&number) else {
                continue;
            };
            let failure = Question::parse(&question).map(|q| message::failure(&question, &q, SERVER_FAILED));
            if !self.forward(epoll, asker, question, server + 1)
                && let Some(failure) = failure
            {
                self.reply(asker, &failure);
            }
        }
        self.clients.retain(|_, client| client.until > now);
        if self.rest_at.is_some_and(|at| at <= now) {
            names.rest();
            self.rest_at = None;
        }
        let pending = self.pending.values().map(|p| p.until);
        pending.chain(self.clients.values().map(|c| c.until)).chain(self.rest_at).min()
    }
}

/// A fresh socket for each question: its port, beside the number, is what nobody can guess.
fn ask_by_udp(server: SocketAddr, question: &[u8]) -> std::io::Result<Outside> {
    let any: IpAddr = if server.is_ipv6() { IpAddr::from([0u16; 8]) } else { IpAddr::from([0u8; 4]) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    // Only what comes from there is received.
    socket.connect(server)?;
    socket.send(question)?;
    Ok(Outside::Udp(socket))
}

fn ask_by_tcp(server: SocketAddr) -> std::io::Result<Outside> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
    use std::os::fd::AsRawFd;
    let family = if server.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(Outside::Tcp { stream: fd.into(), sent: false, received: Vec::new() })
}

/// Goes on with a conversation; the answer when it is whole.
fn talk(
    stream: &mut TcpStream,
    sent: &mut bool,
    received: &mut Vec<u8>,
    question: &[u8],
) -> std::io::Result<Option<Vec<u8>>> {
    let would_block = |error: &std::io::Error| {
        matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::NotConnected)
    };
    if !*sent {
        let framed = framed(question);
        match stream.write(&framed) {
            Ok(count) if count == framed.len() => *sent = true,
            Ok(_) => return Err(std::io::ErrorKind::WriteZero.into()),
            Err(error) if would_block(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if would_block(&error) => return Ok(take_framed(received)),
            Err(error) => return Err(error),
        }
        if let Some(message) = take_framed(received) {
            return Ok(Some(message));
        }
    }
}

/// Over TCP, a message has its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len().min(MESSAGE_MAX)).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

fn take_framed(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*received.first()?, *received.get(1)?]));
    let message = received.get(2..2 + length)?.to_vec();
    received.drain(..2 + length);
    Some(message)
}
