//! The state database: one SQLite file that every process of an engine root shares. It is the truth.
//!
//! ```text
//!   CLI ─┐                          ┌─ write(): BEGIN IMMEDIATE … COMMIT, then the counter in ROOT/notify
//!   serve├─► StateDb (own connection)┤                                            │ futex
//!   monitors, embedders              └─ read(): one consistent snapshot           ▼
//!                                       EventWatch wakes whoever follows events_after(cursor)
//! ```
//!
//! **Rules**
//! * Several processes at once is the normal case. The journal is a WAL: readers never wait, writers take
//!   turns, and a turn is short. A closure given to [`StateDb::write`] never waits for anything: no process,
//!   no lock, no socket, no large file.
//! * What is read to be changed is read inside the same `write`.
//! * Every event is appended in the transaction that makes it true.
//! * Only this module opens `state.db`: closing a second descriptor of the file would drop SQLite's POSIX
//!   locks of the whole process (<https://sqlite.org/howtocorrupt.html>, section 2.2).
//! * A connection is not carried into a forked child.
//!
//! **Durability**: commits survive the death of any process at once. A loss of power may take the newest
//! commits of [`StateDb::write`] with it (never part of one), but none of [`StateDb::write_durable`].
//!
//! **Opening** is on the way of every command, so it does nothing but look at `user_version` when the schema
//! is there. Closing does not copy the WAL back, which SQLite would do for the last process: several fsyncs
//! for each command. Instead, whoever is in nobody's way calls [`StateDb::tidy`]: a monitor at its end, a
//! server or a monitor when it is idle. Writers do it only beyond 4 MiB. The WAL must stay small,
//! because the first process after a quiet time reads all of it (2 µs a page).
//!
//! One file per noun holds the methods of [`Txn`].

mod artifacts;
mod containers;
mod error;
mod events;
mod execs;
mod health;
mod images;
mod intents;
mod layers;
mod networks;
mod referrers;
mod schema;
mod turns;
mod volumes;

#[cfg(test)]
mod tests;

pub use artifacts::Artifact;
pub use containers::{About, ContainerRecord, ContainerSummary, StatusCounts};
pub use events::EVENTS_KEPT;
pub use execs::{ExecConfig, ExecRecord};
pub use intents::Intent;
pub use layers::{LayerBlob, LayerRecord};
pub use referrers::{KeptBlob, Referrer};
pub use schema::VERSION as SCHEMA_VERSION;
pub use volumes::VolumeRecord;

use dhow_model::{Error, ErrorKind, Layout, Result, ResultExt};
use dhow_sys::futex::SharedCounter;
use error::DbResult;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Params};
use std::cell::Cell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use turns::{Patience, Queue};

/// Size of the WAL from which [`StateDb::tidy`] copies it back: some five `run`s, 0.3 ms for the next reader.
const WAL_SOFT_LIMIT_BYTES: u64 = 512 << 10;

/// Size of the WAL from which a writer copies it back on its own. SQLite's default, 1000 pages of 4 KiB.
const WAL_HARD_LIMIT_BYTES: u64 = 4 << 20;

/// Prepared statements kept per connection; there are about 70 different ones.
const STATEMENTS_KEPT: usize = 96;

/// A connection to the state database. Each thread that needs one opens its own, or they take turns.
pub struct StateDb {
    connection: Connection,
    queue: Queue,
    notify: Notify,
    wal: Wal,
}

/// The inside of one transaction: all that can be asked and changed. See the files of `db/`.
pub struct Txn<'a> {
    connection: &'a Connection,
    writable: bool,
    events_added: Cell<bool>,
}

