//! Addresses: leased in the transaction that records them, given back in the one that records the end.

use crate::{events, random};
use dhow_model::container::ContainerConfig;
use dhow_model::endpoint;
use dhow_model::network::{Endpoint, EndpointConfig, Mac, Network};
use dhow_model::{ContainerId, Error, Result};
use dhow_net::ipam;
use dhow_store::db::{ContainerRecord, Txn};
use std::net::IpAddr;

/// Leases an address of each family that the network has, as the container wants them, and records the endpoint.
pub(crate) fn take(
    txn: &Txn<'_>,
    record: &ContainerRecord,
    network: &Network,
    wanted: &EndpointConfig,
    interface: String,
) -> Result<Endpoint> {
    let address = |v6: bool, asked: Option<IpAddr>| -> Result<Option<IpAddr>> {
        if let Some(asked) = asked {
            let pool = network.config.pool_with(asked).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid endpoint settings: no configured subnet contains IP address {asked}"
                ))
            })?;
            return ipam::claim(pool, &txn.leased(&network.id, v6)?, asked).map(Some);
        }
        let pools: Vec<_> = network.config.pools_of(v6).collect();
        if pools.is_empty() {
            return Ok(None);
        }
        let taken = txn.leased(&network.id, v6)?;
        ipam::first_free(&pools, &taken, txn.last_leased(&network.id, v6)?).map(Some)
    };
    let (mut ipv4, mut ipv6) = (None, None);
    for (v6, asked) in [(false, wanted.ipv4.map(IpAddr::V4)), (true, wanted.ipv6.map(IpAddr::V6))] {
        if v6 && endpoint::is_without_ipv6(wanted) {
            continue;
        }
        match address(v6, asked)? {
            Some(IpAddr::V4(found)) => ipv4 = Some(found),
            Some(IpAddr::V6(found)) => ipv6 = Some(found),
            None => {}
        }
    }
    let id = random::id()?;
    let mac = wanted.mac.or_else(|| ipv4.map(Mac::of_v4)).or_else(|| ipv6.map(Mac::of_v6));
    let is_bridge = network.config.driver == dhow_model::network::Driver::Bridge;
    let endpoint = Endpoint {
        container: record.id.clone(),
        network: network.id.clone(),
        ipv4,
        ipv6,
        mac,
        interface,
        host_interface: if is_bridge { format!("veth{}", &id.as_str()[..7]) } else { String::new() },
        names: Endpoint::names_of(&record.id, &names(&record.config, wanted)),
        links: wanted.links.clone(),
        is_gateway: false,
        id,
    };
    Ok(endpoint)
}

/// The host name counts as an alias, as in Docker.
fn names(config: &ContainerConfig, wanted: &EndpointConfig) -> Vec<String> {
    let mut names = wanted.aliases.clone();
    if !config.hostname.is_empty() {
        names.push(config.hostname.clone());
    }
    names
}

/// Leases everything that a container is to have, and tells of it.
pub(crate) fn take_all(txn: &Txn<'_>, record: &ContainerRecord) -> Result<Vec<(Network, Endpoint)>> {
    let host = &record.config.host;
    let networks = super::of_config(txn, host)?;
    // Left over from a run whose end nobody recorded.
    txn.delete_endpoints(&record.id, None)?;
    txn.delete_published(&record.id)?;
    let mut taken: Vec<(Network, Endpoint)> = Vec::with_capacity(networks.len());
    for (network, wanted) in networks.into_iter().zip(&host.endpoints) {
        if !network.config.driver.has_interfaces() {
            continue;
        }
        let interface = interface_name(&network, wanted, &host.endpoints, &taken)?;
        let endpoint = take(txn, record, &network, wanted, interface)?;
        taken.push((network, endpoint));
    }
    choose_gateway(&mut taken, &host.endpoints);
    for (network, endpoint) in &taken {
        txn.insert_endpoint(endpoint)?;
        txn.append_event(&events::network_member("connect", network, &record.id), events::now())?;
    }
    Ok(taken)
}

/// What an interface is called: as the user says, or by the first number that neither an interface has nor a user's name
/// claims.
///
/// # Errors
/// `Conflict` when another interface has the name.
pub(crate) fn interface_name(
    network: &Network,
    wanted: &EndpointConfig,
    all: &[EndpointConfig],
    taken: &[(Network, Endpoint)],
) -> Result<String> {
    let is_taken = |name: &str| taken.iter().any(|(_, e)| e.interface == name);
    if let Some(name) = endpoint::interface_name(wanted) {
        if is_taken(name) {
            return Err(Error::conflict(format!(
                "network {}: the container has an interface {name} already",
                network.name
            )));
        }
        return Ok(name.to_owned());
    }
    let is_claimed = |name: &str| all.iter().any(|e| endpoint::interface_name(e) == Some(name));
    let prefix = network.config.container_prefix();
    let mut names = (0..).map(|number: u32| format!("{prefix}{number}"));
    names.find(|name| !is_taken(name) && !is_claimed(name)).ok_or_else(|| Error::internal("no name is left"))
}

/// The default route leads through the network of the highest priority, and by name among equals: never through one
/// that leads nowhere.
pub(crate) fn choose_gateway(taken: &mut [(Network, Endpoint)], wanted: &[EndpointConfig]) {
    let priority = |network: &Network| {
        let of = |e: &&EndpointConfig| e.network == network.name || e.network == network.id.as_str();
        wanted.iter().find(of).map_or(0, |e| e.gateway_priority)
    };
    let candidates = taken.iter().enumerate().filter(|(_, (network, endpoint))| {
        !network.config.internal && (endpoint.ipv4.is_some() || endpoint.ipv6.is_some())
    });
    let best = candidates
        .min_by_key(|(_, (network, _))| (std::cmp::Reverse(priority(network)), network.name.clone()))
        .map(|(at, _)| at);
    for (at, (_, endpoint)) in taken.iter_mut().enumerate() {
        endpoint.is_gateway = Some(at) == best;
    }
}

/// Gives back all that a container holds, and tells of it. Returns what it held.
pub(crate) fn give_back(txn: &Txn<'_>, id: &ContainerId) -> Result<()> {
    for endpoint in txn.endpoints_of(id)? {
        if let Some(network) = txn.network(&endpoint.network)? {
            txn.append_event(&events::network_member("disconnect", &network, id), events::now())?;
        }
    }
    txn.delete_endpoints(id, None)?;
    txn.delete_published(id)?;
    Ok(())
}
