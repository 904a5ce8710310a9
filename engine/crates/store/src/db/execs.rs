//! Exec sessions: further processes in running containers. They go when their container goes.

use super::containers::id_at;
use super::error::is_foreign_key;
use super::{Txn, column, json_column, to_json, to_signed, unsigned_column};
use dhow_model::{ContainerId, Error, Result, Timestamp};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

/// What an exec session runs, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecConfig {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// `NAME=value`, beside the container's.
    pub env: Vec<String>,
    /// `user[:group]`; empty: the container's.
    pub user: String,
    /// Empty: the container's.
    pub working_dir: String,
    /// A pseudo-terminal.
    pub tty: bool,
    /// Whether the client gives standard input.
    pub attach_stdin: bool,
    /// Whether the client wants standard output.
    pub attach_stdout: bool,
    /// Whether the client wants standard error.
    pub attach_stderr: bool,
    /// All capabilities.
    pub privileged: bool,
    /// The keys that detach, as typed; empty: the default.
    pub detach_keys: String,
}

/// An exec session as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRecord {
    /// Its id.
    pub id: ContainerId,
    /// The container that it runs in.
    pub container: ContainerId,
    /// When it was made.
    pub created: Timestamp,
    /// What it runs.
    pub config: ExecConfig,
    /// Whether its process runs now.
    pub running: bool,
    /// The process, as the host sees it; 0 when there is none.
    pub pid: i32,
    /// Start time of `pid` in clock ticks since boot.
    pub pid_start_ticks: u64,
    /// How it ended; `None` before.
    pub exit_code: Option<i32>,
}

const COLUMNS: &str =
    "SELECT id, container, created, config, running, pid, pid_start_ticks, exit_code FROM execs";

impl Txn<'_> {
    /// Adds an exec session.
    ///
    /// # Errors
    /// `NotFound` when the container is gone.
    pub fn insert_exec(&self, exec: &ExecRecord) -> Result<()> {
        self.change(
            || format!("add exec session {}", exec.id),
            "INSERT INTO execs (id, container, created, config, running, pid, pid_start_ticks, exit_code) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                exec.id.as_str(),
                exec.container.as_str(),
                exec.created.0,
                to_json(&exec.config)?,
                exec.running,
                exec.pid,
                to_signed(exec.pid_start_ticks)?,
                exec.exit_code,
            ],
        )
        .map(drop)
        .map_err(|error| match is_foreign_key(&error) {
            true => Error::not_found(format!("No such container: {}", exec.container)),
            false => error,
        })
    }

    /// One exec session.
    ///
    /// # Errors
    /// What the database says.
    pub fn exec(&self, id: &ContainerId) -> Result<Option<ExecRecord>> {
        self.row(
            || format!("read exec session {id}"),
            &format!("{COLUMNS} WHERE id = ?1"),
            [id.as_str()],
            exec_at,
        )
    }

    /// The exec session that a client means, by its full id.
    ///
    /// # Errors
    /// `NotFound` in Docker's words.
    pub fn find_exec(&self, who: &str) -> Result<ExecRecord> {
        let no_such = || Error::not_found(format!("No such exec instance: {who}"));
        let id = ContainerId::parse(who).map_err(|_| no_such())?;
        self.exec(&id)?.ok_or_else(no_such)
    }

    /// Records what changed about an exec session: `running`, `pid`, `pid_start_ticks`, `exit_code`.
    ///
    /// # Errors
    /// `NotFound` when it, or its container, is gone.
    pub fn update_exec(&self, exec: &ExecRecord) -> Result<()> {
        let changed = self.change(
            || format!("record the state of exec session {}", exec.id),
            "UPDATE execs SET running = ?2, pid = ?3, pid_start_ticks = ?4, exit_code = ?5 WHERE id = ?1",
            params![
                exec.id.as_str(),
                exec.running,
                exec.pid,
                to_signed(exec.pid_start_ticks)?,
                exec.exit_code
            ],
        )?;
        if changed == 1 {
            Ok(())
        } else {
            Err(Error::not_found(format!("No such exec instance: {}", exec.id)))
        }
    }

    /// The exec sessions of a container, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn execs_of(&self, container: &ContainerId) -> Result<Vec<ExecRecord>> {
        self.rows(
            || format!("list the exec sessions of container {container}"),
            &format!("{COLUMNS} WHERE container = ?1 ORDER BY created, id"),
            [container.as_str()],
            exec_at,
        )
    }

    /// All exec sessions that are recorded as running, for recovery.
    ///
    /// # Errors
    /// What the database says.
    pub fn running_execs(&self) -> Result<Vec<ExecRecord>> {
        self.rows(
            || "list running exec sessions".to_owned(),
            &format!("{COLUMNS} WHERE running"),
            [],
            exec_at,
        )
    }

    /// Forgets an exec session. Returns whether it was there.
    ///
    /// # Errors
    /// What the database says.
    pub fn delete_exec(&self, id: &ContainerId) -> Result<bool> {
        self.change(|| format!("delete exec session {id}"), "DELETE FROM execs WHERE id = ?1", [id.as_str()])
            .map(|changed| changed > 0)
    }
}

fn exec_at(row: &Row<'_>) -> Result<ExecRecord> {
    Ok(ExecRecord {
        id: id_at(row, 0)?,
        container: id_at(row, 1)?,
        created: Timestamp(column(row, 2)?),
        config: json_column(row, 3)?,
        running: column(row, 4)?,
        pid: column(row, 5)?,
        pid_start_ticks: unsigned_column(row, 6)?,
        exit_code: column(row, 7)?,
    })
}
