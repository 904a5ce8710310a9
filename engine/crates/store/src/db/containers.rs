//! Containers: what they are, where they stand, what they are called.

use super::error::is_foreign_key;
use super::{Txn, column, json_column, prefix_end, text_column, to_json, to_signed, unsigned_column};
use dhow_model::container::{ContainerConfig, NetworkMode};
use dhow_model::mount::{Mount, MountSource};
use dhow_model::network::EndpointConfig;
use dhow_model::state::{ContainerState, Status};
use dhow_model::{ContainerId, Digest, Error, Result, Timestamp};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A container as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// What was asked for, merged with the image.
    pub config: ContainerConfig,
    /// Where it stands.
    pub state: ContainerState,
}

/// What a line of `ps` shows: a tenth of a record, and much quicker to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// What the image resolved to.
    pub image_id: Digest,
    /// From its configuration.
    pub about: About,
    /// Where it stands.
    pub state: ContainerState,
}

/// The part of a configuration that `ps` shows and filters by. Written short, what is empty left out: reading a
/// thousand of them is most of what `ps` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The image as typed.
    pub image: String,
    /// Entrypoint and command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Network mode.
    pub network: NetworkMode,
    /// Its networks; none in rows that an older version wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointConfig>,
    /// `80/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// Annotations; none in rows that an older version wrote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How many containers stand where, as `info` counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusCounts {
    /// Running, or about to be started again.
    pub running: u64,
    /// Frozen.
    pub paused: u64,
    /// Everything else.
    pub stopped: u64,
}

impl From<&ContainerConfig> for About {
    fn from(config: &ContainerConfig) -> Self {
        Self {
            image: config.image.clone(),
            argv: config.argv().cloned().collect(),
            labels: config.labels.clone(),
            mounts: config.host.mounts.clone(),
            network: config.host.network.clone(),
            endpoints: config.host.endpoints.clone(),
            exposed_ports: config.exposed_ports.iter().cloned().collect(),
            annotations: config.host.annotations.clone(),
        }
    }
}

/// The columns of [`state_at`], in its order.
macro_rules! state_columns {
    () => {
        "status, pid, pid_start_ticks, monitor_pid, exit_code, oom_killed, error, started_at, finished_at, \
         restart_count, stopped_by_user, life"
    };
}
const RECORD: &str = concat!(
    "SELECT id, name, created, config, ",
    state_columns!(),
    " FROM containers JOIN container_configs ON container = id"
);
const SUMMARY: &str =
    concat!("SELECT id, name, created, image, summary, ", state_columns!(), " FROM containers");

