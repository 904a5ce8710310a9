//! The monitor's life, from the first launch to the last client.

use super::clients::Clients;
use super::door::Door;
use super::entry::Arrival;
use super::input::Input;
use super::launcher::{Group, Launcher, Process};
use super::output::{Got, Output};
use super::poller::{Poller, Ready, Token};
use super::probe::Probes;
use super::recorder::{AfterExit, Recorder};
use super::spec::{Report, exit_code_of};
use crate::attach::ClientFrame;
use crate::launch::ChildStdio;
use crate::log::{LogSink, Stream};
use crate::timeline;
use dhow_model::{Result, ResultExt, Timestamp};
use dhow_sys::process::{Ended, pidfd_send_signal, wait_pidfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

mod ending;
mod upkeep;

use ending::again;

/// A client so many bytes behind stops the reading of output, and so, in the end, the process.
const BEHIND_MAX: usize = 1 << 20;

/// The same once the process has ended. What it left in its pipes, at most a megabyte each, must be read
/// for its exit to be recorded, and that must not depend on a client; but with the host's pid namespace
/// there may still be writers.
const BEHIND_MAX_AFTER_EXIT: usize = 8 << 20;

/// The largest piece of output that is logged and sent at once. Above malloc's threshold for mappings, so
/// that giving it back is one munmap.
const READ_BUFFER: usize = 256 << 10;

/// After so long without any event, buffers are given back.
const IDLE: Duration = Duration::from_secs(1);

/// When descriptors are short, connections are tried again after this time.
const DOOR_AGAIN: Duration = Duration::from_millis(500);

/// A terminal that nobody has open is looked at again after this time: systemd, for one, closes and reopens
/// its console.
const TERMINAL_AGAIN: Duration = Duration::from_millis(200);

/// What does not change between runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// A container's first process: its cgroup is ours to empty and remove.
    pub(super) is_container: bool,
    pub(super) tty: bool,
    pub(super) open_stdin: bool,
    pub(super) stdin_once: bool,
}

/// Everything that a monitor has.
pub(super) struct Monitor<'a> {
    settings: Settings,
    launcher: &'a mut dyn Launcher,
    recorder: &'a mut dyn Recorder,
    poller: Poller,
    /// `None` when no longer in charge.
    door: Option<Door>,
    /// When to try the door again after nobody could be let in; `None`: it is in the poller.
    door_again: Option<Instant>,
    clients: Clients,
    input: Input,
    log: Option<LogSink>,
    /// The log waits for its daemon: the descriptor is in the poller.
    log_waits: Option<u64>,
    /// Lost entries that are recorded, and since when.
    log_lost: u64,
    lost_at: Option<Instant>,
    /// Rows and columns for the next launch.
    size: (u16, u16),
    run: Option<Run>,
    /// A client said wake.
    woken: bool,
    /// The health checks of a container that has some.
    probes: Option<Probes>,
    buffer: Vec<u8>,
    /// There may be something to give back.
    warm: bool,
    /// The recorder's companion is in the poller.
    has_companion: bool,
}

/// One run of the process.
struct Run {
    pidfd: OwnedFd,
    started: Instant,
    outputs: [Option<Output>; 2],
    terminal: Option<OwnedFd>,
    /// When to look again at a terminal that nobody has open.
    terminal_again: Option<Instant>,
    group: Option<Box<dyn Group>>,
    oom_event: Option<OwnedFd>,
    /// OOM kills that are recorded.
    oom_kills: u64,
    oom_killed: bool,
    /// When the count is read again, and how often still: cgroup v1 gives notice before it counts the kill.
    oom_again: Option<(Instant, u8)>,
    ended: Option<Ended>,
    /// It was asked to end: when it is made to.
    kill_at: Option<Instant>,
    /// When it first wrote something, and whether that is recorded.
    first_output: Option<(Timestamp, bool)>,
    last_output: Instant,
}

