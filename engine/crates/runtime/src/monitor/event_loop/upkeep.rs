//! What the monitor does beside moving bytes: health checks, deadlines, the OOM killer's count.

use super::{KILL, Monitor};
use crate::monitor::recorder::AfterProbe;
use dhow_sys::process::pidfd_send_signal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A run of so long may record when it first wrote something. A shorter one does so with its end: one write less
/// for a container that only says hello.
const FIRST_OUTPUT_AFTER: Duration = Duration::from_secs(1);

impl Monitor<'_> {
    /// Probes when it is time to, ends by force what was asked to end, records what nobody was in a hurry for.
    pub(super) fn keep_up(&mut self) {
        if let Some(probes) = &mut self.probes {
            let after = probes.turn(&self.poller, self.recorder);
            self.follow(after);
        }
        if let Some(run) = &mut self.run
            && run.kill_at.is_some_and(|at| at <= Instant::now())
        {
            run.kill_at = None;
            let _ = pidfd_send_signal(run.pidfd.as_fd(), KILL);
        }
        let started = self.run.as_ref().map(|run| run.started);
        if started.is_some_and(|at| at.elapsed() > FIRST_OUTPUT_AFTER) {
            self.record_first_output();
        }
    }

    /// Records when the run first wrote something, if that is not recorded yet.
    pub(super) fn record_first_output(&mut self) {
        if let Some((at, recorded @ false)) = self.run.as_mut().and_then(|run| run.first_output.as_mut()) {
            *recorded = self.recorder.first_output(*at).is_ok();
        }
    }

    /// Ends the run if the probe's result says so.
    pub(super) fn follow(&mut self, after: AfterProbe) {
        let (Some((signal, patience)), Some(run)) = (after.stop, &mut self.run) else { return };
        // It fails when the process is gone, and then its end is on the way.
        let _ = pidfd_send_signal(run.pidfd.as_fd(), signal);
        run.kill_at = patience.map(|patience| Instant::now() + patience);
        if let Some(probes) = &mut self.probes {
            probes.end_run(&self.poller);
        }
    }

    /// Compares the OOM killer's count with what is recorded.
    pub(super) fn notice_oom(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some(Ok(kills)) = run.group.as_ref().map(|group| group.oom_kills()) else { return };
        if kills > run.oom_kills {
            run.oom_kills = kills;
            run.oom_killed = true;
            // The exit record says it too.
            let _ = self.recorder.oom();
        }
    }
}