impl Txn<'_> {
    /// Adds a container: its row, its configuration, the volumes that it uses. Those and the image must be
    /// there already.
    ///
    /// # Errors
    /// `Conflict` in Docker's words when the name is taken; `NotFound` when the image or a volume is gone.
    pub fn insert_container(&self, container: &ContainerRecord) -> Result<()> {
        let what = || format!("add container {}", container.id);
        self.check_name_is_free(&container.name)?;
        let state = &container.state;
        self.change(
            what,
            "INSERT INTO containers (id, name, created, image, summary, status, pid, pid_start_ticks, monitor_pid, \
             exit_code, oom_killed, error, started_at, finished_at, restart_count, stopped_by_user, life) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            params![
                container.id.as_str(),
                container.name,
                container.created.0,
                container.config.image_id.as_str(),
                to_json(&About::from(&container.config))?,
                status_text(state.status),
                state.pid,
                to_signed(state.pid_start_ticks)?,
                state.monitor_pid,
                state.exit_code,
                state.oom_killed,
                state.error,
                state.started_at.map(|t| t.0),
                state.finished_at.map(|t| t.0),
                state.restart_count,
                state.stopped_by_user,
                to_json(&state.life)?,
            ],
        )
        .map_err(|error| match is_foreign_key(&error) {
            true => Error::not_found(format!("No such image: {}", container.config.image)),
            false => error,
        })?;
        self.change(
            what,
            "INSERT INTO container_configs (container, config) VALUES (?1, ?2)",
            params![container.id.as_str(), to_json(&container.config)?],
        )?;
        for mount in &container.config.host.mounts {
            if let MountSource::Image { name, id: Some(image), .. } = &mount.source {
                self.change(
                    what,
                    "INSERT OR IGNORE INTO mounted_images (container, image) VALUES (?1, ?2)",
                    params![container.id.as_str(), image.as_str()],
                )
                .map_err(|error| match is_foreign_key(&error) {
                    true => Error::not_found(format!("No such image: {name}")),
                    false => error,
                })?;
            }
            let MountSource::Volume { name, .. } = &mount.source else { continue };
            // One volume may be mounted at two places.
            self.change(
                what,
                "INSERT OR IGNORE INTO container_volumes (container, volume) VALUES (?1, ?2)",
                params![container.id.as_str(), name],
            )
            .map_err(|error| match is_foreign_key(&error) {
                true => Error::not_found(format!("get {name}: no such volume")),
                false => error,
            })?;
        }
        Ok(())
    }

    /// One container.
    ///
    /// # Errors
    /// What the database says.
    pub fn container(&self, id: &ContainerId) -> Result<Option<ContainerRecord>> {
        self.row(
            || format!("read container {id}"),
            &format!("{RECORD} WHERE id = ?1"),
            [id.as_str()],
            record_at,
        )
    }

    /// The container that a user means: by full id, by name with or without a leading slash, or by the
    /// beginning of its id, in this order.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` when several ids begin so.
    pub fn find_container(&self, who: &str) -> Result<ContainerRecord> {
        let id = self.find_container_id(who)?;
        self.container(&id)?.ok_or_else(|| no_such_container(who))
    }

    /// Like [`Txn::find_container`], without reading its configuration.
    ///
    /// # Errors
    /// As there.
    pub fn find_container_id(&self, who: &str) -> Result<ContainerId> {
        let what = || format!("look for container {who:?}");
        let name = who.strip_prefix('/').unwrap_or(who);
        let exact = "SELECT id FROM containers WHERE id = ?1 \
                     UNION ALL SELECT id FROM containers WHERE name = ?2 LIMIT 1";
        if let Some(id) = self.row(what, exact, [who, name], |row| id_at(row, 0))? {
            return Ok(id);
        }
        if who.is_empty() || !who.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) {
            return Err(no_such_container(who));
        }
        let prefix = "SELECT id FROM containers WHERE id >= ?1 AND id < ?2 LIMIT 2";
        let mut found = self.rows(what, prefix, [who, &prefix_end(who)], |row| id_at(row, 0))?;
        match (found.pop(), found.pop()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {who}")))
            }
            _ => Err(no_such_container(who)),
        }
    }

    /// All containers, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>> {
        self.rows(
            || "list containers".to_owned(),
            &format!("{RECORD} ORDER BY created DESC, id"),
            [],
            record_at,
        )
    }

    /// All containers, newest first, without their configurations.
    ///
    /// # Errors
    /// What the database says.
    pub fn container_summaries(&self) -> Result<Vec<ContainerSummary>> {
        let mut found = Vec::new();
        self.each_container_summary(None, |summary| {
            found.push(summary);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Shows `visit` the containers that stand at one of `statuses`, or all, newest first, without their
    /// configurations, until it has seen enough. None but the one that is looked at is in memory.
    ///
    /// # Errors
    /// What `visit` returns, or what the database says.
    pub fn each_container_summary(
        &self,
        statuses: Option<&[Status]>,
        mut visit: impl FnMut(ContainerSummary) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        // By name, because SQLite would rather take the index of the statuses, and pack every row anew to sort it.
        let table = format!("{SUMMARY} INDEXED BY containers_by_age");
        let order = "ORDER BY created DESC, containers.rowid DESC";
        let what = || "list containers".to_owned();
        let visit = |row: &Row<'_>| visit(summary_at(row)?);
        match statuses {
            None => self.each(what, &format!("{table} {order}"), [], visit),
            Some(statuses) => self.each(
                what,
                &format!("{table} WHERE status IN (SELECT value FROM json_each(?1)) {order}"),
                [status_list(statuses)?],
                visit,
            ),
        }
    }

    /// Which containers stand at one of `statuses`, and at which, in no order.
    ///
    /// # Errors
    /// What the database says.
    pub fn container_statuses_at(&self, statuses: &[Status]) -> Result<Vec<(ContainerId, Status)>> {
        self.rows(
            || "list containers by status".to_owned(),
            "SELECT id, status FROM containers WHERE status IN (SELECT value FROM json_each(?1))",
            [status_list(statuses)?],
            |row| Ok((id_at(row, 0)?, text_column(row, 1, parse_status)?)),
        )
    }

    /// The ids of all containers, in no order.
    ///
    /// # Errors
    /// What the database says.
    pub fn container_ids(&self) -> Result<Vec<ContainerId>> {
        self.rows(|| "list containers".to_owned(), "SELECT id FROM containers", [], |row| id_at(row, 0))
    }

    /// How many containers stand where.
    ///
    /// # Errors
    /// What the database says.
    pub fn count_containers(&self) -> Result<StatusCounts> {
        let mut counts = StatusCounts::default();
        let rows = self.rows(
            || "count containers".to_owned(),
            "SELECT status, count(*) FROM containers GROUP BY status",
            [],
            |row| Ok((text_column(row, 0, parse_status)?, unsigned_column(row, 1)?)),
        )?;
        for (status, count) in rows {
            match status {
                Status::Running | Status::Restarting => counts.running += count,
                Status::Paused => counts.paused += count,
                Status::Created | Status::Starting | Status::Exited | Status::Removing | Status::Dead => {
                    counts.stopped += count;
                }
            }
        }
        Ok(counts)
    }

    /// Where one container stands.
    ///
    /// # Errors
    /// What the database says.
    pub fn container_state(&self, id: &ContainerId) -> Result<Option<ContainerState>> {
        self.row(
            || format!("read the state of container {id}"),
            concat!("SELECT ", state_columns!(), " FROM containers WHERE id = ?1"),
            [id.as_str()],
            |row| state_at(row, 0),
        )
    }

    /// The name of one container.
    ///
    /// # Errors
    /// What the database says.
    pub fn container_name(&self, id: &ContainerId) -> Result<Option<String>> {
        self.row(
            || format!("read the name of container {id}"),
            "SELECT name FROM containers WHERE id = ?1",
            [id.as_str()],
            |row| column(row, 0),
        )
    }

    /// Records where a container stands now. It was read in this same transaction, or is known otherwise.
    ///
    /// # Errors
    /// `NotFound` when the container is gone.
    pub fn update_state(&self, id: &ContainerId, state: &ContainerState) -> Result<()> {
        let changed = self.change(
            || format!("record the state of container {id}"),
            "UPDATE containers SET status = ?2, pid = ?3, pid_start_ticks = ?4, monitor_pid = ?5, exit_code = ?6, \
             oom_killed = ?7, error = ?8, started_at = ?9, finished_at = ?10, restart_count = ?11, \
             stopped_by_user = ?12, life = ?13 WHERE id = ?1",
            params![
                id.as_str(),
                status_text(state.status),
                state.pid,
                to_signed(state.pid_start_ticks)?,
                state.monitor_pid,
                state.exit_code,
                state.oom_killed,
                state.error,
                state.started_at.map(|t| t.0),
                state.finished_at.map(|t| t.0),
                state.restart_count,
                state.stopped_by_user,
                to_json(&state.life)?,
            ],
        )?;
        expect_one(changed, id)
    }

    /// Reads where a container stands, lets `change` alter it, and records the result, which it returns.
    ///
    /// # Errors
    /// `NotFound` when the container is gone; what `change` returns.
    pub fn change_state(
        &self,
        id: &ContainerId,
        change: impl FnOnce(&mut ContainerState) -> Result<()>,
    ) -> Result<ContainerState> {
        let mut state = self.container_state(id)?.ok_or_else(|| no_such_container(id.as_str()))?;
        change(&mut state)?;
        self.update_state(id, &state)?;
        Ok(state)
    }

    /// Replaces a container's configuration. Its image and its volumes stay what they are.
    ///
    /// # Errors
    /// `NotFound` when the container is gone.
    pub fn update_config(&self, id: &ContainerId, config: &ContainerConfig) -> Result<()> {
        let what = || format!("change the configuration of container {id}");
        let changed = self.change(
            what,
            "UPDATE container_configs SET config = ?2 WHERE container = ?1",
            params![id.as_str(), to_json(config)?],
        )?;
        expect_one(changed, id)?;
        self.change(
            what,
            "UPDATE containers SET summary = ?2 WHERE id = ?1",
            params![id.as_str(), to_json(&About::from(config))?],
        )?;
        Ok(())
    }

    /// Gives a container another name, which the caller has checked with `name::parse_container_name`.
    ///
    /// # Errors
    /// `Conflict` in Docker's words when the name is taken; `NotFound` when the container is gone.
    pub fn rename_container(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.check_name_is_free(name)?;
        let changed = self.change(
            || format!("rename container {id}"),
            "UPDATE containers SET name = ?2 WHERE id = ?1",
            [id.as_str(), name],
        )?;
        expect_one(changed, id)
    }

    /// Removes a container's row, with its configuration, its exec sessions and its hold on volumes.
    /// Returns whether it was there.
    ///
    /// # Errors
    /// What the database says.
    pub fn delete_container(&self, id: &ContainerId) -> Result<bool> {
        self.change(
            || format!("delete container {id}"),
            "DELETE FROM containers WHERE id = ?1",
            [id.as_str()],
        )
        .map(|changed| changed > 0)
    }

    /// Who has this name.
    ///
    /// # Errors
    /// What the database says.
    pub fn container_named(&self, name: &str) -> Result<Option<ContainerId>> {
        self.row(
            || format!("look for the name {name:?}"),
            "SELECT id FROM containers WHERE name = ?1",
            [name],
            |row| id_at(row, 0),
        )
    }

    fn check_name_is_free(&self, name: &str) -> Result<()> {
        match self.container_named(name)? {
            None => Ok(()),
            Some(holder) => Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            ))),
        }
    }
}