impl<'a> Monitor<'a> {
    pub(super) fn new(
        settings: Settings,
        size: (u16, u16),
        log: Option<LogSink>,
        door: Option<Door>,
        launcher: &'a mut dyn Launcher,
        recorder: &'a mut dyn Recorder,
    ) -> Result<Self> {
        let poller = Poller::new()?;
        if let Some(door) = &door {
            poller.add(door, Token::Door, true, false)?;
        }
        Ok(Self {
            settings,
            launcher,
            recorder,
            poller,
            door,
            door_again: None,
            clients: Clients::default(),
            input: if settings.open_stdin { Input::default() } else { Input::none() },
            log,
            log_waits: None,
            log_lost: 0,
            lost_at: None,
            size,
            run: None,
            woken: false,
            probes: None,
            buffer: Vec::new(),
            warm: true,
            has_companion: false,
        })
    }

    /// Checks the container's health.
    pub(super) fn check_with(&mut self, probes: Option<Probes>) {
        self.probes = probes;
    }

    /// Takes a client that came along. Its hello is read at once: it must see the very first byte.
    pub(super) fn adopt(&mut self, arrival: Arrival) {
        let id = match arrival {
            Arrival::Client(socket) => self.clients.add(socket),
            Arrival::Stream(stream, fd) => self.clients.add_bare(stream, fd),
        };
        self.hear(id);
    }

    /// Launches, and again as often as the recorder wants; returns when the monitor has nothing left to do.
    /// `report` is called once, after the first launch.
    ///
    /// # Errors
    /// Only when the poller fails.
    pub(super) fn live(&mut self, report: impl FnOnce(&Report, Option<BorrowedFd<'_>>)) -> Result<()> {
        let mut report = Some(report);
        let mut tell = |what: Report, pidfd: Option<BorrowedFd<'_>>| {
            if let Some(report) = report.take() {
                report(&what, pidfd);
            }
        };
        let mut last_code = None;
        loop {
            let (code, after) = match self.launch_again(last_code.is_some()) {
                Ok((pid, start_ticks)) => {
                    let pidfd = self.run.as_ref().map(|run| run.pidfd.as_fd());
                    timeline::mark("record that it runs");
                    tell(Report::Started { pid, start_ticks, timeline: timeline::take() }, pidfd);
                    self.launcher.confine();
                    while self.run.as_ref().is_some_and(|run| run.ended.is_none()) {
                        self.turn(None)?;
                    }
                    self.drain()?;
                    self.settle()
                }
                Err(error) => {
                    let code = exit_code_of(&error);
                    let after = again(|| self.recorder.start_failed(&error, code)).unwrap_or(AfterExit::Stay);
                    let (kind, message) = (error.kind(), error.to_string());
                    tell(Report::Failed { kind, message, exit_code: code }, None);
                    (code, after)
                }
            };
            last_code = Some(code);
            self.clients.finish(code);
            match after {
                AfterExit::Restart { delay } if self.wait_to_restart(delay)? => {}
                AfterExit::Restart { .. } | AfterExit::Stay => break,
                AfterExit::Remove => {
                    self.log = None;
                    // If it fails for good, what is left is found by the engine: the row says Removing.
                    let _ = again(|| self.recorder.remove());
                    break;
                }
            }
        }
        // No longer in charge: whoever starts the container now does not have to wait for our clients.
        if let Some(door) = self.door.take() {
            self.poller.remove(&door);
        }
        self.log = None;
        if let Some(code) = last_code {
            self.clients.finish(code);
        }
        self.clients.update(&self.poller, false);
        while self.clients.count() > 0 {
            self.turn(self.clients.patience_ends())?;
        }
        Ok(())
    }

    /// Starts the process; `again` with what holds now.
    fn launch_again(&mut self, again: bool) -> Result<(i32, u64)> {
        if again && let Some(next) = self.recorder.next_run()? {
            self.launcher.adapt(next);
        }
        self.launch()
    }

