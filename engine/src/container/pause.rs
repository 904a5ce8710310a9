//! `pause` and `unpause`: the cgroup freezer, and the word in the record that it is at work.
//!
//! ```text
//!   pause     lock ─ Paused (commit) ─ freeze ─ event `pause` (commit)
//!   unpause   lock ─ thaw ─ Running and event `unpause` (commit)
//! ```
//! `Paused` is a written intent: who finds it on a container whose processes run (because the one that was to
//! freeze them, or to record that they run again, died in between) freezes them. The monitor takes no part, but
//! it records the end of a paused container as of any other.

use crate::{Engine, events};
use dhow_model::state::{Move, Status};
use dhow_model::{ContainerId, Error, Result, ResultExt};
use dhow_store::db::ContainerRecord;
use dhow_store::lock;

/// Stops every process of a container where it is.
///
/// # Errors
/// `NotFound`; `Conflict` when it is paused already or does not run; `Unsupported` without a freezer.
pub fn pause(engine: &Engine, who: &str) -> Result<()> {
    let id = super::find_settled(engine, who)?.id;
    let _lock = lock::lock_container(engine.layout(), &id)?;
    let record = engine.db()?.write(|txn| {
        let mut record = txn.container(&id)?.ok_or_else(|| super::no_such(who))?;
        record.state.status = match record.state.status {
            Status::Paused => return Err(Error::conflict(format!("Container {id} is already paused"))),
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "Container {id} is restarting, wait until the container is running"
                )));
            }
            Status::Running => Status::Running.after(Move::Pause)?,
            _ => return Err(Error::conflict(format!("Container {id} is not running"))),
        };
        txn.update_state(&id, &record.state)?;
        Ok(record)
    })?;
    let cgroup = super::cgroup(engine, &record)?;
    let frozen = cgroup.freeze();
    let still_paused = engine.db()?.write(|txn| {
        let Some(mut now) = txn.container(&id)? else { return Ok(false) };
        let still_paused = now.state.status == Status::Paused;
        if still_paused && frozen.is_ok() {
            txn.append_event(&events::container("pause", &record, []), events::now())?;
        } else if still_paused {
            now.state.status = now.state.status.after(Move::Unpause)?;
            txn.update_state(&id, &now.state)?;
        }
        Ok(still_paused)
    })?;
    if still_paused && frozen.is_ok() {
        return Ok(());
    }
    // All or none: some may be frozen, or those of a restart. The first error is the one to show.
    let _ = cgroup.thaw();
    if still_paused {
        return frozen.context(|| format!("cannot pause container {id}"));
    }
    // It ended meanwhile.
    Err(Error::conflict(format!("Container {id} is not running")))
}

/// Lets the processes of a paused container go on.
///
/// # Errors
/// `NotFound`; `Conflict` when it is not paused.
pub fn unpause(engine: &Engine, who: &str) -> Result<()> {
    let id = super::find_settled(engine, who)?.id;
    if go_on(engine, &id)? {
        return Ok(());
    }
    Err(Error::conflict(format!("Container {id} is not paused")))
}

/// Thaws a container if it is paused; whether it was. A stop or a kill does so when its signal is sent: frozen
/// processes take none.
pub(crate) fn go_on(engine: &Engine, id: &ContainerId) -> Result<bool> {
    let is_paused = || -> Result<Option<ContainerRecord>> {
        let found = engine.db()?.read(|txn| txn.container(id))?;
        Ok(found.filter(|record| record.state.status == Status::Paused))
    };
    if is_paused()?.is_none() {
        return Ok(false);
    }
    let _lock = lock::lock_container(engine.layout(), id)?;
    // Read again under the lock: someone else may have been as quick.
    let Some(record) = is_paused()? else { return Ok(false) };
    super::cgroup(engine, &record)?.thaw().context(|| format!("cannot unpause container {id}"))?;
    engine.db()?.write(|txn| {
        let Some(mut now) = txn.container(id)? else { return Ok(()) };
        // A process that was killed while it was frozen ends at once, and its monitor may have said so.
        if now.state.status == Status::Paused {
            now.state.status = now.state.status.after(Move::Unpause)?;
            txn.update_state(id, &now.state)?;
        }
        txn.append_event(&events::container("unpause", &record, []), events::now())?;
        Ok(())
    })?;
    Ok(true)
}

/// Recovery of a container that is `Paused` and whose monitor lives: freezes what should be frozen.
pub(crate) fn settle(engine: &Engine, id: &ContainerId) -> Result<()> {
    // Whoever holds it is at work on it.
    let Some(_lock) = lock::try_lock_container(engine.layout(), id)? else { return Ok(()) };
    let Some(record) = engine.db()?.read(|txn| txn.container(id))? else { return Ok(()) };
    if record.state.status != Status::Paused || !lock::monitor_alive(engine.layout(), id)? {
        return Ok(());
    }
    let cgroup = super::cgroup(engine, &record)?;
    // A cgroup that cannot be frozen now (its processes may just have ended) is no reason to open no engine: who
    // comes next tries again.
    if cgroup.is_frozen().is_ok_and(|frozen| !frozen) {
        let _ = cgroup.freeze();
    }
    Ok(())
}
