//! `stop`, `restart` and `kill`: signals to the first process, and the word that a user meant it.
//!
//! The engine never signals by number alone: it opens a pidfd, checks the process's start time against the
//! recorded one, and signals through the pidfd, so that a reused pid cannot be hit.

use crate::{Engine, events};
use dhow_model::life::Ender;
use dhow_model::signal::Signal;
use dhow_model::state::{ContainerState, Status};
use dhow_model::{ContainerId, Error, ErrorKind, Result, ResultExt};
use dhow_runtime::attach::{Hello, connect, wake_frame};
use dhow_store::db::ContainerRecord;
use dhow_sys::{Errno, process};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Seconds between the stop signal and KILL when neither the container nor the caller says.
pub const DEFAULT_STOP_TIMEOUT_SECONDS: i64 = 10;

/// How long a killed process may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Stops a container: the stop signal, then KILL after `timeout` seconds (negative: never).
///
/// # Errors
/// `NotFound`; `NotModified` when it does not run.
pub fn stop(engine: &Engine, who: &str, signal: Option<Signal>, timeout: Option<i64>) -> Result<()> {
    let record = super::find_settled(engine, who)?;
    if !is_alive(record.state.status) {
        return Err(Error::new(ErrorKind::NotModified, format!("container {who} is not running")));
    }
    stop_running(engine, &record, Ender::Stop, signal, timeout)?;
    engine.db()?.write(|txn| txn.append_event(&events::container("stop", &record, []), events::now()))?;
    Ok(())
}

/// Stops a container if it runs, and starts it.
///
/// # Errors
/// As `stop` and `start`; never `NotModified`.
pub fn restart(engine: &Engine, who: &str, signal: Option<Signal>, timeout: Option<i64>) -> Result<()> {
    let record = super::find_settled(engine, who)?;
    if is_alive(record.state.status) {
        stop_running(engine, &record, Ender::Restart, signal, timeout)?;
        engine.db()?.write(|txn| txn.append_event(&events::container("stop", &record, []), events::now()))?;
    }
    super::start::start(engine, record.id.as_str())?;
    engine.db()?.write(|txn| txn.append_event(&events::container("restart", &record, []), events::now()))?;
    Ok(())
}

/// Sends a signal to the first process. SIGKILL ends the container: as with dockerd, the command returns when it has
/// ended and is recorded, so that `kill` and then `rm` work.
///
/// # Errors
/// `NotFound`; `Conflict` when it does not run; `Unavailable` when a killed process does not end.
pub fn kill(engine: &Engine, who: &str, signal: Signal) -> Result<()> {
    let what = || format!("cannot kill container: {who}");
    let record = super::find_settled(engine, who).context(what)?;
    if !record.state.status.has_process() {
        return Err(Error::conflict(format!("{}: container {} is not running", what(), record.id)));
    }
    // A kill with a signal that means "end" is a user's stop: the restart policy stays out of it, as in Docker.
    let ends = signal == Signal::KILL || signal == record.config.stop_signal;
    if ends {
        mark_stopped_by_user(engine, &record.id, Ender::Kill, signal)?;
    }
    append_kill(engine, &record, signal)?;
    signal_process(&record.state, signal)?;
    if ends {
        super::pause::go_on(engine, &record.id)?;
    }
    if signal == Signal::KILL && !super::monitor_gone_within(engine.layout(), &record, KILL_PATIENCE)? {
        return Err(did_not_end("kill", &record));
    }
    Ok(())
}

fn did_not_end(verb: &str, record: &ContainerRecord) -> Error {
    let id = record.id.short();
    let why =
        format!("cannot {verb} container {id}: its process did not end within {KILL_PATIENCE:?} of SIGKILL");
    Error::new(ErrorKind::Unavailable, why)
}

fn is_alive(status: Status) -> bool {
    status.has_process() || status == Status::Restarting
}

