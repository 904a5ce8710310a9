//! `network connect` and `network disconnect`, of containers that run and of those that do not.

use super::carrier::Firewall;
use super::{lease, request, start};
use crate::container::{etc, find_settled, no_such};
use crate::{Engine, events};
use dhow_model::container::{HostConfig, NetworkMode};
use dhow_model::network::{Driver, Endpoint, EndpointConfig, Network};
use dhow_model::state::Status;
use dhow_model::{ContainerId, Error, ErrorKind, Result};
use dhow_net::link::Links;
use dhow_net::{namespace, wire};
use dhow_store::db::{ContainerRecord, Txn};
use dhow_store::lock;
use std::os::fd::AsFd;

/// Puts a container on a further network.
///
/// # Errors
/// `NotFound`; `Forbidden` when it is on it already, or has no network of its own; what cannot be leased or made.
pub fn connect(engine: &Engine, who: &str, container: &str, wanted: EndpointConfig) -> Result<()> {
    let id = find_settled(engine, container)?.id;
    let _lock = lock::lock_container(engine.layout(), &id)?;
    if engine.db()?.read(|txn| txn.find_network(who))?.name == dhow_model::network::DEFAULT_NETWORK {
        super::default::ensure(engine)?;
    }
    let (record, network, endpoint) = engine.db()?.write(|txn| record_connect(txn, who, &id, wanted))?;
    let Some(endpoint) = endpoint else { return Ok(()) };
    let made = plug(engine, &record, &network, &endpoint);
    if let Err(error) = made {
        // The first error is the one to show.
        let _ = engine.db()?.write(|txn| record_disconnect(txn, &network, &id));
        return Err(error);
    }
    tell(engine, &id)
}

/// What the database has to know first. Also returns the endpoint of a container that runs.
fn record_connect(
    txn: &Txn<'_>,
    who: &str,
    id: &ContainerId,
    mut wanted: EndpointConfig,
) -> Result<(ContainerRecord, Network, Option<Endpoint>)> {
    let network = txn.find_network(who)?;
    let mut record = txn.container(id)?.ok_or_else(|| no_such(id.as_str()))?;
    let forbidden = |why: String| Err(Error::new(ErrorKind::Forbidden, why));
    if matches!(record.state.status, Status::Removing | Status::Dead) {
        return forbidden(format!(
            "container {id} is marked for removal and cannot be connected or disconnected to the network"
        ));
    }
    wanted.network.clone_from(&network.name);
    check_places(&record.config.host, &network)?;
    let has_interface = network.config.driver.has_interfaces();
    if has_interface {
        request::check_endpoint(&network, &wanted)?;
    }
    let host = &mut record.config.host;
    if host.endpoints.iter().any(|e| e.network == network.name) {
        return forbidden(format!(
            "endpoint with name {} already exists in network {}",
            record.name, network.name
        ));
    }
    host.endpoints.push(wanted.clone());
    txn.update_config(id, &record.config)?;
    if !record.state.status.has_process() {
        return Ok((record, network, None));
    }
    if !has_interface {
        txn.append_event(&events::network_member("connect", &network, id), events::now())?;
        return Ok((record, network, None));
    }
    let mut taken = held(txn, id)?;
    let interface = lease::interface_name(&network, &wanted, &record.config.host.endpoints, &taken)?;
    let endpoint = lease::take(txn, &record, &network, &wanted, interface)?;
    taken.push((network.clone(), endpoint));
    lease::choose_gateway(&mut taken, &record.config.host.endpoints);
    // The newest endpoint is the last one; the others may have lost the default route to it.
    txn.delete_endpoints(id, None)?;
    for (_, endpoint) in &taken {
        txn.insert_endpoint(endpoint)?;
    }
    txn.append_event(&events::network_member("connect", &network, id), events::now())?;
    Ok((record, network, taken.pop().map(|(_, endpoint)| endpoint)))
}

/// Whether a container that is where it is may join a network: in Docker's words.
fn check_places(host: &HostConfig, network: &Network) -> Result<()> {
    const SHARING: &str = "container sharing network namespace with another container or host cannot be \
                           connected to any other network";
    let to_host = network.config.driver == Driver::Host;
    match &host.network {
        NetworkMode::Container(_) => return Err(Error::invalid(SHARING)),
        NetworkMode::Host if !to_host => return Err(Error::invalid(SHARING)),
        NetworkMode::None | NetworkMode::Network(_) if to_host => {
            return Err(Error::invalid(
                "cannot connect container to host network - container must be created in host network mode",
            ));
        }
        _ => {}
    }
    let alone = |name: &str| name == "none";
    let others = || host.endpoints.iter().filter(|e| e.network != network.name);
    if others().any(|e| alone(&e.network) || alone(&network.name)) {
        return Err(Error::invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ));
    }
    Ok(())
}