fn no_such_container(who: &str) -> Error {
    Error::not_found(format!("No such container: {who}"))
}

fn expect_one(changed: usize, id: &ContainerId) -> Result<()> {
    if changed == 1 { Ok(()) } else { Err(no_such_container(id.as_str())) }
}

pub(super) fn id_at(row: &Row<'_>, index: usize) -> Result<ContainerId> {
    text_column(row, index, ContainerId::parse)
}

fn record_at(row: &Row<'_>) -> Result<ContainerRecord> {
    Ok(ContainerRecord {
        id: id_at(row, 0)?,
        name: column(row, 1)?,
        created: Timestamp(column(row, 2)?),
        config: json_column(row, 3)?,
        state: state_at(row, 4)?,
    })
}

fn summary_at(row: &Row<'_>) -> Result<ContainerSummary> {
    Ok(ContainerSummary {
        id: id_at(row, 0)?,
        name: column(row, 1)?,
        created: Timestamp(column(row, 2)?),
        image_id: text_column(row, 3, Digest::parse)?,
        about: json_column(row, 4)?,
        state: state_at(row, 5)?,
    })
}

/// A short JSON array: one prepared statement for any number of statuses.
fn status_list(statuses: &[Status]) -> Result<String> {
    to_json(&statuses.iter().map(|s| status_text(*s)).collect::<Vec<_>>())
}

