//! Health checks: what the monitor is told to probe, and what it records of a probe.
//!
//! A probe is an exec session without a row: its id is in the events, and its result in the container's log of
//! the last five. Docker's events are told in Docker's order: `exec_create`, `exec_start`, `exec_die`,
//! `health_status`.

use crate::{Engine, events, random};
use dhow_model::container::{ContainerConfig, RestartPolicy};
use dhow_model::health::{Health, HealthStatus, LOG_ENTRIES};
use dhow_model::life::{Asked, Ender};
use dhow_model::state::Status;
use dhow_model::{ContainerId, Error, Result};
use dhow_runtime::monitor::{AfterExit, AfterProbe, Exit, ProbeSpec, Probed, Recorder};
use dhow_store::db::{ContainerRecord, ExecConfig, StateDb};
use std::time::Duration;

/// Checks what only the merged configuration shows.
pub(super) fn check(config: &ContainerConfig) -> Result<()> {
    if let Some(check) = &config.healthcheck {
        check.check()?;
    }
    if !config.restarts_unhealthy() {
        return Ok(());
    }
    if config.probe_argv().is_none() {
        return Err(Error::invalid("--restart-unhealthy needs a health check: see --health-cmd"));
    }
    if config.host.restart == RestartPolicy::No {
        return Err(Error::invalid("--restart-unhealthy needs a restart policy: see --restart"));
    }
    Ok(())
}

/// What the monitor of a container is to probe it with; `None` without a check.
pub(super) fn plan(engine: &Engine, record: &ContainerRecord) -> Result<Option<ProbeSpec>> {
    let (Some(argv), Some(check)) = (record.config.probe_argv(), &record.config.healthcheck) else {
        return Ok(None);
    };
    let config = ExecConfig { argv, ..ExecConfig::default() };
    let spec = super::exec::exec_spec(engine, record, &config)?;
    let plan = dhow_runtime::plan_exec(&spec, engine.facts()?)?;
    Ok(Some(ProbeSpec { times: check.times(), plan }))
}

/// Records that a probe begins, unless the container is paused or about to end.
pub(super) fn begin(db: &mut StateDb, id: &ContainerId) -> Result<Option<ContainerId>> {
    let exec = random::id()?;
    db.write(|txn| {
        let Some(record) = txn.container(id)? else { return Ok(None) };
        if record.state.status != Status::Running || record.state.life.asked.is_some() {
            return Ok(None);
        }
        let command = record.config.probe_argv().unwrap_or_default().join(" ");
        for action in ["exec_create", "exec_start"] {
            let event =
                events::container(format!("{action}: {command}"), &record, [("execID", exec.to_string())]);
            txn.append_event(&event, events::now())?;
        }
        Ok(Some(exec))
    })
}

/// Records what a probe said, and decides what that makes of the container.
pub(super) fn record(db: &mut StateDb, id: &ContainerId, probed: &Probed) -> Result<AfterProbe> {
    db.write(|txn| {
        let Some(record) = txn.container(id)? else { return Ok(AfterProbe::default()) };
        if let Some(code) = probed.exit_code {
            let attributes = [("execID", probed.id.to_string()), ("exitCode", code.to_string())];
            txn.append_event(&events::container("exec_die", &record, attributes), events::now())?;
        }
        let mut log = txn.health_log(id)?;
        log.push(probed.result.clone());
        log.drain(..log.len().saturating_sub(LOG_ENTRIES));
        txn.set_health_log(id, &log)?;

        let mut state = record.state.clone();
        let before = state.life.health.unwrap_or_default();
        let Some(check) = &record.config.healthcheck else { return Ok(AfterProbe::default()) };
        let now = before.after(probed.result.exit_code == 0, &check.times(), probed.ran_for);
        state.life.health = Some(now);
        if now.status != before.status {
            let event = events::container(format!("health_status: {}", now.status), &record, []);
            txn.append_event(&event, events::now())?;
        }
        let stop = ends(&record, now);
        if let Some((signal, _)) = stop {
            state.life.asked = Some(Asked { by: Ender::Health, signal, at: events::now() });
        }
        txn.update_state(id, &state)?;
        Ok(AfterProbe { status: Some(now.status), stop })
    })
}

/// Whether and how a container is to be ended because of its health.
fn ends(record: &ContainerRecord, now: Health) -> Option<(i32, Option<Duration>)> {
    let wanted = now.status == HealthStatus::Unhealthy
        && record.config.restarts_unhealthy()
        && record.state.status == Status::Running
        && !record.state.stopped_by_user;
    let seconds = record.config.stop_timeout.unwrap_or(super::stop::DEFAULT_STOP_TIMEOUT_SECONDS);
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    wanted.then(|| (record.config.stop_signal.number(), patience))
}

/// The recorder of a probe's own process, which records nothing: whoever spawned it does.
pub(super) struct ProbeRecorder;

impl Recorder for ProbeRecorder {
    fn started(&mut self, _pid: i32, _start_ticks: u64) -> Result<()> {
        Ok(())
    }

    fn start_failed(&mut self, _error: &Error, _exit_code: i32) -> Result<AfterExit> {
        Ok(AfterExit::Stay)
    }

    fn exited(&mut self, _exit: &Exit) -> Result<AfterExit> {
        Ok(AfterExit::Stay)
    }

    fn may_restart(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn remove(&mut self) -> Result<()> {
        Err(Error::internal("a probe has nothing to remove"))
    }

    fn oom(&mut self) -> Result<()> {
        // The container's own monitor sees the same cgroup and records it.
        Ok(())
    }
}