    /// Starts the process and records that; undoes the start if it cannot be recorded.
    fn launch(&mut self) -> Result<(i32, u64)> {
        let stdio = if self.settings.tty {
            ChildStdio::Pty { rows: self.size.0, cols: self.size.1 }
        } else {
            ChildStdio::Pipes { stdin: self.settings.open_stdin }
        };
        let process = self.launcher.launch(stdio, &mut |pid| self.recorder.launching(pid))?;
        let (pid, start_ticks) = (process.pid, process.start_ticks);
        let attached = self.attach(process);
        if let Err(error) = attached.and_then(|()| self.recorder.started(pid, start_ticks)) {
            self.abandon();
            return Err(error);
        }
        if let Some(probes) = &mut self.probes {
            probes.begin_run(pid, start_ticks);
        }
        self.has_companion = false;
        self.accompany();
        Ok((pid, start_ticks))
    }

    /// Connects everything to a process that has just been launched.
    fn attach(&mut self, process: Process) -> Result<()> {
        let now = Instant::now();
        let oom_event = process.group.as_ref().and_then(|group| group.oom_event().ok().flatten());
        let oom_kills = process.group.as_ref().and_then(|group| group.oom_kills().ok()).unwrap_or(0);
        let copy = |fd: &OwnedFd| fd.try_clone().context(|| "duplicate a terminal".to_owned());
        // epoll tells a descriptor's two uses apart only by its number.
        let (stdin, stdout) = match &process.pty {
            None => (process.stdin, process.stdout),
            Some(pty) => (if self.settings.open_stdin { Some(copy(pty)?) } else { None }, Some(copy(pty)?)),
        };
        let is_terminal = process.pty.is_some();
        let run = self.run.insert(Run {
            pidfd: process.pidfd,
            started: now,
            outputs: [
                stdout.map(|fd| Output::new(fd, 0, Stream::Stdout, is_terminal)),
                process.stderr.map(|fd| Output::new(fd, 1, Stream::Stderr, false)),
            ],
            terminal: process.pty,
            terminal_again: None,
            group: process.group,
            oom_event,
            oom_kills,
            oom_killed: false,
            oom_again: None,
            ended: None,
            kill_at: None,
            first_output: None,
            last_output: now,
        });
        self.poller.add(&run.pidfd, Token::Process, true, false)?;
        if let Some(event) = &run.oom_event {
            self.poller.add(event, Token::Oom, true, false)?;
        }
        self.input.open(stdin, !is_terminal);
        self.warm = true;
        Ok(())
    }

    /// Ends a process whose start could not be recorded.
    fn abandon(&mut self) {
        let Some(run) = self.run.take() else { return };
        self.input.close(&self.poller);
        if let Some(group) = run.group.filter(|_| self.settings.is_container) {
            group.kill_all();
            let _ = pidfd_send_signal(run.pidfd.as_fd(), KILL);
            let _ = wait_pidfd(run.pidfd.as_fd(), true);
            let _ = group.remove();
        } else {
            let _ = pidfd_send_signal(run.pidfd.as_fd(), KILL);
            let _ = wait_pidfd(run.pidfd.as_fd(), true);
        }
    }

