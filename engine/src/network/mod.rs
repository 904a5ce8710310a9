//! Networks: made, listed, joined, left, removed.
//!
//! | file | |
//! |---|---|
//! | `create.rs`, `list.rs`, `remove.rs`, `join.rs` | the verbs |
//! | `check.rs` | whether the kernel still has it all |
//! | `default.rs` | what the default bridge is, from the settings |
//! | `request.rs` | what a container asks for, checked when it is made |
//! | `lease.rs` | addresses and ports in the database, before a start and after an end |
//! | `links.rs` | containers with links to one that was started again learn its address |
//! | `publish.rs` | ports: taken on the host, recorded, redirected |
//! | `companion.rs` | forwarder and name server, in the monitor |
//! | `carrier.rs` | the bridge and the firewall's table, made when somebody needs them |
//! | `forwarding.rs` | the machine passes packets on, and not between its other networks |
//! | `watch.rs` | a server mends what others took from the firewall |
//! | `start.rs` | what a monitor does before the program runs and after its end |
//!
//! The record comes first: an address is leased before an interface has it, and given back after the run has ended, so
//! that a crash leaves leases without interfaces, which recovery gives back, and never the other way round. Bridges and
//! the table are made by whoever finds them missing, under one lock for the engine.

pub(crate) mod carrier;
pub(crate) mod check;
pub(crate) mod companion;
pub mod create;
pub(crate) mod default;
mod forwarding;
pub mod join;
mod lease;
mod links;
pub mod list;
mod publish;
pub mod remove;
pub(crate) mod request;
pub(crate) mod start;
pub(crate) mod watch;

use dhow_model::container::{HOST_GATEWAY, HostConfig, NetworkMode};
use dhow_model::network::{DEFAULT_NETWORK, Endpoint, EndpointConfig, Network};
use dhow_model::{ContainerId, Result};
use dhow_store::db::Txn;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The networks that a container is to be on, in the order of its interfaces.
///
/// # Errors
/// `NotFound` in Docker's words when one is gone.
pub(crate) fn of_config(txn: &Txn<'_>, host: &HostConfig) -> Result<Vec<Network>> {
    host.endpoints.iter().map(|endpoint| txn.find_network(&endpoint.network)).collect()
}

/// What a container asks of a network that it is on.
pub(crate) fn wanted(host: &HostConfig, network: &Network) -> EndpointConfig {
    let asked = |e: &&EndpointConfig| e.network == network.name || e.network == network.id.as_str();
    host.endpoints.iter().find(asked).cloned().unwrap_or_default()
}

/// A container's place on one network: what it asked for, and what it has while it runs.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The network's name.
    pub name: String,
    /// The container's name.
    pub container: String,
    /// What it asked for.
    pub wanted: EndpointConfig,
    /// The network; `None` when it is gone.
    pub network: Option<Arc<Network>>,
    /// What it has.
    pub endpoint: Option<Endpoint>,
}

impl Joined {
    /// All places of a container, in the order of its configuration.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn of(txn: &Txn<'_>, id: &ContainerId, name: &str, host: &HostConfig) -> Result<Vec<Self>> {
        let places = Places {
            networks: named(txn)?,
            endpoints: BTreeMap::from([(id.clone(), txn.endpoints_of(id)?)]),
        };
        Ok(places.of(id, name, &host.network, &host.endpoints))
    }
}

fn named(txn: &Txn<'_>) -> Result<BTreeMap<String, Arc<Network>>> {
    Ok(txn.networks()?.into_iter().map(|network| (network.name.clone(), Arc::new(network))).collect())
}

/// The places of many containers, read at once.
pub(crate) struct Places {
    networks: BTreeMap<String, Arc<Network>>,
    endpoints: BTreeMap<ContainerId, Vec<Endpoint>>,
}

impl Places {
    pub(crate) fn read(txn: &Txn<'_>) -> Result<Self> {
        let mut endpoints: BTreeMap<ContainerId, Vec<Endpoint>> = BTreeMap::new();
        for endpoint in txn.endpoints()? {
            endpoints.entry(endpoint.container.clone()).or_default().push(endpoint);
        }
        Ok(Self { networks: named(txn)?, endpoints })
    }

    pub(crate) fn of(
        &self,
        id: &ContainerId,
        name: &str,
        mode: &NetworkMode,
        wanted: &[EndpointConfig],
    ) -> Vec<Joined> {
        let wanted = match mode {
            NetworkMode::Network(_) | NetworkMode::None => wanted.to_vec(),
            // Who joined another container has no network of its own.
            NetworkMode::Container(_) => Vec::new(),
            NetworkMode::Host => vec![EndpointConfig::plain("host")],
        };
        let endpoints = self.endpoints.get(id).map(Vec::as_slice).unwrap_or_default();
        let place = |wanted: EndpointConfig| {
            let network = self.networks.get(&wanted.network).cloned();
            let mine = |e: &&Endpoint| network.as_ref().is_some_and(|n| n.id == e.network);
            let endpoint = endpoints.iter().find(mine).cloned();
            Joined { name: wanted.network.clone(), container: name.to_owned(), wanted, network, endpoint }
        };
        wanted.into_iter().map(place).collect()
    }
}

/// What `host-gateway` stands for: the host's address on the network that the default route leads through, or on the
/// default bridge.
pub(crate) fn host_gateway(txn: &Txn<'_>, host: &HostConfig) -> Result<Option<IpAddr>> {
    if !host.extra_hosts.iter().any(|entry| entry.ends_with(HOST_GATEWAY)) {
        return Ok(None);
    }
    let mut networks = of_config(txn, host)?;
    networks.push(txn.find_network(DEFAULT_NETWORK)?);
    let first =
        |n: &Network| n.config.pools.iter().find_map(|pool| pool.gateway).filter(|_| !n.config.internal);
    Ok(networks.iter().find_map(first))
}
