//! `network ls` and `network inspect`.

use super::default;
use crate::Engine;
use crate::filters::{Filters, Pattern};
use dhow_model::network::{Driver, Endpoint, Network};
use dhow_model::{Error, Result};
use std::collections::BTreeMap;

const FILTERS: [&str; 7] = ["driver", "id", "label", "name", "scope", "type", "dangling"];

/// A network, and who is on it: endpoints with the names of their containers.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// The network.
    pub network: Network,
    /// Who is on it now.
    pub endpoints: Vec<(String, Endpoint)>,
}

/// Lists networks, the newest first.
///
/// # Errors
/// `InvalidArgument` for an unknown filter or a bad value.
pub fn list(engine: &Engine, filters: &Filters) -> Result<Vec<Network>> {
    filters.only(&FILTERS)?;
    if let Some(kind) = filters.values("type").iter().find(|k| !["builtin", "custom"].contains(&k.as_str())) {
        return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
    }
    complete(engine);
    let dangling = filters.flag("dangling")?;
    let (names, ids) = (filters.patterns("name"), filters.patterns("id"));
    let (networks, used) = engine.db()?.read(|txn| {
        let used: std::collections::BTreeSet<_> = txn.endpoints()?.into_iter().map(|e| e.network).collect();
        Ok((txn.networks()?, used))
    })?;
    let mut chosen: Vec<Network> = networks
        .into_iter()
        .filter(|network| {
            let kind = if network.is_predefined() { "builtin" } else { "custom" };
            Pattern::any(&names, &network.name)
                && Pattern::any(&ids, network.id.as_str())
                && filters.any("driver", |want| network.config.driver.as_str() == want)
                && filters.any("scope", |want| want == "local")
                && filters.any("type", |want| want == kind)
                && dangling.is_none_or(|want| want != (used.contains(&network.id) || network.is_predefined()))
                && filters.labels_match(&network.config.labels)
        })
        .collect();
    chosen.reverse();
    Ok(chosen)
}

/// Looks a network up.
///
/// # Errors
/// `NotFound` in Docker's words.
pub fn inspect(engine: &Engine, who: &str) -> Result<Inspected> {
    complete(engine);
    engine.db()?.read(|txn| {
        let network = txn.find_network(who)?;
        let names: BTreeMap<_, _> = txn.container_summaries()?.into_iter().map(|c| (c.id, c.name)).collect();
        let endpoints = txn.endpoints_on(&network.id)?;
        let named = |e: Endpoint| (names.get(&e.container).cloned().unwrap_or_default(), e);
        Ok(Inspected { network, endpoints: endpoints.into_iter().map(named).collect() })
    })
}

/// Chooses the default bridge's subnet, so that it can be told. Where that fails, it is told without.
fn complete(engine: &Engine) {
    if engine.settings().network.bridge.as_deref() != Some("none") {
        let _ = default::ensure(engine);
    }
}

/// Whether a network has something that lives in the kernel.
pub(crate) fn has_bridge(network: &Network) -> bool {
    network.config.driver == Driver::Bridge && !network.config.interface.is_empty()
}