    /// Waits for the next events, at most until `until`, and deals with them.
    fn turn(&mut self, until: Option<Instant>) -> Result<()> {
        self.arrange()?;
        let now = Instant::now();
        let idle_at = self.warm.then(|| now + IDLE);
        let terminal_at = self.run.as_ref().and_then(|run| run.terminal_again);
        let door_at = self.door.as_ref().and(self.door_again);
        let kill_at = self.run.as_ref().and_then(|run| run.kill_at);
        let oom_at = self.run.as_ref().and_then(|run| run.oom_again).map(|(at, _)| at);
        let log_at = self.log.as_ref().and_then(LogSink::wakes_at);
        let probe_at = self.probes.as_ref().and_then(Probes::wakes_at);
        let patience_at = self.clients.patience_ends();
        let wakes = [until, idle_at, terminal_at, door_at, kill_at, oom_at, probe_at, log_at, patience_at];
        let wake_at = wakes.into_iter().flatten().min();
        let mut idle = true;
        for ready in self.poller.wait(wake_at.map(|at| at.saturating_duration_since(now)))? {
            idle = false;
            self.handle(ready);
        }
        if idle && self.warm && idle_at.is_some_and(|at| at <= Instant::now()) {
            self.cool_down();
        }
        self.keep_up();
        // Clients that are done go now, not at the next event.
        self.clients.update(&self.poller, self.input.is_full());
        Ok(())
    }

    /// Tells the poller what to wait for, after whatever happened.
    fn arrange(&mut self) -> Result<()> {
        self.arrange_log()?;
        self.input.update(&self.poller)?;
        self.clients.update(&self.poller, self.input.is_full());
        if let Some(door) = &self.door
            && self.door_again.is_some_and(|at| at <= Instant::now())
        {
            self.poller.add(door, Token::Door, true, false)?;
            self.door_again = None;
        }
        let Some(run) = &mut self.run else { return Ok(()) };
        let limit = if run.ended.is_some() { BEHIND_MAX_AFTER_EXIT } else { BEHIND_MAX };
        let held_up =
            self.clients.farthest_behind() > limit || self.log.as_ref().is_some_and(LogSink::holds_up);
        if run.terminal_again.is_some_and(|at| at <= Instant::now()) {
            run.terminal_again = None;
        }
        for output in run.outputs.iter_mut().flatten() {
            let absent = output.is_terminal() && run.terminal_again.is_some();
            output.set_waiting(&self.poller, !held_up && !absent)?;
        }
        Ok(())
    }

    fn handle(&mut self, ready: Ready) {
        match ready.token {
            Token::Door => self.admit(),
            Token::Process => {
                if let Some(run) = &mut self.run {
                    // ECHILD cannot be: nobody else reaps. If it were, the code is unknown.
                    run.ended = wait_pidfd(run.pidfd.as_fd(), false).unwrap_or(Some(Ended::Exited(255)));
                }
            }
            Token::Input => self.input.write_out(),
            Token::Oom => {
                if let Some(event) = self.run.as_ref().and_then(|run| run.oom_event.as_ref()) {
                    let _ = nix::unistd::read(event, &mut [0; 4096]);
                }
                self.expect_oom();
            }
            Token::Output(index) => {
                self.pump(index);
            }
            Token::Log => {
                if let Some(log) = &mut self.log {
                    log.flush();
                }
            }
            Token::Companion => self.recorder.attend(),
            Token::Probe => {
                if let Some(probes) = &mut self.probes {
                    let after = probes.hear(&self.poller, self.recorder);
                    self.follow(after);
                }
            }
            Token::Client(id) => {
                if ready.writable
                    && let Some(client) = self.clients.get(id)
                {
                    client.flush();
                }
                if ready.readable || ready.hung_up {
                    self.hear(id);
                }
                if ready.hung_up
                    && let Some(client) = self.clients.get(id)
                {
                    client.hang_up();
                }
            }
        }
    }

    /// Lets clients in.
    fn admit(&mut self) {
        let Some(door) = &self.door else { return };
        loop {
            match door.accept() {
                Ok(Some(socket)) => {
                    self.clients.add(socket);
                }
                Ok(None) => return,
                Err(_) => {
                    // Out of descriptors or memory: they wait in the backlog.
                    self.poller.remove(door);
                    self.door_again = Some(Instant::now() + DOOR_AGAIN);
                    return;
                }
            }
        }
    }

