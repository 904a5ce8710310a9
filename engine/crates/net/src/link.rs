//! Links, addresses and routes of one network namespace (rtnetlink(7)).

use crate::netlink::{ACK, Answer, Batch, CREATE, DUMP, EXCL, Socket, Writer, attributes};
use dhow_model::endpoint::InterfaceSysctl;
use dhow_model::network::{Mac, Subnet};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
/// linux/if_link.h.
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const PARENT: u16 = 5;
const MASTER: u16 = 10;
const ALIAS: u16 = 20;
const GROUP: u16 = 27;
const PORT_INFO: u16 = 12;
const LINK_INFO: u16 = 18;
const OF_FAMILY: u16 = 26;
const NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const PORT_HAIRPIN: u16 = 4;
const PORT_ISOLATED: u16 = 33;
/// In [`OF_FAMILY`] of IPv6: how link-local addresses are made, and that none is.
const GENERATION_MODE: u16 = 8;
const GENERATE_NONE: u8 = 1;
const FAMILY_IPV4: u8 = 2;
const FAMILY_BRIDGE: u8 = 7;
const FAMILY_IPV6: u8 = 10;
const FLAG_UP: u32 = 1;
/// linux/if_addr.h: no search for duplicates, which would take a second.
const NO_DUPLICATE_SEARCH: u8 = 2;

/// The group of bridges that were made by any engine of ours (`DHOW` in ASCII). An interface gets it in the moment that it
/// is made, so no bridge of ours is ever without.
pub const BRIDGE_GROUP: u32 = 0x4448_4f57;

/// An interface that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its number.
    pub index: u32,
    /// What it is: `bridge`, `veth`; empty for hardware.
    pub kind: String,
    /// Whose it is, if somebody said so.
    pub alias: String,
    /// Its group; 0 unless somebody chose one.
    pub group: u32,
}

impl LinkInfo {
    /// Whether it is a bridge.
    pub fn is_bridge(&self) -> bool {
        self.kind == "bridge"
    }
}

/// A bridge to make.
#[derive(Debug, Clone)]
pub struct BridgeSpec<'a> {
    /// Its interface's name.
    pub name: &'a str,
    /// The host's addresses on it.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its own link-layer address, so that it does not change with its ports.
    pub mac: Mac,
    /// Bytes of the largest packet; `None`: the kernel's.
    pub mtu: Option<u32>,
    /// Whose it is, for those who look at it later: its alias.
    pub owner: String,
}

impl BridgeSpec<'_> {
    fn has_v6(&self) -> bool {
        self.addresses.iter().any(|(address, _)| address.is_ipv6())
    }
}

/// A further interface of a parent's in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubMode {
    /// macvlan and its mode.
    Macvlan(u32),
    /// ipvlan and its mode.
    Ipvlan(u16),
}

/// What a namespace has.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
}