impl StateDb {
    /// Opens the database of an engine root. Makes the directories (0700), the file (0600) and the schema
    /// when they are missing; brings an older schema up to date.
    ///
    /// # Errors
    /// `Unsupported` when a newer dhow wrote it, `Corrupt` when it is not a database, `Unavailable` when
    /// another process holds it for more than ten seconds.
    pub fn open(layout: &Layout) -> Result<Self> {
        make_state_directories(layout)?;
        let path = layout.database();
        let Opened { connection, patience } = match connect(&path) {
            Ok(opened) => {
                if schema::version(&opened.connection)? == schema::VERSION {
                    opened
                } else {
                    // Closed first: switching the journal mode needs the file for one connection alone.
                    drop(opened);
                    create_or_migrate(layout)?
                }
            }
            // Missing, or half made by another process at this moment. Whatever else it is, it comes up again.
            Err(_) => create_or_migrate(layout)?,
        };
        let queue = Queue::new(layout, patience);
        Ok(Self { connection, queue, notify: Notify::new(layout), wal: Wal::new(layout) })
    }

    /// Runs `f` in a write transaction, and wakes the followers of events if it added any.
    ///
    /// `f` sees all earlier commits of every process, and no other writer runs beside it. An error of `f`
    /// undoes everything.
    ///
    /// # Errors
    /// What `f` returns, or what the database says.
    pub fn write<T>(&mut self, f: impl FnOnce(&Txn<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.queue.begin_write(&self.connection)?;
        let txn = Txn { connection: &self.connection, writable: true, events_added: Cell::new(false) };
        let value = f(&txn)?;
        transaction.commit().on(|| "commit to the state database".to_owned())?;
        if txn.events_added.get() {
            self.notify.wake()?;
        }
        self.wal.copy_back(&self.connection, self.queue.patience(), WAL_HARD_LIMIT_BYTES)?;
        Ok(value)
    }

    /// Copies the write-ahead log back into the database if it has grown: milliseconds of waiting for the
    /// disk. For a process that nobody waits for: a monitor at its end, an idle server. Other writers are
    /// only held up for the last few microseconds of it, and it does not wait for readers.
    ///
    /// # Errors
    /// What the database says.
    pub fn tidy(&mut self) -> Result<()> {
        self.wal.copy_back(&self.connection, self.queue.patience(), WAL_SOFT_LIMIT_BYTES)
    }

    /// The same for who has no connection: none is opened while there is nothing to do.
    ///
    /// # Errors
    /// What the database says.
    pub fn tidy_at(layout: &Layout) -> Result<()> {
        if Wal::new(layout).size() < WAL_SOFT_LIMIT_BYTES {
            return Ok(());
        }
        Self::open(layout)?.tidy()
    }

    /// Like [`StateDb::write`], and on the disk when it returns. For what users trust to be kept once they
    /// were told: images, volumes.
    ///
    /// # Errors
    /// As for `write`.
    pub fn write_durable<T>(&mut self, f: impl FnOnce(&Txn<'_>) -> Result<T>) -> Result<T> {
        let set = |connection: &Connection, level: &str| {
            connection.pragma_update(None, "synchronous", level).on(|| format!("set synchronous={level}"))
        };
        set(&self.connection, "FULL")?;
        let result = self.write(f);
        set(&self.connection, "NORMAL")?;
        result
    }

    /// Runs `f` on one consistent snapshot. It never waits for writers, and cannot write.
    ///
    /// # Errors
    /// What `f` returns, or what the database says.
    pub fn read<T>(&mut self, f: impl FnOnce(&Txn<'_>) -> Result<T>) -> Result<T> {
        let transaction = turns::begin_read(&self.connection)?;
        let txn = Txn { connection: &self.connection, writable: false, events_added: Cell::new(false) };
        let value = f(&txn)?;
        transaction.finish().on(|| "end a read of the state database".to_owned())?;
        Ok(value)
    }

    /// SQLite's own check of the file, and of every reference between tables. For `system check`.
    ///
    /// # Errors
    /// `Corrupt` with the first things found.
    pub fn check(&mut self) -> Result<()> {
        let what = || "check the state database".to_owned();
        let found: Vec<String> = {
            let mut statement = self.connection.prepare("PRAGMA integrity_check(5)").on(what)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).on(what)?;
            rows.collect::<rusqlite::Result<_>>().on(what)?
        };
        let dangling: usize = {
            let mut statement = self.connection.prepare("PRAGMA foreign_key_check").on(what)?;
            statement.query_map([], |_| Ok(())).on(what)?.count()
        };
        if found != ["ok"] {
            return Err(Error::corrupt(format!("state database is damaged: {}", found.join("; "))));
        }
        if dangling > 0 {
            return Err(Error::corrupt(format!("state database has {dangling} dangling references")));
        }
        Ok(())
    }
}

impl Txn<'_> {
    /// Runs one changing statement; returns the number of changed rows.
    fn change(&self, what: impl Fn() -> String, sql: &str, params: impl Params) -> Result<usize> {
        if !self.writable {
            return Err(Error::internal(format!("{}: inside a read transaction", what())));
        }
        self.connection.prepare_cached(sql).on(&what)?.execute(params).on(what)
    }

    /// All rows of a query.
    fn rows<T>(
        &self,
        what: impl Fn() -> String,
        sql: &str,
        params: impl Params,
        mut read: impl FnMut(&rusqlite::Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        self.each(what, sql, params, |row| {
            found.push(read(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Shows `visit` the rows of a query, one by one, until there are no more or it has seen enough.
    fn each(
        &self,
        what: impl Fn() -> String,
        sql: &str,
        params: impl Params,
        mut visit: impl FnMut(&rusqlite::Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql).on(&what)?;
        let mut rows = statement.query(params).on(&what)?;
        while let Some(row) = rows.next().on(&what)? {
            if visit(row).context(&what)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The first row of a query, if there is one.
    fn row<T>(
        &self,
        what: impl Fn() -> String,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql).on(&what)?;
        let mut rows = statement.query(params).on(&what)?;
        match rows.next().on(&what)? {
            Some(row) => read(row).context(&what).map(Some),
            None => Ok(None),
        }
    }

    /// The random id of this engine root, made with it: `info` shows it.
    ///
    /// # Errors
    /// What the database says.
    pub fn engine_id(&self) -> Result<String> {
        let what = || "read the engine's id".to_owned();
        self.row(what, "SELECT value FROM meta WHERE key = 'engine_id'", [], |row| column(row, 0))?
            .ok_or_else(|| Error::corrupt("state database has no engine id"))
    }
}

/// One column of a row.
fn column<T: rusqlite::types::FromSql>(row: &rusqlite::Row<'_>, index: usize) -> Result<T> {
    row.get(index).on(|| format!("column {index}"))
}

/// A column that holds JSON.
fn json_column<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>, index: usize) -> Result<T> {
    let what = || format!("column {index}");
    let text = row.get_ref(index).on(what)?.as_str().context_kind(ErrorKind::Corrupt, what)?;
    serde_json::from_str(text).context_kind(ErrorKind::Corrupt, what)
}

/// A column that holds the text of a type with a fallible conversion.
fn text_column<T>(row: &rusqlite::Row<'_>, index: usize, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
    let what = || format!("column {index}");
    let text = row.get_ref(index).on(what)?.as_str().context_kind(ErrorKind::Corrupt, what)?;
    parse(text).context_kind(ErrorKind::Corrupt, what)
}

/// A column that is not negative.
fn unsigned_column(row: &rusqlite::Row<'_>, index: usize) -> Result<u64> {
    let value: i64 = column(row, index)?;
    u64::try_from(value).context_kind(ErrorKind::Corrupt, || format!("column {index}"))
}

/// SQLite's integers have 63 bits for what is not negative.
fn to_signed(value: u64) -> Result<i64> {
    i64::try_from(value)
        .context_kind(ErrorKind::InvalidArgument, || format!("{value} is too large to be stored"))
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).context(|| "encode as JSON".to_owned())
}

/// The upper bound of all lower-case hexadecimal texts that begin with `prefix`: `g` follows `f`.
fn prefix_end(prefix: &str) -> String {
    format!("{prefix}g")
}

/// A connection, and how long its busy handler waits.
struct Opened {
    connection: Connection,
    patience: Patience,
}

/// Opens an existing file, which may be empty or hold an older schema.
fn connect(path: &Path) -> Result<Opened> {
    let what = || format!("open {}", path.display());
    // NO_MUTEX: a connection is used by one thread at a time, as Rust's types see to.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).on(what)?;
    let patience = Patience::install(&mut connection).on(what)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true).on(what)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).on(what)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).on(what)?;
    // SQLite's own checkpoints do not shorten the WAL. A command that is alone would find it as long as before,
    // and copy it again after each commit.
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit={WAL_SOFT_LIMIT_BYTES};"
        ))
        .on(what)?;
    Ok(Opened { connection, patience })
}

/// The slow road: taken once in the life of a root, and once per upgrade. A lock on the root directory
/// makes the processes that meet here take turns, because SQLite's own locks do not cover the change to WAL.
fn create_or_migrate(layout: &Layout) -> Result<Opened> {
    make_root_directories(layout)?;
    let lock = File::open(layout.root()).context(|| format!("open {}", layout.root().display()))?;
    lock.lock().context(|| format!("lock {}", layout.root().display()))?;

    let path = layout.database();
    // Made here, because SQLite would make it readable for all; its -wal and -shm get the same mode.
    private_file(&path)?;
    private_file(&layout.notify())?;
    let mut opened = connect(&path)?;
    schema::migrate(&mut opened.connection, &path)?;
    Ok(opened)
}

/// Makes what survives a reboot.
fn make_root_directories(layout: &Layout) -> Result<()> {
    let content = layout.content();
    for path in [
        layout.root().to_owned(),
        content.join("sha256"),
        content.join("tmp"),
        layout.layers().join("tmp"),
        layout.containers(),
        layout.volumes(),
        layout.seccomp(),
    ] {
        private_directory(&path)?;
    }
    Ok(())
}

/// Makes what a reboot takes away: looked at by every open.
fn make_state_directories(layout: &Layout) -> Result<()> {
    for path in [layout.state().join("execs"), layout.state().join("containers")] {
        if !path.exists() {
            private_directory(&path)?;
        }
    }
    Ok(())
}

pub(crate) fn private_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("create {}", path.display()))
}

