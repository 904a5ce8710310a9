//! `rm`: ends a container's life, in the order that a crash can be finished from.
//!
//! 1. status `Removing` is committed (the intent);
//! 2. a running first process is killed, and its monitor waited for;
//! 3. files go: writable layer, logs, sockets;
//! 4. row, anonymous volumes' rows and the `destroy` event go in one transaction.
//!
//! Whoever finds `Removing` with nobody at work (`recover.rs`) goes on at 2.

use crate::{Engine, events, volume};
use dhow_model::life::Ender;
use dhow_model::signal::Signal;
use dhow_model::state::{Move, Status};
use dhow_model::{ContainerId, Error, ErrorKind, Layout, Result, ResultExt};
use dhow_store::db::{ContainerRecord, StateDb};
use dhow_store::lock;
use std::path::Path;
use std::time::Duration;

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it if it runs.
    pub force: bool,
    /// Remove its anonymous volumes.
    pub volumes: bool,
}

/// A killed container's monitor is given this long to record the exit and go.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Removes a container.
///
/// # Errors
/// `NotFound`; `Conflict` when it runs and `force` is not set, or another removal is at work.
pub fn remove(engine: &Engine, who: &str, options: RemoveOptions) -> Result<()> {
    let record = super::find_settled(engine, who)?;
    let id = record.id.clone();
    let record = engine.db()?.write(|txn| {
        let mut record = txn.container(&id)?.ok_or_else(|| super::no_such(who))?;
        let status = record.state.status;
        let alive = status.has_process() || matches!(status, Status::Starting | Status::Restarting);
        if alive && !options.force {
            let hint = match status {
                Status::Paused => {
                    "Unpause and then stop the container before attempting removal or force remove"
                }
                _ => "stop the container before removing or force remove",
            };
            return Err(Error::conflict(format!(
                "cannot remove container \"/{}\": container is {}: {hint}",
                record.name,
                record.state.shown_status()
            )));
        }
        record.state.status = status
            .after(Move::BeginRemove)
            .map_err(|_| Error::conflict(format!("removal of container {who} is already in progress")))?;
        record.state.stopped_by_user = true;
        record.state.life.ask(Ender::Remove, Signal::KILL.number(), events::now());
        txn.update_state(&id, &record.state)?;
        Ok(record)
    })?;
    engine.take_early_clients(&id);
    finish(engine, &record, options.volumes)
}

/// Steps 2 to 4 for a container that is `Removing`.
pub(crate) fn finish(engine: &Engine, record: &ContainerRecord, volumes: bool) -> Result<()> {
    let layout = engine.layout();
    if lock::monitor_alive(layout, &record.id)? {
        super::stop::kill_now(engine, record)?;
        // A frozen process would not even die (cgroup v1). One without a freezer was never frozen.
        let _ = super::cgroup(engine, record)?.thaw();
        super::stop::wake_monitor(engine, &record.id);
        // A monitor that is between two runs has nothing to kill: it sees the status and goes.
        if !super::monitor_gone_within(layout, record, KILL_PATIENCE)? {
            let failed = Error::new(
                ErrorKind::Unavailable,
                format!(
                    "cannot remove container {}: its process did not end within {KILL_PATIENCE:?} of SIGKILL",
                    record.id.short()
                ),
            );
            engine.db()?.write(|txn| {
                let Some(mut now) = txn.container(&record.id)? else { return Ok(()) };
                now.state.status = now.state.status.after(Move::RemoveFailed)?;
                txn.update_state(&now.id, &now.state)
            })?;
            return Err(failed);
        }
    }
    super::clear_cgroup(engine, record)?;
    // Held so that recovery in another process does not remove the same files at the same time.
    let _lock = lock::lock_container(layout, &record.id)?;
    let mut db = engine.db()?;
    delete(layout, &mut db, record, volumes)
}

/// Steps 3 and 4: nothing of the container runs any more.
pub(crate) fn delete(
    layout: &Layout,
    db: &mut StateDb,
    record: &ContainerRecord,
    volumes: bool,
) -> Result<()> {
    let (orphaned, execs) = db.read(|txn| {
        let orphaned = if volumes { volume::anonymous_of(txn, record)? } else { Vec::new() };
        Ok((orphaned, txn.execs_of(&record.id)?))
    })?;
    // Files before rows: what a crash leaves half-done is found by its row.
    delete_files(layout, &record.id)?;
    // A session's monitor takes its directory along, unless it was killed.
    for exec in execs.iter().filter(|exec| exec.running) {
        remove_tree(&layout.exec_state(&exec.id))?;
    }
    db.write(|txn| {
        // Another process may have finished the removal between our steps.
        if txn.container(&record.id)?.is_none() {
            return Ok(());
        }
        txn.delete_container(&record.id)?;
        for name in &orphaned {
            // Another container may have been given it since.
            if txn.containers_using_volume(name)?.is_empty() && txn.delete_volume(name)? {
                volume::data::retire(layout, name)?;
                txn.append_event(&events::volume("destroy", name), events::now())?;
            }
        }
        // Last: who waits for this event finds nothing left.
        txn.append_event(&events::container("destroy", record, []), events::now())?;
        Ok(())
    })?;
    if !orphaned.is_empty() {
        volume::data::sweep(layout);
    }
    Ok(())
}

/// Removes a container's directories below root and state. Missing ones are fine.
pub(crate) fn delete_files(layout: &Layout, id: &ContainerId) -> Result<()> {
    remove_tree(&layout.container(id))?;
    remove_tree(&layout.container_state(id))
}

/// Removes a tree without following links; a missing one is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