impl Links {
    /// Those of the calling thread's namespace.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::route()? })
    }

    /// The number of an interface; `None` when there is none of this name.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn index(&self, name: &str) -> Result<Option<u32>> {
        Ok(self.find(name)?.map(|found| found.index))
    }

    /// An interface, and what is known of it; `None` when there is none of this name.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn find(&self, name: &str) -> Result<Option<LinkInfo>> {
        let mut batch = Batch::default();
        batch.add(format!("look for interface {name}"), GET_LINK, ACK, |w| {
            link(w, 0, 0, 0, 0);
            w.text(NAME, name);
        });
        match self.socket.ask(&batch) {
            Ok(answers) => Ok(answers.iter().find(|a| a.kind == NEW_LINK).and_then(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a bridge and brings it up; returns its number.
    ///
    /// # Errors
    /// `Conflict` when an interface of the name exists; what the kernel says.
    pub fn make_bridge(&self, spec: &BridgeSpec<'_>) -> Result<u32> {
        let what = || format!("make bridge {}", spec.name);
        let mut batch = Batch::default();
        batch.add(what(), NEW_LINK, ACK | CREATE | EXCL, |w| {
            link(w, 0, 0, 0, 0);
            w.text(NAME, spec.name);
            w.bytes(ADDRESS, &spec.mac.0);
            w.u32(GROUP, BRIDGE_GROUP);
            if let Some(mtu) = spec.mtu {
                w.u32(MTU, mtu);
            }
            w.nest(LINK_INFO, |w| w.text(INFO_KIND, "bridge"));
        });
        self.socket.run(&batch)?;
        let index =
            self.index(spec.name)?.ok_or_else(|| Error::internal(format!("{}: it is gone", what())))?;
        // A bridge listens to no router: containers could play one (CVE-2020-13401).
        harden(spec.name, spec.has_v6())?;
        let mut batch = Batch::default();
        for (address, prefix) in &spec.addresses {
            add_address(&mut batch, index, *address, *prefix);
        }
        mark(&mut batch, index, spec);
        match self.socket.run(&batch) {
            Ok(()) => Ok(index),
            Err(error) => {
                // The first error is the one to show.
                let _ = self.delete_index(index, spec.name);
                Err(error)
            }
        }
    }

    /// Gives a bridge that is there already the addresses that it does not have, and brings it up.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn complete_bridge(&self, found: &LinkInfo, spec: &BridgeSpec<'_>) -> Result<()> {
        let index = found.index;
        // An engine of ours ended while it made it.
        let is_half_made = found.group == BRIDGE_GROUP && found.alias.is_empty();
        if is_half_made {
            harden(spec.name, spec.has_v6())?;
        }
        for (address, prefix) in &spec.addresses {
            let mut batch = Batch::default();
            add_address(&mut batch, index, *address, *prefix);
            match self.socket.run(&batch) {
                // It has it.
                Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
                _ => {}
            }
        }
        let mut batch = Batch::default();
        if is_half_made {
            mark(&mut batch, index, spec);
        } else {
            set_up(&mut batch, index, spec.name);
        }
        self.socket.run(&batch)
    }

    /// Deletes the interface of a number; a missing one is fine. `name` is for messages.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn delete_index(&self, index: u32, name: &str) -> Result<()> {
        let mut batch = Batch::default();
        batch.add(format!("delete interface {name}"), DELETE_LINK, ACK, |w| link(w, 0, index, 0, 0));
        match self.socket.run(&batch) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Deletes an interface, and its other end; a missing one is fine.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn delete(&self, name: &str) -> Result<()> {
        let mut batch = Batch::default();
        batch.add(format!("delete interface {name}"), DELETE_LINK, ACK, |w| {
            link(w, 0, 0, 0, 0);
            w.text(NAME, name);
        });
        match self.socket.run(&batch) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes a pair of interfaces: `inside` in another namespace, down, and `outside` here, up and a port of a bridge.
    pub(crate) fn make_pair(&self, pair: &Pair<'_>) -> Result<()> {
        let what = format!("make interface {}", pair.outside);
        let mut batch = Batch::default();
        batch.add(what.as_str(), NEW_LINK, ACK | CREATE | EXCL, |w| {
            link(w, 0, 0, 0, 0);
            w.text(NAME, pair.outside);
            if let Some(mtu) = pair.mtu {
                w.u32(MTU, mtu);
            }
            w.nest(LINK_INFO, |w| {
                w.text(INFO_KIND, "veth");
                w.nest(INFO_DATA, |w| {
                    w.nest(VETH_PEER, |w| {
                        link(w, 0, 0, 0, 0);
                        w.text(NAME, pair.inside);
                        w.bytes(ADDRESS, &pair.mac.0);
                        if let Some(mtu) = pair.mtu {
                            w.u32(MTU, mtu);
                        }
                        w.u32(NAMESPACE, number(pair.namespace));
                    });
                });
            });
        });
        batch.add(what.as_str(), SET_LINK, ACK, |w| {
            link(w, 0, 0, 0, 0);
            w.text(NAME, pair.outside);
            w.u32(MASTER, pair.bridge);
            // Ports of a bridge have no addresses of their own.
            w.nest(OF_FAMILY, |w| {
                w.nest(u16::from(FAMILY_IPV6), |w| w.u8(GENERATION_MODE, GENERATE_NONE));
            });
        });
        batch.add(what.as_str(), SET_LINK, ACK, |w| {
            link(w, 0, 0, FLAG_UP, FLAG_UP);
            w.text(NAME, pair.outside);
        });
        self.socket.run(&batch)?;
        if pair.isolated || pair.hairpin {
            let index =
                self.index(pair.outside)?.ok_or_else(|| Error::internal(format!("{what}: it is gone")))?;
            let mut batch = Batch::default();
            batch.add(format!("set up the bridge's port {}", pair.outside), SET_LINK, ACK, |w| {
                link(w, FAMILY_BRIDGE, index, 0, 0);
                w.nest(PORT_INFO, |w| {
                    w.u8(PORT_ISOLATED, u8::from(pair.isolated));
                    w.u8(PORT_HAIRPIN, u8::from(pair.hairpin));
                });
            });
            self.socket.run(&batch)?;
        }
        Ok(())
    }

    /// Makes a further interface of a parent's, in another namespace, down.
    pub(crate) fn make_sub(&self, sub: &Sub<'_>) -> Result<()> {
        let mut batch = Batch::default();
        let kind = match sub.mode {
            SubMode::Macvlan(_) => "macvlan",
            SubMode::Ipvlan(_) => "ipvlan",
        };
        batch.add(format!("make {kind} interface {}", sub.inside), NEW_LINK, ACK | CREATE | EXCL, |w| {
            link(w, 0, 0, 0, 0);
            w.text(NAME, sub.inside);
            w.u32(PARENT, sub.parent);
            if let Some(mac) = sub.mac {
                w.bytes(ADDRESS, &mac.0);
            }
            if let Some(mtu) = sub.mtu {
                w.u32(MTU, mtu);
            }
            w.u32(NAMESPACE, number(sub.namespace));
            w.nest(LINK_INFO, |w| {
                w.text(INFO_KIND, kind);
                w.nest(INFO_DATA, |w| match sub.mode {
                    SubMode::Macvlan(mode) => w.u32(1, mode),
                    SubMode::Ipvlan(mode) => w.bytes(1, &mode.to_ne_bytes()),
                });
            });
        });
        self.socket.run(&batch)
    }

    /// Brings the loopback interface up, which is the first of every namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn loopback_up(&self) -> Result<()> {
        let mut batch = Batch::default();
        set_up(&mut batch, 1, "lo");
        self.socket.run(&batch)
    }

    /// Gives an interface its addresses, brings it up, and leads routes through it.
    pub(crate) fn configure(
        &self,
        name: &str,
        addresses: &[(IpAddr, u8)],
        gateways: &[IpAddr],
    ) -> Result<()> {
        let index =
            self.index(name)?.ok_or_else(|| Error::not_found(format!("there is no interface {name}")))?;
        let mut batch = Batch::default();
        for (address, prefix) in addresses {
            add_address(&mut batch, index, *address, *prefix);
        }
        set_up(&mut batch, index, name);
        for gateway in gateways {
            batch.add(
                format!("route by {gateway}"),
                NEW_ROUTE,
                ACK | CREATE | crate::netlink::REPLACE,
                |w| {
                    route(w, *gateway, Some(index));
                },
            );
        }
        self.socket.run(&batch)
    }

    /// Takes default routes away; missing ones are fine.
    pub(crate) fn drop_default_routes(&self) -> Result<()> {
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let mut batch = Batch::default();
            batch.add("delete the default route", DELETE_ROUTE, ACK, |w| route(w, any, None));
            // ESRCH: there was none.
            let _ = self.socket.run(&batch);
        }
        Ok(())
    }

    /// Where the namespace's routes lead, the default ones excepted, and those by the interface of a number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn routed_subnets(&self, except: Option<u32>) -> Result<Vec<Subnet>> {
        const BY_INTERFACE: u16 = 4;
        const MAIN_TABLE: u8 = 254;
        let mut found = Vec::new();
        for family in [FAMILY_IPV4, FAMILY_IPV6] {
            let mut batch = Batch::default();
            batch.add("list routes", GET_ROUTE, DUMP, |w| w.raw(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
            for answer in self.socket.ask(&batch)? {
                let (Some(&prefix), Some(&table)) = (answer.body.get(1), answer.body.get(4)) else {
                    continue;
                };
                let rest = answer.body.get(12..).unwrap_or_default();
                let address = attributes(rest).find(|(kind, _)| *kind == 1).and_then(|(_, b)| address_of(b));
                let by =
                    attributes(rest).find(|(kind, _)| *kind == BY_INTERFACE).and_then(|(_, b)| number_of(b));
                if let Some(subnet) = address.and_then(|a| Subnet::of(a, prefix))
                    && (except.is_none() || by != except)
                    && table == MAIN_TABLE
                    && prefix > 0
                {
                    found.push(subnet);
                }
            }
        }
        Ok(found)
    }
}

/// See [`Links::make_pair`].
pub(crate) struct Pair<'a> {
    pub(crate) outside: &'a str,
    pub(crate) inside: &'a str,
    pub(crate) namespace: BorrowedFd<'a>,
    pub(crate) bridge: u32,
    pub(crate) mac: Mac,
    pub(crate) mtu: Option<u32>,
    pub(crate) isolated: bool,
    pub(crate) hairpin: bool,
}

