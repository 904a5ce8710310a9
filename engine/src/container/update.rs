//! `update`: other limits and another restart policy, for a container that runs as for one that does not.
//!
//! ```text
//!   lock ─ new configuration (pure) ─ write what differs to the cgroup ─ configuration, event `update` (commit)
//!                                        │ refused: the old values are back, nothing is recorded
//! ```
//! A crash before the commit leaves a run with limits that its record does not know, until it ends. A monitor that
//! starts the container again reads its limits from the record.

use crate::{Engine, events};
use dhow_model::container::HostConfig;
use dhow_model::state::Status;
use dhow_model::{ContainerId, Error, Result, ResultExt};
use dhow_runtime::cgroup::limits::plan_change;
use dhow_store::db::ContainerRecord;
use dhow_store::lock;

/// Changes a container's configuration to what `change` makes of it; only its limits and its restart policy are
/// taken over.
///
/// # Errors
/// `NotFound`; `Conflict` when it is being removed; what `change` says; `InvalidArgument` and others when the kernel
/// refuses a limit.
pub fn update<T>(
    engine: &Engine,
    who: &str,
    change: impl FnOnce(&HostConfig) -> Result<(HostConfig, T)>,
) -> Result<T> {
    let id = super::find_settled(engine, who)?.id;
    let _lock = lock::lock_container(engine.layout(), &id)?;
    let record = read(engine, &id)?.ok_or_else(|| super::no_such(who))?;
    let what = || format!("Cannot update container {id}");
    if matches!(record.state.status, Status::Removing | Status::Dead) {
        return Err(Error::conflict(format!(
            "{}: container is marked for removal and cannot be \"update\"",
            what()
        )));
    }
    // What is wrong with the limits themselves says so alone, as when a container is created.
    let (changed, told) = change(&record.config.host)?;
    let mut config = record.config.clone();
    config.host.restart = changed.restart;
    config.host.resources = changed.resources;
    let mut run = record.clone();
    loop {
        write_limits(engine, &run, &config.host).context(what)?;
        engine.db()?.write(|txn| {
            txn.update_config(&id, &config)?;
            Ok(())
        })?;
        // A monitor that had read the old limits may have started it in between.
        match read(engine, &id)? {
            Some(now) if is_other_run(&run, &now) => {
                run = ContainerRecord { config: record.config.clone(), ..now };
            }
            _ => break,
        }
    }
    engine.db()?.write(|txn| {
        txn.append_event(&events::container("update", &record, []), events::now())?;
        Ok(())
    })?;
    Ok(told)
}

fn read(engine: &Engine, id: &ContainerId) -> Result<Option<ContainerRecord>> {
    engine.db()?.read(|txn| txn.container(id))
}

fn is_other_run(before: &ContainerRecord, now: &ContainerRecord) -> bool {
    now.state.status.has_process()
        && (before.state.pid, before.state.pid_start_ticks) != (now.state.pid, now.state.pid_start_ticks)
}

/// Writes what differs to the cgroup of a container that runs; all or nothing.
fn write_limits(engine: &Engine, record: &ContainerRecord, wanted: &HostConfig) -> Result<()> {
    if !record.state.status.has_process() {
        return Ok(());
    }
    let (facts, cgroup) = (engine.facts()?, super::cgroup(engine, record)?);
    let own = &record.config.host.resources;
    let written = cgroup.change(&plan_change(own, &wanted.resources, facts)?);
    if written.is_err() {
        // It may have ended meanwhile: then there is no cgroup, and what is recorded holds for the next run.
        if !read(engine, &record.id)?.is_some_and(|now| now.state.status.has_process()) {
            return Ok(());
        }
    }
    written
}