pub(super) fn held(txn: &Txn<'_>, id: &ContainerId) -> Result<Vec<(Network, Endpoint)>> {
    let mut held = Vec::new();
    for endpoint in txn.endpoints_of(id)? {
        if let Some(network) = txn.network(&endpoint.network)? {
            held.push((network, endpoint));
        }
    }
    Ok(held)
}

fn plug(engine: &Engine, record: &ContainerRecord, network: &Network, endpoint: &Endpoint) -> Result<()> {
    let links = Links::open()?;
    let mut firewall = Firewall::default();
    let mut db = engine.db()?;
    let interface =
        start::interface(engine.layout(), &mut db, &links, record, &mut firewall, network, endpoint)?;
    drop(db);
    let container = namespace::of_process(record.state.pid)?;
    wire::connect_running(&links, container.as_fd(), &interface)
}

/// The container's files, and its monitor, hear of the change.
fn tell(engine: &Engine, id: &ContainerId) -> Result<()> {
    let (record, taken, gateway, resolves, others) = engine.db()?.read(|txn| {
        let record = txn.container(id)?.ok_or_else(|| no_such(id.as_str()))?;
        let taken = held(txn, id)?;
        let resolves = taken.iter().any(|(network, _)| network.resolves_names());
        let gateway = super::host_gateway(txn, &record.config.host)?;
        let others = start::linked(txn, &record)?;
        Ok((record, taken, gateway, resolves, others))
    })?;
    super::publish::redirect(engine.layout(), &mut *engine.db()?, id, &taken)?;
    let directory = engine.layout().container_state(id);
    etc::write(&directory, &record.config, resolves, gateway)?;
    etc::write_hosts(&directory, &record.config, &taken, gateway, &others)?;
    crate::container::stop::wake_monitor(engine, id);
    Ok(())
}

/// Takes a container from a network. `force` is for one whose run nobody answers for.
///
/// # Errors
/// `NotFound`; `Forbidden` when it is not on it.
pub fn disconnect(engine: &Engine, who: &str, container: &str, force: bool) -> Result<()> {
    let id = match find_settled(engine, container) {
        Ok(record) => record.id,
        Err(error) if force && error.kind() == ErrorKind::NotFound => return Err(error),
        Err(error) => return Err(error),
    };
    let _lock = lock::lock_container(engine.layout(), &id)?;
    let (record, endpoint, next) = engine.db()?.write(|txn| {
        let mut record = txn.container(&id)?.ok_or_else(|| no_such(container))?;
        let network = match txn.find_network(who) {
            // It was removed while the container stood still, which still wants it.
            Err(error) if error.kind() == ErrorKind::NotFound && forget(txn, &mut record, who)? => {
                return Ok((record, None, None));
            }
            found => found?,
        };
        if network.config.driver == Driver::Host && record.config.host.network == NetworkMode::Host {
            return Err(Error::invalid(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        if !record.config.host.endpoints.iter().any(|e| e.network == network.name) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("container {id} is not connected to network {}", network.name),
            ));
        }
        let endpoint = txn.endpoints_of(&id)?.into_iter().find(|e| e.network == network.id);
        record_disconnect(txn, &network, &id)?;
        let mut left = held(txn, &id)?;
        lease::choose_gateway(&mut left, &record.config.host.endpoints);
        let next = left.into_iter().find(|(_, e)| e.is_gateway);
        Ok((record, endpoint, next))
    })?;
    let Some(endpoint) = endpoint.filter(|_| record.state.status.has_process()) else { return Ok(()) };
    let namespace = namespace::of_process(record.state.pid)?;
    wire::disconnect(namespace.as_fd(), &endpoint.interface)?;
    if let Some((network, other)) = next.filter(|_| endpoint.is_gateway) {
        wire::route_running(namespace.as_fd(), &other.interface, &start::gateways(&network, &other))?;
        engine.db()?.write(|txn| {
            let changed = Endpoint { is_gateway: true, ..other };
            txn.delete_endpoints(&id, Some(&changed.network))?;
            txn.insert_endpoint(&changed)
        })?;
    }
    tell(engine, &id)
}

/// Takes a name of a network from what a container wants; whether it was there.
fn forget(txn: &Txn<'_>, record: &mut ContainerRecord, name: &str) -> Result<bool> {
    let before = record.config.host.endpoints.len();
    record.config.host.endpoints.retain(|e| e.network != name);
    let was_there = record.config.host.endpoints.len() < before;
    if was_there {
        txn.update_config(&record.id, &record.config)?;
    }
    Ok(was_there)
}

fn record_disconnect(txn: &Txn<'_>, network: &Network, id: &ContainerId) -> Result<()> {
    let Some(mut record) = txn.container(id)? else { return Ok(()) };
    record.config.host.endpoints.retain(|e| e.network != network.name);
    txn.update_config(id, &record.config)?;
    let had_interface = txn.delete_endpoints(id, Some(&network.id))? > 0;
    if had_interface || (!network.config.driver.has_interfaces() && record.state.status.has_process()) {
        txn.append_event(&events::network_member("disconnect", network, id), events::now())?;
    }
    Ok(())
}
