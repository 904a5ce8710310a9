//! Networks: what they are, what a container asks of one, and which ports it publishes. Pure.

use crate::{ContainerId, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name of the network that containers are on when nothing else is said.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Names that are always there.
pub const PREDEFINED: [&str; 3] = [DEFAULT_NETWORK, "host", "none"];

/// An address range: `172.30.0.0/16`. The host part is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The subnet of this size that holds `address`; `None` when there is no such size.
    pub fn of(address: IpAddr, prefix: u8) -> Option<Self> {
        if prefix > width(address) {
            return None;
        }
        Some(Self { address: from_number(address, number(address) & !host_mask(address, prefix)), prefix })
    }

    /// Reads `ADDRESS/PREFIX`. With `strict`, the host part must be zero already.
    ///
    /// # Errors
    /// `InvalidArgument` in Docker's words.
    pub fn parse(text: &str, strict: bool) -> Result<Self> {
        let bad = || Error::invalid(format!("invalid CIDR address: {text}"));
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let subnet = Self::of(address, prefix.parse().map_err(|_| bad())?).ok_or_else(bad)?;
        if strict && subnet.address != address {
            return Err(Error::invalid(format!(
                "invalid network config: invalid subnet {text}: it should be {subnet}"
            )));
        }
        Ok(subnet)
    }

    /// The lowest address, which names the subnet.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits are the network's.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv6.
    pub fn is_v6(self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether an address lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv6() == address.is_ipv6()
            && number(address) & !host_mask(address, self.prefix) == number(self.address)
    }

    /// Whether any address lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether all of `other` lies in it.
    pub fn holds(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// The address so many after the lowest; `None` beyond the end.
    pub fn nth(self, offset: u128) -> Option<IpAddr> {
        let address = number(self.address).checked_add(offset)?;
        (offset <= host_mask(self.address, self.prefix)).then(|| from_number(self.address, address))
    }

    /// The highest address: for IPv4 that of broadcasts.
    pub fn last(self) -> IpAddr {
        from_number(self.address, number(self.address) | host_mask(self.address, self.prefix))
    }

    /// How far an address lies from the lowest.
    pub fn offset_of(self, address: IpAddr) -> u128 {
        number(address).wrapping_sub(number(self.address))
    }

    /// The parts of this subnet with a longer prefix, from the lowest.
    pub fn split(self, prefix: u8) -> impl Iterator<Item = Self> {
        let bits = u32::from(width(self.address));
        let count = 1u128 << u32::from(prefix.saturating_sub(self.prefix)).min(127);
        let step = 1u128.checked_shl(bits - u32::from(prefix).min(bits)).unwrap_or(0);
        (0..count).map_while(move |index| Self::of(self.nth(step.checked_mul(index)?)?, prefix))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text, false)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn from_number(like: IpAddr, number: u128) -> IpAddr {
    match like {
        // What is masked to 32 bits fits.
        IpAddr::V4(_) => {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(number & u128::from(u32::MAX)).unwrap_or(u32::MAX)))
        }
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

fn host_mask(address: IpAddr, prefix: u8) -> u128 {
    let bits = u32::from(width(address));
    1u128.checked_shl(bits - u32::from(prefix).min(bits)).unwrap_or(0).wrapping_sub(1)
}

/// A link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that a container gets when it asks for none: made of its IPv4 address, so that a neighbour's
    /// cache that still knows an earlier owner of the address is not wrong.
    pub fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The same without IPv4: the last four bytes of the IPv6 address.
    pub fn of_v6(address: Ipv6Addr) -> Self {
        let octets = address.octets();
        Self([0x02, 0x42, octets[12], octets[13], octets[14], octets[15]])
    }

    /// Reads `02:42:ac:11:00:02`, or with dashes.
    ///
    /// # Errors
    /// `InvalidArgument` in Docker's words; also for what is not an address of one interface.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("{text} is not a valid mac address"));
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        // The lowest bit of the first byte marks groups: no interface may have such an address.
        if parts.next().is_some() || bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// What carries a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host's, and a pair of virtual interfaces for each container.
    #[default]
    Bridge,
    /// The host's own network: no interface, no address.
    Host,
    /// Loopback only.
    Null,
    /// Further link-layer addresses on an interface of the host's.
    Macvlan,
    /// Further addresses on an interface of the host's, which keeps its link-layer address.
    Ipvlan,
}

impl Driver {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    /// Reads the word; empty means `bridge`.
    ///
    /// # Errors
    /// `NotFound` in Docker's words; `Unsupported` for those that need a cluster.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "bridge" | "default" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "null" => Ok(Self::Null),
            "macvlan" => Ok(Self::Macvlan),
            "ipvlan" => Ok(Self::Ipvlan),
            "overlay" => {
                Err(Error::unsupported("the overlay driver needs a swarm, which dhow does not have"))
            }
            other => Err(Error::not_found(format!(
                "could not find plugin {other} in v1 plugin registry: plugin not found"
            ))),
        }
    }

    /// Whether each endpoint has an interface and addresses.
    pub fn has_interfaces(self) -> bool {
        matches!(self, Self::Bridge | Self::Macvlan | Self::Ipvlan)
    }
}

