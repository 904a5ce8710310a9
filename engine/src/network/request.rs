//! What a container asks of its networks, checked when it is made: in Docker's words.

use crate::Engine;
use dhow_model::container::{HostConfig, NetworkMode};
use dhow_model::network::{DEFAULT_NETWORK, EndpointConfig, Network};
use dhow_model::{Error, ErrorKind, Result};
use dhow_store::db::Txn;

/// What the settings say where the container says nothing; and the default bridge, if it is to be on that.
///
/// # Errors
/// `Unavailable` when the default bridge has no subnet yet, and none is free.
pub(crate) fn settle(engine: &Engine, host: &mut HostConfig) -> Result<()> {
    let settings = &engine.settings().network;
    if matches!(host.network, NetworkMode::Network(_) | NetworkMode::None) {
        for (own, default) in [
            (&mut host.dns, &settings.dns),
            (&mut host.dns_search, &settings.dns_search),
            (&mut host.dns_options, &settings.dns_options),
        ] {
            if own.is_empty() {
                own.clone_from(default);
            }
        }
    }
    let is_default = |name: &str| name == DEFAULT_NETWORK;
    if let NetworkMode::Network(main) = &host.network
        && settings.bridge.as_deref() == Some("none")
        && is_default(main)
    {
        // As Docker does with "bridge": "none".
        host.network = NetworkMode::None;
        host.endpoints.clear();
    }
    if host.endpoints.iter().any(|endpoint| is_default(&endpoint.network)) {
        super::default::ensure(engine)?;
    }
    Ok(())
}

/// Makes the names of a configuration's networks theirs, and checks what is asked of each.
///
/// # Errors
/// `NotFound` for a network that does not exist; `InvalidArgument` for what it cannot give.
pub(crate) fn check(txn: &Txn<'_>, host: &mut HostConfig) -> Result<()> {
    let mode = host.network.clone();
    let NetworkMode::Network(main) = &mode else {
        if host.endpoints.iter().any(|e| !is_plain(e)) {
            return Err(Error::invalid(
                "conflicting options: cannot attach a container to a network or give it addresses with this network mode",
            ));
        }
        host.endpoints.clear();
        if mode == NetworkMode::None {
            // A place that can be left, for others.
            host.endpoints.push(EndpointConfig::plain("none"));
        }
        return Ok(());
    };
    if host.endpoints.is_empty() {
        host.endpoints.push(EndpointConfig::plain(main));
    }
    let mut seen = std::collections::BTreeSet::new();
    for endpoint in &mut host.endpoints {
        // Not as something that is not found: clients would take the image for it, and pull that.
        let network = txn
            .find_network(&endpoint.network)
            .map_err(|error| error.with_kind(ErrorKind::InvalidArgument))?;
        check_endpoint(&network, endpoint)?;
        if !seen.insert(network.id.clone()) {
            return Err(Error::invalid(format!("network {} is given twice", network.name)));
        }
        endpoint.network = network.name;
    }
    Ok(())
}

/// Whether nothing is asked for but to be there.
fn is_plain(endpoint: &EndpointConfig) -> bool {
    *endpoint == EndpointConfig::plain(&endpoint.network)
}

/// Checks what is asked of one network.
pub(crate) fn check_endpoint(network: &Network, endpoint: &EndpointConfig) -> Result<()> {
    let refuse = |why: String| {
        Err(Error::invalid(format!(
            "invalid config for network {}: invalid endpoint settings: {why}",
            network.name
        )))
    };
    if !network.config.driver.has_interfaces() {
        return Err(Error::invalid(format!(
            "conflicting options: container cannot be on network {} beside others",
            network.name
        )));
    }
    let addresses = endpoint.ipv4.is_some() || endpoint.ipv6.is_some();
    if network.name == DEFAULT_NETWORK {
        if !endpoint.aliases.is_empty() {
            return refuse("network-scoped aliases are only supported for user-defined networks".into());
        }
        if addresses {
            return refuse("user specified IP address is supported on user defined networks only".into());
        }
    }
    dhow_model::endpoint::check(endpoint)?;
    if let Some(odd) = endpoint.link_local.iter().find(|address| address.is_unspecified()) {
        return refuse(format!("invalid link-local IP address: {odd}"));
    }
    let asked = [endpoint.ipv4.map(std::net::IpAddr::V4), endpoint.ipv6.map(std::net::IpAddr::V6)];
    for address in asked.into_iter().flatten() {
        if !network.config.pools.iter().any(|pool| pool.subnet.contains(address)) {
            return refuse(format!("no configured subnet contains IP address {address}"));
        }
    }
    Ok(())
}
