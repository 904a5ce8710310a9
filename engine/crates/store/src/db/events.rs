//! Durable events: appended with what they tell of, followed by a cursor.
//!
//! A follower in any process reads without loss, without order trouble and without polling:
//!
//! ```text
//!   watch  = EventWatch::new(layout)        first, so that nothing falls between
//!   cursor = where to begin                 last_seq() for "from now on"
//!   loop: watch.drain()                     before reading, so that a later commit wakes again
//!         events_after(cursor, n) until empty, cursor = the last one's seq
//!         poll(watch)
//! ```
//!
//! Sequence numbers have no gaps and grow in the order of commits: SQLite has one writer at a time, so
//! whoever sees event 7 has seen all that came before it.
//!
//! **Retention**: about the newest [`EVENTS_KEPT`] are kept; every [`PRUNE_EVERY`]th append drops older ones.
//! A follower that sleeps through more than that finds [`Txn::first_seq`] beyond its cursor + 1.

use super::{Txn, column, json_column, text_column, to_json};
use dhow_model::event::{Event, EventType, NewEvent};
use dhow_model::{Error, Result, Timestamp};
use rusqlite::{Row, params};

/// How many events are kept at least, once there are so many: some 25 MB, or months of an ordinary machine.
pub const EVENTS_KEPT: i64 = 100_000;

/// Dropping is done in batches, so that an append costs what an append costs.
const PRUNE_EVERY: i64 = 1024;

const COLUMNS: &str = "SELECT seq, time, type, action, actor, attributes FROM events";

impl Txn<'_> {
    /// Records an event as part of this transaction. After the commit, followers are woken.
    ///
    /// # Errors
    /// What the database says.
    pub fn append_event(&self, event: &NewEvent, time: Timestamp) -> Result<i64> {
        let what = || format!("record the event {:?} of {}", event.action, event.actor);
        self.change(
            what,
            "INSERT INTO events (time, type, action, actor, attributes) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![time.0, event.kind.as_str(), event.action, event.actor, to_json(&event.attributes)?],
        )?;
        let seq = self.connection.last_insert_rowid();
        if seq % PRUNE_EVERY == 0 {
            self.change(what, "DELETE FROM events WHERE seq <= ?1", [seq - EVENTS_KEPT])?;
        }
        self.events_added.set(true);
        Ok(seq)
    }

    /// At most `limit` events that follow `seq`, in order.
    ///
    /// # Errors
    /// What the database says.
    pub fn events_after(&self, seq: i64, limit: usize) -> Result<Vec<Event>> {
        self.rows(
            || format!("read the events after {seq}"),
            &format!("{COLUMNS} WHERE seq > ?1 ORDER BY seq LIMIT ?2"),
            [seq, i64::try_from(limit).unwrap_or(i64::MAX)],
            event_at,
        )
    }

    /// The events of a time span, both ends included, in order.
    ///
    /// # Errors
    /// What the database says.
    pub fn events_between(&self, since: Timestamp, until: Timestamp) -> Result<Vec<Event>> {
        self.rows(
            || "read events by time".to_owned(),
            &format!("{COLUMNS} WHERE time BETWEEN ?1 AND ?2 ORDER BY seq"),
            [since.0, until.0],
            event_at,
        )
    }

    /// The newest event that tells of this action of this actor, as long as it is kept. Reads backwards from the
    /// newest: meant for what has just happened.
    ///
    /// # Errors
    /// What the database says.
    pub fn last_event(&self, actor: &str, action: &str) -> Result<Option<Event>> {
        self.row(
            || format!("read the last {action} of {actor}"),
            &format!("{COLUMNS} WHERE actor = ?1 AND action = ?2 ORDER BY seq DESC LIMIT 1"),
            [actor, action],
            event_at,
        )
    }

    /// The number of the newest event ever recorded; 0 before the first.
    ///
    /// # Errors
    /// What the database says.
    pub fn last_seq(&self) -> Result<i64> {
        let what = || "read the newest event's number".to_owned();
        let seq = "SELECT coalesce(max(seq), 0) FROM events";
        self.row(what, seq, [], |row| column(row, 0)).map(Option::unwrap_or_default)
    }

    /// The number of the oldest event that is kept; one more than [`Txn::last_seq`] when there is none.
    ///
    /// # Errors
    /// What the database says.
    pub fn first_seq(&self) -> Result<i64> {
        let what = || "read the oldest event's number".to_owned();
        let seq = "SELECT coalesce(min(seq), 1) FROM events";
        self.row(what, seq, [], |row| column(row, 0)).map(Option::unwrap_or_default)
    }
}

fn event_at(row: &Row<'_>) -> Result<Event> {
    Ok(Event {
        seq: column(row, 0)?,
        time: Timestamp(column(row, 1)?),
        event: NewEvent {
            kind: text_column(row, 2, parse_type)?,
            action: column(row, 3)?,
            actor: column(row, 4)?,
            attributes: json_column(row, 5)?,
        },
    })
}

fn parse_type(text: &str) -> Result<EventType> {
    [EventType::Container, EventType::Image, EventType::Volume, EventType::Network, EventType::Daemon]
        .into_iter()
        .find(|t| t.as_str() == text)
        .ok_or_else(|| Error::corrupt(format!("unknown event type {text:?}")))
}