/// A range that addresses are leased from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// All of it.
    pub subnet: Subnet,
    /// The part that containers get addresses from when they ask for none; `None`: all.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// The host's own address in it; `None` on an internal macvlan.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Addresses of others, by name: never leased.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// What carries it.
    pub driver: Driver,
    /// Of a bridge, at most one of each address family; a parent interface's network may have several.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// Containers on it reach nobody outside.
    #[serde(default)]
    pub internal: bool,
    /// Told in `inspect`; it means something only in a swarm.
    #[serde(default)]
    pub attachable: bool,
    /// Whether IPv4 was left on.
    #[serde(default = "yes")]
    pub ipv4: bool,
    /// Whether IPv6 was asked for.
    #[serde(default)]
    pub ipv6: bool,
    /// The host's interface: the bridge, or the parent of a macvlan.
    #[serde(default)]
    pub interface: String,
    /// The driver's options as typed.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The address manager's options as typed.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

/// Options of bridges, as Docker names them.
pub mod option {
    /// The name of the bridge.
    pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
    /// Whether what leaves takes the host's address.
    pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
    /// Whether containers of the network reach each other.
    pub const ICC: &str = "com.docker.network.bridge.enable_icc";
    /// The address that ports are published on when none is said.
    pub const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
    /// Set on the default bridge.
    pub const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
    /// Bytes of the largest packet.
    pub const MTU: &str = "com.docker.network.driver.mtu";
    /// Beginning of the interfaces' names in containers.
    pub const CONTAINER_PREFIX: &str = "com.docker.network.container_iface_prefix";
    /// The parent of a macvlan.
    pub const PARENT: &str = "parent";
    /// How macvlans of one parent see each other.
    pub const MACVLAN_MODE: &str = "macvlan_mode";
    /// How ipvlans of one parent see each other.
    pub const IPVLAN_MODE: &str = "ipvlan_mode";
}

impl NetworkConfig {
    /// A true or false option; `default` when it is not given.
    ///
    /// # Errors
    /// `InvalidArgument` for another value.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.options.get(key).map(String::as_str) {
            None => Ok(default),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
            Some(other) => {
                Err(Error::invalid(format!("invalid value for {key}: {other:?}: want true or false")))
            }
        }
    }

    /// Bytes of the largest packet; `None`: the kernel's own.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no size.
    pub fn mtu(&self) -> Result<Option<u32>> {
        let Some(text) = self.options.get(option::MTU) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(0) => Ok(None),
            Ok(mtu) if (68..=65535).contains(&mtu) => Ok(Some(mtu)),
            _ => Err(Error::invalid(format!("invalid MTU: {text}"))),
        }
    }

    /// Beginning of interface names in containers.
    pub fn container_prefix(&self) -> &str {
        self.options.get(option::CONTAINER_PREFIX).map_or("eth", String::as_str)
    }

    /// The pools of an address family.
    pub fn pools_of(&self, v6: bool) -> impl Iterator<Item = &Pool> {
        self.pools.iter().filter(move |pool| pool.subnet.is_v6() == v6)
    }

    /// The pool that an address is of.
    pub fn pool_with(&self, address: IpAddr) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.subnet.contains(address))
    }
}

/// A network as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its id: 64 digits, as a container's.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// What it is.
    pub config: NetworkConfig,
}

impl Network {
    /// Whether it is always there.
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// Whether containers on it find each other by name: on all networks that users make.
    pub fn resolves_names(&self) -> bool {
        !self.is_predefined() && self.config.driver.has_interfaces()
    }
}

/// What a container wants of one network. Written short, what is not wanted left out: `ps` reads it of each container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointConfig {
    /// Name or id, as typed; `create` and `connect` make it the id.
    pub network: String,
    /// Further names on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Other containers and what they are called here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(String, String)>,
    /// The address to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// The address to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Further addresses, which the network knows nothing of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    /// The link-layer address to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Options as typed; see [`crate::endpoint`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// The default route is that of the highest; the earliest by name among equals.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gateway_priority: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl EndpointConfig {
    /// To be there, and nothing more.
    pub fn plain(network: &str) -> Self {
        Self { network: network.to_owned(), ..Self::default() }
    }
}

/// A container on a network, while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose it is.
    pub container: ContainerId,
    /// On which network.
    pub network: ContainerId,
    /// Its own id.
    pub id: ContainerId,
    /// Leased.
    pub ipv4: Option<Ipv4Addr>,
    /// Leased.
    pub ipv6: Option<Ipv6Addr>,
    /// Its link-layer address.
    pub mac: Option<Mac>,
    /// The interface's name in the container.
    pub interface: String,
    /// The other end on the host; empty on a macvlan.
    pub host_interface: String,
    /// Every name that others find it by on this network.
    pub names: Vec<String>,
    /// What its container calls others here: name of the other and alias.
    pub links: Vec<(String, String)>,
    /// Whether the container's default route leads through it.
    pub is_gateway: bool,
}

