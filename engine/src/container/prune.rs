//! `container prune`: removes every stopped container.

use super::remove::{RemoveOptions, remove};
use crate::Engine;
use crate::filters::Filters;
use dhow_model::event::EventType;
use dhow_model::state::Status;
use dhow_model::{ContainerId, ErrorKind, Result};

/// What was removed.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// The containers.
    pub removed: Vec<ContainerId>,
    /// Bytes of their writable layers.
    pub reclaimed_bytes: u64,
}

/// Removes stopped containers that pass the filters (`until`, `label`, `label!`).
///
/// # Errors
/// `InvalidArgument` for an unknown filter or time.
pub fn prune(engine: &Engine, filters: &Filters) -> Result<Pruned> {
    filters.only(&["until", "label", "label!"])?;
    let until = filters.until()?;
    let rows = engine.db()?.read(|txn| txn.container_summaries())?;
    let mut pruned = Pruned::default();
    for row in rows {
        let stopped = matches!(row.state.status, Status::Created | Status::Exited | Status::Dead);
        let young = until.is_some_and(|until| row.created >= until);
        if !stopped || young || !filters.labels_match(&row.about.labels) {
            continue;
        }
        let bytes = super::list::writable_bytes(engine, &row.id)?;
        match remove(engine, row.id.as_str(), RemoveOptions::default()) {
            Ok(()) => {
                pruned.reclaimed_bytes += bytes;
                pruned.removed.push(row.id);
            }
            // Started or removed by someone else in the meantime: not ours to prune.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    crate::events::record_prune(engine, EventType::Container, pruned.reclaimed_bytes)?;
    Ok(pruned)
}
