//! What a monitor asks of whoever keeps the records: the engine, over the database.

use crate::cgroup::limits::CgroupPlan;
use crate::spec::Donors;
use dhow_model::health::{HealthStatus, ProbeResult};
use dhow_model::{ContainerId, Error, Result, Timestamp};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The process's own code, or 128 and the signal.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Whether the OOM killer struck in its cgroup.
    pub oom_killed: bool,
    /// When.
    pub at: Timestamp,
    /// How long it ran: what [`super::Backoff`] wants to know.
    pub ran_for: Duration,
    /// When it first wrote something.
    pub first_output_at: Option<Timestamp>,
    /// Log entries that were lost since the monitor's start.
    pub log_lost: u64,
}

/// What a health check's probe said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Its exec session, as [`Recorder::probe_begins`] named it.
    pub id: ContainerId,
    /// For the log.
    pub result: ProbeResult,
    /// How its process ended, or is about to; `None` when there was none.
    pub exit_code: Option<i32>,
    /// How long the container had run when it began.
    pub ran_for: Duration,
}

/// What comes after a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AfterProbe {
    /// The container's health; `None` when it is not known.
    pub status: Option<HealthStatus>,
    /// The run is to be ended: with which signal, and after what time by force (`None`: never).
    pub stop: Option<(i32, Option<Duration>)>,
}

/// What comes after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterExit {
    /// The monitor leaves.
    Stay,
    /// The monitor calls [`Recorder::remove`] and leaves.
    Remove,
    /// The monitor waits, asks [`Recorder::may_restart`], and launches again.
    Restart {
        /// How long it waits.
        delay: Duration,
    },
}

/// What a run has that the one before it may not have had.
#[derive(Debug, Clone)]
pub struct NextRun {
    /// Its limits, which `update` changes.
    pub cgroup: CgroupPlan,
    /// Whose namespaces it joins: the containers are the same, their processes need not be.
    pub donors: Donors,
}

/// Keeps the records of one container or exec session.
///
/// Each method returns when its record is durable. It should hold no memory and no open file between calls:
/// a monitor mostly sleeps. A monitor tries a failed `exited`, `may_restart` or `remove` again for some
/// seconds.
pub trait Recorder {
    /// The process `pid` is on its way, and this one waits for it: the time to connect its network, and to open what
    /// `started` will need.
    ///
    /// # Errors
    /// When the network cannot be connected: the launch is given up.
    fn launching(&mut self, _pid: i32) -> Result<()> {
        Ok(())
    }

    /// What the run has beside its processes: names to answer, connections to forward. Readable when there is
    /// something to do for it. Asked after each launch and after [`Recorder::woken`]; gone with `exited`.
    fn companion(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The companion has something to do. Must not wait for anything.
    fn attend(&mut self) {}

    /// Somebody says that something of the container has changed while it runs.
    fn woken(&mut self) {}

    /// The program runs. An error stops it again.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn started(&mut self, pid: i32, start_ticks: u64) -> Result<()>;

    /// The program could not be started, at first or by a restart.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn start_failed(&mut self, error: &Error, exit_code: i32) -> Result<AfterExit>;

    /// The program ended. Decides what comes next, with the delay from [`super::Backoff`].
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn exited(&mut self, exit: &Exit) -> Result<AfterExit>;

    /// Asked after the delay, and when a client says wake: `false` if the container was stopped or removed
    /// meanwhile; then the monitor leaves, and that it will not be restarted is recorded.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn may_restart(&mut self) -> Result<bool>;

    /// What has changed since the last run, asked before each but the first. `None`: nothing can have.
    ///
    /// # Errors
    /// When it cannot be read, or is not possible now.
    fn next_run(&mut self) -> Result<Option<NextRun>> {
        Ok(None)
    }

    /// Removes the container and everything that it left.
    ///
    /// # Errors
    /// When something cannot be removed.
    fn remove(&mut self) -> Result<()>;

    /// The OOM killer struck. Called as soon as it is noticed, at the latest before `exited`.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn oom(&mut self) -> Result<()>;

    /// When the process first wrote something, and how many entries its log has lost. Called when there is time
    /// for it; if the process ends before, [`Exit`] says it.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn note(&mut self, _first_output: Option<Timestamp>, _log_lost: u64) -> Result<()> {
        Ok(())
    }

    /// A probe is due: the name of its exec session, recorded as begun; `None` when this is not the time for it.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn probe_begins(&mut self) -> Result<Option<ContainerId>> {
        Ok(None)
    }

    /// A probe has ended, or was given up. Decides what that makes of the container.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn probed(&mut self, _probed: &Probed) -> Result<AfterProbe> {
        Ok(AfterProbe::default())
    }

    /// Nothing has happened for a while: the time for what nobody waits for.
    fn idle(&mut self) {}

    /// Tars of indexed layers from which the process may have read, beside those of its own root filesystem. Asked when
    /// all is over and nobody waits.
    fn tars(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

impl<R: Recorder + ?Sized> Recorder for Box<R> {
    fn launching(&mut self, pid: i32) -> Result<()> {
        (**self).launching(pid)
    }

    fn companion(&self) -> Option<BorrowedFd<'_>> {
        (**self).companion()
    }

    fn attend(&mut self) {
        (**self).attend();
    }

    fn woken(&mut self) {
        (**self).woken();
    }

    fn started(&mut self, pid: i32, start_ticks: u64) -> Result<()> {
        (**self).started(pid, start_ticks)
    }

    fn start_failed(&mut self, error: &Error, exit_code: i32) -> Result<AfterExit> {
        (**self).start_failed(error, exit_code)
    }

    fn exited(&mut self, exit: &Exit) -> Result<AfterExit> {
        (**self).exited(exit)
    }

    fn may_restart(&mut self) -> Result<bool> {
        (**self).may_restart()
    }

    fn next_run(&mut self) -> Result<Option<NextRun>> {
        (**self).next_run()
    }

    fn remove(&mut self) -> Result<()> {
        (**self).remove()
    }

    fn oom(&mut self) -> Result<()> {
        (**self).oom()
    }

    fn note(&mut self, first_output: Option<Timestamp>, log_lost: u64) -> Result<()> {
        (**self).note(first_output, log_lost)
    }

    fn probe_begins(&mut self) -> Result<Option<ContainerId>> {
        (**self).probe_begins()
    }

    fn probed(&mut self, probed: &Probed) -> Result<AfterProbe> {
        (**self).probed(probed)
    }

    fn idle(&mut self) {
        (**self).idle();
    }

    fn tars(&self) -> Vec<PathBuf> {
        (**self).tars()
    }
}
