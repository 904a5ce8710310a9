//! Intents: what a process is about to do in several steps, written down before the first one.
//!
//! ```text
//!   add_intent (commit) ─► act on files ─► finish_intent, in the same commit that makes the result visible
//! ```
//!
//! Whoever opens the engine after a crash reads [`Txn::intents`], leaves alone those whose owner still lives,
//! and finishes or undoes the others.

use super::{Txn, column, json_column, to_json, to_signed, unsigned_column};
use dhow_model::{Error, Result, ResultExt, Timestamp};
use rusqlite::{Row, params};

/// Something that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its number.
    pub id: i64,
    /// What is being done: `container.remove`, `layer.delete`, ….
    pub operation: String,
    /// To what: an id, a digest, a name.
    pub object: String,
    /// Whatever is needed to finish or undo it.
    pub data: serde_json::Value,
    /// When it was begun.
    pub created: Timestamp,
    /// The process that began it.
    pub owner_pid: i32,
    /// When that process started, in clock ticks since boot: tells a reused pid.
    pub owner_start_ticks: u64,
}

impl Intent {
    /// Whether the process that began it still lives, so that it is not ours to settle.
    pub fn owner_is_alive(&self) -> bool {
        start_ticks(&format!("/proc/{}/stat", self.owner_pid))
            .is_ok_and(|ticks| ticks == self.owner_start_ticks)
    }
}

impl Txn<'_> {
    /// Writes down what this process is about to do. Returns the number for [`Txn::finish_intent`].
    ///
    /// # Errors
    /// What the database says.
    pub fn add_intent(
        &self,
        operation: &str,
        object: &str,
        data: &serde_json::Value,
        time: Timestamp,
    ) -> Result<i64> {
        self.change(
            || format!("note the intent to {operation} {object}"),
            "INSERT INTO intents (operation, object, data, created, owner_pid, owner_start_ticks) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                operation,
                object,
                to_json(data)?,
                time.0,
                std::process::id(),
                to_signed(start_ticks("/proc/self/stat")?)?
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Strikes out what is done or undone. Returns whether it was there.
    ///
    /// # Errors
    /// What the database says.
    pub fn finish_intent(&self, id: i64) -> Result<bool> {
        self.change(|| format!("finish intent {id}"), "DELETE FROM intents WHERE id = ?1", [id])
            .map(|changed| changed > 0)
    }

    /// Everything that was begun and not finished, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn intents(&self) -> Result<Vec<Intent>> {
        self.rows(
            || "list intents".to_owned(),
            "SELECT id, operation, object, data, created, owner_pid, owner_start_ticks FROM intents ORDER BY id",
            [],
            intent_at,
        )
    }
}

fn intent_at(row: &Row<'_>) -> Result<Intent> {
    Ok(Intent {
        id: column(row, 0)?,
        operation: column(row, 1)?,
        object: column(row, 2)?,
        data: json_column(row, 3)?,
        created: Timestamp(column(row, 4)?),
        owner_pid: column(row, 5)?,
        owner_start_ticks: unsigned_column(row, 6)?,
    })
}

/// Field 22 of a `stat` file (proc_pid_stat(5)). The second field may hold blanks and parentheses.
fn start_ticks(path: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path).context(|| format!("read {path}"))?;
    text.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| Error::internal(format!("{path} has no start time")))
}
