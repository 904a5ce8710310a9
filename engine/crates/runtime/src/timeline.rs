//! Where the time of a start goes: phases of work, each in one of the processes that take part.
//!
//! A thread that is asked to keeps a timeline: [`begin`], [`mark`] after each piece of work, [`take`]. Without
//! `begin` a mark does nothing, so that marks may stand on hot paths. The processes of a start share a clock
//! (CLOCK_MONOTONIC), and so their timelines can be put together:
//!
//! ```text
//!   client    ──load─parse─create─attach─┐                                          ┌─started
//!   engine                               └─intent─plan─spawn─┐              ┌─heard─┘
//!   monitor                                                  └─load─…─clone─┤ record
//!   container                                                               └─step─step─…─exec
//! ```

use dhow_model::{Result, ResultExt};
use dhow_sys::clock::monotonic_ns;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// Who did a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// The command line, or whoever asked for the start.
    Client,
    /// The verb.
    Engine,
    /// The monitor.
    Monitor,
    /// The new process, before it becomes the program.
    Container,
}

/// A piece of work. Times are nanoseconds of CLOCK_MONOTONIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Phase {
    /// Who.
    pub actor: Actor,
    /// What.
    pub work: String,
    /// From.
    pub began: u64,
    /// To.
    pub ended: u64,
}

/// The last phase of the new process: when it has ended, the program runs.
pub const EXEC: &str = "exec";

struct Keeper {
    actor: Actor,
    last: u64,
    phases: Vec<Phase>,
}

thread_local! {
    static KEEPER: RefCell<Option<Keeper>> = const { RefCell::new(None) };
}

/// Keeps a timeline on this thread from now on, or from `since` on.
pub fn begin(actor: Actor, since: Option<u64>) {
    let last = since.unwrap_or_else(monotonic_ns);
    KEEPER.set(Some(Keeper { actor, last, phases: Vec::new() }));
}

/// The clock of all timelines.
pub fn now() -> u64 {
    monotonic_ns()
}

/// The time that this process has run for, in nanoseconds: at the beginning of `main`, that of loading it.
pub fn processor_time() -> u64 {
    dhow_sys::clock::process_cpu_ns()
}

/// Which boot of which machine the clock belongs to.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).context(|| format!("read {path}"))?;
    Ok(text.trim_end().to_owned())
}

/// Whether this thread keeps one.
pub fn is_kept() -> bool {
    KEEPER.with_borrow(Option::is_some)
}

/// Says that what was done since the last mark is `work`.
pub fn mark(work: &str) {
    KEEPER.with_borrow_mut(|keeper| {
        if let Some(keeper) = keeper {
            let now = monotonic_ns();
            let phase = Phase { actor: keeper.actor, work: work.to_owned(), began: keeper.last, ended: now };
            keeper.phases.push(phase);
            keeper.last = now;
        }
    });
}

/// Adds what another process has done.
pub fn add(phases: impl IntoIterator<Item = Phase>) {
    KEEPER.with_borrow_mut(|keeper| {
        if let Some(keeper) = keeper {
            keeper.phases.extend(phases);
        }
    });
}

/// Ends the timeline of this thread; empty if none was kept.
pub fn take() -> Vec<Phase> {
    KEEPER.take().map(|keeper| keeper.phases).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other() {
        mark("nobody asked");
        assert_eq!(take(), []);
        begin(Actor::Engine, Some(5));
        assert!(is_kept());
        mark("one");
        mark("two");
        add([Phase { actor: Actor::Monitor, work: "other".to_owned(), began: 1, ended: 2 }]);
        let phases = take();
        assert!(!is_kept());
        let works: Vec<&str> = phases.iter().map(|phase| phase.work.as_str()).collect();
        assert_eq!(works, ["one", "two", "other"]);
        assert_eq!((phases[0].began, phases[0].ended), (5, phases[1].began));
        assert!(phases[1].ended >= phases[1].began);
    }
}
