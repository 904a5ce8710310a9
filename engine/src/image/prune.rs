//! `image prune`: removes images that nothing names, or with `all` that nothing uses.

use super::gc;
use super::remove::{Removed, remove_counting};
use crate::Engine;
use crate::filters::Filters;
use dhow_model::event::EventType;
use dhow_model::{ErrorKind, Result};
use dhow_store::partial::Partials;
use std::collections::BTreeMap;

/// What was removed.
#[derive(Debug, Clone, Default)]
pub struct PrunedImages {
    /// Line by line.
    pub removed: Vec<Removed>,
    /// Bytes of the removed images.
    pub reclaimed_bytes: u64,
}

/// Removes unused images that pass the filters (`dangling`, `until`, `label`, `label!`).
///
/// # Errors
/// `InvalidArgument` for an unknown filter or time.
pub fn prune(engine: &Engine, filters: &Filters) -> Result<PrunedImages> {
    filters.only(&["dangling", "until", "label", "label!"])?;
    let all = filters.values("dangling").iter().any(|v| v == "false" || v == "0");
    let until = filters.until()?;
    let mut pruned =
        PrunedImages { reclaimed_bytes: Partials::open(engine.layout())?.sweep()?, ..Default::default() };
    for summary in super::list::list(engine, &Filters::default())? {
        let named = !summary.is_dangling();
        let young = until.is_some_and(|until| summary.image.created >= Some(until));
        let labelled = filters.labels_match(&summary.image.config.labels);
        if summary.containers > 0 || (named && !all) || young || !labelled {
            continue;
        }
        match remove_counting(engine, summary.image.id.as_str(), true) {
            Ok((removed, referrers_bytes)) => {
                pruned.removed.extend(removed);
                pruned.reclaimed_bytes += summary.image.size_bytes + referrers_bytes;
            }
            // A container was made of it, or someone removed it, in the meantime.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    for summary in super::artifacts::list(engine, &Filters::default())? {
        let young = until.is_some_and(|until| summary.created() >= until);
        if (!summary.is_dangling() && !all) || young || !filters.labels_match(&BTreeMap::new()) {
            continue;
        }
        match remove_counting(engine, summary.artifact.id().as_str(), true) {
            Ok((removed, referrers_bytes)) => {
                pruned.removed.extend(removed);
                pruned.reclaimed_bytes += summary.artifact.size_bytes() + referrers_bytes;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // What killed verbs have left; while somebody installs, it is left to them.
    if let Some(lock) = gc::try_collecting(engine)? {
        pruned.reclaimed_bytes += gc::sweep(engine, &lock)?.bytes;
    }
    crate::events::record_prune(engine, EventType::Image, pruned.reclaimed_bytes)?;
    Ok(pruned)
}
