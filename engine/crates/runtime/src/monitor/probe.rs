//! Health checks: when a probe is due, and what the one that runs has to say.
//!
//! A probe is an exec session held by a process of its own, a `dhow monitor` like any other, so that nothing that
//! goes wrong with it (a start that hangs because the container was frozen, output without end) holds up this
//! one. What it says comes over the attach protocol:
//!
//! ```text
//!   waiting ── due, and the recorder agrees ──► running ── Exit frame ──► recorder.probed ──► waiting
//!                                                  │ timeout                    ▲
//!                                                  ▼                            │ (without a further record)
//!                               recorder.probed ─ dying: killed, until its Exit frame
//! ```

use super::poller::{Poller, Token};
use super::recorder::{AfterProbe, Probed, Recorder};
use super::spawn::{MonitorHandle, spawn_monitor};
use super::spec::{MonitorKind, MonitorSpec, Report};
use crate::attach::{Hello, ServerDecoder, ServerFrame};
use crate::plan::Scene;
use dhow_model::health::{HealthStatus, HealthTimes, OUTPUT_MAX, ProbeResult, go_duration};
use dhow_model::{ContainerId, Result, ResultExt, Timestamp};
use dhow_sys::process::pidfd_signal_group;
use dhow_sys::spawn::Place;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// What a probe that took too long, or whose start does, is tried to be killed again after.
const KILL_AGAIN: Duration = Duration::from_millis(100);

const KILL: i32 = 9;

/// The checks of a container.
pub(super) struct Probes {
    /// The memfd with this monitor's spec: the probe's plan is read from it when it is needed.
    source: File,
    times: HealthTimes,
    run: Option<Run>,
    /// When the next one is due.
    next: Option<Instant>,
    current: Option<Probe>,
}

/// The run of the container that is probed.
struct Run {
    pid: i32,
    start_ticks: u64,
    began: Instant,
    status: HealthStatus,
}

/// A probe that runs, or is dying.
struct Probe {
    id: ContainerId,
    stream: UnixStream,
    decoder: ServerDecoder,
    /// Until its report was read.
    handle: Option<MonitorHandle>,
    pidfd: Option<OwnedFd>,
    start: Timestamp,
    /// How long the container had run.
    ran_for: Duration,
    /// When it has taken too long; when it was, when to kill it again.
    deadline: Instant,
    output: Vec<u8>,
    truncated: bool,
    /// Its result is recorded.
    told: bool,
}

/// How a probe came to its end.
enum End {
    Exited(i32),
    /// Its monitor went without a word.
    Lost,
}

impl Probes {
    /// The checks that `source` describes.
    pub(super) fn new(source: File, times: HealthTimes) -> Self {
        Self { source, times, run: None, next: None, current: None }
    }

    /// A run of the container began.
    pub(super) fn begin_run(&mut self, pid: i32, start_ticks: u64) {
        self.run = Some(Run { pid, start_ticks, began: Instant::now(), status: HealthStatus::Starting });
        self.schedule();
    }

    /// It is over, or is being ended: no more probes.
    pub(super) fn end_run(&mut self, poller: &Poller) {
        self.next = None;
        self.run = None;
        if let Some(probe) = self.current.take() {
            poller.remove(&probe.stream);
        }
    }

    fn schedule(&mut self) {
        let wait = self.run.as_ref().map(|run| self.times.wait(run.began.elapsed(), run.status));
        self.next = wait.map(|wait| Instant::now() + wait);
    }

    /// When [`Probes::turn`] has something to do.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        match &self.current {
            Some(probe) => Some(probe.deadline),
            None => self.next,
        }
    }

    /// Does what is due.
    pub(super) fn turn(&mut self, poller: &Poller, recorder: &mut dyn Recorder) -> AfterProbe {
        let now = Instant::now();
        if self.wakes_at().is_none_or(|at| at > now) {
            return AfterProbe::default();
        }
        if let Some(probe) = &mut self.current {
            probe.deadline = now + KILL_AGAIN;
            probe.kill();
            if probe.told {
                return AfterProbe::default();
            }
            probe.told = true;
            let after = recorder.probed(&probe.too_late(self.times.timeout)).unwrap_or_default();
            return self.learn(after);
        }
        self.next = None;
        match self.begin(poller, recorder) {
            Ok(true) => {}
            // Not now (it is paused, say), or not at all: it is tried again.
            Ok(false) | Err(_) => self.schedule(),
        }
        AfterProbe::default()
    }

    /// Starts a probe; false when it is not the time for it.
    fn begin(&mut self, poller: &Poller, recorder: &mut dyn Recorder) -> Result<bool> {
        let Some(run) = &self.run else { return Ok(false) };
        let Some(id) = recorder.probe_begins()? else { return Ok(false) };
        let start = Timestamp::from(SystemTime::now());
        let ran_for = run.began.elapsed();
        let spawned = spawn(&self.source, run, &id).and_then(|(stream, handle)| {
            poller.add(&stream, Token::Probe, true, false)?;
            Ok((stream, handle))
        });
        let (stream, handle) = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                let end = Timestamp::from(SystemTime::now());
                let result = ProbeResult { start, end, exit_code: -1, output: error.to_string() };
                let after = recorder.probed(&Probed { id, result, exit_code: None, ran_for });
                self.learn(after.unwrap_or_default());
                return Ok(false);
            }
        };
        self.current = Some(Probe {
            id,
            stream,
            decoder: ServerDecoder::default(),
            handle: Some(handle),
            pidfd: None,
            start,
            ran_for,
            deadline: Instant::now() + self.times.timeout,
            output: Vec::new(),
            truncated: false,
            told: false,
        });
        Ok(true)
    }

    /// The probe has something to say.
    pub(super) fn hear(&mut self, poller: &Poller, recorder: &mut dyn Recorder) -> AfterProbe {
        let Some(probe) = &mut self.current else { return AfterProbe::default() };
        let Some(end) = probe.hear() else { return AfterProbe::default() };
        poller.remove(&probe.stream);
        let after = if probe.told {
            AfterProbe::default()
        } else {
            recorder.probed(&probe.finish(&end)).unwrap_or_default()
        };
        self.current = None;
        let after = self.learn(after);
        self.schedule();
        after
    }

    fn learn(&mut self, after: AfterProbe) -> AfterProbe {
        if let (Some(run), Some(status)) = (&mut self.run, after.status) {
            run.status = status;
        }
        after
    }
}

