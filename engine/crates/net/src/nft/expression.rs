//! Rules as lists of expressions on registers, the way the kernel takes them (linux/netfilter/nf_tables.h).

use crate::netlink::Writer;
use std::net::Ipv4Addr;

/// An interface's name with its NULs (IFNAMSIZ).
pub(super) const INTERFACE_BYTES: usize = 16;

/// What `nft list` shows elements as (nftables, datatype.h). The kernel does not look at it.
pub(super) mod data_type {
    pub(crate) const FAMILY: u32 = 2;
    pub(crate) const IPV4: u32 = 7;
    pub(crate) const IPV6: u32 = 8;
    pub(crate) const PROTOCOL: u32 = 12;
    pub(crate) const PORT: u32 = 13;
    pub(crate) const INTERFACE: u32 = 41;
}

/// The number of a concatenation of types: six bits for each.
pub(super) fn concatenation(types: &[u32]) -> u32 {
    types.iter().fold(0, |number, one| number << 6 | one)
}

/// Bytes of a key or value: each part is rounded up to four, but a family alone.
pub(super) fn bytes_of(types: &[u32]) -> u32 {
    if types == [data_type::FAMILY] {
        return 1;
    }
    let one = |kind: &u32| match *kind {
        data_type::IPV6 | data_type::INTERFACE => 16,
        _ => 4,
    };
    types.iter().map(one).sum()
}

/// Registers: one of 16 bytes, and those of four bytes, which begin at 8 and share its place.
const VERDICT: u32 = 0;
const WIDE: u32 = 1;
const WORDS: u32 = 8;

const META_IIF: u32 = 4;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const META_IIFGROUP: u32 = 21;
const META_OIFGROUP: u32 = 22;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// established, related.
const CT_KNOWN: u32 = 2 | 4;
/// IPS_DST_NAT.
const CT_REDIRECTED: u32 = 1 << 5;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
pub(super) const PROTO_IPV4: u8 = 2;
pub(super) const PROTO_IPV6: u8 = 10;
const VERDICT_DROP: i32 = 0;
const VERDICT_ACCEPT: i32 = 1;
const VERDICT_JUMP: i32 = -3;
const VERDICT_RETURN: i32 = -5;

/// One expression, encoded when the rule is.
type Expression = (&'static str, Box<dyn Fn(&mut Writer<'_>)>);

/// A rule in the making: each method adds to what must hold; the last says what happens then.
#[derive(Default)]
pub(super) struct Rule(Vec<Expression>);

