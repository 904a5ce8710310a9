//! Bridges and the firewall's table: made by whoever finds them missing.
//!
//! `STATE/network.lock` is held alone while a bridge is made or the table is written as a whole, and together with
//! others while a container's ports are recorded and redirected, or withdrawn and forgotten: so no element is lost to a
//! table that was read from the database before it, and none that was just withdrawn comes back.

use super::{default, forwarding};
use dhow_model::network::{DEFAULT_NETWORK, Driver, Network, Published, option};
use dhow_model::{Error, ErrorKind, Layout, Result, ResultExt};
use dhow_net::link::{BRIDGE_GROUP, BridgeSpec, LinkInfo, Links, SubMode};
use dhow_net::nft::{Bridge, Table};
use dhow_store::db::StateDb;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

/// How the lock is held.
#[derive(Clone, Copy)]
pub(crate) enum Lock {
    /// While ports change in the database and in the kernel.
    Shared,
    /// While something is written as a whole.
    Alone,
}

/// The lock, until it is dropped.
pub(crate) type Held = Flock<File>;

/// Takes the engine's lock on its bridges and its table.
pub(crate) fn lock(layout: &Layout, how: Lock) -> Result<Held> {
    let path = layout.state().join("network.lock");
    let what = || format!("lock {}", path.display());
    let file =
        File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).context(what)?;
    let how = match how {
        Lock::Shared => FlockArg::LockShared,
        Lock::Alone => FlockArg::LockExclusive,
    };
    Flock::lock(file, how).map_err(|(_, errno)| errno).context(what)
}

/// The table of this engine, opened when it is first asked for, and closed with its owner.
///
/// A monitor keeps it until its end: closing a socket of nfnetlink's waits until the kernel has forgotten all that was
/// deleted lately, by anybody, which takes it some milliseconds (`nft_rcv_nl_event` in net/netfilter/nf_tables_api.c).
#[derive(Debug, Default)]
pub(crate) struct Firewall(Option<Table>);

impl Firewall {
    /// The table.
    pub(crate) fn table(&mut self, db: &mut StateDb) -> Result<&Table> {
        if self.0.is_none() {
            self.0 = Some(table(db)?);
        }
        self.0.as_ref().ok_or_else(|| Error::internal("no table"))
    }
}

/// The table of this engine.
pub(crate) fn table(db: &mut StateDb) -> Result<Table> {
    Table::open(&table_name(db)?)
}

/// Its name: that of the default bridge, if there is one. It begins with `dhow`, so that it is no other program's: a user
/// may name the bridge as he likes.
pub(crate) fn table_name(db: &mut StateDb) -> Result<String> {
    let name = db.read(|txn| txn.find_network(DEFAULT_NETWORK))?.config.interface;
    Ok(match name.as_str() {
        "" => "dhow".to_owned(),
        own if own.starts_with("dhow") => name,
        given => format!("dhow-{given}"),
    })
}

/// What the table has to say, as the database has it. Reading and comparing, or writing, is one under the lock, held
/// alone: starts and ends hold it together from their first change of one to their last of the other.
fn contents(db: &mut StateDb) -> Result<(Vec<Bridge>, Vec<Published>)> {
    let (networks, published) = db.read(|txn| Ok((txn.networks()?, txn.published()?)))?;
    let mut bridges = Vec::new();
    for network in
        networks.iter().filter(|n| n.config.driver == Driver::Bridge && !n.config.interface.is_empty())
    {
        let config = &network.config;
        bridges.push(Bridge {
            name: config.interface.clone(),
            internal: config.internal,
            masquerade: config.flag(option::MASQUERADE, true)?,
            icc: config.flag(option::ICC, true)?,
        });
    }
    Ok((bridges, published))
}

/// Writes the table as the database has it. The lock is held alone.
fn write_table(layout: &Layout, db: &mut StateDb, firewall: &mut Firewall) -> Result<()> {
    let (bridges, published) = contents(db)?;
    firewall
        .table(db)?
        .replace(&bridges, &published, forwarding::load(layout)?)
        .context(|| "write the firewall's table (nftables)".to_owned())
}

/// Whether the table's sets and maps have what the database says, as far as it was ever written: a network that is
/// being made has no bridge yet.
///
/// # Errors
/// What the kernel says.
pub(crate) fn has_elements(layout: &Layout, db: &mut StateDb, links: &Links, table: &Table) -> Result<bool> {
    let _lock = lock(layout, Lock::Alone)?;
    let (all, published) = contents(db)?;
    let mut bridges = Vec::with_capacity(all.len());
    for bridge in all {
        if links.index(&bridge.name)?.is_some() {
            bridges.push(bridge);
        }
    }
    table.has_elements(&bridges, &published, forwarding::load(layout)?)
}

/// Writes the table anew after networks have changed; takes it away when there is nothing for it to do. While the machine
/// passes packets on for our sake, there is.
pub(crate) fn refresh(layout: &Layout, db: &mut StateDb, links: &Links) -> Result<()> {
    let _lock = lock(layout, Lock::Alone)?;
    let mut firewall = Firewall::default();
    let networks = db.read(|txn| txn.networks())?;
    let mut used = forwarding::load(layout)?.any();
    for network in
        networks.iter().filter(|n| n.config.driver == Driver::Bridge && !n.config.interface.is_empty())
    {
        used = used || !network.is_predefined() || links.index(&network.config.interface)?.is_some();
    }
    if used { write_table(layout, db, &mut firewall) } else { firewall.table(db)?.delete() }
}

