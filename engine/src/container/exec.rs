//! `exec`: another process in a running container, held by a monitor of its own.

use super::attach::{AttachOptions, Attached, say_hello};
use super::streams::{MonitorEnds, Started, WantedStreams};
use crate::{Engine, events, random};
use dhow_model::{ContainerId, Digest, Error, ErrorKind, Layout, Result, ResultExt};
use dhow_runtime::monitor::{AfterExit, Exit, MonitorKind, MonitorSpec, Recorder, Report, spawn_monitor};
use dhow_runtime::spec::ExecSpec;
use dhow_store::db::{ContainerRecord, ExecConfig, ExecRecord, StateDb};
use dhow_store::layer::tar_of;
use dhow_store::lock;
use dhow_store::watch::EventWatch;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The exit code of a session whose process could not be started, but for 127 (moby's daemon/exec.go).
const NOT_STARTED: i32 = 126;

/// How to start an exec session.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExecStart {
    /// Nobody attaches.
    pub detach: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<(u16, u16)>,
}

/// Docker's words for an unknown session.
fn no_such(id: &str) -> Error {
    Error::not_found(format!("No such exec instance: {id}"))
}

/// Prepares an exec session in a running container.
///
/// # Errors
/// `NotFound`; `Conflict` when it does not run or is paused; `InvalidArgument` without a command.
pub fn create(engine: &Engine, who: &str, config: ExecConfig) -> Result<ContainerId> {
    let container = super::find_settled(engine, who)?;
    check_running(&container)?;
    if config.argv.is_empty() {
        return Err(Error::invalid("no exec command specified"));
    }
    let exec = ExecRecord {
        id: random::id()?,
        container: container.id.clone(),
        created: events::now(),
        config,
        running: false,
        pid: 0,
        pid_start_ticks: 0,
        exit_code: None,
    };
    let action = format!("exec_create: {}", exec.config.argv.join(" "));
    engine.db()?.write(|txn| {
        txn.insert_exec(&exec)?;
        let event = events::container(action, &container, [("execID", exec.id.to_string())]);
        txn.append_event(&event, events::now())
    })?;
    Ok(exec.id)
}

fn check_running(container: &ContainerRecord) -> Result<()> {
    if container.state.status == dhow_model::state::Status::Paused {
        return Err(Error::conflict(format!(
            "container {} is paused, unpause the container before exec",
            container.id
        )));
    }
    if !container.state.status.has_process() {
        return Err(Error::conflict(format!("container {} is not running", container.id)));
    }
    Ok(())
}

/// Looks a session up by its full id.
///
/// # Errors
/// `NotFound`.
pub fn inspect(engine: &Engine, exec_id: &str) -> Result<ExecRecord> {
    let id = ContainerId::parse(exec_id).map_err(|_| no_such(exec_id))?;
    engine.db()?.read(|txn| txn.exec(&id))?.ok_or_else(|| no_such(exec_id))
}

/// Looks a session up that can be started now.
///
/// # Errors
/// `NotFound`; `Conflict` when it ran already or the container does not run.
pub fn startable(engine: &Engine, exec_id: &str) -> Result<ExecRecord> {
    let exec = inspect(engine, exec_id)?;
    check_has_not_run(&exec)?;
    check_running(&super::find_settled(engine, exec.container.as_str())?)?;
    Ok(exec)
}

fn check_has_not_run(exec: &ExecRecord) -> Result<()> {
    if exec.running || exec.exit_code.is_some() {
        return Err(Error::conflict(format!("exec command {} has already run", exec.id)));
    }
    Ok(())
}

/// Starts a session; returns its streams unless detached. Must be called inside a tokio runtime.
///
/// # Errors
/// `NotFound`; `Conflict` when it ran already or the container does not run; `CommandNotFound`,
/// `CommandNotExecutable`, `StartFailed`.
pub fn start(engine: &Engine, exec_id: &str, options: ExecStart) -> Result<Option<Attached>> {
    let exec = inspect(engine, exec_id)?;
    let config = &exec.config;
    let wanted = AttachOptions {
        stream: true,
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        logs: false,
    };
    let mut clients = Vec::new();
    let attached = if options.detach {
        None
    } else {
        let (client, monitor) = StdStream::pair().context(|| "make a socket pair".to_owned())?;
        clients.push(OwnedFd::from(monitor));
        Some(Attached { tty: config.tty, stream: Some(say_hello(client, wanted)?), replay: None })
    };
    launch(engine, &exec, options.console_size, clients, Vec::new())?;
    Ok(attached)
}