/// Starts the process that holds the probe.
fn spawn(source: &File, run: &Run, id: &ContainerId) -> Result<(UnixStream, MonitorHandle)> {
    let what = || format!("start probe {}", id.short());
    let own = super::launcher::read_spec(source)?;
    let mut plan = own.probe.map(|probe| probe.plan).ok_or_else(|| {
        dhow_model::Error::internal("a monitor without a health check was to probe".to_owned())
    })?;
    if let Scene::Exec { pid, start_ticks, .. } = &mut plan.scene {
        (*pid, *start_ticks) = (run.pid, run.start_ticks);
    }
    let (mut ours, theirs) = UnixStream::pair().context(what)?;
    let hello = Hello { stdout: true, stderr: true, stdin: false, control_only: false };
    ours.write_all(&hello.encode()).and_then(|()| ours.set_nonblocking(true)).context(what)?;
    let spec = MonitorSpec {
        layout: own.layout,
        id: id.clone(),
        kind: MonitorKind::Probe,
        plan,
        tty: false,
        open_stdin: false,
        stdin_once: true,
        console_size: None,
        log: None,
        attach_socket: PathBuf::new(),
        lock_file: PathBuf::new(),
        clients: 1,
        timeline_since: None,
        streams: Vec::new(),
        probe: None,
        external: None,
    };
    // Our own executable, also when the file was replaced since.
    // It is born where this monitor lives.
    let handle = spawn_monitor(
        Path::new("/proc/self/exe"),
        &spec,
        vec![theirs.into()],
        Vec::new(),
        &Place::default(),
    )?;
    Ok((ours, handle))
}

impl Probe {
    /// Reads what there is; `Some` at its end.
    fn hear(&mut self) -> Option<End> {
        let mut piece = [0; 4096];
        loop {
            let count = match self.stream.read(&mut piece) {
                Ok(0) => return Some(End::Lost),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Some(End::Lost),
            };
            let mut bytes = &piece[..count];
            loop {
                match self.decoder.decode(&mut bytes) {
                    Ok(Some(ServerFrame::Output(_, output))) => {
                        let room = OUTPUT_MAX - self.output.len();
                        self.truncated |= output.len() > room;
                        self.output.extend_from_slice(&output[..output.len().min(room)]);
                    }
                    Ok(Some(ServerFrame::Exit(code))) => return Some(End::Exited(code)),
                    Ok(None) => break,
                    Err(_) => return Some(End::Lost),
                }
            }
        }
    }

    /// What it wrote, as text.
    fn said(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.output).into_owned();
        if self.truncated {
            text.push_str("...");
        }
        text
    }

    fn result(&self, exit_code: i32, output: String) -> ProbeResult {
        ProbeResult { start: self.start, end: SystemTime::now().into(), exit_code, output }
    }

    /// Its result, at its end.
    fn finish(&mut self, end: &End) -> Probed {
        // Sent before the end of the stream: it does not block.
        let report = self.handle.take().map(MonitorHandle::wait_started);
        let (result, exit_code) = match (end, report) {
            (_, Some(Ok((Report::Failed { message, .. }, _)))) => (self.result(-1, message), None),
            (_, Some(Err(error))) => (self.result(-1, error.to_string()), None),
            (End::Exited(code), _) => (self.result(*code, self.said()), Some(*code)),
            (End::Lost, _) => (self.result(-1, "the probe's monitor was killed".to_owned()), None),
        };
        Probed { id: self.id.clone(), result, exit_code, ran_for: self.ran_for }
    }

    /// Its result, when it has taken too long.
    fn too_late(&self, timeout: Duration) -> Probed {
        let mut text = format!("Health check exceeded timeout ({})", go_duration(timeout));
        let said = self.said();
        if !said.is_empty() {
            text.push_str(": ");
            text.push_str(&said);
        }
        Probed {
            id: self.id.clone(),
            result: self.result(-1, text),
            exit_code: Some(128 + KILL),
            ran_for: self.ran_for,
        }
    }

    /// Kills it and what it started, as far as it runs already.
    fn kill(&mut self) {
        let reported = self.handle.as_ref().is_some_and(|handle| is_readable(handle.as_fd()));
        if let Some(handle) = self.handle.take_if(|_| reported)
            && let Ok((_, pidfd)) = handle.wait_started()
        {
            self.pidfd = pidfd;
        }
        if let Some(pidfd) = &self.pidfd {
            // It may be gone, and then its Exit frame is on the way.
            let _ = pidfd_signal_group(pidfd.as_fd(), KILL);
        }
    }
}

fn is_readable(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