/// The number of a network's bridge. Makes the bridge, and the table, when they are not there.
///
/// # Errors
/// What the kernel refuses, with what may help.
pub(crate) fn ensure_bridge(
    layout: &Layout,
    db: &mut StateDb,
    links: &Links,
    firewall: &mut Firewall,
    network: &Network,
) -> Result<u32> {
    if let Some(found) = existing_bridge(links, &network.config.interface)?
        && firewall.table(db)?.stands()?
    {
        return Ok(found.index);
    }
    set_up_bridge(layout, db, links, firewall, network)
}

/// An interface that is there already and is to carry a network.
///
/// # Errors
/// `Conflict` in Docker's words when it is no bridge; what the kernel says.
pub(crate) fn existing_bridge(links: &Links, name: &str) -> Result<Option<LinkInfo>> {
    let found = links.find(name)?;
    if found.as_ref().is_some_and(|found| !found.is_bridge()) {
        return Err(Error::conflict(format!("existing interface {name} is not a bridge")));
    }
    Ok(found)
}

/// Makes a network's bridge, or gives the one that is there what it lacks, and writes the table. Returns its number.
///
/// # Errors
/// As [`ensure_bridge`].
pub(crate) fn set_up_bridge(
    layout: &Layout,
    db: &mut StateDb,
    links: &Links,
    firewall: &mut Firewall,
    network: &Network,
) -> Result<u32> {
    let owner = owner(db, network)?;
    let _lock = lock(layout, Lock::Alone)?;
    let index = make_bridge(links, network, owner)?;
    let missing = forwarding::missing(network)?;
    if missing.any() {
        forwarding::save(layout, forwarding::load(layout)?.and(missing))?;
    }
    write_table(layout, db, firewall)?;
    forwarding::switch_on(missing)?;
    Ok(index)
}

/// What a bridge of this engine's says of itself (`ip link` shows it as the alias).
fn owner(db: &mut StateDb, network: &Network) -> Result<String> {
    let engine = db.read(|txn| txn.engine_id())?;
    Ok(format!("dhow:{engine}:{}", network.id))
}

/// Whether a network's bridge was made by this engine for this network: only then may it be deleted. One without an
/// alias was made by an engine that ended in that very moment, or, by its name, by an engine that left no marks.
pub(crate) fn is_made_by_us(db: &mut StateDb, network: &Network, found: &LinkInfo) -> Result<bool> {
    if !found.is_bridge() {
        return Ok(false);
    }
    let is_named_after_it = network.config.interface == format!("br-{}", network.id.short());
    let is_unsigned = found.alias.is_empty() && (found.group == BRIDGE_GROUP || is_named_after_it);
    Ok(is_unsigned || found.alias == owner(db, network)?)
}

fn make_bridge(links: &Links, network: &Network, owner: String) -> Result<u32> {
    let config = &network.config;
    let hosts =
        |pool: &dhow_model::network::Pool| pool.gateway.map(|address| (address, pool.subnet.prefix()));
    let addresses: Vec<_> = config.pools.iter().filter_map(hosts).collect();
    let spec = BridgeSpec {
        name: &config.interface,
        addresses,
        mac: default::bridge_mac(config),
        mtu: config.mtu()?,
        owner,
    };
    if let Some(found) = existing_bridge(links, &config.interface)? {
        links.complete_bridge(&found, &spec)?;
        return Ok(found.index);
    }
    links.make_bridge(&spec).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::Unsupported | ErrorKind::Forbidden => {
                " (this machine cannot make bridges: --network none and --network host do without)"
            }
            _ => "",
        };
        Error::new(error.kind(), format!("network {}: {error}{hint}", network.name))
    })
}

/// How a macvlan or ipvlan is made, and the number of its parent.
pub(crate) fn parent(links: &Links, network: &Network) -> Result<(u32, SubMode)> {
    let config = &network.config;
    let mode = |key: &str| config.options.get(key).map(String::as_str);
    let bad = |what: &str| Error::invalid(format!("requested {what} mode is not valid"));
    let mode = match config.driver {
        Driver::Ipvlan => SubMode::Ipvlan(match mode(option::IPVLAN_MODE) {
            None | Some("l2") => 0,
            Some("l3") => 1,
            Some("l3s") => 2,
            Some(other) => return Err(bad(other)),
        }),
        _ => SubMode::Macvlan(match mode(option::MACVLAN_MODE) {
            None | Some("bridge") => 4,
            Some("private") => 1,
            Some("vepa") => 2,
            Some("passthru") => 8,
            Some(other) => return Err(bad(other)),
        }),
    };
    let index = links.index(&config.interface)?.ok_or_else(|| {
        Error::not_found(format!(
            "network {}: the parent interface {} is not there",
            network.name, config.interface
        ))
    })?;
    Ok((index, mode))
}
