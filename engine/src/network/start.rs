//! What a monitor does for its container's networks: before the program runs, and after its end.

use super::carrier::{self, Firewall, Held, Lock};
use super::companion::Companion;
use super::{lease, links, publish};
use crate::container::etc;
use crate::events;
use dhow_model::container::NetworkMode;
use dhow_model::endpoint;
use dhow_model::network::{Driver, Endpoint, EndpointConfig, Network, option};
use dhow_model::{ContainerId, Layout, Result};
use dhow_net::link::Links;
use dhow_net::wire::{Carrier, Interface};
use dhow_net::{conntrack, namespace, wire};
use dhow_store::db::{ContainerRecord, StateDb, Txn};
use std::net::IpAddr;
use std::os::fd::AsFd;

/// Connects the namespace of process `pid`, a container's first one, which waits for it. Does nothing for a container
/// without networks.
///
/// # Errors
/// What cannot be leased or made; leases are given back by whoever records the failed start.
pub(crate) fn connect(
    layout: &Layout,
    db: &mut StateDb,
    record: &ContainerRecord,
    pid: i32,
    firewall: &mut Firewall,
) -> Result<Option<Companion>> {
    if !record.config.host.is_connected() {
        return Ok(None);
    }
    let (taken, gateway, others) = db.write(|txn| {
        let gateway = super::host_gateway(txn, &record.config.host)?;
        let others = linked(txn, record)?;
        Ok((lease::take_all(txn, record)?, gateway, others))
    })?;
    etc::write_hosts(&layout.container_state(&record.id), &record.config, &taken, gateway, &others)?;
    links::note(layout, &others)?;
    if record.state.started_at.is_some() {
        links::tell(layout, db, &record.id)?;
    }
    if taken.is_empty() {
        return Ok(None);
    }
    let links = Links::open()?;
    let container = namespace::of_process(pid)?;
    let interfaces = taken
        .iter()
        .map(|(network, endpoint)| interface(layout, db, &links, record, firewall, network, endpoint))
        .collect::<Result<Vec<_>>>()?;
    wire::connect(&links, container.as_fd(), &interfaces)?;
    let forwarded = publish::publish(layout, db, record, &taken, firewall)?;
    Companion::open(layout, record, &taken, forwarded, container.as_fd())
}

/// A container that had no name server may need one since it joined a network, and its ports may be reached since then.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn rejoin(
    layout: &Layout,
    db: &mut StateDb,
    id: &ContainerId,
    mut companion: Option<Companion>,
    firewall: &mut Firewall,
) -> Result<Option<Companion>> {
    let (record, taken) = db.read(|txn| {
        let record = txn.container(id)?.ok_or_else(|| crate::container::no_such(id.as_str()))?;
        let mut taken = Vec::new();
        for endpoint in txn.endpoints_of(id)? {
            if let Some(network) = txn.network(&endpoint.network)? {
                taken.push((network, endpoint));
            }
        }
        Ok((record, taken))
    })?;
    if let Some(companion) = &mut companion {
        companion.redirect(&taken);
    }
    if !record.state.status.has_process() {
        return Ok(companion);
    }
    // It was on no network that leads outside when it began.
    let is_published = !db.read(|txn| txn.published_by(id))?.is_empty();
    // A port that somebody else has is one service less.
    let forwarded = if is_published {
        Vec::new()
    } else {
        publish::publish(layout, db, &record, &taken, firewall).unwrap_or_default()
    };
    if forwarded.is_empty() && !taken.iter().any(|(network, _)| network.resolves_names()) {
        return Ok(companion);
    }
    let namespace = namespace::of_process(record.state.pid)?;
    match companion {
        None => Companion::open(layout, &record, &taken, forwarded, namespace.as_fd()),
        Some(mut companion) => {
            companion.forward(forwarded)?;
            if taken.iter().any(|(network, _)| network.resolves_names()) {
                companion.answer(&record, namespace.as_fd())?;
            }
            Ok(Some(companion))
        }
    }
}

/// The containers that a container on the default bridge has links to: their addresses, and what they are called.
///
/// # Errors
/// What the database says.
pub(crate) fn linked(txn: &Txn<'_>, record: &ContainerRecord) -> Result<Vec<(IpAddr, String)>> {
    let mut found = Vec::new();
    for (other, alias, address) in targets(txn, record)? {
        let mut names = vec![alias];
        for name in [other.config.hostname.clone(), other.name.clone()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        found.push((address, names.join(" ")));
    }
    Ok(found)
}

/// Linked containers, what they are called, and their addresses.
///
/// # Errors
/// `NotFound` when one is gone, `Conflict` when one does not run.
pub(crate) fn targets(
    txn: &Txn<'_>,
    record: &ContainerRecord,
) -> Result<Vec<(ContainerRecord, String, IpAddr)>> {
    let links = &record.config.host.links;
    let bridge = txn.find_network(dhow_model::network::DEFAULT_NETWORK)?;
    let find = |(name, alias): &(String, String)| {
        let other = txn.find_container(name)?;
        let endpoints = txn.endpoints_of(&other.id)?;
        let address = endpoints.iter().find(|e| e.network == bridge.id).and_then(|e| e.ipv4);
        match address {
            Some(address) => Ok((other, alias.clone(), IpAddr::V4(address))),
            None => Err(dhow_model::Error::conflict(format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                other.name, record.name
            ))),
        }
    };
    links.iter().map(find).collect()
}

