//! `dhow monitor`: from inherited descriptors to a running event loop.

use super::confine;
use super::door::{self, Door};
use super::event_loop::{Monitor, Settings};
use super::launcher::{ExternalLauncher, KernelLauncher, Launcher, read_spec};
use super::probe::Probes;
use super::recorder::{AfterExit, Recorder};
use super::spawn::{CLIENTS_MAX, FIRST_CLIENT_FD, REPORT_FD, SPEC_FD, STREAMS_MAX};
use super::spec::{BareStream, MonitorKind, MonitorSpec, Report, exit_code_of};
use crate::layers;
use crate::log::LogSink;
use crate::timeline::{self, Actor};
use dhow_model::health::HealthTimes;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::{birth, inherited, process, signal};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Runs the monitor that `spawn_monitor` started: the whole of `dhow monitor`. Returns the exit code of this
/// process, which nobody reads: 0 when it did what it was there for.
///
/// To be called before anything else: no thread may exist, and no descriptor but the inherited ones.
pub fn run<R: Recorder>(recorder_from: impl FnOnce(&MonitorSpec) -> Result<R>) -> i32 {
    let (Ok(source), Ok(report)) = (inherited::take(SPEC_FD), inherited::take(REPORT_FD)) else {
        return 2;
    };
    // Closes the socket, too: one descriptor less for the rest of this life.
    let tell = move |what: &Report, pidfd: Option<BorrowedFd<'_>>| {
        if let Ok(bytes) = postcard::to_stdvec(what) {
            // Whoever started us may be gone; the container runs all the same. A report is far smaller than
            // what a new socket takes at once.
            let fds: Vec<BorrowedFd<'_>> = pidfd.into_iter().collect();
            let _ = dhow_sys::socket::send_with_fds(report.as_fd(), &bytes, &fds);
        }
        drop(report);
    };
    let outcome = prepare(File::from(source)).and_then(|(spec, clients, source)| {
        let recorder = recorder_from(&spec)?;
        Ok((spec, clients, source, recorder))
    });
    let (spec, clients, source, mut recorder) = match outcome {
        Ok(prepared) => prepared,
        Err(error) => {
            tell(&failed(&error), None);
            return 1;
        }
    };
    if let Some(since) = spec.timeline_since {
        timeline::begin(Actor::Monitor, Some(since));
        timeline::mark("load and read the plan");
    }
    // It goes on with what it has if the kernel refuses: no container is worse off.
    let _ = confine::before_launch(&spec.plan);
    let is_external = spec.external.is_some();
    let (plan, rest, times) = split(spec);
    // One more descriptor, and only where there is something to check.
    let probes = match times.map(|times| Ok::<_, std::io::Error>(Probes::new(source.try_clone()?, times))) {
        None => None,
        Some(Ok(probes)) => Some(probes),
        Some(Err(error)) => {
            let error = Error::caused(ErrorKind::StartFailed, "prepare the health check", error);
            let _ = recorder.start_failed(&error, exit_code_of(&error));
            tell(&failed(&error), None);
            return 1;
        }
    };
    let (mut own, mut other);
    let launcher: &mut dyn Launcher = if is_external {
        other = ExternalLauncher::new(source);
        &mut other
    } else {
        own = KernelLauncher::new(source, plan);
        &mut own
    };
    let outcome = supervise(rest, clients, probes, launcher, &mut recorder, tell);
    // Everything is told and recorded: nobody waits for this.
    launcher.settle();
    layers::drop_pages_of(&recorder.tars());
    match outcome {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Who comes along with the start.
pub(super) enum Arrival {
    /// A client that speaks the attach protocol.
    Client(OwnedFd),
    /// A stream without frames.
    Stream(BareStream, OwnedFd),
}

/// What of a spec is needed after the plan is with the launcher.
pub(super) struct Rest {
    pub(super) settings: Settings,
    pub(super) console_size: (u16, u16),
    pub(super) log: Option<super::LogTarget>,
    /// `None`: nobody comes but who came along.
    pub(super) door: Option<door::Address>,
}

fn split(spec: MonitorSpec) -> (crate::plan::LaunchPlan, Rest, Option<HealthTimes>) {
    let has_door = spec.kind != MonitorKind::Probe;
    let is_container = spec.kind == MonitorKind::Container;
    let rest = Rest {
        settings: Settings {
            is_container,
            tty: spec.tty,
            open_stdin: spec.open_stdin,
            // A terminal has no end of input to pass on: whoever detaches may come back and type.
            stdin_once: (spec.stdin_once || !is_container) && !spec.tty,
        },
        console_size: spec.console_size.unwrap_or_default(),
        log: spec.log,
        door: has_door.then_some(door::Address {
            lock: spec.lock_file,
            socket: spec.attach_socket,
            roll: is_container.then(|| (spec.layout.monitors(), spec.id)),
        }),
    };
    (spec.plan, rest, spec.probe.map(|probe| probe.times))
}

fn prepare(source: File) -> Result<(MonitorSpec, Vec<Arrival>, File)> {
    let what = || "prepare the monitor".to_owned();
    signal::block_all().context(what)?;
    process::set_name(c"dhow-monitor").context(what)?;
    birth::after_exec();
    let spec = read_spec(&source)?;
    if spec.clients > CLIENTS_MAX || spec.streams.len() > STREAMS_MAX {
        return Err(Error::internal(format!("{}: {} clients", what(), spec.clients)));
    }
    let kinds = (0..spec.clients).map(|_| None).chain(spec.streams.iter().copied().map(Some));
    let arrivals = (FIRST_CLIENT_FD..)
        .zip(kinds)
        .map(|(number, stream)| {
            let fd = inherited::take(number).context(what)?;
            // Whoever started us holds the other ends, which have flags of their own.
            fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context(what)?;
            Ok(match stream {
                None => Arrival::Client(fd),
                Some(stream) => Arrival::Stream(stream, fd),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((spec, arrivals, source))
}

/// Opens the door and the log, then lives.
pub(super) fn supervise(
    rest: Rest,
    arrivals: Vec<Arrival>,
    probes: Option<Probes>,
    launcher: &mut dyn Launcher,
    recorder: &mut dyn Recorder,
    tell: impl FnOnce(&Report, Option<BorrowedFd<'_>>),
) -> Result<()> {
    let door = rest.door.as_ref().map(Door::open).transpose();
    let opened = door.and_then(|door| {
        let open = |target: &super::LogTarget| LogSink::open(&target.path, &target.config, &target.about);
        let log = rest.log.as_ref().map(open).transpose()?;
        Ok((door, log))
    });
    let (door, log) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // The clients' sockets close without an Exit frame; the report says why.
            let recorded = recorder.start_failed(&error, exit_code_of(&error));
            tell(&failed(&error), None);
            return match recorded? {
                // Another monitor is in charge of it (`Conflict`): then it is not ours to remove.
                AfterExit::Remove if error.kind() != ErrorKind::Conflict => recorder.remove(),
                _ => Ok(()),
            };
        }
    };
    let mut monitor = Monitor::new(rest.settings, rest.console_size, log, door, launcher, recorder)?;
    monitor.check_with(probes);
    for arrival in arrivals {
        monitor.adopt(arrival);
    }
    timeline::mark("open the lock, the socket and the log");
    monitor.live(tell)
}

fn failed(error: &Error) -> Report {
    Report::Failed { kind: error.kind(), message: error.to_string(), exit_code: exit_code_of(error) }
}
