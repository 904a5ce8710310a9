//! Published ports: taken on the host, recorded, redirected. In this order: a port that somebody else has is told
//! before anything is changed.

use super::carrier::{self, Firewall, Lock};
use dhow_model::network::{Endpoint, Network, PortBinding, Protocol, Published, option};
use dhow_model::{ContainerId, Error, ErrorKind, Layout, Result};
use dhow_net::forward::{Reserved, reserve};
use dhow_net::{conntrack, holder};
use dhow_store::db::{ContainerRecord, StateDb};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A port that is taken on the host, and where a forwarder sends what comes to it.
pub(crate) type Forwarded = (Reserved, SocketAddr);

/// Publishes what a container asks for, to its addresses on the network that its default route leads through.
///
/// # Errors
/// `Conflict` when a port is taken, with who has it.
pub(crate) fn publish(
    layout: &Layout,
    db: &mut StateDb,
    record: &ContainerRecord,
    taken: &[(Network, Endpoint)],
    firewall: &mut Firewall,
) -> Result<Vec<Forwarded>> {
    let wanted = wanted(record)?;
    // A container whose networks are all internal is reached from nowhere else.
    let Some((network, endpoint)) = taken.iter().find(|(_, e)| e.is_gateway).filter(|_| !wanted.is_empty())
    else {
        return Ok(Vec::new());
    };
    let default_ip = network
        .config
        .options
        .get(option::HOST_BINDING)
        .and_then(|text| text.parse::<IpAddr>().ok())
        .filter(|ip| !ip.is_unspecified());
    let mut published = Vec::new();
    let mut forwarded = Vec::new();
    for binding in &wanted {
        let host_ip = binding.host_ip.or(default_ip);
        let (host_port, reserved) = take(db, binding, host_ip)?;
        if let (Some(reserved), Some(target)) = (reserved, forward_target(endpoint)) {
            forwarded.push((reserved, SocketAddr::new(target, binding.port)));
        }
        for ip in host_addresses(host_ip) {
            published.push(Published {
                container: record.id.clone(),
                port: binding.port,
                protocol: binding.protocol,
                host_ip: ip,
                host_port,
                target: target(ip, Some(endpoint)),
            });
        }
    }
    let _lock = carrier::lock(layout, Lock::Shared)?;
    db.write(|txn| published.iter().try_for_each(|port| txn.insert_published(port)))?;
    let table = firewall.table(db)?;
    table.publish(&published)?;
    conntrack::forget_earlier(table, &published)?;
    Ok(forwarded)
}

/// Sends what is published to where the container's default route leads through now: it has joined or left a network.
///
/// # Errors
/// What the database or the kernel says.
pub(crate) fn redirect(
    layout: &Layout,
    db: &mut StateDb,
    id: &ContainerId,
    taken: &[(Network, Endpoint)],
) -> Result<()> {
    let before = db.read(|txn| txn.published_by(id))?;
    let gateway = taken.iter().find(|(_, endpoint)| endpoint.is_gateway).map(|(_, endpoint)| endpoint);
    let now: Vec<Published> = before
        .iter()
        .map(|port| Published { target: target(port.host_ip, gateway), ..port.clone() })
        .collect();
    if now == before {
        return Ok(());
    }
    let _lock = carrier::lock(layout, Lock::Shared)?;
    db.write(|txn| {
        txn.delete_published(id)?;
        now.iter().try_for_each(|port| txn.insert_published(port))
    })?;
    let mut firewall = Firewall::default();
    let table = firewall.table(db)?;
    table.withdraw(&before)?;
    table.publish(&now)?;
    conntrack::forget_redirected(table, &before)?;
    conntrack::forget_earlier(table, &now)
}

/// Where what comes to an address of the host is sent: to the container's address of the same family.
fn target(host_ip: IpAddr, endpoint: Option<&Endpoint>) -> Option<IpAddr> {
    match host_ip {
        IpAddr::V4(_) => endpoint?.ipv4.map(IpAddr::V4),
        IpAddr::V6(_) => endpoint?.ipv6.map(IpAddr::V6),
    }
}

