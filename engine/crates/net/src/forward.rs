//! Published ports where the firewall's table cannot redirect: from the host's loopback, and from IPv6 to a container
//! that has none.
//!
//! The same sockets reserve the ports: nobody else on the host can take them while they are published. TCP is moved by
//! splice(2), through a pipe for each direction, so that no byte comes here; UDP has a socket for each client.

use dhow_model::network::Protocol;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, getsockname, listen,
    setsockopt, socket, sockopt,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Waiting connections.
const BACKLOG: i32 = 1024;
/// What moves at once: a pipe's size.
const PIPE_BYTES: usize = 64 << 10;
/// Connections and UDP clients at a time; beyond it, new ones wait or are dropped.
const CONNECTIONS_MAX: usize = 1024;
/// A UDP client that is silent for so long is forgotten: as with Linux' connection tracking.
const UDP_SILENCE: Duration = Duration::from_secs(120);

/// A port of the host's, taken.
#[derive(Debug)]
pub struct Reserved {
    socket: Socket,
    /// The port.
    pub port: u16,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

/// Takes a port of the host's; 0: any that is free. `both` takes it for IPv4 and IPv6 with the one address `::`.
///
/// # Errors
/// `Conflict` when it is in use.
pub fn reserve(protocol: Protocol, address: SocketAddr, both: bool) -> Result<Reserved> {
    let what =
        || format!("listen {}{} {address}: bind", protocol.as_str(), if address.is_ipv6() { 6 } else { 4 });
    let kind = if protocol == Protocol::Tcp { SockType::Stream } else { SockType::Datagram };
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None).context(what)?;
    if protocol == Protocol::Tcp {
        // Connections of an earlier container that linger are in nobody's way.
        setsockopt(&fd, sockopt::ReuseAddr, &true).context(what)?;
    }
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!both).context(what)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|errno| {
        let kind = match errno {
            Errno::EADDRINUSE => ErrorKind::Conflict,
            Errno::EADDRNOTAVAIL => ErrorKind::InvalidArgument,
            Errno::EAFNOSUPPORT => ErrorKind::Unsupported,
            _ => ErrorKind::Internal,
        };
        Error::caused(kind, what(), std::io::Error::from(errno))
    })?;
    if protocol == Protocol::Tcp {
        listen(&fd, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)).context(what)?;
    }
    let name: SockaddrStorage = getsockname(fd.as_raw_fd()).context(what)?;
    let port = name.as_sockaddr_in().map(|a| a.port()).or(name.as_sockaddr_in6().map(|a| a.port()));
    let socket = match protocol {
        Protocol::Tcp => Socket::Tcp(fd.into()),
        _ => Socket::Udp(fd.into()),
    };
    Ok(Reserved { socket, port: port.unwrap_or(address.port()) })
}

/// Moves what comes to reserved ports on to a container.
#[derive(Debug, Default)]
pub(crate) struct Forwarder {
    doors: Vec<Door>,
    links: BTreeMap<u64, Link>,
    flows: BTreeMap<u64, Flow>,
    next: u64,
}

#[derive(Debug)]
struct Door {
    reserved: Reserved,
    target: SocketAddr,
    /// Descriptors were short, or there are too many connections: it rests until one ends.
    resting: bool,
}

/// A TCP connection: who came, and the container.
#[derive(Debug)]
struct Link {
    client: OwnedFd,
    server: OwnedFd,
    connected: bool,
    /// Client to server, and back.
    ways: [Way; 2],
}

#[derive(Debug)]
struct Way {
    read: OwnedFd,
    write: OwnedFd,
    inside: usize,
    ended: bool,
    closed: bool,
}

/// A UDP client: what it sent last, and the socket that speaks for it.
#[derive(Debug)]
struct Flow {
    door: usize,
    client: SocketAddr,
    server: UdpSocket,
    last: Instant,
}

/// What a number of the poller's stands for: doors are small, the others come after.
const FIRST: u64 = 1 << 16;

impl Forwarder {
    /// Forwards a port from now on.
    pub(crate) fn add(&mut self, epoll: &Epoll, reserved: Reserved, target: SocketAddr) -> Result<()> {
        let number = self.doors.len() as u64;
        epoll
            .add(&reserved.socket, EpollEvent::new(EpollFlags::EPOLLIN, number))
            .context(|| "epoll_ctl".to_owned())?;
        self.doors.push(Door { reserved, target, resting: false });
        Ok(())
    }

    /// Sends what comes from now on to another address; what is there already stays.
    pub(crate) fn redirect(&mut self, to: IpAddr) {
        for door in &mut self.doors {
            door.target.set_ip(to);
        }
    }

