//! Connections that the kernel keeps track of (nf_conntrack), forgotten when what they lead to has moved.
//!
//! The firewall's table decides once for a connection, at its first packet. For UDP that is as long as somebody sends: who
//! sent before a port was published is never redirected, and who was redirected to a container that has gone is sent to
//! its old address for ever. So the entries of such connections are deleted, and the next packet is judged anew.
//!
//! TCP is left alone: each connection begins with a packet that is judged anew, and ends with the program that had it. To look
//! through all entries takes the kernel milliseconds (it walks a table of 262,144 places), which only those pay who
//! publish something else.

use crate::netlink::{ACK, Answer, Batch, DUMP, Socket, Writer, attributes};
use crate::nft::Table;
use dhow_model::network::{Protocol, Published};
use dhow_model::{ErrorKind, Result};
use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};

/// linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h.
const SUBSYSTEM: u16 = 1;
const NEW: u16 = 0;
const GET: u16 = 1;
const DELETE: u16 = 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// Bits of a filter (`CTA_FILTER_FLAG` in net/netfilter/nf_internals.h; since Linux 5.8, and older kernels send all).
const BY_SOURCE: u32 = 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_DESTINATION_PORT: u32 = 1 << 5;
/// An attribute that holds attributes (linux/netlink.h).
const NESTED: u16 = 0x8000;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
/// Messages that are sent at once.
const DELETIONS_PER_BATCH: usize = 500;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
}

/// A connection, and the attributes that name it to the kernel.
#[derive(Debug)]
struct Connection {
    original: Tuple,
    reply: Tuple,
    family: u8,
    names: Vec<(u16, Vec<u8>)>,
}

/// Which connections the kernel is to tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// Of a family and a protocol, to a port or to any: a kernel that filters wants to know the family.
    To(u8, u8, Option<u16>),
    /// Those that are answered by an address.
    AnsweredBy(IpAddr),
}

/// Forgets connections to ports that were published just now, as far as they began before and so are not redirected.
///
/// # Errors
/// What the kernel says.
pub fn forget_earlier(table: &Table, ports: &[Published]) -> Result<()> {
    let ports: Vec<&Published> = lasting(ports).collect();
    let several = ports.iter().any(|p| p.host_port != ports[0].host_port);
    let to = |p: &&Published| {
        Wanted::To(family_of(p.host_ip), p.protocol.number(), (!several).then_some(p.host_port))
    };
    let wanted: BTreeSet<Wanted> = ports.iter().map(to).collect();
    let is_earlier = |connection: &Connection| {
        let Connection { original, reply, .. } = connection;
        let was_redirected = reply.source != original.destination;
        let is_wanted = |p: &&Published| p.is_for(original) && !p.host_ip.is_loopback();
        !was_redirected && ports.iter().any(is_wanted) && is_of_this_machine(original.destination)
    };
    wanted.into_iter().try_for_each(|wanted| forget(table.socket(), wanted, is_earlier))
}

/// Forgets connections that were redirected to a container by ports that are withdrawn: its address may be another's soon.
///
/// # Errors
/// What the kernel says.
pub fn forget_redirected(table: &Table, ports: &[Published]) -> Result<()> {
    let targets: BTreeSet<IpAddr> = lasting(ports).filter_map(|p| p.target).collect();
    let was_redirected = |connection: &Connection| {
        let Connection { original, reply, .. } = connection;
        let by = |p: &Published| {
            p.target == Some(reply.source) && p.port == reply.source_port && p.is_for(original)
        };
        ports.iter().any(by)
    };
    targets
        .into_iter()
        .try_for_each(|target| forget(table.socket(), Wanted::AnsweredBy(target), was_redirected))
}

/// Ports that are redirected and whose connections nobody ends.
fn lasting(ports: &[Published]) -> impl Iterator<Item = &Published> {
    ports.iter().filter(|p| p.target.is_some() && p.protocol != Protocol::Tcp)
}

/// Whether the first packet of a connection was for a published port.
trait IsFor {
    fn is_for(&self, original: &Tuple) -> bool;
}

impl IsFor for Published {
    fn is_for(&self, original: &Tuple) -> bool {
        let at = original.destination;
        (self.protocol.number(), self.host_port) == (original.protocol, original.destination_port)
            && self.host_ip.is_ipv6() == at.is_ipv6()
            && (self.host_ip.is_unspecified() || self.host_ip == at)
    }
}

