//! A container's interface on a network: made, given addresses, and connected.

use crate::link::{self, Links, Pair, Sub, SubMode};
use crate::namespace;
use dhow_model::Result;
use dhow_model::endpoint::InterfaceSysctl;
use dhow_model::network::Mac;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// What it is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// A bridge of the host's.
    Bridge {
        /// Its number.
        index: u32,
        /// The name of the port.
        port: String,
        /// Reaches no other port of its kind.
        isolated: bool,
        /// May send through the bridge to itself: by a port that it publishes, where the host filters bridged packets
        /// and so redirects them within the bridge.
        hairpin: bool,
    },
    /// An interface of the host's.
    Parent {
        /// Its number.
        index: u32,
        /// How.
        mode: SubMode,
    },
}

/// An interface to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the container.
    pub name: String,
    /// What it is connected to.
    pub carrier: Carrier,
    /// Its link-layer address.
    pub mac: Mac,
    /// Bytes of the largest packet; `None`: the kernel's.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Kernel settings of its own.
    pub sysctls: Vec<InterfaceSysctl>,
    /// Where the container's default routes lead: empty when not through this one.
    pub gateways: Vec<IpAddr>,
}

/// Makes interfaces in a container's namespace, in their order. For a process with one thread, whose own namespace is
/// the host's.
///
/// # Errors
/// What the kernel says. What was made before vanishes with the container's namespace.
pub fn connect(host: &Links, container: BorrowedFd<'_>, interfaces: &[Interface]) -> Result<()> {
    interfaces.iter().try_for_each(|interface| make(host, container, interface))?;
    let own = namespace::own()?;
    namespace::within(container, own.as_fd(), || configure(interfaces, false))
}

/// The same from a program with many threads, for a container that runs: an interface that is to have the default
/// routes takes them from the one that had them.
///
/// # Errors
/// What the kernel says; then nothing of it is left.
pub fn connect_running(host: &Links, container: BorrowedFd<'_>, interface: &Interface) -> Result<()> {
    make(host, container, interface)?;
    let interfaces = std::slice::from_ref(interface);
    let done = namespace::on_thread_within(container, || configure(interfaces, true));
    if done.is_err() {
        // The first error is the one to show.
        let _ = disconnect(container, &interface.name);
    }
    done
}

/// Deletes an interface in a container that runs, and its port.
///
/// # Errors
/// What the kernel says.
pub fn disconnect(container: BorrowedFd<'_>, interface: &str) -> Result<()> {
    namespace::on_thread_within(container, || Links::open()?.delete(interface))
}

/// Leads the default routes of a container that runs elsewhere; nowhere when `gateways` is empty.
///
/// # Errors
/// What the kernel says.
pub fn route_running(container: BorrowedFd<'_>, interface: &str, gateways: &[IpAddr]) -> Result<()> {
    namespace::on_thread_within(container, || {
        let links = Links::open()?;
        links.drop_default_routes()?;
        if gateways.is_empty() { Ok(()) } else { links.configure(interface, &[], gateways) }
    })
}

fn make(host: &Links, container: BorrowedFd<'_>, interface: &Interface) -> Result<()> {
    let Interface { name, mac, mtu, .. } = interface;
    match &interface.carrier {
        Carrier::Bridge { index, port, isolated, hairpin } => host.make_pair(&Pair {
            outside: port,
            inside: name,
            namespace: container,
            bridge: *index,
            mac: *mac,
            mtu: *mtu,
            isolated: *isolated,
            hairpin: *hairpin,
        }),
        Carrier::Parent { index, mode } => host.make_sub(&Sub {
            inside: name,
            namespace: container,
            parent: *index,
            mode: *mode,
            // An ipvlan has its parent's.
            mac: matches!(mode, SubMode::Macvlan(_)).then_some(*mac),
            mtu: *mtu,
        }),
    }
}

/// Inside the container's namespace.
fn configure(interfaces: &[Interface], takes_routes: bool) -> Result<()> {
    let links = Links::open()?;
    for interface in interfaces {
        let has_v6 = interface.addresses.iter().any(|(address, _)| address.is_ipv6());
        link::harden(&interface.name, has_v6)?;
        link::set_sysctls(&interface.name, &interface.sysctls)?;
        if takes_routes && !interface.gateways.is_empty() {
            links.drop_default_routes()?;
        }
        links.configure(&interface.name, &interface.addresses, &interface.gateways)?;
    }
    Ok(())
}