pub(crate) fn private_file(path: &Path) -> Result<File> {
    // Never truncated: another process may have written to it already.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .context(|| format!("open {}", path.display()))
}

/// The counter that wakes the followers of events.
struct Notify {
    path: PathBuf,
    counter: Option<(SharedCounter, File)>,
}

impl Notify {
    fn new(layout: &Layout) -> Self {
        Self { path: layout.notify(), counter: None }
    }

    fn wake(&mut self) -> Result<()> {
        let (counter, file) = match &mut self.counter {
            Some(open) => open,
            empty => {
                let file = private_file(&self.path)?;
                let counter = SharedCounter::map(&file).context(|| format!("map {}", self.path.display()))?;
                empty.insert((counter, file))
            }
        };
        counter.advance();
        crate::watch::ring(file);
        Ok(())
    }
}

/// The write-ahead log as a file that grows.
struct Wal {
    path: PathBuf,
    /// Its size after the last attempt to shorten it: who failed because of a slow reader does not try again
    /// after each commit.
    left_at: u64,
}

impl Wal {
    fn new(layout: &Layout) -> Self {
        let mut path = layout.database().into_os_string();
        path.push("-wal");
        Self { path: path.into(), left_at: 0 }
    }

    /// 0 when there is none.
    fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    fn copy_back(&mut self, connection: &Connection, patience: &Patience, limit: u64) -> Result<()> {
        let size = self.size();
        if size < limit {
            self.left_at = 0;
            return Ok(());
        }
        if size < self.left_at + limit {
            return Ok(());
        }
        // PASSIVE does the slow part beside the writers; TRUNCATE then finds nothing left to copy, and needs
        // the log for itself for an instant only. If it does not get it, the next attempt will.
        let result = patience.with(Duration::ZERO, || {
            ["PASSIVE", "TRUNCATE"].into_iter().try_for_each(|mode| {
                let done = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
                match done {
                    Err(error) if error::is_busy(&error) => Ok(()),
                    other => other.on(|| "copy the write-ahead log back".to_owned()),
                }
            })
        });
        self.left_at = self.size();
        result
    }
}
