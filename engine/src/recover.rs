//! What a crash left behind is settled by whoever opens the engine next.
//!
//! The rules, for a container whose status claims that somebody is at work on it:
//!
//! | status | monitor's lock | container's lock | what is done |
//! |---|---|---|---|
//! | `Paused` | held | free | frozen, if its processes run |
//! | any other | held | | nothing: its monitor lives |
//! | `Starting` | free | held | nothing: a start is under way |
//! | `Starting` | free | free | `Exited`, with the reason |
//! | `Running`, `Paused`, `Restarting` | free | free | leftovers killed, `Exited` with 137 |
//! | `Removing` | free | free | the removal is finished |
//!
//! A container's first process dies with its monitor (PDEATHSIG), so a dead monitor means a dead container.

use crate::network::carrier::Firewall;
use crate::{Engine, container, events, network};
use dhow_model::Result;
use dhow_model::signal::Signal;
use dhow_model::state::{Move, Status};
use dhow_store::db::ContainerRecord;
use dhow_store::lock;

/// 128 + SIGKILL: how a process ends whose monitor died.
const KILLED: i32 = 137;

/// The statuses that claim that somebody is at work.
const CLAIMS_WORK: [Status; 5] =
    [Status::Starting, Status::Running, Status::Paused, Status::Restarting, Status::Removing];

fn claims_work(status: Status) -> bool {
    CLAIMS_WORK.contains(&status)
}

/// Settles every container that needs it. Cheap when nothing does: one query, and one look per live monitor.
pub(crate) fn recover(engine: &Engine) -> Result<()> {
    engine.content().recover()?;
    engine.layer_store().recover()?;
    let active = engine.db()?.read(|txn| txn.container_statuses_at(&CLAIMS_WORK))?;
    let monitors = lock::Monitors::of(engine.layout())?;
    for (id, status) in active {
        // The lock says whether the monitor lives, not its pid: that may be a zombie's, or someone else's.
        if monitors.alive(&id)? {
            if status == Status::Paused {
                container::pause::settle(engine, &id)?;
            }
            continue;
        }
        let record = engine.db()?.read(|txn| txn.container(&id))?;
        if let Some(record) = record {
            settle(engine, &record)?;
        }
    }
    Ok(())
}

/// Settles one container; true if its record changed.
pub(crate) fn settle(engine: &Engine, record: &ContainerRecord) -> Result<bool> {
    let layout = engine.layout();
    let id = &record.id;
    if !claims_work(record.state.status) || lock::monitor_alive(layout, id)? {
        return Ok(false);
    }
    let Some(_lock) = lock::try_lock_container(layout, id)? else { return Ok(false) };
    // Read again under the lock: the monitor may have recorded its end before it let go of its own lock.
    let Some(record) = engine.db()?.read(|txn| txn.container(id))? else { return Ok(true) };
    if !claims_work(record.state.status) || lock::monitor_alive(layout, id)? {
        return Ok(true);
    }
    container::stop::signal_process(&record.state, Signal::KILL)?;
    container::clear_cgroup(engine, &record)?;
    let withdrawn = network::start::disconnect(layout, &mut *engine.db()?, id, &mut Firewall::default())?;
    let record = engine.db()?.write(|txn| {
        let Some(mut record) = txn.container(id)? else { return Ok(None) };
        match record.state.status {
            // Those that were told to have started, and not yet to have ended.
            Status::Running | Status::Paused => network::start::leave(txn, &record)?,
            _ => network::start::release(txn, id)?,
        }
        let state = &mut record.state;
        let now = events::now();
        state.pid = 0;
        state.monitor_pid = 0;
        match state.status {
            Status::Removing => return Ok(Some(record)),
            Status::Starting => {
                state.status = state.status.after(Move::StartFailed)?;
                state.exit_code = container::start::START_FAILED;
                state.error = "the start was interrupted".to_owned();
                state.life.fail_start();
            }
            status => {
                state.status = status.after(Move::Exited)?;
                if status != Status::Restarting {
                    state.exit_code = KILLED;
                    state.error = "its monitor died".to_owned();
                    state.life.lose_monitor();
                    state.finished_at = Some(now);
                    let attributes = [("exitCode", KILLED.to_string())];
                    txn.append_event(&events::container("die", &record, attributes), now)?;
                }
            }
        }
        if record.config.host.auto_remove {
            record.state.status = record.state.status.after(Move::BeginRemove)?;
        }
        txn.update_state(id, &record.state)?;
        Ok(Some(record))
    })?;
    drop(withdrawn);
    if let Some(record) = record.filter(|r| r.state.status == Status::Removing) {
        let volumes = record.config.host.auto_remove;
        container::remove::delete(layout, &mut *engine.db()?, &record, volumes)?;
    }
    Ok(true)
}

/// Starts what the restart policies ask for after a boot.
///
/// # Errors
/// When the database cannot be read. A container that does not start is recorded as such, and the rest go on.
pub fn boot(engine: &Engine) -> Result<()> {
    let records = engine.db()?.read(|txn| txn.containers())?;
    for record in records {
        use dhow_model::container::RestartPolicy as Policy;
        let state = &record.state;
        let wanted = match record.config.host.restart {
            Policy::Always => state.started_at.is_some(),
            Policy::UnlessStopped => state.started_at.is_some() && !state.stopped_by_user,
            Policy::No | Policy::OnFailure { .. } => false,
        };
        if wanted && state.status == Status::Exited {
            // Recorded with the container by its monitor.
            let _ = container::start::start(engine, record.id.as_str());
        }
    }
    Ok(())
}
