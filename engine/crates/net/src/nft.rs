//! The firewall: one table with a constant number of rules. What changes are the elements of its sets and maps.
//!
//! ```text
//!   guard ── from elsewhere to a port that is published on loopback alone: drop
//!   prerouting, output ── to one of this machine's addresses? ──► publish: map (address, protocol, port) → container
//!   forward ── known connection, or within one bridge: accept
//!           ── from or to an internal network: drop
//!           ── to a bridge: accept what was published, drop the rest
//!           ── between others, of a family that this machine passes on for our sake alone: drop
//!   input ── from an internal network: accept known connections and neighbour discovery, drop the rest
//!   postrouting ── back into the bridge that it came from, by a published port: masquerade (the answer must pass here)
//!               ── from a bridge to anywhere else than a bridge: masquerade
//! ```
//! Bridges of other engines of ours count as ours where others are dropped: they are known by their group.
//!
//! An `accept` here is the end of this table alone: what another table of the host's drops stays dropped.
//!
//! The table belongs to one engine and carries the name of its default bridge. It is written as a whole, in one
//! transaction of the kernel's, when a network comes or goes; connections that are translated already do not notice.
//! Starts and ends of containers add and delete elements only.

mod element;
mod expression;
mod watch;

pub use watch::Watch;

use crate::link::BRIDGE_GROUP;
use crate::netlink::{ACK, APPEND, Batch, CREATE, DUMP, EXCL, Socket, Writer, attributes};
use dhow_model::network::Published;
use dhow_model::{ErrorKind, Result};
use element::Element;
use expression::{Rule, concatenation, data_type};

/// linux/netfilter/nfnetlink.h.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;
/// linux/netfilter/nf_tables.h.
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;
/// IPv4 and IPv6 in one table.
const FAMILY_INET: u8 = 1;
const SET_IS_MAP: u32 = 8;
/// What nft keeps with a set to know how to show its keys (NFTNL_UDATA_SET_KEYBYTEORDER in libnftnl's udata.h): names of
/// interfaces are in the machine's order. Without it they are shown as nothing.
const HOST_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];
/// Rules of the chain `forward`.
const FORWARD_RULES: u32 = 7;
/// Elements in one message: an attribute holds at most 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 500;

/// A bridge as the table sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its interface.
    pub name: String,
    /// Nothing passes to or from outside.
    pub internal: bool,
    /// What leaves takes the host's address.
    pub masquerade: bool,
    /// Containers on it reach each other.
    pub icc: bool,
}

/// Which of the two families of addresses something is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Whether it is about any.
    pub fn any(self) -> bool {
        self.v4 || self.v6
    }

    /// Those of either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { v4: self.v4 || other.v4, v6: self.v6 || other.v6 }
    }
}

/// A table of the firewall.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
    name: String,
}