/// What was asked for by port, and every other exposed port if all are to be published.
fn wanted(record: &ContainerRecord) -> Result<Vec<PortBinding>> {
    let host = &record.config.host;
    let mut wanted = host.ports.clone();
    if host.publish_all {
        let mut known: HashSet<_> = wanted.iter().map(|one| (one.port, one.protocol)).collect();
        for text in &record.config.exposed_ports {
            let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let port =
                number.parse().map_err(|_| Error::invalid(format!("invalid port specification: {text}")))?;
            let protocol = Protocol::parse(protocol)?;
            if known.insert((port, protocol)) {
                wanted.push(PortBinding { port, protocol, host_ip: None, host_ports: (0, 0) });
            }
        }
    }
    Ok(wanted)
}

fn host_addresses(host_ip: Option<IpAddr>) -> Vec<IpAddr> {
    match host_ip {
        Some(ip) => vec![ip],
        None if has_ipv6() => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        None => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    }
}

fn has_ipv6() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").is_ok_and(|text| text.trim() == "0")
}

/// The forwarder prefers IPv4, which every container has, or nearly.
pub(super) fn forward_target(endpoint: &Endpoint) -> Option<IpAddr> {
    endpoint.ipv4.map(IpAddr::V4).or(endpoint.ipv6.map(IpAddr::V6))
}

/// Takes the first free port that may be taken.
fn take(db: &mut StateDb, binding: &PortBinding, host_ip: Option<IpAddr>) -> Result<(u16, Option<Reserved>)> {
    let (first, last) = binding.host_ports;
    if binding.protocol == Protocol::Sctp {
        return Ok((free_by_record(db, binding)?, None));
    }
    // One socket for all addresses of both families.
    let both = host_ip.is_none() && has_ipv6();
    let ip = match host_ip {
        Some(ip) => ip,
        None if both => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let mut failed = None;
    for port in first..=last {
        match reserve(binding.protocol, SocketAddr::new(ip, port), both) {
            Ok(reserved) => return Ok((reserved.port, Some(reserved))),
            Err(error) if error.kind() == ErrorKind::Conflict => failed = Some(port),
            Err(error) => return Err(error),
        }
    }
    let port = failed.unwrap_or(last);
    let shown = SocketAddr::new(host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port);
    Err(explain(db, binding.protocol, shown))
}

/// A port that no container publishes. Sockets of SCTP need a module that few machines have: the record alone keeps
/// others away. What is chosen here and taken meanwhile is told when it is recorded.
fn free_by_record(db: &mut StateDb, binding: &PortBinding) -> Result<u16> {
    let (first, last) = match binding.host_ports {
        (0, _) => local_ports(),
        range => range,
    };
    let taken: std::collections::BTreeSet<u16> = db.read(|txn| {
        let ports = txn.published()?.into_iter().filter(|p| p.protocol == binding.protocol);
        Ok(ports.map(|p| p.host_port).collect())
    })?;
    // The only port of a request, too, is told with its holder when it is recorded.
    Ok((first..=last).find(|port| !taken.contains(port)).unwrap_or(first))
}

/// Where the kernel takes ports from that nobody asked for by number.
fn local_ports() -> (u16, u16) {
    const DEFAULT: (u16, u16) = (32768, 60999);
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => (first, last),
        _ => DEFAULT,
    }
}

/// Who has a port.
fn explain(db: &mut StateDb, protocol: Protocol, at: SocketAddr) -> Error {
    let holder = db.read(|txn| {
        let mut ports = txn.published()?.into_iter();
        match ports.find(|p| (p.protocol, p.host_port) == (protocol, at.port())) {
            Some(port) => Ok(txn.container(&port.container)?.map(|record| record.name)),
            None => Ok(None),
        }
    });
    if let Ok(Some(name)) = holder {
        return Error::conflict(format!(
            "Bind for {at} failed: port is already allocated (by container {name})"
        ));
    }
    let by = match holder::of_port(protocol, at.port()) {
        Some((pid, name)) => format!(" (by process {pid}, {name})"),
        None => String::new(),
    };
    Error::conflict(format!(
        "failed to bind host port {at}/{}: address already in use{by}",
        protocol.as_str()
    ))
}