impl Endpoint {
    /// The names that an endpoint of a container is found by, without repetition: the aliases, and the beginning of
    /// the id. The container's own name comes from its record, which a rename changes.
    pub fn names_of(id: &ContainerId, aliases: &[String]) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(aliases.len() + 1);
        for name in aliases.iter().cloned().chain([id.short().to_owned()]) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// What runs over ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Its number in IP headers.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Reads its name.
    ///
    /// # Errors
    /// `InvalidArgument` in Docker's words.
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("invalid proto: {text}"))),
        }
    }
}

/// A port of a container that is to be reached from the host's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    /// The port in the container.
    pub port: u16,
    /// What runs over it.
    pub protocol: Protocol,
    /// The host's address; `None`: all of them.
    pub host_ip: Option<IpAddr>,
    /// The host's port: the first free one of a range; 0 and 0: any that is free.
    pub host_ports: (u16, u16),
}

/// A port that is published now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// By whom.
    pub container: ContainerId,
    /// The port in the container.
    pub port: u16,
    /// What runs over it.
    pub protocol: Protocol,
    /// The host's address; unspecified (`0.0.0.0`, `::`): all of the family.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
    /// Where the kernel sends it: an address of the container of the same family; `None`: only the forwarder in the
    /// monitor does.
    pub target: Option<IpAddr>,
}

impl Published {
    /// Whether both would take the same packets.
    pub fn collides(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.host_port == other.host_port
            && self.host_ip.is_ipv6() == other.host_ip.is_ipv6()
            && (self.host_ip == other.host_ip
                || self.host_ip.is_unspecified()
                || other.host_ip.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        Subnet::parse(text, false).unwrap()
    }

    #[test]
    fn subnets() {
        assert_eq!(subnet("10.1.2.3/16").to_string(), "10.1.0.0/16");
        assert!(Subnet::parse("10.1.2.3/16", true).is_err());
        for bad in ["10.1.2.3", "10.1.2.3/33", "fd00::/129", "x/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(Subnet::parse(bad, false).is_err(), "{bad}");
        }
        let a = subnet("10.1.0.0/16");
        assert!(a.contains("10.1.255.255".parse().unwrap()) && !a.contains("10.2.0.0".parse().unwrap()));
        assert!(!a.contains("::ffff:10.1.0.1".parse().unwrap()));
        assert!(a.overlaps(subnet("10.0.0.0/8")) && a.overlaps(subnet("10.1.7.0/24")));
        assert!(!a.overlaps(subnet("10.2.0.0/16")));
        assert!(a.holds(subnet("10.1.7.0/24")) && !a.holds(subnet("10.0.0.0/8")));
        assert_eq!(a.nth(2).unwrap().to_string(), "10.1.0.2");
        assert_eq!(a.nth(65536), None);
        assert_eq!(a.last().to_string(), "10.1.255.255");
        assert_eq!(subnet("fd00:1::/64").nth(1).unwrap().to_string(), "fd00:1::1");
        assert_eq!(subnet("0.0.0.0/0").last().to_string(), "255.255.255.255");
        assert_eq!(subnet("::/0").last().to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        let parts: Vec<String> = subnet("192.168.0.0/18").split(20).map(|s| s.to_string()).collect();
        assert_eq!(parts, ["192.168.0.0/20", "192.168.16.0/20", "192.168.32.0/20", "192.168.48.0/20"]);
        assert_eq!(subnet("10.0.0.0/32").split(32).count(), 1);
    }

    #[test]
    fn link_layer_addresses() {
        assert_eq!(Mac::parse("02-42-AC-11-00-02").unwrap().to_string(), "02:42:ac:11:00:02");
        assert_eq!(Mac::of_v4("172.17.0.2".parse().unwrap()).to_string(), "02:42:ac:11:00:02");
        for bad in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "01:00:5e:00:00:01",
            "zz:42:ac:11:00:02",
            "00:00:00:00:00:00",
        ] {
            assert!(Mac::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_collide_when_they_share_packets() {
        let port = |ip: &str, port, protocol| Published {
            container: ContainerId::from_random([1; 32]),
            port: 80,
            protocol,
            host_ip: ip.parse().unwrap(),
            host_port: port,
            target: None,
        };
        let all = port("0.0.0.0", 80, Protocol::Tcp);
        assert!(all.collides(&port("127.0.0.1", 80, Protocol::Tcp)));
        assert!(!all.collides(&port("127.0.0.1", 81, Protocol::Tcp)));
        assert!(!all.collides(&port("127.0.0.1", 80, Protocol::Udp)));
        assert!(!all.collides(&port("::", 80, Protocol::Tcp)));
        assert!(!port("10.0.0.1", 80, Protocol::Tcp).collides(&port("10.0.0.2", 80, Protocol::Tcp)));
    }
}
