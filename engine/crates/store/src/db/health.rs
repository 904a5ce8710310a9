//! The last results of a container's health checks.

use super::{Txn, json_column, to_json};
use dhow_model::health::ProbeResult;
use dhow_model::{ContainerId, Result};
use rusqlite::params;

impl Txn<'_> {
    /// The results that are kept, the oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn health_log(&self, id: &ContainerId) -> Result<Vec<ProbeResult>> {
        self.row(
            || format!("read the health log of container {id}"),
            "SELECT log FROM health_logs WHERE container = ?1",
            [id.as_str()],
            |row| json_column(row, 0),
        )
        .map(Option::unwrap_or_default)
    }

    /// Replaces them.
    ///
    /// # Errors
    /// What the database says.
    pub fn set_health_log(&self, id: &ContainerId, log: &[ProbeResult]) -> Result<()> {
        self.change(
            || format!("write the health log of container {id}"),
            "INSERT INTO health_logs (container, log) VALUES (?1, ?2) \
             ON CONFLICT (container) DO UPDATE SET log = excluded.log",
            params![id.as_str(), to_json(&log)?],
        )
        .map(|_| ())
    }
}