/// Reads the columns of `state_columns!` from `first` on.
fn state_at(row: &Row<'_>, first: usize) -> Result<ContainerState> {
    Ok(ContainerState {
        status: text_column(row, first, parse_status)?,
        pid: column(row, first + 1)?,
        pid_start_ticks: unsigned_column(row, first + 2)?,
        monitor_pid: column(row, first + 3)?,
        exit_code: column(row, first + 4)?,
        oom_killed: column(row, first + 5)?,
        error: column(row, first + 6)?,
        started_at: column::<Option<i64>>(row, first + 7)?.map(Timestamp),
        finished_at: column::<Option<i64>>(row, first + 8)?.map(Timestamp),
        restart_count: column(row, first + 9)?,
        stopped_by_user: column(row, first + 10)?,
        life: json_column(row, first + 11)?,
    })
}

/// As serde writes it: `Status::as_str` is Docker's word, which does not tell `Starting` from `Created`.
fn status_text(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Starting => "starting",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
        Status::Removing => "removing",
        Status::Dead => "dead",
    }
}

const STATUSES: [Status; 8] = [
    Status::Created,
    Status::Starting,
    Status::Running,
    Status::Paused,
    Status::Restarting,
    Status::Exited,
    Status::Removing,
    Status::Dead,
];

fn parse_status(text: &str) -> Result<Status> {
    STATUSES
        .into_iter()
        .find(|s| status_text(*s) == text)
        .ok_or_else(|| Error::corrupt(format!("unknown status {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_written_as_serde_writes_them() {
        for status in STATUSES {
            assert_eq!(to_json(&status).unwrap(), format!("{:?}", status_text(status)));
            assert_eq!(parse_status(status_text(status)).unwrap(), status);
        }
    }
}