impl Table {
    /// The table of this name, which need not exist.
    ///
    /// # Errors
    /// When the kernel has no nftables.
    pub fn open(name: &str) -> Result<Self> {
        Ok(Self { socket: Socket::netfilter()?, name: name.to_owned() })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is there: another's flush may have taken it away.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn exists(&self) -> Result<bool> {
        let mut batch = Batch::default();
        batch.add(format!("look for table {}", self.name), kind(GET_TABLE), ACK, |w| {
            header(w, FAMILY_INET, 0);
            w.text(1, &self.name);
        });
        match self.socket.run(&batch) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it is there and its chain of what passes has its rules: another's flush may have emptied it. Costs as much as
    /// [`Table::exists`], for each start.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stands(&self) -> Result<bool> {
        const USE: u16 = 6;
        let mut batch = Batch::default();
        batch.add(format!("look at chain forward of table {}", self.name), kind(GET_CHAIN), ACK, |w| {
            header(w, FAMILY_INET, 0);
            w.text(1, &self.name);
            w.text(3, "forward");
        });
        let answers = match self.socket.ask(&batch) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            answers => answers?,
        };
        let rules = |answer: &crate::netlink::Answer| {
            let (_, value) = attributes(answer.body.get(4..)?).find(|(kind, _)| *kind == USE)?;
            value.try_into().ok().map(u32::from_be_bytes)
        };
        Ok(answers.iter().filter_map(rules).any(|rules| rules >= FORWARD_RULES))
    }

    /// How many rules it has; none when it is not there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn rules(&self) -> Result<usize> {
        let mut batch = Batch::default();
        batch.add(format!("list the rules of table {}", self.name), kind(GET_RULE), DUMP, |w| {
            header(w, FAMILY_INET, 0);
            w.text(1, &self.name);
        });
        match self.socket.ask(&batch) {
            Ok(answers) => Ok(answers.iter().filter(|a| a.kind == kind(NEW_RULE)).count()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether all its rules are there: another's flush may have emptied it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_whole(&self) -> Result<bool> {
        let mut wanted = Transaction::new(&self.name);
        wanted.chains();
        Ok(self.rules()? == wanted.rules)
    }

    /// Writes all of it anew. What is of a closed family passes from or to bridges alone.
    ///
    /// # Errors
    /// What the kernel says; then nothing has changed.
    pub fn replace(&self, bridges: &[Bridge], published: &[Published], closed: Families) -> Result<()> {
        let mut batch = Transaction::new(&self.name);
        batch.drop_table();
        batch.table();
        batch.sets();
        batch.chains();
        batch.bridges(bridges);
        batch.ports(NEW_ELEMENT, published);
        let (set, elements) = element::of_families(closed);
        batch.elements(NEW_ELEMENT, set, &elements);
        self.socket.run(&batch.end())
    }

    /// Takes it away; it may be gone already.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn delete(&self) -> Result<()> {
        let mut batch = Transaction::new(&self.name);
        batch.drop_table();
        self.socket.run(&batch.end())
    }

    /// Redirects ports.
    ///
    /// # Errors
    /// What the kernel says; then none is redirected.
    pub fn publish(&self, ports: &[Published]) -> Result<()> {
        self.change(NEW_ELEMENT, ports)
    }

    /// Redirects them no more. What is gone already is fine.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn withdraw(&self, ports: &[Published]) -> Result<()> {
        match self.change(DELETE_ELEMENT, ports) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        // One by one: a transaction fails as a whole, and any of them may be gone with a flushed table.
        for port in ports {
            match self.change(DELETE_ELEMENT, std::slice::from_ref(port)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn change(&self, message: u16, ports: &[Published]) -> Result<()> {
        if ports.iter().all(|port| port.target.is_none()) {
            return Ok(());
        }
        let mut batch = Transaction::new(&self.name);
        batch.ports(message, ports);
        self.socket.run(&batch.end())
    }
}

fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

fn header(w: &mut Writer<'_>, family: u8, resource: u16) {
    w.raw(&[family, 0]);
    w.raw(&resource.to_be_bytes());
}

/// What happens all together or not at all.
struct Transaction<'a> {
    batch: Batch,
    table: &'a str,
    /// How many it adds.
    rules: usize,
}

impl<'a> Transaction<'a> {
    fn new(table: &'a str) -> Self {
        let mut batch = Batch::default();
        batch.add("begin", BATCH_BEGIN, 0, |w| header(w, 0, SUBSYSTEM));
        Self { batch, table, rules: 0 }
    }

    fn end(mut self) -> Batch {
        self.batch.add("end", BATCH_END, 0, |w| header(w, 0, SUBSYSTEM));
        self.batch
    }

    fn add(&mut self, what: String, message: u16, flags: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let what = format!("{what} of table {}", self.table);
        self.batch.add(what, kind(message), flags | ACK, |w| {
            header(w, FAMILY_INET, 0);
            body(w);
        });
    }