/// See [`Links::make_sub`].
pub(crate) struct Sub<'a> {
    pub(crate) inside: &'a str,
    pub(crate) namespace: BorrowedFd<'a>,
    pub(crate) parent: u32,
    pub(crate) mode: SubMode,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: Option<u32>,
}

/// What a socket option or attribute takes for a descriptor: a number that is not negative.
fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

/// struct ifinfomsg.
fn link(w: &mut Writer<'_>, family: u8, index: u32, flags: u32, change: u32) {
    w.raw(&[family, 0, 0, 0]);
    w.raw(&index.to_ne_bytes());
    w.raw(&flags.to_ne_bytes());
    w.raw(&change.to_ne_bytes());
}

fn found(answer: &Answer) -> Option<LinkInfo> {
    let mut found = LinkInfo {
        index: number_of(answer.body.get(4..8)?)?,
        kind: String::new(),
        alias: String::new(),
        group: 0,
    };
    for (kind, value) in attributes(answer.body.get(16..)?) {
        match kind {
            ALIAS => found.alias = text_of(value),
            GROUP => found.group = number_of(value).unwrap_or_default(),
            LINK_INFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == INFO_KIND);
                found.kind = kind.map(|(_, value)| text_of(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(found)
}

fn number_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// Without the NUL at its end.
fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// Brings a bridge up, and says whose it is.
fn mark(batch: &mut Batch, index: u32, spec: &BridgeSpec<'_>) {
    batch.add(format!("mark bridge {} and bring it up", spec.name), SET_LINK, ACK, |w| {
        link(w, 0, index, FLAG_UP, FLAG_UP);
        w.text(ALIAS, &spec.owner);
    });
}

fn set_up(batch: &mut Batch, index: u32, name: &str) {
    batch.add(format!("bring interface {name} up"), SET_LINK, ACK, |w| link(w, 0, index, FLAG_UP, FLAG_UP));
}

fn add_address(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    batch.add(format!("give address {address}/{prefix}"), NEW_ADDRESS, ACK | CREATE | EXCL, |w| {
        let (family, flags) =
            if address.is_ipv6() { (FAMILY_IPV6, NO_DUPLICATE_SEARCH) } else { (FAMILY_IPV4, 0) };
        w.raw(&[family, prefix, flags, 0]);
        w.raw(&index.to_ne_bytes());
        match address {
            IpAddr::V4(v4) => {
                w.bytes(2, &v4.octets());
                w.bytes(1, &v4.octets());
                // Small subnets have nobody to broadcast to.
                if let Some(IpAddr::V4(all)) =
                    Subnet::of(address, prefix).filter(|s| s.prefix() < 31).map(Subnet::last)
                {
                    w.bytes(4, &all.octets());
                }
            }
            IpAddr::V6(v6) => {
                w.bytes(2, &v6.octets());
                w.bytes(1, &v6.octets());
            }
        }
    });
}

/// struct rtmsg of a default route. An unspecified gateway stands for none.
fn route(w: &mut Writer<'_>, gateway: IpAddr, interface: Option<u32>) {
    const MAIN_TABLE: u8 = 254;
    const BY_BOOT: u8 = 3;
    const UNICAST: u8 = 1;
    let family = if gateway.is_ipv6() { FAMILY_IPV6 } else { FAMILY_IPV4 };
    w.raw(&[family, 0, 0, 0, MAIN_TABLE, BY_BOOT, 0, UNICAST, 0, 0, 0, 0]);
    if !gateway.is_unspecified() {
        match gateway {
            IpAddr::V4(v4) => w.bytes(5, &v4.octets()),
            IpAddr::V6(v6) => w.bytes(5, &v6.octets()),
        }
    }
    if let Some(interface) = interface {
        w.u32(4, interface);
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Without IPv6 addresses an interface has no IPv6 at all (CVE-2024-32473), and with them it follows no router's
/// advertisement.
pub(crate) fn harden(interface: &str, has_v6: bool) -> Result<()> {
    let set = |key: &str, value: &str| match std::fs::write(conf("ipv6", interface, key), value) {
        // A kernel without IPv6.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("set net.ipv6.conf.{interface}.{key}")),
    };
    if has_v6 {
        set("disable_ipv6", "0")?;
        return set("accept_ra", "0");
    }
    set("disable_ipv6", "1")
}

/// What the user sets for one interface, in the calling thread's namespace.
pub(crate) fn set_sysctls(interface: &str, sysctls: &[InterfaceSysctl]) -> Result<()> {
    for InterfaceSysctl { family, group, key, value } in sysctls {
        std::fs::write(format!("/proc/sys/net/{family}/{group}/{interface}/{key}"), value)
            .context(|| format!("set net.{family}.{group}.{interface}.{key} to {value}"))?;
    }
    Ok(())
}

fn conf(family: &str, interface: &str, key: &str) -> String {
    format!("/proc/sys/net/{family}/conf/{interface}/{key}")
}

fn forwarding(v6: bool) -> &'static str {
    if v6 { "/proc/sys/net/ipv6/conf/all/forwarding" } else { "/proc/sys/net/ipv4/ip_forward" }
}

/// Whether the machine passes packets of a family on.
///
/// # Errors
/// When `/proc/sys` cannot be read.
pub fn is_forwarding(v6: bool) -> Result<bool> {
    let path = forwarding(v6);
    let text = std::fs::read_to_string(path).context(|| format!("read {path}"))?;
    Ok(text.trim() != "0")
}

/// Lets the machine pass packets on. Writing resets other settings of the interfaces: only when it must be.
///
/// # Errors
/// When `/proc/sys` cannot be written.
pub fn forward(v6: bool) -> Result<()> {
    let path = forwarding(v6);
    std::fs::write(path, "1").context(|| format!("switch forwarding on: write {path}"))
}
