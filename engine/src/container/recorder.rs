//! What a monitor writes into the database, and the entry of `dhow monitor`.
//!
//! The monitor (in `dhow-runtime`) knows processes and bytes; what a start or an exit means for the record
//! is decided here. The database is opened for each record and closed again: an idle monitor holds none.

use crate::network::carrier::{Firewall, Held};
use crate::network::companion::Companion;
use crate::{events, network};
use dhow_model::event::NewEvent;
use dhow_model::health::Health;
use dhow_model::life::Ender;
use dhow_model::state::{ContainerState, Move, Status};
use dhow_model::{ContainerId, Error, Layout, Result, Timestamp};
use dhow_runtime::cgroup::limits::plan_for;
use dhow_runtime::monitor::restart::Backoff;
use dhow_runtime::monitor::{
    AfterExit, AfterProbe, Exit, MonitorKind, MonitorSpec, NextRun, Probed, Recorder,
};
use dhow_store::db::{ContainerRecord, StateDb, Txn};
use std::os::fd::BorrowedFd;

/// The entry of `dhow monitor`.
pub fn monitor_main() -> i32 {
    let mut layout = None;
    let code = dhow_runtime::monitor::run(|spec: &MonitorSpec| {
        // A probe's process has nothing to do with the database: its container's monitor writes.
        layout = (spec.kind != MonitorKind::Probe).then(|| spec.layout.clone());
        Ok(match &spec.kind {
            MonitorKind::Container => Box::new(ContainerRecorder {
                layout: spec.layout.clone(),
                id: spec.id.clone(),
                backoff: Backoff::default(),
                kept: None,
                companion: None,
                firewall: Firewall::default(),
            }) as Box<dyn Recorder>,
            MonitorKind::Probe => Box::new(super::health::ProbeRecorder),
            MonitorKind::Exec { container } => Box::new(super::exec::ExecRecorder {
                layout: spec.layout.clone(),
                id: spec.id.clone(),
                container: container.clone(),
                layers: Vec::new(),
            }),
        })
    });
    // Nobody waits for this process any more: the time to copy back what the database's log has gathered.
    // If it fails, the next one does it.
    if let Some(layout) = layout {
        let _ = StateDb::tidy_at(&layout);
    }
    code
}

struct ContainerRecorder {
    layout: Layout,
    id: ContainerId,
    backoff: Backoff,
    /// Open while a process is being launched, and between an exit and the removal that follows at once.
    kept: Option<StateDb>,
    /// What the run has beside its processes.
    companion: Option<Companion>,
    /// Kept once it is open.
    firewall: Firewall,
}

impl ContainerRecorder {
    /// Changes the record and appends events, in one transaction.
    fn update<T>(
        &mut self,
        change: impl FnOnce(&ContainerRecord, &mut ContainerState) -> Result<(T, Vec<NewEvent>)>,
    ) -> Result<T> {
        self.update_and(|_, _| Ok(()), change)
    }

    /// The same, and `also` in the same transaction.
    fn update_and<T>(
        &mut self,
        also: impl FnOnce(&Txn<'_>, &ContainerRecord) -> Result<()>,
        change: impl FnOnce(&ContainerRecord, &mut ContainerState) -> Result<(T, Vec<NewEvent>)>,
    ) -> Result<T> {
        let mut db = self.open()?;
        let (value, removing) = db.write(|txn| {
            let record = txn.container(&self.id)?.ok_or_else(|| super::no_such(self.id.as_str()))?;
            let mut state = record.state.clone();
            let (value, events) = change(&record, &mut state)?;
            txn.update_state(&self.id, &state)?;
            // What it tells goes first: a container has left its networks when it is told to have died, as in Docker.
            also(txn, &record)?;
            for event in events {
                txn.append_event(&event, events::now())?;
            }
            Ok((value, state.status == Status::Removing))
        })?;
        self.kept = removing.then_some(db);
        Ok(value)
    }

    /// The kernel forgets what it still has of the container's networks. What it refuses, recovery tries again. What it
    /// returns is kept until the end is recorded.
    fn disconnect(&mut self) -> Option<Held> {
        self.companion = None;
        let mut db = self.open().ok()?;
        let withdrawn = network::start::disconnect(&self.layout, &mut db, &self.id, &mut self.firewall);
        self.kept = Some(db);
        withdrawn.ok().flatten()
    }

    fn open(&mut self) -> Result<StateDb> {
        match self.kept.take() {
            Some(db) => Ok(db),
            None => StateDb::open(&self.layout),
        }
    }
}

impl Recorder for ContainerRecorder {
    fn launching(&mut self, pid: i32) -> Result<()> {
        let mut db = StateDb::open(&self.layout)?;
        // Reads the schema, too, which costs as much as the opening.
        let record = db.read(|txn| txn.container(&self.id))?;
        let record = record.ok_or_else(|| super::no_such(self.id.as_str()))?;
        self.companion = network::start::connect(&self.layout, &mut db, &record, pid, &mut self.firewall)?;
        self.kept = Some(db);
        Ok(())
    }

    fn companion(&self) -> Option<BorrowedFd<'_>> {
        self.companion.as_ref().map(Companion::fd)
    }

    fn attend(&mut self) {
        if let Some(companion) = &mut self.companion {
            companion.attend();
        }
    }

    fn woken(&mut self) {
        let Ok(mut db) = self.open() else { return };
        let companion = self.companion.take();
        // What fails here is one service less: the container itself runs on.
        self.companion =
            network::start::rejoin(&self.layout, &mut db, &self.id, companion, &mut self.firewall)
                .unwrap_or_default();
    }

