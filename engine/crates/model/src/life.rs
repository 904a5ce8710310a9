//! What is known of a container's last run beyond what Docker tells: how it ended and by whose hand, when it
//! first said something, and its health.

use crate::Timestamp;
use crate::health::{Health, HealthStatus};
use serde::{Deserialize, Serialize};

/// The part of a container's state that only `inspect` and health checks look at. Stored as JSON: fields may be
/// added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// `None` without a check, and before the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// When the run first wrote something; kept until the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_output_at: Option<Timestamp>,
    /// Log entries that were lost since a user last started it.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_lost: u64,
    /// Who asked for the end of the run that is under way, or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// How the last run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A request to end a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// By what.
    pub by: Ender,
    /// With which signal, at first.
    pub signal: i32,
    /// When.
    pub at: Timestamp,
}

/// Whose hand ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ender {
    /// Its first process exited of its own accord.
    Itself,
    /// `stop`.
    Stop,
    /// `restart`.
    Restart,
    /// `kill` with a signal that means the end.
    Kill,
    /// `rm --force`.
    Remove,
    /// A health check, where a container that is unhealthy is to be restarted.
    Health,
    /// The kernel, for want of memory.
    OutOfMemory,
    /// A signal that no verb sent.
    Signal,
    /// It was killed because its monitor had died.
    MonitorLost,
    /// It never ran: the start failed.
    StartFailed,
}

impl Ender {
    /// The word for it in `inspect`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Remove => "remove",
            Self::Health => "health",
            Self::OutOfMemory => "out-of-memory",
            Self::Signal => "signal",
            Self::MonitorLost => "monitor-lost",
            Self::StartFailed => "start-failed",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// By whose hand.
    pub by: Ender,
    /// The signal that its first process died of; `None`: it exited.
    pub signal: Option<i32>,
    /// When the end was asked for, if a verb did.
    pub asked_at: Option<Timestamp>,
}

impl Life {
    /// Begins a run: only the way in which the last one ended is kept.
    pub fn begin_run(&mut self) {
        self.first_output_at = None;
        self.asked = None;
    }

    /// Records that someone wants the run to end. Who asked first is who ended it.
    pub fn ask(&mut self, by: Ender, signal: i32, at: Timestamp) {
        self.asked.get_or_insert(Asked { by, signal, at });
    }

    /// Records a start that failed.
    pub fn fail_start(&mut self) {
        self.end(Ender::StartFailed, None);
    }

    /// Records that the monitor was found dead.
    pub fn lose_monitor(&mut self) {
        let by = self.asked.map_or(Ender::MonitorLost, |asked| asked.by);
        self.end(by, Some(9));
    }

    /// Records the end of a run. A request counts only if it came before; memory counts before it, since the
    /// kernel's kill needs no request.
    pub fn end_run(&mut self, signal: Option<i32>, oom_killed: bool) {
        let by = match (self.asked, signal) {
            (_, Some(9)) if oom_killed && self.asked.is_none_or(|asked| asked.signal != 9) => {
                Ender::OutOfMemory
            }
            (Some(asked), _) => asked.by,
            (None, Some(_)) => Ender::Signal,
            (None, None) => Ender::Itself,
        };
        self.end(by, signal);
    }

    fn end(&mut self, by: Ender, signal: Option<i32>) {
        self.ended = Some(Ended { by, signal, asked_at: self.asked.map(|asked| asked.at) });
        // Docker's rule: what does not run is not healthy.
        if let Some(health) = &mut self.health {
            health.status = HealthStatus::Unhealthy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_an_end() {
        let by = |asked: Option<(Ender, i32)>, signal, oom| {
            let asked = asked.map(|(by, signal)| Asked { by, signal, at: Timestamp(7) });
            let mut life = Life { asked, ..Life::default() };
            life.end_run(signal, oom);
            life.ended.map(|ended| ended.by)
        };
        assert_eq!(by(None, None, false), Some(Ender::Itself));
        assert_eq!(by(None, Some(11), false), Some(Ender::Signal));
        assert_eq!(by(None, Some(9), true), Some(Ender::OutOfMemory));
        // Some other process was killed for want of memory, and the first one noticed.
        assert_eq!(by(None, None, true), Some(Ender::Itself));
        assert_eq!(by(Some((Ender::Stop, 15)), None, false), Some(Ender::Stop));
        assert_eq!(by(Some((Ender::Stop, 15)), Some(9), true), Some(Ender::OutOfMemory));
        assert_eq!(by(Some((Ender::Kill, 9)), Some(9), true), Some(Ender::Kill));
    }
}
