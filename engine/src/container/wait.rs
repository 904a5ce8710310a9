//! `wait`: until a container stops, stops the next time, or is gone.

use crate::Engine;
use crate::events::Follower;
use dhow_model::event::Event;
use dhow_model::state::Status;
use dhow_model::{ContainerId, Result};

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// That it does not run; at once if it does not.
    #[default]
    NotRunning,
    /// The next exit from now on.
    NextExit,
    /// Its removal.
    Removed,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// The exit code.
    pub exit_code: i32,
    /// Why it could not be started, if that was it.
    pub error: Option<String>,
}

/// A wait that has begun: nothing that happens from now on is missed.
pub struct Waiting {
    id: ContainerId,
    condition: WaitCondition,
    follower: Follower,
    last: Waited,
    done: bool,
}

/// Begins to wait. Must be called inside a tokio runtime.
///
/// # Errors
/// `NotFound`, or when events cannot be watched.
pub fn wait(engine: &Engine, who: &str, condition: WaitCondition) -> Result<Waiting> {
    // The cursor is taken before the state is read: an exit in between is seen twice, never missed.
    let follower = Follower::new(engine, None)?;
    let record = super::find_settled(engine, who)?;
    let status = record.state.status;
    let stopped = matches!(status, Status::Created | Status::Exited | Status::Dead | Status::Removing);
    let error = Some(record.state.error.clone()).filter(|e| !e.is_empty());
    Ok(Waiting {
        id: record.id,
        condition,
        follower,
        last: Waited { exit_code: record.state.exit_code, error },
        done: stopped && condition == WaitCondition::NotRunning,
    })
}

impl Waiting {
    /// Waits to the end.
    ///
    /// # Errors
    /// When events cannot be read.
    pub async fn finish(mut self) -> Result<Waited> {
        while !self.done {
            let event = self.follower.next().await?;
            self.note(&event);
        }
        Ok(self.last)
    }

    fn note(&mut self, event: &Event) {
        let event = &event.event;
        if event.actor != self.id.as_str() {
            return;
        }
        match event.action.as_str() {
            "die" => {
                self.last.exit_code =
                    event.attributes.get("exitCode").and_then(|c| c.parse().ok()).unwrap_or(0);
                self.last.error = event.attributes.get("error").cloned();
                self.done = self.condition != WaitCondition::Removed;
            }
            "destroy" => self.done = true,
            _ => {}
        }
    }
}
