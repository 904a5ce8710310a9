//! Networks as `/networks` knows them: the bodies that make and change one, and what is told of one.

use super::{non_empty, sorted, unsorted, unsupported};
use crate::network::create::{NetworkSpec, PoolSpec};
use crate::network::list::Inspected;
use bollard_stubs::models as wire;
use dhow_model::network::{Driver, Network, NetworkConfig, Subnet};
use dhow_model::{Error, Result};
use std::collections::HashMap;
use std::net::IpAddr;

/// Validates a request for a network.
pub(in crate::api) fn parse(body: &wire::NetworkCreateRequest) -> Result<NetworkSpec> {
    if non_empty(&body.scope).is_some_and(|scope| scope != "local") || body.ingress == Some(true) {
        return unsupported("networks of a swarm (Scope, Ingress)");
    }
    if body.config_only == Some(true)
        || body.config_from.as_ref().is_some_and(|c| non_empty(&c.network).is_some())
    {
        return unsupported("network create --config-only and --config-from");
    }
    let ipam = body.ipam.clone().unwrap_or_default();
    if non_empty(&ipam.driver).is_some_and(|driver| driver != "default") {
        return unsupported(format!("the address manager {} (IPAM.Driver)", ipam.driver.unwrap_or_default()));
    }
    let pools = ipam.config.unwrap_or_default().iter().map(pool).collect::<Result<Vec<_>>>()?;
    Ok(NetworkSpec {
        name: body.name.clone(),
        driver: Driver::parse(non_empty(&body.driver).unwrap_or(""))?,
        pools,
        internal: body.internal.unwrap_or(false),
        attachable: body.attachable.unwrap_or(false),
        ipv4: body.enable_ipv4,
        ipv6: body.enable_ipv6.unwrap_or(false),
        options: sorted(&body.options),
        ipam_options: sorted(&ipam.options),
        labels: sorted(&body.labels),
    })
}

fn pool(config: &wire::IpamConfig) -> Result<PoolSpec> {
    let address = |text: &str| {
        text.parse::<IpAddr>()
            .map_err(|_| Error::invalid(format!("invalid network config: invalid address {text}")))
    };
    let mut auxiliary = std::collections::BTreeMap::new();
    for (name, text) in config.auxiliary_addresses.iter().flatten() {
        auxiliary.insert(name.clone(), address(text)?);
    }
    Ok(PoolSpec {
        subnet: non_empty(&config.subnet).map(|text| Subnet::parse(text, true)).transpose()?,
        range: non_empty(&config.ip_range).map(|text| Subnet::parse(text, true)).transpose()?,
        gateway: non_empty(&config.gateway).map(address).transpose()?,
        auxiliary,
    })
}

/// A row of `network ls`.
pub(in crate::api) fn summary(network: &Network) -> wire::NetworkInspect {
    let config = &network.config;
    wire::NetworkInspect {
        name: Some(network.name.clone()),
        id: Some(network.id.to_string()),
        created: Some(network.created.to_string()),
        scope: Some("local".to_owned()),
        driver: Some(config.driver.as_str().to_owned()),
        enable_ipv4: Some(config.ipv4),
        enable_ipv6: Some(config.ipv6),
        ipam: Some(ipam(config)),
        internal: Some(config.internal),
        attachable: Some(config.attachable),
        ingress: Some(false),
        config_from: Some(wire::ConfigReference { network: Some(String::new()) }),
        config_only: Some(false),
        options: Some(unsorted(&config.options)),
        labels: Some(unsorted(&config.labels)),
        containers: Some(HashMap::new()),
        ..wire::NetworkInspect::default()
    }
}

fn ipam(config: &NetworkConfig) -> wire::Ipam {
    let pools = config.pools.iter().map(|pool| wire::IpamConfig {
        subnet: Some(pool.subnet.to_string()),
        ip_range: pool.range.map(|range| range.to_string()),
        gateway: pool.gateway.map(|gateway| gateway.to_string()),
        auxiliary_addresses: (!pool.auxiliary.is_empty())
            .then(|| pool.auxiliary.iter().map(|(name, at)| (name.clone(), at.to_string())).collect()),
    });
    wire::Ipam {
        driver: Some("default".to_owned()),
        config: Some(pools.collect()),
        options: (!config.ipam_options.is_empty()).then(|| unsorted(&config.ipam_options)),
    }
}

/// Everything about one network.
pub(in crate::api) fn show(found: &Inspected) -> wire::NetworkInspect {
    let members = found.endpoints.iter().map(|(name, endpoint)| {
        let at = |address: Option<IpAddr>| {
            let pool = address.and_then(|address| Some((address, found.network.config.pool_with(address)?)));
            Some(
                pool.map_or_else(String::new, |(address, pool)| {
                    format!("{address}/{}", pool.subnet.prefix())
                }),
            )
        };
        let member = wire::EndpointResource {
            name: Some(name.clone()),
            endpoint_id: Some(endpoint.id.to_string()),
            mac_address: Some(endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default()),
            ipv4_address: at(endpoint.ipv4.map(IpAddr::V4)),
            ipv6_address: at(endpoint.ipv6.map(IpAddr::V6)),
        };
        (endpoint.container.to_string(), member)
    });
    wire::NetworkInspect { containers: Some(members.collect()), ..summary(&found.network) }
}
