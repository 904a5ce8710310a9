//! The life of a container: its states, and the only table of moves between them.
//!
//! ```text
//!              BeginStart          Started             Exited
//!   Created ───────────────► Starting ───────► Running ───────► Exited ──┐ BeginStart
//!      ▲                        │  ▲              │ ▲ │                   └─► Starting
//!      ╵                        │  ▲       Pause ▼ │ │ RestartLater         ▲
//!                   StartFailed │  │        Paused─┘ ▼                      │
//!                    to Exited  ▼  └────────────── Restarting ── Exited ────┘
//!   any but Removing ── BeginRemove ──► Removing (the row goes when its files are gone)
//! ```
//!
//! `Starting` is the written intent of a start; whoever opens the engine after a crash finds it and
//! settles it (`recover.rs`). Everything that changes a container's status goes through [`Status::after`].

use crate::life::Life;
use crate::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, never started.
    #[default]
    Created,
    /// A start is under way; shown to users as `created`.
    Starting,
    /// Its first process runs.
    Running,
    /// Running, but frozen.
    Paused,
    /// Ended, and its monitor waits before it starts it again.
    Restarting,
    /// Ended.
    Exited,
    /// Being deleted.
    Removing,
    /// Its removal failed half-way; it can only be removed.
    Dead,
}

/// What happens to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// Someone asked for a start.
    BeginStart,
    /// The first process was executed.
    Started,
    /// The first process could not be executed.
    StartFailed,
    /// The first process ended.
    Exited,
    /// The first process ended, and the restart policy wants it again.
    RestartLater,
    /// Its processes were frozen.
    Pause,
    /// Its processes were thawed.
    Unpause,
    /// Someone asked for its removal.
    BeginRemove,
    /// The removal failed.
    RemoveFailed,
}

impl Status {
    /// The status after `step`.
    ///
    /// # Errors
    /// `Conflict` when the move is not in the table.
    pub fn after(self, step: Move) -> Result<Status> {
        use Status as S;
        Ok(match (self, step) {
            (S::Created | S::Exited | S::Restarting, Move::BeginStart) => S::Starting,
            (S::Starting | S::Restarting, Move::Started) => S::Running,
            (S::Starting | S::Restarting, Move::StartFailed) => S::Exited,
            (S::Running | S::Paused | S::Restarting | S::Starting, Move::Exited) => S::Exited,
            (S::Running | S::Paused | S::Restarting, Move::RestartLater) => S::Restarting,
            (S::Running, Move::Pause) => S::Paused,
            (S::Paused, Move::Unpause) => S::Running,
            (S::Removing, Move::BeginRemove) => {
                return Err(Error::conflict("removal is already in progress"));
            }
            (_, Move::BeginRemove) => S::Removing,
            (S::Removing, Move::RemoveFailed) => S::Dead,
            // The monitor reports what happened even while someone removes the container.
            (S::Removing, Move::Exited | Move::StartFailed | Move::RestartLater) => S::Removing,
            _ => return Err(Error::conflict(format!("a container that is {self} cannot {step}"))),
        })
    }

    /// Whether a first process exists.
    pub fn has_process(self) -> bool {
        matches!(self, Status::Running | Status::Paused)
    }

    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Created | Status::Starting => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Removing => "removing",
            Status::Dead => "dead",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Move::BeginStart => "be started",
            Move::Started => "become running",
            Move::StartFailed => "fail to start",
            Move::Exited => "exit",
            Move::RestartLater => "be restarted",
            Move::Pause => "be paused",
            Move::Unpause => "be unpaused",
            Move::BeginRemove => "be removed",
            Move::RemoveFailed => "fail to be removed",
        })
    }
}

/// Everything about a container that changes while it lives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerState {
    /// Where it is in its life.
    pub status: Status,
    /// The first process, as the host sees it; 0 when there is none.
    pub pid: i32,
    /// Start time of `pid` in clock ticks since boot (field 22 of `/proc/PID/stat`): tells a reused pid.
    pub pid_start_ticks: u64,
    /// The monitor process; 0 when there is none.
    pub monitor_pid: i32,
    /// Exit code of the last run: the process's own, or 128+signal, or 125 to 127 for a failed start.
    pub exit_code: i32,
    /// Whether the kernel's OOM killer struck in the last run.
    pub oom_killed: bool,
    /// Why the last start failed; empty if it did not.
    pub error: String,
    /// When the first process was last executed; `None` before the first start.
    pub started_at: Option<Timestamp>,
    /// When it last ended; `None` before.
    pub finished_at: Option<Timestamp>,
    /// How often the restart policy started it again since the last start by a user.
    pub restart_count: u32,
    /// Whether a user stopped it: `unless-stopped` and `always` then leave it alone.
    pub stopped_by_user: bool,
    /// Health, the cause of the last end, and other things that Docker has no column for.
    pub life: Life,
}

impl ContainerState {
    /// Docker's word for the status. A container whose only start failed is still `created` to users.
    pub fn shown_status(&self) -> &'static str {
        if self.status == Status::Exited && self.started_at.is_none() {
            "created"
        } else {
            self.status.as_str()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_life() {
        let mut s = Status::Created;
        for (step, want) in [
            (Move::BeginStart, Status::Starting),
            (Move::Started, Status::Running),
            (Move::Pause, Status::Paused),
            (Move::Unpause, Status::Running),
            (Move::RestartLater, Status::Restarting),
            (Move::Started, Status::Running),
            (Move::Exited, Status::Exited),
            (Move::BeginStart, Status::Starting),
            (Move::StartFailed, Status::Exited),
            (Move::BeginRemove, Status::Removing),
        ] {
            s = s.after(step).unwrap();
            assert_eq!(s, want, "{step:?}");
        }
    }

    #[test]
    fn illegal_moves_say_why() {
        let error = Status::Running.after(Move::BeginStart).unwrap_err();
        assert_eq!(error.to_string(), "a container that is running cannot be started");
        assert!(Status::Exited.after(Move::Pause).is_err());
        assert!(Status::Dead.after(Move::BeginStart).is_err());
        assert!(Status::Removing.after(Move::BeginStart).is_err());
    }
}
