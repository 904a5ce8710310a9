//! `network rm` and `network prune`.

use super::{carrier, list};
use crate::filters::Filters;
use crate::{Engine, events};
use dhow_model::event::{EventType, NewEvent};
use dhow_model::network::{DEFAULT_NETWORK, Network};
use dhow_model::{Error, ErrorKind, Result};
use dhow_net::link::Links;
use dhow_store::db::Txn;

/// Removes a network that no running container is on.
///
/// # Errors
/// `NotFound`; `Forbidden` for one that is always there, or while it is used.
pub fn remove(engine: &Engine, who: &str) -> Result<()> {
    let network = engine.db()?.write(|txn| {
        let network = txn.find_network(who)?;
        if network.is_predefined() {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("{} is a pre-defined network and cannot be removed", network.name),
            ));
        }
        check_unused(txn, &network)?;
        take(txn, &network)?;
        Ok(network)
    })?;
    take_down(engine, &network)
}

/// Forgets a network that could not be made.
pub(super) fn forget(engine: &Engine, network: &Network) -> Result<()> {
    engine.db()?.write(|txn| take(txn, network))?;
    take_down(engine, network)
}

fn take(txn: &Txn<'_>, network: &Network) -> Result<()> {
    txn.delete_network(&network.id)?;
    txn.append_event(&events::network("destroy", network), events::now())?;
    Ok(())
}

fn check_unused(txn: &Txn<'_>, network: &Network) -> Result<()> {
    let endpoints = txn.endpoints_on(&network.id)?;
    let Some(first) = endpoints.first() else { return Ok(()) };
    let name = txn.container(&first.container)?.map(|record| record.name).unwrap_or_default();
    Err(Error::new(
        ErrorKind::Forbidden,
        format!(
            "error while removing network: network {} has active endpoints (name:{name:?} id:{:?})",
            network.name,
            first.id.short()
        ),
    ))
}

/// The kernel's part. Its row is gone: if this is interrupted, recovery finds a bridge without one.
fn take_down(engine: &Engine, network: &Network) -> Result<()> {
    if !list::has_bridge(network) {
        return Ok(());
    }
    let links = Links::open()?;
    let name = &network.config.interface;
    // What was there before the network stays.
    if let Some(found) = links.find(name)?
        && carrier::is_made_by_us(&mut *engine.db()?, network, &found)?
    {
        links.delete_index(found.index, name)?;
    }
    carrier::refresh(engine.layout(), &mut *engine.db()?, &links)
}

/// Removes networks that no container is on, running or not, as far as they pass the filters (`until`, `label`,
/// `label!`). With the filter `all`, the bridge of the default network is taken down, too, if nobody is on it: the next
/// start makes it again.
///
/// # Errors
/// `InvalidArgument` for an unknown filter.
pub fn prune(engine: &Engine, filters: &Filters) -> Result<Vec<String>> {
    filters.only(&["until", "label", "label!", "all"])?;
    let until = filters.until()?;
    let all = filters.flag("all")?.unwrap_or(false);
    let unused = engine.db()?.read(|txn| {
        let configured: std::collections::BTreeSet<String> = txn
            .container_summaries()?
            .into_iter()
            .flat_map(|c| c.about.endpoints.into_iter().map(|e| e.network))
            .collect();
        let mut unused = txn.networks()?;
        unused.retain(|network| !network.is_predefined() && !configured.contains(&network.name));
        Ok(unused)
    })?;
    let mut removed = Vec::new();
    for network in unused {
        let wanted =
            until.is_none_or(|until| network.created < until) && filters.labels_match(&network.config.labels);
        if !wanted {
            continue;
        }
        match remove(engine, network.id.as_str()) {
            Ok(()) => removed.push(network.name),
            // A container came, or somebody removed it.
            Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    if all {
        take_default_down(engine)?;
    }
    let attributes = std::collections::BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
    let event =
        NewEvent { kind: EventType::Network, action: "prune".to_owned(), actor: String::new(), attributes };
    engine.db()?.write(|txn| txn.append_event(&event, events::now()))?;
    Ok(removed)
}

fn take_default_down(engine: &Engine) -> Result<()> {
    let (network, used) = engine.db()?.read(|txn| {
        let network = txn.find_network(DEFAULT_NETWORK)?;
        let used = !txn.endpoints_on(&network.id)?.is_empty();
        Ok((network, used))
    })?;
    if used { Ok(()) } else { take_down(engine, &network) }
}
