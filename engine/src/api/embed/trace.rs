//! Traces as JSON, one event at a time, from a descriptor that polls.

use super::json;
use crate::Engine;
use crate::trace::{Kinds, TraceOptions, TraceSession, open};
use dhow_model::{Result, ResultExt};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::os::fd::{AsFd, BorrowedFd};

/// What to trace.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Containers; none means all.
    pub containers: &'a [&'a str],
    /// Kinds of events, `exec,exit`; `None`: the life of processes.
    pub kinds: Option<&'a str>,
    /// End when each of the containers has ended once.
    pub until_exit: bool,
}

/// What a trace has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceNext {
    /// An event.
    Event(String),
    /// Nothing yet.
    Pending,
    /// Nothing any more.
    End,
}

/// A running trace.
pub struct Trace(TraceSession);

impl Trace {
    /// Begins to trace.
    ///
    /// # Errors
    /// As `trace::open`; `InvalidArgument` for a kind that is none.
    pub fn open(engine: &Engine, wanted: Wanted<'_>) -> Result<Self> {
        let default = TraceOptions::default();
        let options = TraceOptions {
            containers: wanted.containers.iter().map(|&who| who.to_owned()).collect(),
            kinds: wanted.kinds.map_or(Ok(default.kinds), Kinds::parse)?,
            until_exit: wanted.until_exit,
            ..default
        };
        // The one thread that reads for all traces of an engine is made here, if it is the first. It inherits
        // this thread's mask: a handler of the program never runs on it.
        let what = || "block signals for the thread that reads the trace".to_owned();
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).context(what)?;
        let opened = open(engine, options);
        mask.thread_set_mask().context(what)?;
        opened.map(Self)
    }

    /// The next event. Never blocks.
    ///
    /// # Errors
    /// When the trace broke off.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not fail; this one may, and go on")]
    pub fn next(&mut self) -> Result<TraceNext> {
        match self.0.next()? {
            Some(event) => json(&event).map(TraceNext::Event),
            None if self.0.is_ended() => Ok(TraceNext::End),
            None => Ok(TraceNext::Pending),
        }
    }
}

impl AsFd for Trace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