impl Rule {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        for (name, data) in &self.0 {
            w.nest(1, |w| {
                w.text(1, name);
                w.nest(2, |w| data(w));
            });
        }
    }

    fn with(mut self, name: &'static str, data: impl Fn(&mut Writer<'_>) + 'static) -> Self {
        self.0.push((name, Box::new(data)));
        self
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.with("meta", move |w| {
            w.be32(1, register);
            w.be32(2, key);
        })
    }

    fn payload(self, base: u32, offset: u32, length: u32, register: u32) -> Self {
        self.with("payload", move |w| {
            w.be32(1, register);
            w.be32(2, base);
            w.be32(3, offset);
            w.be32(4, length);
        })
    }

    fn compare(self, register: u32, operation: u32, value: Vec<u8>) -> Self {
        self.with("cmp", move |w| {
            w.be32(1, register);
            w.be32(2, operation);
            w.nest(3, |w| w.bytes(1, &value));
        })
    }

    fn lookup(self, set: &'static str, source: u32, into: Option<u32>, inverted: bool) -> Self {
        self.with("lookup", move |w| {
            w.text(1, set);
            w.be32(2, source);
            if let Some(into) = into {
                w.be32(3, into);
            }
            if inverted {
                w.be32(5, 1);
            }
        })
    }

    /// The bits of a word of the connection's are not all zero.
    fn connection_has(self, key: u32, bits: u32) -> Self {
        self.with("ct", move |w| {
            w.be32(1, WIDE);
            w.be32(2, key);
        })
        .with("bitwise", move |w| {
            w.be32(1, WIDE);
            w.be32(2, WIDE);
            w.be32(3, 4);
            w.nest(4, |w| w.bytes(1, &bits.to_ne_bytes()));
            w.nest(5, |w| w.bytes(1, &[0; 4]));
        })
        .compare(WIDE, NOT_EQUAL, vec![0; 4])
    }

    fn verdict(self, code: i32, chain: Option<&'static str>) -> Self {
        self.with("immediate", move |w| {
            w.be32(1, VERDICT);
            w.nest(2, |w| {
                w.nest(2, |w| {
                    w.bytes(1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        w.text(2, chain);
                    }
                });
            });
        })
    }

    pub(super) fn ipv4(self) -> Self {
        self.meta(META_NFPROTO, WIDE).compare(WIDE, EQUAL, vec![PROTO_IPV4])
    }

    pub(super) fn ipv6(self) -> Self {
        self.meta(META_NFPROTO, WIDE).compare(WIDE, EQUAL, vec![PROTO_IPV6])
    }

    /// To 127.0.0.0/8: the first byte of the destination says it.
    pub(super) fn loopback4(self) -> Self {
        self.payload(BASE_NETWORK, 16, 1, WIDE).compare(WIDE, EQUAL, vec![127])
    }

    pub(super) fn loopback6(self) -> Self {
        let one = std::net::Ipv6Addr::LOCALHOST.octets().to_vec();
        self.payload(BASE_NETWORK, 24, 16, WIDE).compare(WIDE, EQUAL, one)
    }

    /// The destination is an address of this machine's.
    pub(super) fn sent_here(self) -> Self {
        const OF_DESTINATION: u32 = 2;
        self.address_is_local(OF_DESTINATION, EQUAL)
    }

    /// The source is another's address.
    pub(super) fn sent_by_others(self) -> Self {
        const OF_SOURCE: u32 = 1;
        self.address_is_local(OF_SOURCE, NOT_EQUAL)
    }

    /// Asks the routes whether an address is this machine's.
    fn address_is_local(self, which: u32, operation: u32) -> Self {
        const RESULT_ADDRESS_TYPE: u32 = 3;
        const LOCAL: u32 = 2;
        self.with("fib", move |w| {
            w.be32(1, WIDE);
            w.be32(2, RESULT_ADDRESS_TYPE);
            w.be32(3, which);
        })
        .compare(WIDE, operation, LOCAL.to_ne_bytes().to_vec())
    }

    /// By no interface, and so number 0 (nft reads no empty name, though it shows one): sent by this machine, or within a bridge on a host that filters such packets, too.
    pub(super) fn comes_from_none(self) -> Self {
        self.meta(META_IIF, WIDE).compare(WIDE, EQUAL, vec![0; 4])
    }

    pub(super) fn known_connection(self) -> Self {
        self.connection_has(CT_STATE, CT_KNOWN)
    }

    /// By [`Rule::published`] and the like.
    pub(super) fn redirected(self) -> Self {
        self.connection_has(CT_STATUS, CT_REDIRECTED)
    }

    pub(super) fn comes_from(self, set: &'static str) -> Self {
        self.meta(META_IIFNAME, WIDE).lookup(set, WIDE, None, false)
    }

    pub(super) fn goes_to(self, set: &'static str) -> Self {
        self.meta(META_OIFNAME, WIDE).lookup(set, WIDE, None, false)
    }

    /// Not from this machine itself.
    pub(super) fn comes_from_elsewhere(self) -> Self {
        let mut loopback = b"lo".to_vec();
        loopback.resize(INTERFACE_BYTES, 0);
        self.meta(META_IIFNAME, WIDE).compare(WIDE, NOT_EQUAL, loopback)
    }

    /// Destination, protocol and port are in a set.
    pub(super) fn port_at_in(self, set: &'static str) -> Self {
        let address = self.payload(BASE_NETWORK, 16, 4, WORDS);
        address.port_key(WORDS + 1).lookup(set, WORDS, None, false)
    }

    pub(super) fn comes_from_none_of(self, set: &'static str) -> Self {
        self.meta(META_IIFNAME, WIDE).lookup(set, WIDE, None, true)
    }

    /// Neither from nor to an interface of a group.
    pub(super) fn avoids_group(self, group: u32) -> Self {
        let not =
            |rule: Self, key| rule.meta(key, WIDE).compare(WIDE, NOT_EQUAL, group.to_ne_bytes().to_vec());
        not(not(self, META_IIFGROUP), META_OIFGROUP)
    }

    pub(super) fn family_in(self, set: &'static str) -> Self {
        self.meta(META_NFPROTO, WIDE).lookup(set, WIDE, None, false)
    }

    /// Who asks for a neighbour's link-layer address, and who answers: without it nobody is reached by IPv6, and connection
    /// tracking does not know it.
    pub(super) fn neighbour_discovery(self) -> Self {
        const ICMPV6: u8 = 58;
        const SOLICITATION: u8 = 135;
        const ADVERTISEMENT: u8 = 136;
        self.ipv6()
            .meta(META_L4PROTO, WIDE)
            .compare(WIDE, EQUAL, vec![ICMPV6])
            .payload(BASE_TRANSPORT, 0, 1, WIDE)
            .compare(WIDE, AT_LEAST, vec![SOLICITATION])
            .compare(WIDE, AT_MOST, vec![ADVERTISEMENT])
    }

    pub(super) fn leaves_all_of(self, set: &'static str) -> Self {
        self.meta(META_OIFNAME, WIDE).lookup(set, WIDE, None, true)
    }

    /// The interfaces that it comes from and goes to.
    pub(super) fn pair_in(self, set: &'static str) -> Self {
        self.meta(META_IIFNAME, WORDS).meta(META_OIFNAME, WORDS + 4).lookup(set, WORDS, None, false)
    }

    fn translate(self, family: u8, address: u32, port: u32) -> Self {
        const DESTINATION: u32 = 1;
        self.with("nat", move |w| {
            w.be32(1, DESTINATION);
            w.be32(2, u32::from(family));
            w.be32(3, address);
            w.be32(5, port);
        })
    }

    /// Looks protocol and destination port up, after whatever is in the registers before `at`.
    fn port_key(self, at: u32) -> Self {
        self.meta(META_L4PROTO, at).payload(BASE_TRANSPORT, 2, 2, at + 1)
    }

    pub(super) fn published_at(self, map: &'static str) -> Self {
        let address = self.payload(BASE_NETWORK, 16, 4, WORDS);
        let into = WORDS + 4;
        address.port_key(WORDS + 1).lookup(map, WORDS, Some(into), false).translate(
            PROTO_IPV4,
            into,
            into + 1,
        )
    }

    pub(super) fn published(self, map: &'static str) -> Self {
        let into = WORDS + 4;
        self.port_key(WORDS).lookup(map, WORDS, Some(into), false).translate(PROTO_IPV4, into, into + 1)
    }

    pub(super) fn published_at6(self, map: &'static str) -> Self {
        let address = self.payload(BASE_NETWORK, 24, 16, WORDS);
        let into = WORDS + 8;
        address.port_key(WORDS + 4).lookup(map, WORDS, Some(into), false).translate(
            PROTO_IPV6,
            into,
            into + 4,
        )
    }

    pub(super) fn published6(self, map: &'static str) -> Self {
        let into = WORDS + 4;
        self.port_key(WORDS).lookup(map, WORDS, Some(into), false).translate(PROTO_IPV6, into, into + 4)
    }

    pub(super) fn sent_to(self, address: Ipv4Addr, protocol: u8, port: u16) -> Self {
        self.payload(BASE_NETWORK, 16, 4, WIDE)
            .compare(WIDE, EQUAL, address.octets().to_vec())
            .meta(META_L4PROTO, WIDE)
            .compare(WIDE, EQUAL, vec![protocol])
            .payload(BASE_TRANSPORT, 2, 2, WIDE)
            .compare(WIDE, EQUAL, port.to_be_bytes().to_vec())
    }

    pub(super) fn redirect_to(self, address: Ipv4Addr, port: u16) -> Self {
        let set = |register: u32, value: Vec<u8>| {
            move |w: &mut Writer<'_>| {
                w.be32(1, register);
                w.nest(2, |w| w.bytes(1, &value));
            }
        };
        self.with("immediate", set(WORDS, address.octets().to_vec()))
            .with("immediate", set(WORDS + 4, port.to_be_bytes().to_vec()))
            .translate(PROTO_IPV4, WORDS, WORDS + 4)
    }

    pub(super) fn masquerade(self) -> Self {
        self.with("masq", |_| {})
    }

    pub(super) fn accept(self) -> Self {
        self.verdict(VERDICT_ACCEPT, None)
    }

    pub(super) fn drop(self) -> Self {
        self.verdict(VERDICT_DROP, None)
    }

    pub(super) fn returns(self) -> Self {
        self.verdict(VERDICT_RETURN, None)
    }

    pub(super) fn jump(self, chain: &'static str) -> Self {
        self.verdict(VERDICT_JUMP, Some(chain))
    }
}
