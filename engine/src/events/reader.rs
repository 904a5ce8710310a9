//! Following events without a runtime and without a thread: for programs with an event loop of their own.

use super::{BATCH, FILTERS, Subscription, matches};
use crate::Engine;
use dhow_model::event::Event;
use dhow_model::{Error, Result};
use dhow_store::watch::EventDescriptor;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

/// The rows after a cursor, read in batches.
pub(crate) struct Rows {
    engine: Engine,
    /// The sequence number of the last one that was handed out.
    cursor: i64,
    pending: VecDeque<Event>,
}

impl Rows {
    /// Those after `cursor`, or after the newest one of now.
    pub(crate) fn after(engine: &Engine, cursor: Option<i64>) -> Result<Self> {
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => engine.db()?.read(|txn| txn.last_seq())?,
        };
        Ok(Self { engine: engine.clone(), cursor, pending: VecDeque::new() })
    }

    /// The next one, if it is recorded already.
    pub(crate) fn next(&mut self) -> Result<Option<Event>> {
        if self.pending.is_empty() {
            let cursor = self.cursor;
            self.pending = self.engine.db()?.read(|txn| txn.events_after(cursor, BATCH))?.into();
        }
        let event = self.pending.pop_front();
        if let Some(event) = &event {
            self.cursor = event.seq;
        }
        Ok(event)
    }

    /// The number of the last one that was handed out.
    pub(super) fn cursor(&self) -> i64 {
        self.cursor
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// A pollable stream of events. [`EventReader::next`] never blocks; when it has nothing, wait for the
/// descriptor to become readable and ask again until it has nothing again.
pub struct EventReader {
    // Made before the cursor is taken.
    watch: EventDescriptor,
    rows: Rows,
    asked: Subscription,
    /// Rows before the first one are not missed: nobody saw them promised.
    resumes: bool,
}

impl EventReader {
    /// Follows events from where `asked` says. It has no end: `until` must not be set.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown filter or an `until`; or when events cannot be watched.
    pub fn open(engine: &Engine, asked: Subscription) -> Result<Self> {
        asked.filters.only(&FILTERS)?;
        if asked.until.is_some() {
            return Err(Error::invalid("a pollable stream of events has no `until`"));
        }
        let watch = EventDescriptor::new(engine.layout())?;
        let start = asked.cursor.or(asked.since.map(|_| 0));
        let resumes = start != Some(0) || asked.cursor.is_some();
        Ok(Self { watch, rows: Rows::after(engine, start)?, asked, resumes })
    }

    /// The next event if there is one.
    ///
    /// # Errors
    /// `NotFound` when events after the cursor are no longer kept; the next call goes on with the oldest that
    /// are. Else when the database cannot be read.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not fail; this one may, and go on")]
    pub fn next(&mut self) -> Result<Option<Event>> {
        if self.rows.pending.is_empty() {
            // Before the rows are read: a commit after this makes it readable again.
            self.watch.drain()?;
        }
        loop {
            let before = self.rows.cursor;
            let Some(event) = self.rows.next()? else { return Ok(None) };
            if event.seq > before + 1 && self.resumes {
                let lost = before + 1..event.seq;
                self.rows.cursor = event.seq - 1;
                self.rows.pending.push_front(event);
                return Err(super::lost(lost.start, lost.end - 1));
            }
            self.resumes = true;
            let early = self.asked.since.is_some_and(|since| event.time < since);
            if !early && matches(&event.event, &self.asked.filters) {
                return Ok(Some(event));
            }
        }
    }
}

impl AsFd for EventReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
