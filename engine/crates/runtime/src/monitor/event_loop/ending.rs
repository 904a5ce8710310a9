//! The end of a run: what is left of its output, its record, and the wait for the next.

use super::{BEHIND_MAX_AFTER_EXIT, LogSink, Monitor};
use crate::monitor::recorder::{AfterExit, Exit};
use dhow_model::{Error, Result};
use dhow_sys::process::Ended;
use std::time::{Duration, Instant, SystemTime};

/// When a process has ended, its streams may still be held open by others: by what an exec session left in
/// the background, or in the host's pid namespace. Docker waits for two seconds, too.
const QUIET_AFTER_EXIT: Duration = Duration::from_secs(2);
/// And so long if these still write.
const DRAIN_AT_MOST: Duration = Duration::from_secs(10);

/// Waits between attempts to record something.
const RECORD_AGAIN: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

impl Monitor<'_> {
    /// The process has ended: reads what is left of its output.
    pub(super) fn drain(&mut self) -> Result<()> {
        self.input.close(&self.poller);
        if let Some(probes) = &mut self.probes {
            probes.end_run(&self.poller);
        }
        let Some(run) = &mut self.run else { return Ok(()) };
        run.kill_at = None;
        self.poller.remove(&run.pidfd);
        if let Some(group) = run.group.as_ref().filter(|_| self.settings.is_container) {
            group.kill_all();
        }
        let ended = Instant::now();
        // Mostly everything is there, and nobody holds the other end any more: no need to poll.
        for index in 0..2 {
            // Bounded, because someone else may still write: a full pipe is four reads.
            for _ in 0..16 {
                if self.clients.farthest_behind() > BEHIND_MAX_AFTER_EXIT || !self.pump(index) {
                    break;
                }
            }
        }
        while let Some(run) = &self.run
            && run.outputs.iter().any(Option::is_some)
        {
            let until = (run.last_output.max(ended) + QUIET_AFTER_EXIT).min(ended + DRAIN_AT_MOST);
            if Instant::now() >= until {
                break;
            }
            self.turn(Some(until))?;
        }
        self.drain_log(ended + QUIET_AFTER_EXIT)
    }

    /// Records the end of the run, and leaves nothing of it but clients with a queue.
    pub(super) fn settle(&mut self) -> (i32, AfterExit) {
        self.notice_oom();
        let Some(mut run) = self.run.take() else { return (255, AfterExit::Stay) };
        for output in run.outputs.iter_mut().flatten() {
            // It is dropped with the run, and the poller forgets what is closed.
            let _ = output.set_waiting(&self.poller, false);
            if let Some(log) = &mut self.log {
                // A log that cannot be written must not keep the exit from being recorded.
                let _ = log.end(output.stream(), SystemTime::now().into());
            }
        }
        if let Some(event) = &run.oom_event {
            self.poller.remove(event);
        }
        if let Some(group) = run.group.filter(|_| self.settings.is_container) {
            // If something keeps it busy, `rm` or the next start of the engine removes it.
            let _ = group.remove();
        }
        let log_lost = self.log.as_ref().map_or(0, LogSink::lost);
        let (code, signal) = match run.ended {
            Some(Ended::Exited(code)) => (code, None),
            Some(Ended::Killed(signal)) => (128 + signal, Some(signal)),
            None => (255, None),
        };
        let exit = Exit {
            code,
            signal,
            oom_killed: run.oom_killed,
            at: SystemTime::now().into(),
            ran_for: run.started.elapsed(),
            first_output_at: run.first_output.map(|(at, _)| at),
            log_lost,
        };
        // If it cannot be recorded, leaving makes the engine find a container without a monitor.
        (code, again(|| self.recorder.exited(&exit)).unwrap_or(AfterExit::Stay))
    }

    /// Waits for the time of the restart; false when there will be none.
    pub(super) fn wait_to_restart(&mut self, delay: Duration) -> Result<bool> {
        let at = Instant::now() + delay;
        loop {
            let over = Instant::now() >= at;
            if over || std::mem::take(&mut self.woken) {
                if !again(|| self.recorder.may_restart()).unwrap_or(false) {
                    return Ok(false);
                }
                if over {
                    return Ok(true);
                }
            }
            self.turn(Some(at))?;
        }
    }
}

/// Tries to record something until it succeeds or nobody can expect it any more.
pub(super) fn again<T>(mut record: impl FnMut() -> Result<T>) -> Result<T, Error> {
    for wait in RECORD_AGAIN {
        match record() {
            Ok(value) => return Ok(value),
            Err(_) => std::thread::sleep(wait),
        }
    }
    record()
}
