//! Whose turn it is to write.
//!
//! SQLite lets waiting writers ask again and again, and whoever asks at the right moment wins. With eight writers
//! that does no harm. When a thousand monitors record the end of their containers at once, some never win. So
//! writers stand in a queue: each waits for the lock of a file, which wakes one of them at a time, and only
//! who has it asks SQLite. It lets go of it as soon as its transaction has begun.

use super::error::{self, DbResult};
use super::private_file;
use dhow_model::{Layout, Result, ResultExt};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the first in the queue waits. Turns take well under a millisecond: who waits this long has met a
/// stopped process or a dying disk.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first in the queue waits at least, if it had waited its time already before it was the first.
const AT_LEAST: Duration = Duration::from_secs(1);

/// How long the busy handler of a connection goes on asking, in microseconds.
#[derive(Clone)]
pub(super) struct Patience(Arc<AtomicU64>);

impl Patience {
    /// The handler of a connection that knows no queue yet.
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Self> {
        let patience = Self(Arc::new(AtomicU64::new(0)));
        patience.set(TIMEOUT);
        let limit = Arc::clone(&patience.0);
        let mut since = Instant::now();
        connection.busy_handler(Some(move |count: i32| {
            if count == 0 {
                since = Instant::now();
            }
            if since.elapsed() >= Duration::from_micros(limit.load(Ordering::Relaxed)) {
                return false;
            }
            std::thread::sleep(pause(count));
            true
        }))?;
        Ok(patience)
    }

    /// Runs `f` with less patience.
    pub(super) fn with<T>(&self, limit: Duration, f: impl FnOnce() -> T) -> T {
        self.set(limit);
        let result = f();
        self.set(TIMEOUT);
        result
    }

    fn set(&self, limit: Duration) {
        self.0.store(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// SQLite's own handler sleeps in whole milliseconds, up to 100: far longer than a turn takes.
fn pause(count: i32) -> Duration {
    Duration::from_micros(match count {
        0..=9 => 50,
        10..=999 => 200,
        _ => 1000,
    })
}

/// The queue of waiting writers, as one connection sees it.
pub(super) struct Queue {
    path: PathBuf,
    /// Opened by the first write.
    file: Option<File>,
    patience: Patience,
}

impl Queue {
    pub(super) fn new(layout: &Layout, patience: Patience) -> Self {
        Self { path: layout.writers_queue(), file: None, patience }
    }

    /// Begins a write transaction.
    ///
    /// # Errors
    /// `Unavailable` after ten seconds without a turn.
    pub(super) fn begin_write<'a>(&mut self, connection: &'a Connection) -> Result<Transaction<'a>> {
        const WRITE: TransactionBehavior = TransactionBehavior::Immediate;
        let since = Instant::now();
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(private_file(&self.path)?),
        };
        // The lock of one's own descriptor: released below, or with the process.
        while let Err(error) = file.lock() {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error).context(|| format!("lock {}", self.path.display()));
            }
        }
        let left = TIMEOUT.saturating_sub(since.elapsed()).max(AT_LEAST);
        let transaction = self.patience.with(left, || begin(connection, WRITE, left)).on(what);
        file.unlock().context(|| format!("unlock {}", self.path.display()))?;
        transaction
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.patience
    }
}

/// Begins a read transaction.
///
/// # Errors
/// What the database says.
pub(super) fn begin_read(connection: &Connection) -> Result<Transaction<'_>> {
    begin(connection, TransactionBehavior::Deferred, TIMEOUT).on(what)
}

fn what() -> String {
    "begin a transaction on the state database".to_owned()
}

fn begin(
    connection: &Connection,
    behavior: TransactionBehavior,
    limit: Duration,
) -> rusqlite::Result<Transaction<'_>> {
    let since = Instant::now();
    loop {
        match Transaction::new_unchecked(connection, behavior) {
            // Some causes of BUSY (recovery of the WAL by another process, a race for a snapshot) come back
            // without a call of the busy handler.
            Err(error) if error::is_busy(&error) && since.elapsed() < limit => std::thread::sleep(pause(10)),
            other => return other,
        }
    }
}