    fn table(&mut self) {
        let name = self.table.to_owned();
        self.add("the whole".to_owned(), NEW_TABLE, CREATE, |w| w.text(1, &name));
    }

    fn drop_table(&mut self) {
        // There is no "delete if it exists" before 6.3: so it is made first.
        self.table();
        let name = self.table.to_owned();
        self.add("the whole".to_owned(), DELETE_TABLE, 0, |w| w.text(1, &name));
    }

    fn set(&mut self, name: &str, key: &[u32], value: Option<&[u32]>) {
        let table = self.table.to_owned();
        self.add(format!("set {name}"), NEW_SET, CREATE, |w| {
            w.text(1, &table);
            w.text(2, name);
            w.be32(3, if value.is_some() { SET_IS_MAP } else { 0 });
            w.be32(4, concatenation(key));
            w.be32(5, expression::bytes_of(key));
            if let Some(value) = value {
                w.be32(6, concatenation(value));
                w.be32(7, expression::bytes_of(value));
            }
            if key == [data_type::INTERFACE] {
                w.bytes(13, &HOST_ORDER);
            }
            // The number by which rules of the same transaction could name it; the name does as well.
            w.be32(10, 1);
        });
    }

    fn sets(&mut self) {
        use data_type::{FAMILY, INTERFACE, IPV4, IPV6, PORT, PROTOCOL};
        for name in ["bridges", "internal", "masqueraded"] {
            self.set(name, &[INTERFACE], None);
        }
        self.set("closed", &[FAMILY], None);
        self.set("within", &[INTERFACE, INTERFACE], None);
        self.set("loopback", &[IPV4, PROTOCOL, PORT], None);
        self.set("ports4_at", &[IPV4, PROTOCOL, PORT], Some(&[IPV4, PORT]));
        self.set("ports4", &[PROTOCOL, PORT], Some(&[IPV4, PORT]));
        self.set("ports6_at", &[IPV6, PROTOCOL, PORT], Some(&[IPV6, PORT]));
        self.set("ports6", &[PROTOCOL, PORT], Some(&[IPV6, PORT]));
    }

    fn chain(&mut self, name: &str, hook: Option<(&str, u32, i32)>, rules: &[Rule]) {
        let table = self.table.to_owned();
        self.add(format!("chain {name}"), NEW_CHAIN, CREATE, |w| {
            w.text(1, &table);
            w.text(3, name);
            if let Some((kind, number, priority)) = hook {
                w.nest(4, |w| {
                    w.be32(1, number);
                    w.bytes(2, &priority.to_be_bytes());
                });
                w.text(7, kind);
            }
        });
        self.rules += rules.len();
        for (number, rule) in rules.iter().enumerate() {
            self.add(format!("rule {number} of chain {name}"), NEW_RULE, CREATE | APPEND, |w| {
                w.text(1, &table);
                w.text(2, name);
                w.nest(4, |w| rule.write(w));
            });
        }
    }