/// A socket can be bound to no other address. What only passes by has the same port by chance: a container that asks a
/// name server outside.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn forget(socket: &Socket, wanted: Wanted, is_stale: impl Fn(&Connection) -> bool) -> Result<()> {
    let mut dump = Batch::default();
    let family = match wanted {
        Wanted::To(family, ..) => family,
        Wanted::AnsweredBy(address) => family_of(address),
    };
    dump.add("list connections", SUBSYSTEM << 8 | GET, DUMP, |w| {
        header(w, family);
        wanted.write(w);
    });
    let answers = match socket.ask(&dump) {
        // This kernel cannot tell of connections, and so cannot be asked to forget any.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotFound) => return Ok(()),
        answers => answers?,
    };
    let stale: Vec<Connection> =
        answers.iter().filter_map(Connection::read).filter(|c| wanted.is_met_by(c) && is_stale(c)).collect();
    for some in stale.chunks(DELETIONS_PER_BATCH) {
        let mut batch = Batch::default();
        for connection in some {
            batch.add("forget a connection", SUBSYSTEM << 8 | DELETE, ACK, |w| {
                header(w, connection.family);
                connection.names.iter().for_each(|(kind, value)| w.bytes(*kind, value));
            });
        }
        match socket.run(&batch) {
            // It ended meanwhile.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Wanted {
    fn write(self, w: &mut Writer<'_>) {
        let filter = |w: &mut Writer<'_>, original: u32, reply: u32| {
            w.nest(FILTER, |w| {
                w.u32(FILTER_ORIGINAL, original);
                w.u32(FILTER_REPLY, reply);
            });
        };
        match self {
            Self::To(_, protocol, port) => {
                w.nest(ORIGINAL, |w| {
                    w.nest(TUPLE_PROTOCOL, |w| {
                        w.u8(PROTOCOL_NUMBER, protocol);
                        if let Some(port) = port {
                            w.bytes(DESTINATION_PORT, &port.to_be_bytes());
                        }
                    });
                });
                filter(w, BY_PROTOCOL | if port.is_some() { BY_DESTINATION_PORT } else { 0 }, 0);
            }
            Self::AnsweredBy(address) => {
                w.nest(REPLY, |w| {
                    w.nest(TUPLE_IP, |w| match address {
                        IpAddr::V4(v4) => w.bytes(V4_SOURCE, &v4.octets()),
                        IpAddr::V6(v6) => w.bytes(V6_SOURCE, &v6.octets()),
                    });
                });
                filter(w, 0, BY_SOURCE);
            }
        }
    }

    /// What an older kernel does not look at.
    fn is_met_by(self, connection: &Connection) -> bool {
        match self {
            Self::To(_, protocol, port) => {
                let original = &connection.original;
                original.protocol == protocol && port.is_none_or(|port| original.destination_port == port)
            }
            Self::AnsweredBy(address) => connection.reply.source == address,
        }
    }
}

impl Connection {
    fn read(answer: &Answer) -> Option<Self> {
        if answer.kind != SUBSYSTEM << 8 | NEW {
            return None;
        }
        let family = *answer.body.first()?;
        let mut names = Vec::new();
        let (mut original, mut reply) = (None, None);
        for (kind, value) in attributes(answer.body.get(4..)?) {
            match kind {
                ORIGINAL => original = Tuple::read(value),
                REPLY => reply = Tuple::read(value),
                ID | ZONE => names.push((kind, value.to_vec())),
                _ => {}
            }
            if kind == ORIGINAL {
                names.push((NESTED | kind, value.to_vec()));
            }
        }
        Some(Self { original: original?, reply: reply?, family, names })
    }
}

impl Tuple {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (mut source, mut destination) = (None, None);
        let (mut protocol, mut source_port, mut destination_port) = (0, 0, 0);
        let port = |bytes: &[u8]| bytes.try_into().map(u16::from_be_bytes).unwrap_or_default();
        for (kind, value) in attributes(bytes) {
            for (inner, value) in attributes(value) {
                match (kind, inner) {
                    (TUPLE_IP, V4_SOURCE | V6_SOURCE) => source = address_of(value),
                    (TUPLE_IP, V4_DESTINATION | V6_DESTINATION) => destination = address_of(value),
                    (TUPLE_PROTOCOL, PROTOCOL_NUMBER) => protocol = value.first().copied()?,
                    (TUPLE_PROTOCOL, SOURCE_PORT) => source_port = port(value),
                    (TUPLE_PROTOCOL, DESTINATION_PORT) => destination_port = port(value),
                    _ => {}
                }
            }
        }
        Some(Self { source: source?, destination: destination?, protocol, source_port, destination_port })
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv6() { FAMILY_IPV6 } else { FAMILY_IPV4 }
}

/// struct nfgenmsg.
fn header(w: &mut Writer<'_>, family: u8) {
    w.raw(&[family, 0, 0, 0]);
}
