//! `network create`: from a request to a network, its subnets chosen, its bridge made.

use super::{carrier, default};
use crate::{Engine, events, random};
use dhow_model::network::{Driver, Network, NetworkConfig, PREDEFINED, Pool, Subnet, option};
use dhow_model::{Error, Result};
use dhow_net::ipam;
use dhow_net::link::Links;
use dhow_store::db::Txn;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A range that was asked for. What is left out is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolSpec {
    /// All of it.
    pub subnet: Option<Subnet>,
    /// The part that containers get addresses from.
    pub range: Option<Subnet>,
    /// The host's address in it.
    pub gateway: Option<IpAddr>,
    /// Addresses of others, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// A network that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// What carries it.
    pub driver: Driver,
    /// Its ranges.
    pub pools: Vec<PoolSpec>,
    /// Reaches nobody outside.
    pub internal: bool,
    /// For swarms only, and told.
    pub attachable: bool,
    /// `None`: yes.
    pub ipv4: Option<bool>,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// The address manager's options.
    pub ipam_options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Makes a network.
///
/// # Errors
/// `InvalidArgument` for what cannot be, `Conflict` when the name is taken, `Forbidden` when the subnet is in use.
pub fn create(engine: &Engine, spec: NetworkSpec) -> Result<Network> {
    check_name(&spec.name)?;
    let links = Links::open()?;
    let is_bridge = spec.driver == Driver::Bridge;
    let given = spec.options.get(option::BRIDGE_NAME).filter(|name| is_bridge && !name.is_empty());
    let existing = match given {
        Some(name) => carrier::existing_bridge(&links, name)?,
        None => None,
    };
    // A subnet that leads to a bridge that is there already may be this network's.
    let routed = links.routed_subnets(existing.map(|found| found.index))?;
    if is_bridge {
        default::ensure(engine)?;
    }
    let network = engine.db()?.write(|txn| {
        let network = plan(txn, engine, &spec, routed)?;
        txn.insert_network(&network)?;
        txn.append_event(&events::network("create", &network), network.created)?;
        Ok(network)
    })?;
    let made = match network.config.driver {
        Driver::Bridge => {
            let mut firewall = carrier::Firewall::default();
            carrier::set_up_bridge(engine.layout(), &mut *engine.db()?, &links, &mut firewall, &network)
                .map(drop)
        }
        Driver::Macvlan | Driver::Ipvlan => carrier::parent(&links, &network).map(drop),
        Driver::Host | Driver::Null => Ok(()),
    };
    if let Err(error) = made {
        // The first error is the one to show.
        let _ = super::remove::forget(engine, &network);
        return Err(error);
    }
    Ok(network)
}

fn check_name(name: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_alphanumeric();
    let good = name.starts_with(word) && name.chars().all(|c| word(c) || "_.-".contains(c));
    if !good {
        return Err(Error::invalid(format!(
            "invalid network name {name:?}: only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
        )));
    }
    if name == "default" || name == "container" {
        return Err(Error::new(
            dhow_model::ErrorKind::Forbidden,
            format!("operation is not permitted on predefined {name} network"),
        ));
    }
    Ok(())
}

fn plan(txn: &Txn<'_>, engine: &Engine, spec: &NetworkSpec, routed: Vec<Subnet>) -> Result<Network> {
    if PREDEFINED.contains(&spec.name.as_str()) || txn.networks()?.iter().any(|n| n.name == spec.name) {
        return Err(Error::conflict(format!("network with name {} already exists", spec.name)));
    }
    if matches!(spec.driver, Driver::Host | Driver::Null) {
        return Err(Error::new(
            dhow_model::ErrorKind::Forbidden,
            format!("only one instance of \"{}\" network is allowed", spec.driver.as_str()),
        ));
    }
    let id = random::id()?;
    let bridge = spec.driver == Driver::Bridge;
    let interface = if bridge {
        let given = spec.options.get(option::BRIDGE_NAME).filter(|name| !name.is_empty());
        given.cloned().unwrap_or_else(|| format!("br-{}", id.short()))
    } else {
        spec.options.get(option::PARENT).cloned().ok_or_else(|| {
            Error::unsupported(format!(
                "a {} network needs its parent interface: -o parent=eth0",
                spec.driver.as_str()
            ))
        })?
    };
    if interface.len() > 15 || interface.contains('/') || interface.chars().any(char::is_whitespace) {
        return Err(Error::invalid(format!("invalid interface name {interface:?}")));
    }
    let mut config = NetworkConfig {
        driver: spec.driver,
        pools: Vec::new(),
        internal: spec.internal,
        attachable: spec.attachable,
        ipv4: spec.ipv4.unwrap_or(true),
        ipv6: spec.ipv6,
        interface,
        options: spec.options.clone(),
        ipam_options: spec.ipam_options.clone(),
        labels: spec.labels.clone(),
    };
    let taken = txn.networks()?.into_iter().find(|n| n.config.interface == config.interface && bridge);
    if let Some(other) = taken {
        return Err(Error::conflict(format!(
            "networks have same bridge name: {} is of network {}",
            config.interface, other.name
        )));
    }
    config.mtu()?;
    for key in [option::MASQUERADE, option::ICC] {
        config.flag(key, true)?;
    }
    let mut used: Vec<Subnet> =
        txn.networks()?.iter().flat_map(|n| n.config.pools.iter().map(|p| p.subnet)).collect();
    for v6 in [false, true] {
        let wanted = if v6 { config.ipv6 } else { config.ipv4 };
        let asked: Vec<&PoolSpec> = spec.pools.iter().filter(|pool| is_v6(pool) == v6).collect();
        match (wanted, asked.as_slice()) {
            (false, []) => {}
            (false, _) if v6 => {
                return Err(Error::invalid("IPv6 is not enabled, but an IPv6 subnet was given: add --ipv6"));
            }
            (false, _) => return Err(Error::invalid("IPv4 is disabled, but an IPv4 subnet was given")),
            (true, [_, _, ..]) if bridge => {
                let what = "bridge driver doesn't support multiple subnets";
                return Err(Error::new(dhow_model::ErrorKind::Forbidden, what));
            }
            (true, asked) => {
                let any = PoolSpec::default();
                let asked = if asked.is_empty() { &[&any][..] } else { asked };
                for one in asked {
                    let made = pool(txn, engine, &config, (*one).clone(), v6, &used, &routed)?;
                    used.push(made.subnet);
                    config.pools.push(made);
                }
            }
        }
    }
    if config.pools.is_empty() {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    Ok(Network { id, name: spec.name.clone(), created: events::now(), config })
}

fn is_v6(pool: &PoolSpec) -> bool {
    pool.subnet.map(Subnet::is_v6).or(pool.gateway.map(|g| g.is_ipv6())).unwrap_or(false)
}

fn pool(
    txn: &Txn<'_>,
    engine: &Engine,
    config: &NetworkConfig,
    asked: PoolSpec,
    v6: bool,
    used: &[Subnet],
    routed: &[Subnet],
) -> Result<Pool> {
    let subnet = match asked.subnet {
        None if asked.range.is_some() || asked.gateway.is_some() || !asked.auxiliary.is_empty() => {
            return Err(Error::invalid(
                "invalid network config: no matching subnet for range, gateway or auxiliary address",
            ));
        }
        None => default::free_subnet(engine, txn, [routed, used].concat(), v6)?,
        Some(subnet) => {
            // On a macvlan the subnet is the parent's own.
            let foreign = if config.driver == Driver::Bridge { routed } else { &[] };
            if used.iter().chain(foreign).any(|other| other.overlaps(subnet)) {
                return Err(Error::new(
                    dhow_model::ErrorKind::Forbidden,
                    format!(
                        "invalid pool request: Pool overlaps with other one on this address space: {subnet}"
                    ),
                ));
            }
            subnet
        }
    };
    let outside = |what: &str, at: &dyn std::fmt::Display| {
        Error::invalid(format!("invalid network config: {what} {at} is not within the subnet {subnet}"))
    };
    if let Some(range) = asked.range.filter(|range| !subnet.holds(*range)) {
        return Err(outside("ip-range", &range));
    }
    if let Some(address) = asked.auxiliary.values().chain(&asked.gateway).find(|a| !subnet.contains(**a)) {
        return Err(outside("address", address));
    }
    let others: BTreeSet<IpAddr> = asked.auxiliary.values().copied().collect();
    if asked.gateway.is_some_and(|gateway| others.contains(&gateway)) {
        return Err(Error::conflict("failed to allocate gateway: Address already in use"));
    }
    let gateway = asked.gateway.or_else(|| ipam::default_gateway(subnet, &others));
    Ok(Pool { subnet, range: asked.range, gateway, auxiliary: asked.auxiliary })
}