/// Tells that a client left a session by its detach keys. It has left: there is nobody to tell of a failure.
pub(crate) fn detached(engine: &Engine, id: &ContainerId) {
    let _ = engine.db().and_then(|mut db| {
        db.write(|txn| {
            let exec = txn.exec(id)?.ok_or_else(|| no_such(id.as_str()))?;
            let container =
                txn.container(&exec.container)?.ok_or_else(|| super::no_such(exec.container.as_str()))?;
            let event = events::container("exec_detach", &container, [("execID", id.to_string())]);
            txn.append_event(&event, events::now())
        })
    });
}

/// Starts a session, and hands out its process and its streams.
///
/// # Errors
/// As [`start`].
pub fn start_with_streams(
    engine: &Engine,
    exec_id: &str,
    wanted: WantedStreams,
    console_size: Option<(u16, u16)>,
) -> Result<Started> {
    let exec = inspect(engine, exec_id)?;
    let (streams, ends) = super::streams::open(wanted, exec.config.tty, exec.config.attach_stdin)?;
    let (pid, pidfd) = launch(engine, &exec, console_size, Vec::new(), ends)?;
    Ok(Started { pid, pidfd, streams })
}

/// How long a dead monitor may go unnoticed by [`wait_blocking`].
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Waits on the calling thread for a session's end, for `timeout` at most: `None` when that is over.
///
/// # Errors
/// `NotFound`; `Conflict` when it was not started; `Unavailable` when its monitor was killed.
pub fn wait_blocking(engine: &Engine, exec_id: &str, timeout: Option<Duration>) -> Result<Option<i32>> {
    let deadline = timeout.map(|t| Instant::now() + t);
    let watch = EventWatch::new(engine.layout())?;
    loop {
        watch.drain();
        let exec = inspect(engine, exec_id)?;
        if let Some(code) = exec.exit_code {
            return Ok(Some(code));
        }
        if !exec.running {
            return Err(Error::conflict(format!("exec session {exec_id} has not been started")));
        }
        let left = deadline.map_or(LOOK_AGAIN, |d| d.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(None);
        }
        if !watch.wait(Some(left.min(LOOK_AGAIN)))?
            && !lock::exec_monitor_alive(engine.layout(), &exec.id)?
            && inspect(engine, exec_id)?.exit_code.is_none()
        {
            let killed = format!("the monitor of exec session {} was killed", exec.id.short());
            return Err(Error::new(ErrorKind::Unavailable, killed));
        }
    }
}

/// Starts the session's monitor, and waits for its report.
fn launch(
    engine: &Engine,
    exec: &ExecRecord,
    console_size: Option<(u16, u16)>,
    clients: Vec<OwnedFd>,
    streams: MonitorEnds,
) -> Result<(i32, Option<OwnedFd>)> {
    check_has_not_run(exec)?;
    let container = super::find_settled(engine, exec.container.as_str())?;
    check_running(&container)?;
    let spec = exec_spec(engine, &container, &exec.config)?;
    let plan = dhow_runtime::plan_exec(&spec, engine.facts()?)?;
    let state_dir = engine.layout().exec_state(&exec.id);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state_dir)
        .context(|| format!("create {}", state_dir.display()))?;

    let config = &exec.config;
    let event = events::container(
        format!("exec_start: {}", config.argv.join(" ")),
        &container,
        [("execID", exec.id.to_string())],
    );
    engine.db()?.write(|txn| txn.append_event(&event, events::now()))?;
    let monitor = MonitorSpec {
        layout: engine.layout().clone(),
        id: exec.id.clone(),
        kind: MonitorKind::Exec { container: container.id.clone() },
        plan,
        tty: config.tty,
        open_stdin: config.attach_stdin,
        stdin_once: true,
        console_size,
        log: None,
        attach_socket: state_dir.join("attach.sock"),
        lock_file: state_dir.join("monitor.lock"),
        clients: u32::try_from(clients.len()).unwrap_or(u32::MAX),
        timeline_since: None,
        streams: streams.iter().map(|(stream, _)| *stream).collect(),
        probe: None,
        external: None,
    };
    let place = dhow_runtime::cgroup::monitors::place(&engine.facts()?.cgroup)?;
    let (report, pidfd) =
        spawn_monitor(engine.helper(), &monitor, clients, streams, &place)?.wait_started()?;
    match report {
        Report::Started { pid, .. } => Ok((pid, pidfd)),
        Report::Failed { kind, message, .. } => Err(Error::new(kind, message)),
    }
}

