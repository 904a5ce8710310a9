//! Links of the default bridge (`--link`) after a restart: the container that others have links to has a new address, which
//! their `/etc/hosts` is to say.
//!
//! Few have links, and each start would have to look for them. So the first start of a container with links leaves the file
//! `STATE/linked`, and only where it is does a container that was started before look for those who have a link to it.

use super::{host_gateway, join, start};
use crate::container::etc;
use dhow_model::state::Status;
use dhow_model::{ContainerId, Layout, Result, ResultExt};
use dhow_store::db::{ContainerRecord, StateDb, Txn};
use std::net::IpAddr;
use std::path::PathBuf;

fn path(layout: &Layout) -> PathBuf {
    layout.state().join("linked")
}

/// A container with links starts.
///
/// # Errors
/// When the file cannot be made.
pub(super) fn note(layout: &Layout, others: &[(IpAddr, String)]) -> Result<()> {
    let path = path(layout);
    if others.is_empty() || path.exists() {
        return Ok(());
    }
    std::fs::write(&path, "").context(|| format!("write {}", path.display()))
}

/// Writes the new address of a container into the files of those that run and have a link to it.
///
/// # Errors
/// What the database says.
pub(super) fn tell(layout: &Layout, db: &mut StateDb, target: &ContainerId) -> Result<()> {
    if !path(layout).exists() {
        return Ok(());
    }
    for id in db.read(|txn| linked_to(txn, target))? {
        // One that ends meanwhile, or whose other links lead nowhere, keeps the file that it has.
        let _ = rewrite(layout, db, &id);
    }
    Ok(())
}

fn linked_to(txn: &Txn<'_>, target: &ContainerId) -> Result<Vec<ContainerId>> {
    let mut found = Vec::new();
    for (id, _) in txn.container_statuses_at(&[Status::Running, Status::Paused])? {
        let Some(record) = txn.container(&id)? else { continue };
        if has_link(txn, &record, target) {
            found.push(id);
        }
    }
    Ok(found)
}

fn has_link(txn: &Txn<'_>, record: &ContainerRecord, target: &ContainerId) -> bool {
    record.config.host.links.iter().any(|(name, _)| txn.find_container(name).is_ok_and(|c| c.id == *target))
}

fn rewrite(layout: &Layout, db: &mut StateDb, id: &ContainerId) -> Result<()> {
    let (record, taken, gateway, others) = db.read(|txn| {
        let record = txn.container(id)?.ok_or_else(|| crate::container::no_such(id.as_str()))?;
        let taken = join::held(txn, id)?;
        let gateway = host_gateway(txn, &record.config.host)?;
        let others = start::linked(txn, &record)?;
        Ok((record, taken, gateway, others))
    })?;
    etc::write_hosts(&layout.container_state(id), &record.config, &taken, gateway, &others)
}
