//! What the monitor does beside moving bytes: health checks, deadlines, the OOM killer's count.

use super::{KILL, LogSink, Monitor, Token};
use crate::monitor::recorder::AfterProbe;
use dhow_model::Result;
use dhow_sys::process::pidfd_send_signal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A run of so long may record when it first wrote something. A shorter one does so with its end: one write less
/// for a container that only says hello.
const FIRST_OUTPUT_AFTER: Duration = Duration::from_secs(1);

/// How often the number of lost entries is recorded.
const LOST_EVERY: Duration = Duration::from_secs(1);

/// cgroup v1 gives notice that memory ran out before it chooses and counts whom it kills (`mem_cgroup_oom_notify` in
/// Linux's `mm/memcontrol.c`): the count is read again so often, the first time after this, then each time after twice as
/// long: 2 seconds in all.
const OOM_LOOKS: u8 = 10;
const OOM_FIRST_WAIT: Duration = Duration::from_millis(2);

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
        if let Some((_, left)) =
            self.run.as_ref().and_then(|run| run.oom_again).filter(|(at, _)| *at <= Instant::now())
        {
            self.look_for_oom(left);
        }
        if let Some(log) = &mut self.log
            && log.wakes_at().is_some_and(|at| at <= Instant::now())
        {
            log.flush();
        }
        let started = self.run.as_ref().map(|run| run.started);
        if started.is_some_and(|at| at.elapsed() > FIRST_OUTPUT_AFTER) {
            self.record_notes();
        }
    }

    /// Waits for what the run has beside its processes. It leaves the poller by itself when it is closed.
    pub(super) fn accompany(&mut self) {
        if let Some(companion) = self.recorder.companion().filter(|_| !self.has_companion) {
            self.has_companion = self.poller.add(companion, Token::Companion, true, false).is_ok();
        }
    }

    /// Tells the poller whether the log waits for its daemon.
    pub(super) fn arrange_log(&mut self) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        match (log.waits_for(), self.log_waits) {
            (Some((number, _)), Some(added)) if number == added => {}
            // A socket that was closed has left the poller by itself.
            (Some((number, fd)), _) => {
                self.poller.add(fd, Token::Log, false, true)?;
                self.log_waits = Some(number);
            }
            (None, Some(_)) => {
                if let Some(fd) = log.descriptor() {
                    self.poller.remove(fd);
                }
                self.log_waits = None;
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Lets the daemon take what waits for it, until that moment; what it has not taken then is lost.
    pub(super) fn drain_log(&mut self, until: Instant) -> Result<()> {
        while self.log.as_ref().is_some_and(LogSink::waits) && Instant::now() < until {
            self.turn(Some(until))?;
        }
        if let Some(log) = &mut self.log {
            log.give_up();
        }
        Ok(())
    }

    /// Records when the run first wrote something, and what its log lost, if that is not recorded yet.
    pub(super) fn record_notes(&mut self) {
        let lost = self.log.as_ref().map_or(0, LogSink::lost);
        let Some(run) = &mut self.run else { return };
        let first = run.first_output.filter(|(_, recorded)| !recorded).map(|(at, _)| at);
        // The number of losses may change with every line: it is told once a second.
        let more = lost != self.log_lost && self.lost_at.is_none_or(|at| at.elapsed() > LOST_EVERY);
        if first.is_none() && !more {
            return;
        }
        if self.recorder.note(run.first_output.map(|(at, _)| at), lost).is_ok() {
            self.log_lost = lost;
            self.lost_at = Some(Instant::now());
            if let Some((_, recorded)) = &mut run.first_output {
                *recorded = true;
            }
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

    /// The kernel gave notice that memory ran out: looks for the kill now and a few times more.
    pub(super) fn expect_oom(&mut self) {
        self.look_for_oom(OOM_LOOKS);
    }

    fn look_for_oom(&mut self, left: u8) {
        let found = self.notice_oom();
        if let Some(run) = &mut self.run {
            let wait = OOM_FIRST_WAIT * (1 << u32::from(OOM_LOOKS - left.min(OOM_LOOKS)));
            run.oom_again = (!found && left > 0).then(|| (Instant::now() + wait, left - 1));
        }
    }

    /// Compares the OOM killer's count with what is recorded; true when it has grown.
    pub(super) fn notice_oom(&mut self) -> bool {
        let Some(run) = &mut self.run else { return false };
        let Some(Ok(kills)) = run.group.as_ref().map(|group| group.oom_kills()) else { return false };
        let grown = kills > run.oom_kills;
        if grown {
            run.oom_kills = kills;
            run.oom_killed = true;
            // The exit record says it too.
            let _ = self.recorder.oom();
        }
        grown
    }
}
