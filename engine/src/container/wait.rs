//! `wait`: until a container stops, stops the next time, or is gone.

use crate::Engine;
use crate::events::{Follower, Rows};
use dhow_model::event::Event;
use dhow_model::state::Status;
use dhow_model::{ContainerId, ErrorKind, Result};
use dhow_store::db::ContainerRecord;
use dhow_store::watch::EventWatch;
use std::time::{Duration, Instant};

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
    follower: Follower,
    so_far: SoFar,
}

/// What is known of the end so far.
struct SoFar {
    id: ContainerId,
    condition: WaitCondition,
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
    Ok(Waiting { follower, so_far: SoFar::of(record, condition) })
}

impl Waiting {
    /// Waits to the end.
    ///
    /// # Errors
    /// When events cannot be read.
    pub async fn finish(mut self) -> Result<Waited> {
        while !self.so_far.done {
            let event = self.follower.next().await?;
            self.so_far.note(&event);
        }
        Ok(self.so_far.last)
    }
}

/// How long a dead monitor may go unnoticed by [`wait_blocking`].
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Waits on the calling thread, for `timeout` at most: `None` when that is over. Needs no runtime.
///
/// A container that is gone already is known by its full id for as long as its end is among the events that
/// are kept: so the exit code of one that removes itself is not lost.
///
/// # Errors
/// `NotFound`, or when events cannot be watched.
pub fn wait_blocking(
    engine: &Engine,
    who: &str,
    condition: WaitCondition,
    timeout: Option<Duration>,
) -> Result<Option<Waited>> {
    let deadline = timeout.map(|t| Instant::now() + t);
    // As above: watch, cursor, state, in this order.
    let watch = EventWatch::new(engine.layout())?;
    let mut rows = Rows::after(engine, None)?;
    let record = match super::find_settled(engine, who) {
        Err(error) if error.kind() == ErrorKind::NotFound && condition != WaitCondition::NextExit => {
            return past_end(engine, who)?.ok_or(error).map(Some);
        }
        found => found?,
    };
    let mut so_far = SoFar::of(record, condition);
    loop {
        watch.drain();
        while !so_far.done
            && let Some(event) = rows.next()?
        {
            so_far.note(&event);
        }
        if so_far.done {
            return Ok(Some(so_far.last));
        }
        let left = deadline.map_or(LOOK_AGAIN, |d| d.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(None);
        }
        if !watch.wait(Some(left.min(LOOK_AGAIN)))? {
            // Writes the `die` event of a container whose monitor was killed. One that is gone has had its own.
            let _ = super::find_settled(engine, so_far.id.as_str());
        }
    }
}

/// How a container ended that is not there any more.
fn past_end(engine: &Engine, who: &str) -> Result<Option<Waited>> {
    let Ok(id) = ContainerId::parse(who) else { return Ok(None) };
    let died = engine.db()?.read(|txn| txn.last_event(id.as_str(), "die"))?;
    Ok(died.map(|event| Waited::told_by(&event)))
}

impl Waited {
    fn told_by(died: &Event) -> Self {
        let attributes = &died.event.attributes;
        Self {
            exit_code: attributes.get("exitCode").and_then(|c| c.parse().ok()).unwrap_or(0),
            error: attributes.get("error").cloned(),
        }
    }
}

impl SoFar {
    fn of(record: ContainerRecord, condition: WaitCondition) -> Self {
        let status = record.state.status;
        let stopped = matches!(status, Status::Created | Status::Exited | Status::Dead | Status::Removing);
        let error = Some(record.state.error).filter(|e| !e.is_empty());
        Self {
            id: record.id,
            condition,
            last: Waited { exit_code: record.state.exit_code, error },
            done: stopped && condition == WaitCondition::NotRunning,
        }
    }

    fn note(&mut self, event: &Event) {
        if event.event.actor != self.id.as_str() {
            return;
        }
        match event.event.action.as_str() {
            "die" => {
                self.last = Waited::told_by(event);
                self.done = self.condition != WaitCondition::Removed;
            }
            "destroy" => self.done = true,
            _ => {}
        }
    }
}
