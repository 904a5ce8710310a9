//! Elements of the table's sets and maps: what they are for bridges and published ports, and whether the kernel has them.

use super::{Bridge, FAMILY_INET, Families, GET_ELEMENT, Table, expression, header, kind};
use crate::netlink::{Batch, DUMP, attributes};
use dhow_model::network::Published;
use dhow_model::{ErrorKind, Result};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Maps of published ports, in the order of [`of_ports`].
const PORT_MAPS: [&str; 4] = ["ports4_at", "ports4", "ports6_at", "ports6"];
/// linux/netfilter/nf_tables.h: attributes of a list of elements, of an element, and of data.
const LIST_ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;

/// Key, and value in a map.
pub(super) type Element = (Vec<u8>, Option<Vec<u8>>);
/// A set's or a map's name, and what is to be in it.
type Wanted = (&'static str, Vec<Element>);

/// An interface's name as a key.
fn interface_key(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(expression::INTERFACE_BYTES, 0);
    key
}

/// What the table says of bridges. No set has the name of a word of nft's: what it lists must be what it reads.
pub(super) fn of_bridges(bridges: &[Bridge]) -> Vec<Wanted> {
    let keys = |wanted: &dyn Fn(&Bridge) -> bool| {
        bridges.iter().filter(|b| wanted(b)).map(|b| (interface_key(&b.name), None)).collect::<Vec<_>>()
    };
    let pairs = bridges.iter().filter(|b| b.icc);
    vec![
        ("bridges", keys(&|_| true)),
        ("internal", keys(&|b| b.internal)),
        ("masqueraded", keys(&|b| b.masquerade && !b.internal)),
        ("within", pairs.map(|b| (interface_key(&b.name).repeat(2), None)).collect()),
    ]
}

/// What the table says of families.
pub(super) fn of_families(closed: Families) -> Wanted {
    let families = [(closed.v4, expression::PROTO_IPV4), (closed.v6, expression::PROTO_IPV6)];
    (
        "closed",
        families.into_iter().filter(|(is_closed, _)| *is_closed).map(|(_, f)| (vec![f], None)).collect(),
    )
}

/// What the table says of published ports.
pub(super) fn of_ports(ports: &[Published]) -> Vec<Wanted> {
    let mut lists: [Wanted; 4] = PORT_MAPS.map(|map| (map, vec![]));
    let mut guarded: Vec<Element> = Vec::new();
    for port in ports {
        let Some(target) = port.target else { continue };
        if port.host_ip.is_loopback() {
            // The forwarder answers there. The machine may be told to take packets from elsewhere for its loopback
            // (route_localnet): not for this port (CVE-2020-8558).
            if let IpAddr::V4(at) = port.host_ip {
                guarded.push(([&at.octets()[..], &port_key(port)].concat(), None));
            }
            continue;
        }
        if target.is_ipv6() != port.host_ip.is_ipv6() {
            continue;
        }
        let (slot, mut key) = match (port.host_ip, port.host_ip.is_unspecified()) {
            (IpAddr::V4(_), true) => (1, vec![]),
            (IpAddr::V6(_), true) => (3, vec![]),
            (IpAddr::V4(at), false) => (0, at.octets().to_vec()),
            (IpAddr::V6(at), false) => (2, at.octets().to_vec()),
        };
        key.extend_from_slice(&port_key(port));
        let mut value = match target {
            IpAddr::V4(to) => to.octets().to_vec(),
            IpAddr::V6(to) => to.octets().to_vec(),
        };
        value.extend_from_slice(&port.port.to_be_bytes());
        value.extend_from_slice(&[0, 0]);
        lists[slot].1.push((key, Some(value)));
    }
    let mut all: Vec<Wanted> = lists.into();
    all.push(("loopback", guarded));
    all
}

/// Protocol and port of the host's. Each part of a concatenation takes four bytes at least.
fn port_key(port: &Published) -> [u8; 8] {
    let [high, low] = port.host_port.to_be_bytes();
    [port.protocol.number(), 0, 0, 0, high, low, 0, 0]
}

impl Table {
    /// How many ports it redirects.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn redirections(&self) -> Result<usize> {
        PORT_MAPS.iter().map(|map| Ok(self.elements_of(map)?.len())).sum()
    }

    /// Whether its sets and maps have all that they are to have: another's flush may have emptied one of them. False
    /// when it is not there at all.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn has_elements(
        &self,
        bridges: &[Bridge],
        published: &[Published],
        closed: Families,
    ) -> Result<bool> {
        let sets = of_bridges(bridges).into_iter().chain(of_ports(published));
        for (set, wanted) in sets.chain([of_families(closed)]) {
            if wanted.is_empty() {
                continue;
            }
            let found = match self.elements_of(set) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                found => found?,
            };
            if !wanted.iter().all(|element| found.contains(element)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn elements_of(&self, set: &str) -> Result<BTreeSet<Element>> {
        let mut batch = Batch::default();
        batch.add(format!("list {set} of table {}", self.name), kind(GET_ELEMENT), DUMP, |w| {
            header(w, FAMILY_INET, 0);
            w.text(1, &self.name);
            w.text(2, set);
        });
        let mut found = BTreeSet::new();
        for answer in self.socket.ask(&batch)? {
            let lists = attributes(answer.body.get(4..).unwrap_or_default());
            for (_, list) in lists.filter(|(kind, _)| *kind == LIST_ELEMENTS) {
                found.extend(attributes(list).filter_map(|(_, element)| read(element)));
            }
        }
        Ok(found)
    }
}

/// An element as the kernel tells it.
fn read(element: &[u8]) -> Option<Element> {
    let part = |wanted: u16| {
        let (_, data) = attributes(element).find(|(kind, _)| *kind == wanted)?;
        attributes(data).find(|(kind, _)| *kind == DATA_VALUE).map(|(_, value)| value.to_vec())
    };
    Some((part(ELEMENT_KEY)?, part(ELEMENT_DATA)))
}