    fn started(&mut self, pid: i32, start_ticks: u64) -> Result<()> {
        let connect =
            |txn: &Txn<'_>, record: &ContainerRecord| network::start::tell_places("connect", txn, record);
        self.update_and(connect, |record, state| {
            // An error here (a user removed it meanwhile) makes the monitor kill what it started.
            state.status = state.status.after(Move::Started)?;
            state.pid = pid;
            state.pid_start_ticks = start_ticks;
            state.monitor_pid = i32::try_from(std::process::id()).unwrap_or(0);
            state.oom_killed = false;
            state.exit_code = 0;
            state.error.clear();
            state.started_at = Some(events::now());
            state.life.begin_run();
            state.life.health = record.config.probe_argv().map(|_| Health::default());
            let mut told = events::volume_mounts("mount", record);
            told.push(events::container("start", record, []));
            Ok(((), told))
        })
    }

    fn start_failed(&mut self, error: &Error, exit_code: i32) -> Result<AfterExit> {
        let _withdrawn = self.disconnect();
        self.update_and(
            |txn, record| network::start::release(txn, &record.id),
            |record, state| {
                state.status = state.status.after(Move::StartFailed)?;
                state.pid = 0;
                state.monitor_pid = 0;
                state.exit_code = exit_code;
                state.error = error.to_string();
                state.life.fail_start();
                let attributes = [("exitCode", exit_code.to_string()), ("error", error.to_string())];
                let after = after_end(record, state)?;
                Ok((after, vec![events::container("die", record, attributes)]))
            },
        )
    }

    fn exited(&mut self, exit: &Exit) -> Result<AfterExit> {
        let delay = self.backoff.next(exit.ran_for);
        let _withdrawn = self.disconnect();
        self.update_and(network::start::leave, |record, state| {
            state.pid = 0;
            state.exit_code = exit.code;
            state.oom_killed |= exit.oom_killed;
            state.finished_at = Some(exit.at);
            state.life.first_output_at = state.life.first_output_at.or(exit.first_output_at);
            state.life.log_lost = exit.log_lost;
            state.life.end_run(exit.signal, exit.oom_killed);
            let mut told = events::volume_mounts("unmount", record);
            told.push(events::container(
                "die",
                record,
                [("exitCode", exit.code.to_string()), ("execDuration", exit.ran_for.as_secs().to_string())],
            ));
            let policy = record.config.host.restart;
            let wanted = state.status != Status::Removing
                && policy.wants_restart(
                    failure(exit.code, state),
                    state.restart_count,
                    state.stopped_by_user,
                );
            if wanted {
                state.status = state.status.after(Move::RestartLater)?;
                state.restart_count += 1;
                return Ok((AfterExit::Restart { delay }, told));
            }
            state.status = state.status.after(Move::Exited)?;
            state.monitor_pid = 0;
            let after = after_end(record, state)?;
            Ok((after, told))
        })
    }

    fn may_restart(&mut self) -> Result<bool> {
        self.update(|_, state| {
            if state.status == Status::Restarting && !state.stopped_by_user {
                return Ok((true, vec![]));
            }
            if state.status == Status::Restarting {
                state.status = state.status.after(Move::Exited)?;
            }
            state.monitor_pid = 0;
            Ok((false, vec![]))
        })
    }

    fn next_run(&mut self) -> Result<Option<NextRun>> {
        let mut db = self.open()?;
        let record = db.read(|txn| txn.container(&self.id))?;
        let record = record.ok_or_else(|| super::no_such(self.id.as_str()))?;
        let (host, facts) = (&record.config.host, dhow_runtime::facts::probe()?);
        let cgroup = plan_for(host, super::DEFAULT_CGROUP_PARENT, &record.id, &facts)?;
        Ok(Some(NextRun { cgroup, donors: super::join::donors(&mut db, host)? }))
    }

    fn remove(&mut self) -> Result<()> {
        let mut db = self.open()?;
        match db.read(|txn| txn.container(&self.id))? {
            Some(record) => super::remove::delete(&self.layout, &mut db, &record, true),
            None => Ok(()),
        }
    }

    fn oom(&mut self) -> Result<()> {
        self.update(|record, state| {
            state.oom_killed = true;
            Ok(((), vec![events::container("oom", record, [])]))
        })
    }

    fn note(&mut self, first_output: Option<Timestamp>, log_lost: u64) -> Result<()> {
        self.update(|_, state| {
            state.life.first_output_at = first_output;
            state.life.log_lost = log_lost;
            Ok(((), vec![]))
        })
    }

    fn idle(&mut self) {
        // A crowd of starts leaves a long log, which each command would read again until some container ends. If it
        // fails, the next monitor does it.
        let _ = StateDb::tidy_at(&self.layout);
    }

    fn probe_begins(&mut self) -> Result<Option<ContainerId>> {
        super::health::begin(&mut self.open()?, &self.id)
    }

    fn probed(&mut self, probed: &Probed) -> Result<AfterProbe> {
        super::health::record(&mut self.open()?, &self.id, probed)
    }
}

/// The exit code as a restart policy sees it: what was ended because it was unhealthy has failed, however it took
/// leave.
fn failure(code: i32, state: &ContainerState) -> i32 {
    let unhealthy = state.life.ended.is_some_and(|ended| ended.by == Ender::Health);
    if unhealthy && code == 0 { 1 } else { code }
}

/// `--rm` begins the removal in the same transaction that records the end, so that a crash finishes it. What ends only
/// to be started again stays.
fn after_end(record: &ContainerRecord, state: &mut ContainerState) -> Result<AfterExit> {
    let restarts = state.life.ended.is_some_and(|ended| ended.by == Ender::Restart);
    if record.config.host.auto_remove && !restarts && state.status != Status::Removing {
        state.status = state.status.after(Move::BeginRemove)?;
        return Ok(AfterExit::Remove);
    }
    Ok(AfterExit::Stay)
}
