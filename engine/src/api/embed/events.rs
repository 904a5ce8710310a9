//! Events as JSON, one at a time, from a descriptor that polls.

use super::{filters, json};
use crate::Engine;
use crate::api::convert;
use crate::events::{EventReader, Subscription};
use dhow_model::{Error, Result, Timestamp};
use std::os::fd::{AsFd, BorrowedFd};

/// Where to begin, and what to leave out.
#[derive(Debug, Clone, Copy, Default)]
pub struct From<'a> {
    /// Replay what was recorded from this time on.
    pub since: Option<&'a str>,
    /// Resume after the event with this `seq`; not with `since`.
    pub cursor: Option<i64>,
    /// Docker's filters.
    pub filters: Option<&'a str>,
}

/// A stream of events.
pub struct Events(EventReader);

impl Events {
    /// Begins to follow.
    ///
    /// # Errors
    /// `InvalidArgument` for a time, a filter, or both `since` and `cursor`; or when events cannot be watched.
    pub fn open(engine: &Engine, from: From<'_>) -> Result<Self> {
        if from.since.is_some() && from.cursor.is_some() {
            return Err(Error::invalid("events are followed from a time or from a cursor, not from both"));
        }
        let asked = Subscription {
            since: from.since.map(Timestamp::parse).transpose()?,
            until: None,
            cursor: from.cursor,
            filters: filters(from.filters)?,
        };
        EventReader::open(engine, asked).map(Self)
    }

    /// One line of `GET /events`, if there is one now. Never blocks.
    ///
    /// # Errors
    /// As [`EventReader::next`].
    #[expect(clippy::should_implement_trait, reason = "an iterator could not fail; this one may, and go on")]
    pub fn next(&mut self) -> Result<Option<String>> {
        self.0.next()?.map(|event| json(&convert::event::show(&event))).transpose()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