pub(super) fn exec_spec(
    engine: &Engine,
    container: &ContainerRecord,
    config: &ExecConfig,
) -> Result<ExecSpec> {
    let security = &container.config.host.security;
    let privileged = config.privileged || security.privileged;
    let all = dhow_model::security::Security { privileged: true, ..Default::default() }.capability_mask();
    let capability_mask = if privileged { all } else { security.capability_mask() };
    let seccomp =
        if privileged { None } else { super::seccomp::compiled(engine, &security.seccomp, capability_mask)? };
    let env = super::create::merge_env(&container.config.env, &config.env);
    let or_container =
        |own: &str, theirs: &str| if own.is_empty() { theirs.to_owned() } else { own.to_owned() };
    Ok(ExecSpec {
        container_pid: container.state.pid,
        container_start_ticks: container.state.pid_start_ticks,
        argv: config.argv.clone(),
        env,
        working_dir: or_container(&config.working_dir, &container.config.working_dir),
        user: or_container(&config.user, &container.config.user),
        tty: config.tty,
        privileged,
        capability_mask,
        no_new_privileges: security.no_new_privileges,
        seccomp,
        cgroup: super::cgroup(engine, container)?.paths().clone(),
        group_add: container.config.host.group_add.clone(),
        ulimits: container.config.host.resources.ulimits.clone(),
        oom_score_adj: container.config.host.resources.oom_score_adj,
    })
}

/// What an exec session's monitor records.
pub(super) struct ExecRecorder {
    pub(super) layout: Layout,
    pub(super) id: ContainerId,
    pub(super) container: ContainerId,
    /// The container's, as soon as the process has ended.
    pub(super) layers: Vec<Digest>,
}

impl ExecRecorder {
    /// Gives the layers of the container, if that is to be known by now.
    fn update(&self, change: impl FnOnce(&mut ExecRecord)) -> Result<Vec<Digest>> {
        StateDb::open(&self.layout)?.write(|txn| {
            // The container, and with it the session, may have been removed meanwhile.
            let Some(mut exec) = txn.exec(&self.id)? else { return Ok(Vec::new()) };
            change(&mut exec);
            txn.update_exec(&exec)?;
            if let (Some(code), Some(container)) = (exec.exit_code, txn.container(&self.container)?) {
                let attributes = [("execID", self.id.to_string()), ("exitCode", code.to_string())];
                txn.append_event(&events::container("exec_die", &container, attributes), events::now())?;
                let image = txn.image(&container.config.image_id)?;
                return Ok(image.map(|image| image.layers).unwrap_or_default());
            }
            Ok(Vec::new())
        })
    }

    fn end(&mut self, exit_code: i32) -> Result<AfterExit> {
        self.layers = self.update(|exec| {
            exec.running = false;
            exec.pid = 0;
            exec.exit_code = Some(exit_code);
        })?;
        super::remove::remove_tree(&self.layout.exec_state(&self.id))?;
        Ok(AfterExit::Stay)
    }
}

impl Recorder for ExecRecorder {
    fn started(&mut self, pid: i32, start_ticks: u64) -> Result<()> {
        self.update(|exec| {
            exec.running = true;
            exec.pid = pid;
            exec.pid_start_ticks = start_ticks;
        })
        .map(|_| ())
    }

    /// A session that cannot start for another reason than its command (a user that is not there) ends with 126, as in
    /// Docker: the client has its stream by then, and no status.
    fn start_failed(&mut self, error: &Error, exit_code: i32) -> Result<AfterExit> {
        self.end(if error.kind() == ErrorKind::CommandNotFound { exit_code } else { NOT_STARTED })
    }

    fn exited(&mut self, exit: &Exit) -> Result<AfterExit> {
        self.end(exit.code)
    }

    fn may_restart(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn remove(&mut self) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, "an exec session has nothing to remove"))
    }

    fn oom(&mut self) -> Result<()> {
        // The container's own monitor sees the same cgroup and records it.
        Ok(())
    }

    /// The container's monitor drops them when it has been idle, which it may be all the time that this runs.
    fn tars(&self) -> Vec<PathBuf> {
        self.layers.iter().map(|diff_id| tar_of(&self.layout, diff_id)).collect()
    }
}
