//! The default bridge: which interface and which subnet it has. Chosen once, from the settings and from what the
//! machine's routes leave free, and kept with the network.

use crate::Engine;
use crate::settings::NetworkSettings;
use dhow_model::network::{DEFAULT_NETWORK, Mac, Network, NetworkConfig, Pool, Subnet, option};
use dhow_model::{Error, Result};
use dhow_net::{ipam, link};
use dhow_store::db::Txn;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The bridge of the engine that has its state in the usual place, when the settings name none. Any other engine on
/// the machine has one of its own: `dhow-` and the beginning of its id.
const BRIDGE: &str = "dhow0";

/// The usual place.
const ROOT: &str = "/var/lib/dhow";

/// Where other engines take their subnets from, each from a place of its own in it: so that two of them do not choose
/// the same one at the same moment.
const OTHERS: (&str, u8) = ("10.128.0.0/9", 24);
/// How many subnets that is.
const OTHERS_COUNT: usize = 1 << (24 - 9);

/// The interface of the default bridge; empty: there is none.
fn bridge_name(engine: &Engine, txn: &Txn<'_>) -> Result<String> {
    Ok(match engine.settings().network.bridge.as_deref() {
        Some("none") => String::new(),
        Some(name) if !name.is_empty() => name.to_owned(),
        _ if is_usual(engine) => BRIDGE.to_owned(),
        _ => format!("dhow-{}", txn.engine_id()?.get(..8).unwrap_or("other")),
    })
}

fn is_usual(engine: &Engine) -> bool {
    engine.layout().root() == std::path::Path::new(ROOT)
}

/// Where subnets are taken from when the settings say nothing: Docker's.
const POOLS: [(&str, u8); 7] = [
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
];

/// Makes what the database knows of the default bridge whole, if it is not yet, or the settings changed.
///
/// # Errors
/// `Unavailable` when no subnet is free.
pub(crate) fn ensure(engine: &Engine) -> Result<Network> {
    let settings = &engine.settings().network;
    let (found, bridge) =
        engine.db()?.read(|txn| Ok((txn.find_network(DEFAULT_NETWORK)?, bridge_name(engine, txn)?)))?;
    if is_whole(&found.config, settings, &bridge) {
        return Ok(found);
    }
    // Outside the transaction: it asks the kernel.
    let routed = link::Links::open()?.routed_subnets(None)?;
    engine.db()?.write(|txn| {
        let mut network = txn.find_network(DEFAULT_NETWORK)?;
        if !is_whole(&network.config, settings, &bridge) {
            complete(engine, txn, &mut network, &bridge, routed)?;
            txn.update_network(&network.id, &network.config)?;
        }
        Ok(network)
    })
}

fn is_whole(config: &NetworkConfig, settings: &NetworkSettings, bridge: &str) -> bool {
    let gateway = config.pools.first().and_then(|pool| pool.gateway);
    config.interface == bridge
        && gateway.is_some()
        && settings.bip.is_none_or(|(address, _)| gateway == Some(address))
        && config.options == options(settings, bridge)
}

fn options(settings: &NetworkSettings, bridge: &str) -> BTreeMap<String, String> {
    let yes_or_no = |value: bool| if value { "true" } else { "false" }.to_owned();
    let mut options = BTreeMap::from([
        (option::DEFAULT_BRIDGE.to_owned(), "true".to_owned()),
        (option::ICC.to_owned(), yes_or_no(settings.icc.unwrap_or(true))),
        (option::MASQUERADE.to_owned(), yes_or_no(settings.masquerade.unwrap_or(true))),
        (option::BRIDGE_NAME.to_owned(), bridge.to_owned()),
        (option::MTU.to_owned(), settings.mtu.unwrap_or(1500).to_string()),
    ]);
    let binding = settings.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
    options.insert(option::HOST_BINDING.to_owned(), binding);
    options
}

fn complete(
    engine: &Engine,
    txn: &Txn<'_>,
    network: &mut Network,
    bridge: &str,
    routed: Vec<Subnet>,
) -> Result<()> {
    let settings = &engine.settings().network;
    let (subnet, gateway) = match settings.bip {
        Some((address, prefix)) => {
            let subnet = Subnet::of(address, prefix).ok_or_else(|| Error::invalid("bip: no such subnet"))?;
            (subnet, Some(address))
        }
        None => {
            let subnet = free_subnet(engine, txn, routed, false)?;
            (subnet, ipam::default_gateway(subnet, &BTreeSet::new()))
        }
    };
    network.config.pools = vec![Pool { subnet, range: None, gateway, auxiliary: BTreeMap::new() }];
    network.config.interface = bridge.to_owned();
    network.config.options = options(settings, bridge);
    Ok(())
}

/// A subnet for a network that asks for none.
///
/// # Errors
/// `Unavailable` in Docker's words when all are used.
pub(crate) fn free_subnet(engine: &Engine, txn: &Txn<'_>, mut used: Vec<Subnet>, v6: bool) -> Result<Subnet> {
    used.extend(txn.networks()?.iter().flat_map(|n| n.config.pools.iter().map(|pool| pool.subnet)));
    let mut pools = engine.settings().network.pools.clone();
    let mut start = 0;
    if !pools.iter().any(|(base, _)| base.is_v6() == v6) {
        if v6 {
            pools.push((unique_local(&txn.engine_id()?)?, 64));
        } else if !is_usual(engine) {
            pools.push((Subnet::parse(OTHERS.0, true)?, OTHERS.1));
            let hex = txn.engine_id()?;
            start =
                hex.get(..4).and_then(|hex| usize::from_str_radix(hex, 16).ok()).unwrap_or(0) % OTHERS_COUNT;
        } else {
            let parse = |(text, size): (&str, u8)| Ok((Subnet::parse(text, true)?, size));
            pools.extend(POOLS.into_iter().map(parse).collect::<Result<Vec<_>>>()?);
        }
    }
    ipam::free_subnet(&pools, &used, v6, start).ok_or_else(|| {
        Error::new(
            dhow_model::ErrorKind::Unavailable,
            "all predefined address pools have been fully subnetted: give one with --subnet",
        )
    })
}

/// A range of this engine's own (RFC 4193): 40 bits of its random id.
fn unique_local(engine_id: &str) -> Result<Subnet> {
    let hex = engine_id.get(..10).unwrap_or("0000000000");
    let text = format!("fd{}:{}:{}::/48", &hex[..2], &hex[2..6], &hex[6..10]);
    Subnet::parse(&text, true)
}

/// The link-layer address of a bridge.
pub(crate) fn bridge_mac(config: &NetworkConfig) -> Mac {
    match config.pools.iter().find_map(|pool| pool.gateway) {
        Some(IpAddr::V4(v4)) => Mac::of_v4(v4),
        Some(IpAddr::V6(v6)) => Mac::of_v6(v6),
        None => Mac([0x02, 0x42, 0, 0, 0, 1]),
    }
}