    fn chains(&mut self) {
        // Hooks: prerouting 0, input 1, forward 2, output 3, postrouting 4. Priorities: destination translation -100, source
        // translation 100, filtering 0, before all of them -300.
        let from_elsewhere = Rule::default().ipv4().loopback4().comes_from_elsewhere();
        self.chain("guard", Some(("filter", 0, -300)), &[from_elsewhere.port_at_in("loopback").drop()]);
        self.chain(
            "publish",
            None,
            &[
                // The forwarder answers there: a redirected packet could not come back.
                Rule::default().ipv4().loopback4().returns(),
                Rule::default().ipv6().loopback6().returns(),
                Rule::default().ipv4().published_at("ports4_at"),
                Rule::default().ipv4().published("ports4"),
                Rule::default().ipv6().published_at6("ports6_at"),
                Rule::default().ipv6().published6("ports6"),
            ],
        );
        let local = [Rule::default().sent_here().jump("publish")];
        self.chain("prerouting", Some(("nat", 0, -100)), &local);
        self.chain("output", Some(("nat", 3, -100)), &local);
        self.chain(
            "forward",
            Some(("filter", 2, 0)),
            &[
                Rule::default().known_connection().accept(),
                Rule::default().pair_in("within").accept(),
                Rule::default().comes_from("internal").drop(),
                Rule::default().goes_to("internal").drop(),
                Rule::default().goes_to("bridges").redirected().accept(),
                Rule::default().goes_to("bridges").drop(),
                Rule::default()
                    .comes_from_none_of("bridges")
                    .avoids_group(BRIDGE_GROUP)
                    .family_in("closed")
                    .drop(),
            ],
        );
        self.chain(
            "inside",
            None,
            &[
                Rule::default().known_connection().accept(),
                Rule::default().neighbour_discovery().accept(),
                Rule::default().drop(),
            ],
        );
        self.chain("input", Some(("filter", 1, 0)), &[Rule::default().comes_from("internal").jump("inside")]);
        self.chain(
            "postrouting",
            Some(("nat", 4, 100)),
            &[
                Rule::default().pair_in("within").redirected().masquerade(),
                // The same where bridged packets are filtered (br_netfilter): they do not pass through the bridge's own
                // interface. A container would not take a packet that has its own address, too.
                Rule::default()
                    .comes_from_none()
                    .goes_to("bridges")
                    .redirected()
                    .sent_by_others()
                    .masquerade(),
                Rule::default().comes_from("masqueraded").leaves_all_of("bridges").masquerade(),
            ],
        );
    }

    fn bridges(&mut self, bridges: &[Bridge]) {
        for (set, elements) in element::of_bridges(bridges) {
            self.elements(NEW_ELEMENT, set, &elements);
        }
    }

    fn ports(&mut self, message: u16, ports: &[Published]) {
        for (set, elements) in element::of_ports(ports) {
            self.elements(message, set, &elements);
        }
    }

    fn elements(&mut self, message: u16, set: &str, elements: &[Element]) {
        let table = self.table.to_owned();
        for part in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.add(format!("elements of {set}"), message, CREATE, |w| {
                w.text(1, &table);
                w.text(2, set);
                w.nest(3, |w| {
                    for (key, value) in part {
                        w.nest(1, |w| {
                            w.nest(1, |w| w.bytes(1, key));
                            if let Some(value) = value.as_ref().filter(|_| message == NEW_ELEMENT) {
                                w.nest(2, |w| w.bytes(1, value));
                            }
                        });
                    }
                });
            });
        }
    }
}

/// In a container's own namespace: what is sent to port 53 of `server` goes to these ports of it instead, so that a
/// program of the container may have port 53 for itself.
///
/// # Errors
/// What the kernel says.
pub fn redirect_names(server: std::net::Ipv4Addr, udp_port: u16, tcp_port: u16) -> Result<()> {
    let socket = Socket::netfilter()?;
    // A new namespace has none. To delete first what is not there would cost a start milliseconds: the kernel forgets
    // slowly, and closing the socket waits for it.
    match redirect(&socket, false, server, udp_port, tcp_port) {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            redirect(&socket, true, server, udp_port, tcp_port)
        }
        other => other,
    }
}

fn redirect(
    socket: &Socket,
    replaces: bool,
    server: std::net::Ipv4Addr,
    udp_port: u16,
    tcp_port: u16,
) -> Result<()> {
    let mut batch = Transaction::new("dhow");
    if replaces {
        batch.drop_table();
        batch.table();
    } else {
        batch.add("the whole".to_owned(), NEW_TABLE, CREATE | EXCL, |w| w.text(1, "dhow"));
    }
    let rules = [(17, udp_port), (6, tcp_port)].map(|(protocol, port)| {
        Rule::default().ipv4().sent_to(server, protocol, 53).redirect_to(server, port)
    });
    batch.chain("output", Some(("nat", 3, -100)), &rules);
    socket.run(&batch.end())
}