    /// Reads output once, logs it, and hands it on. False when there is none (now).
    fn pump(&mut self, index: usize) -> bool {
        self.warm_up();
        let Some(run) = &mut self.run else { return false };
        let Some(output) = run.outputs.get_mut(index).and_then(Option::as_mut) else { return false };
        let stream = output.stream();
        match output.read(&mut self.buffer) {
            Got::Bytes(count) => {
                run.last_output = Instant::now();
                if run.first_output.is_none() {
                    run.first_output = Some((SystemTime::now().into(), false));
                }
                let bytes = &self.buffer[..count];
                if let Some(log) = &mut self.log {
                    // A full disk must not stop the container: clients still get the output.
                    let _ = log.write(stream, SystemTime::now().into(), bytes);
                }
                self.clients.broadcast(stream, bytes);
                true
            }
            Got::Nothing => false,
            Got::End => {
                // It fails for no reason that matters: the descriptor is about to go.
                let _ = output.set_waiting(&self.poller, false);
                if output.is_terminal() && run.ended.is_none() {
                    run.terminal_again = Some(Instant::now() + TERMINAL_AGAIN);
                } else {
                    run.outputs[index] = None;
                    if let Some(log) = &mut self.log {
                        let _ = log.end(stream, SystemTime::now().into());
                    }
                }
                false
            }
        }
    }

    /// Reads what a client sent and does what it says.
    fn hear(&mut self, id: u64) {
        self.warm_up();
        let full = self.input.is_full();
        let Some(client) = self.clients.get(id) else { return };
        if client.silent || client.leaving_since().is_some() || full && client.gives_stdin() {
            return;
        }
        // Not more than a pipe holds: the rest waits in the socket, where it is bounded.
        let Some(count) = client.receive(&mut self.buffer[..64 << 10]) else { return };
        if count == 0 {
            let gave_stdin = client.gives_stdin();
            self.input_over(gave_stdin);
            return;
        }
        let mut bytes = &self.buffer[..count];
        if client.is_bare() {
            self.input.give(bytes);
            return;
        }
        loop {
            let frame = match client.decoder.decode(&mut bytes) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(_) => {
                    let gave_stdin = client.gives_stdin();
                    self.clients.remove(id);
                    self.input_over(gave_stdin);
                    return;
                }
            };
            match frame {
                ClientFrame::Hello(hello) => client.hello = Some(hello),
                ClientFrame::Stdin(bytes) if client.gives_stdin() => self.input.give(bytes),
                ClientFrame::CloseStdin if client.gives_stdin() && self.settings.stdin_once => {
                    self.input.finish()
                }
                ClientFrame::Resize { rows, cols } => {
                    self.size = (rows, cols);
                    if let Some(terminal) = self.run.as_ref().and_then(|run| run.terminal.as_ref()) {
                        let _ = dhow_sys::pty::resize(terminal.as_fd(), rows, cols);
                    }
                }
                ClientFrame::Wake => {
                    self.woken = true;
                    self.recorder.woken();
                    return self.accompany();
                }
                // Input from a client that does not give any, and its end when it does not matter.
                ClientFrame::Stdin(_) | ClientFrame::CloseStdin => {}
            }
        }
    }

    /// A client gives no more, for whatever reason.
    fn input_over(&mut self, gave_stdin: bool) {
        if gave_stdin && self.settings.stdin_once {
            self.input.finish();
        }
    }

    /// Makes the buffer, if it is not there.
    fn warm_up(&mut self) {
        self.warm = true;
        if self.buffer.is_empty() {
            // Zeroed by the kernel, page by page as they are touched: cheap for a process that says little.
            self.buffer = vec![0; READ_BUFFER];
        }
    }

    /// Gives back what only work needs.
    fn cool_down(&mut self) {
        self.warm = false;
        self.record_notes();
        self.buffer = Vec::new();
        if let Some(log) = &mut self.log {
            log.shrink();
        }
        self.launcher.settle();
        self.recorder.idle();
        dhow_sys::memory::trim_heap();
    }
}

const KILL: i32 = 9;