fn stop_running(
    engine: &Engine,
    record: &ContainerRecord,
    by: Ender,
    signal: Option<Signal>,
    timeout: Option<i64>,
) -> Result<()> {
    let signal = signal.unwrap_or(record.config.stop_signal);
    mark_stopped_by_user(engine, &record.id, by, signal)?;
    // A monitor in its back-off has no process to signal: it asks the database again, and goes.
    wake_monitor(engine, &record.id);
    let seconds = timeout.or(record.config.stop_timeout).unwrap_or(DEFAULT_STOP_TIMEOUT_SECONDS);
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    // The state may have moved on since it was read: a restart makes a new process.
    send(engine, record, signal)?;
    let mut ended = super::monitor_gone_within(engine.layout(), record, patience.unwrap_or(Duration::MAX))?;
    if !ended {
        send(engine, record, Signal::KILL)?;
        ended = super::monitor_gone_within(engine.layout(), record, KILL_PATIENCE)?;
    }
    if ended {
        return Ok(());
    }
    Err(did_not_end("stop", record))
}

/// Ends the process of a record at once.
pub(super) fn kill_now(engine: &Engine, record: &ContainerRecord) -> Result<()> {
    if open_process(&record.state)?.is_some() {
        append_kill(engine, record, Signal::KILL)?;
        signal_process(&record.state, Signal::KILL)?;
    }
    Ok(())
}

/// Signals the process that there is now, and tells of it first: its end is told after that.
fn send(engine: &Engine, record: &ContainerRecord, signal: Signal) -> Result<()> {
    let now = current(engine, &record.id)?;
    if open_process(&now)?.is_some() {
        append_kill(engine, record, signal)?;
        signal_process(&now, signal)?;
    }
    super::pause::go_on(engine, &record.id).map(drop)
}

fn append_kill(engine: &Engine, record: &ContainerRecord, signal: Signal) -> Result<()> {
    let number = signal.number().to_string();
    engine.db()?.write(|txn| {
        txn.append_event(&events::container("kill", record, [("signal", number)]), events::now())
    })?;
    Ok(())
}

fn current(engine: &Engine, id: &ContainerId) -> Result<ContainerState> {
    let found = engine.db()?.read(|txn| txn.container(id))?;
    Ok(found.map(|record| record.state).unwrap_or_default())
}

fn mark_stopped_by_user(engine: &Engine, id: &ContainerId, by: Ender, signal: Signal) -> Result<()> {
    engine.db()?.write(|txn| match txn.container(id)? {
        None => Ok(()),
        Some(mut record) => {
            record.state.stopped_by_user = true;
            record.state.life.ask(by, signal.number(), events::now());
            txn.update_state(id, &record.state)
        }
    })
}

/// Opens the recorded first process; `None` when it is gone.
pub(crate) fn open_process(state: &ContainerState) -> Result<Option<OwnedFd>> {
    if state.pid <= 0 {
        return Ok(None);
    }
    let pidfd = match process::pidfd_open(state.pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::ESRCH) => return Ok(None),
        Err(errno) => return Err(errno).context(|| format!("pidfd_open {}", state.pid)),
    };
    // Read after the pidfd was opened: if it is the recorded process now, it was when we opened it.
    let ticks = process::start_ticks(state.pid).ok();
    Ok((ticks == Some(state.pid_start_ticks)).then_some(pidfd))
}

/// Signals the recorded first process; a process that is gone already is fine.
pub(crate) fn signal_process(state: &ContainerState, signal: Signal) -> Result<()> {
    let Some(pidfd) = open_process(state)? else { return Ok(()) };
    match process::pidfd_send_signal(pidfd.as_fd(), signal.number()) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context(|| format!("send {signal} to process {}", state.pid)),
    }
}

/// Tells a waiting monitor to look at the database again. A monitor that is gone needs no telling.
pub(crate) fn wake_monitor(engine: &Engine, id: &ContainerId) {
    let socket = engine.layout().container_state(id).join("attach.sock");
    if let Ok(mut stream) = connect(&socket) {
        let frames = [Hello::CONTROL.encode().as_slice(), &wake_frame()].concat();
        // If the monitor goes while we write, its exit is what we wanted.
        let _ = stream.write_all(&frames);
    }
}