    /// Something is ready.
    pub(crate) fn handle(&mut self, epoll: &Epoll, number: u64) {
        if number < FIRST {
            let Ok(at) = usize::try_from(number) else { return };
            match self.doors.get(at).map(|door| &door.reserved.socket) {
                Some(Socket::Tcp(_)) => self.accept(epoll, at),
                Some(Socket::Udp(_)) => self.receive(epoll, at),
                None => {}
            }
        } else if self.links.contains_key(&number) {
            self.move_on(epoll, number);
        } else {
            self.answer(number);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        FIRST + self.next
    }

    fn accept(&mut self, epoll: &Epoll, at: usize) {
        loop {
            if self.links.len() >= CONNECTIONS_MAX {
                return self.rest(epoll, at);
            }
            let door = &self.doors[at];
            let Socket::Tcp(listener) = &door.reserved.socket else { return };
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => return self.rest(epoll, at),
                    Some(Errno::ECONNABORTED | Errno::EINTR) => continue,
                    _ => return,
                },
            };
            if client.set_nonblocking(true).is_err() {
                continue;
            }
            let client = OwnedFd::from(client);
            let target = door.target;
            let Ok(link) = Link::open(client, target) else { continue };
            let number = self.number();
            let event = || {
                let flags =
                    EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
                EpollEvent::new(flags, number)
            };
            if epoll.add(&link.client, event()).is_ok() && epoll.add(&link.server, event()).is_ok() {
                self.links.insert(number, link);
                self.move_on(epoll, number);
            }
        }
    }

    fn rest(&mut self, epoll: &Epoll, at: usize) {
        let door = &mut self.doors[at];
        // Those who wait stay in the backlog until a connection ends.
        door.resting = epoll.delete(&door.reserved.socket).is_ok();
    }

    fn wake_doors(&mut self, epoll: &Epoll) {
        for (number, door) in (0u64..).zip(&mut self.doors) {
            if door.resting {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
                door.resting = epoll.add(&door.reserved.socket, event).is_err();
            }
        }
    }

    fn move_on(&mut self, epoll: &Epoll, number: u64) {
        let done = self.links.get_mut(&number).is_none_or(|link| link.turn() != Ok(true));
        if done {
            self.links.remove(&number);
            self.wake_doors(epoll);
        }
    }

    fn receive(&mut self, epoll: &Epoll, at: usize) {
        let Some(door) = self.doors.get(at) else { return };
        let Socket::Udp(socket) = &door.reserved.socket else { return };
        let target = door.target;
        let mut buffer = vec![0; PIPE_BYTES];
        // Bounded: a flood of packets must not keep the monitor from its container.
        for _ in 0..64 {
            let Ok((count, client)) = socket.recv_from(&mut buffer) else { return };
            let known = self.flows.iter().find(|(_, f)| f.door == at && f.client == client).map(|(n, _)| *n);
            let number = match known {
                Some(number) => number,
                None if self.flows.len() >= CONNECTIONS_MAX => continue,
                None => {
                    let Ok(server) = dial(target) else { continue };
                    self.next += 1;
                    let number = FIRST + self.next;
                    if epoll.add(&server, EpollEvent::new(EpollFlags::EPOLLIN, number)).is_err() {
                        continue;
                    }
                    self.flows.insert(number, Flow { door: at, client, server, last: Instant::now() });
                    number
                }
            };
            if let Some(flow) = self.flows.get_mut(&number) {
                flow.last = Instant::now();
                // What UDP cannot deliver is lost.
                let _ = flow.server.send(&buffer[..count]);
            }
        }
    }

    fn answer(&mut self, number: u64) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let mut buffer = vec![0; PIPE_BYTES];
        for _ in 0..64 {
            let Ok(count) = flow.server.recv(&mut buffer) else { return };
            flow.last = Instant::now();
            if let Some(Door { reserved: Reserved { socket: Socket::Udp(door), .. }, .. }) =
                self.doors.get(flow.door)
            {
                let _ = door.send_to(&buffer[..count], flow.client);
            }
        }
    }

    /// Forgets UDP clients that are silent; says when to look again.
    pub(crate) fn tidy(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.flows.retain(|_, flow| now.duration_since(flow.last) < UDP_SILENCE);
        self.flows.values().map(|flow| flow.last + UDP_SILENCE).min()
    }
}

fn dial(target: SocketAddr) -> std::io::Result<UdpSocket> {
    let any =
        if target.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Link {
    fn open(client: OwnedFd, target: SocketAddr) -> nix::Result<Self> {
        let family = if target.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let server = socket(family, SockType::Stream, flags, None)?;
        let connected = match connect(server.as_raw_fd(), &SockaddrStorage::from(target)) {
            Ok(()) => true,
            Err(Errno::EINPROGRESS) => false,
            Err(errno) => return Err(errno),
        };
        for socket in [&client, &server] {
            setsockopt(socket, sockopt::TcpNoDelay, &true)?;
        }
        let way = || {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
            Ok::<_, Errno>(Way { read, write, inside: 0, ended: false, closed: false })
        };
        Ok(Self { client, server, connected, ways: [way()?, way()?] })
    }

    /// Moves what can be moved; false when both directions are over.
    fn turn(&mut self) -> nix::Result<bool> {
        if !self.connected {
            match nix::sys::socket::getsockopt(&self.server, sockopt::SocketError)? {
                0 => {}
                code => return Err(Errno::from_raw(code)),
            }
            // No error, and no peer yet.
            if nix::sys::socket::getpeername::<SockaddrStorage>(self.server.as_raw_fd()).is_err() {
                return Ok(true);
            }
            self.connected = true;
        }
        let [there, back] = &mut self.ways;
        there.pump(&self.client, &self.server)?;
        back.pump(&self.server, &self.client)?;
        Ok(!(there.closed && back.closed))
    }
}

impl Way {
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd) -> nix::Result<()> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        while !self.closed {
            let mut moved = false;
            if !self.ended && self.inside < PIPE_BYTES {
                match splice(from, None, &self.write, None, PIPE_BYTES - self.inside, flags) {
                    Ok(0) => self.ended = true,
                    Ok(count) => {
                        self.inside += count;
                        moved = true;
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if self.inside > 0 {
                match splice(&self.read, None, to, None, self.inside, flags) {
                    Ok(count) => {
                        self.inside -= count;
                        moved = true;
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if self.ended && self.inside == 0 {
                if let Ok(stream) = to.as_fd().try_clone_to_owned().map(TcpStream::from) {
                    let _ = stream.shutdown(Shutdown::Write);
                }
                self.closed = true;
            }
            if !moved {
                break;
            }
        }
        Ok(())
    }
}