/// What a container is told of those that it is linked to, by its environment: Docker's oldest way of finding others.
///
/// # Errors
/// As [`targets`].
pub(crate) fn link_variables(txn: &Txn<'_>, record: &ContainerRecord) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for (other, alias, address) in targets(txn, record)? {
        let prefix = alias.replace('-', "_").to_uppercase();
        variables.push(format!("{prefix}_NAME=/{}/{alias}", record.name));
        let mut ports: Vec<(u16, &str)> = other
            .config
            .exposed_ports
            .iter()
            .filter_map(|text| text.split_once('/'))
            .filter_map(|(port, protocol)| Some((port.parse().ok()?, protocol)))
            .collect();
        // TCP goes first, as in Docker.
        ports.sort_by_key(|(port, protocol)| (*protocol != "tcp", *port));
        if let Some((port, protocol)) = ports.first() {
            variables.push(format!("{prefix}_PORT={protocol}://{address}:{port}"));
        }
        for (port, protocol) in ports {
            let one = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
            variables.push(format!("{one}={protocol}://{address}:{port}"));
            variables.push(format!("{one}_ADDR={address}"));
            variables.push(format!("{one}_PORT={port}"));
            variables.push(format!("{one}_PROTO={protocol}"));
        }
        let private = |name: &str| ["HOME", "PATH"].contains(&name);
        for entry in &other.config.env {
            if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !private(name)) {
                variables.push(format!("{prefix}_ENV_{name}={value}"));
            }
        }
    }
    Ok(variables)
}

/// An endpoint as the kernel is told of it. Makes the network's bridge if it is not there.
pub(crate) fn interface(
    layout: &Layout,
    db: &mut StateDb,
    links: &Links,
    record: &ContainerRecord,
    firewall: &mut Firewall,
    network: &Network,
    endpoint: &Endpoint,
) -> Result<Interface> {
    let config = &network.config;
    let host = &record.config.host;
    let wanted = super::wanted(host, network);
    let carrier = if config.driver == Driver::Bridge {
        Carrier::Bridge {
            index: carrier::ensure_bridge(layout, db, links, firewall, network)?,
            port: endpoint.host_interface.clone(),
            isolated: !config.flag(option::ICC, true)?,
            hairpin: host.publish_all || !host.ports.is_empty(),
        }
    } else {
        let (index, mode) = carrier::parent(links, network)?;
        Carrier::Parent { index, mode }
    };
    let own = [endpoint.ipv4.map(IpAddr::V4), endpoint.ipv6.map(IpAddr::V6)];
    let with_prefix = |address: IpAddr| config.pool_with(address).map(|pool| (address, pool.subnet.prefix()));
    let mut addresses: Vec<(IpAddr, u8)> = own.into_iter().flatten().filter_map(with_prefix).collect();
    addresses.extend(wanted.link_local.iter().map(|address| (*address, link_local_prefix(*address))));
    Ok(Interface {
        name: endpoint.interface.clone(),
        carrier,
        mac: endpoint.mac.unwrap_or(dhow_model::network::Mac([2, 0x42, 0, 0, 0, 2])),
        mtu: config.mtu()?,
        addresses,
        sysctls: endpoint::sysctls(&wanted)?,
        gateways: if endpoint.is_gateway { gateways(network, endpoint) } else { Vec::new() },
    })
}

/// As wide as the ranges of such addresses are (RFC 3927, RFC 4291).
fn link_local_prefix(address: IpAddr) -> u8 {
    if address.is_ipv6() { 64 } else { 16 }
}

/// Where an endpoint's default routes lead: to the gateway of each subnet that it has an address of.
pub(crate) fn gateways(network: &Network, endpoint: &Endpoint) -> Vec<IpAddr> {
    let own = [endpoint.ipv4.map(IpAddr::V4), endpoint.ipv6.map(IpAddr::V6)];
    own.into_iter().flatten().filter_map(|address| network.config.pool_with(address)?.gateway).collect()
}

/// Takes away what the kernel still has of a container whose processes are gone: redirected ports. Its interfaces go
/// with its namespace. To be called before its rows go; what it returns is to be kept until they are gone.
pub(crate) fn disconnect(
    layout: &Layout,
    db: &mut StateDb,
    id: &ContainerId,
    firewall: &mut Firewall,
) -> Result<Option<Held>> {
    let published = db.read(|txn| txn.published_by(id))?;
    if published.iter().all(|port| port.target.is_none()) {
        return Ok(None);
    }
    let lock = carrier::lock(layout, Lock::Shared)?;
    let table = firewall.table(db)?;
    table.withdraw(&published)?;
    conntrack::forget_redirected(table, &published)?;
    Ok(Some(lock))
}

/// Tells of networks that are places alone, without an interface: `host` and `none`. Nothing is leased on them, so a start
/// and an end tell of them in the transactions that record these.
///
/// # Errors
/// What the database says.
pub(crate) fn tell_places(action: &str, txn: &Txn<'_>, record: &ContainerRecord) -> Result<()> {
    let host = &record.config.host;
    let is_none = |endpoint: &EndpointConfig| endpoint.network == "none";
    let place = match host.network {
        NetworkMode::Host => "host",
        NetworkMode::None | NetworkMode::Network(_) if host.endpoints.iter().any(is_none) => "none",
        _ => return Ok(()),
    };
    let network = txn.find_network(place)?;
    txn.append_event(&events::network_member(action, &network, &record.id), events::now())?;
    Ok(())
}

/// Forgets what the container of a run that has ended held, and tells of the networks that it leaves.
///
/// # Errors
/// What the database says.
pub(crate) fn leave(txn: &Txn<'_>, record: &ContainerRecord) -> Result<()> {
    tell_places("disconnect", txn, record)?;
    release(txn, &record.id)
}

/// Forgets what a container held, in the transaction that records its end.
///
/// # Errors
/// What the database says.
pub(crate) fn release(txn: &Txn<'_>, id: &ContainerId) -> Result<()> {
    lease::give_back(txn, id)
}
