//! Volumes: directories of their own that outlive containers. Which container uses which is a table that
//! [`Txn::insert_container`] fills.

use super::containers::id_at;
use super::error::is_foreign_key;
use super::{Txn, column, json_column, to_json};
use dhow_model::{ContainerId, Error, Result, Timestamp};
use rusqlite::{Row, params};
use std::collections::BTreeMap;

/// A volume as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Its name, which is its directory's name too.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether the engine named it.
    pub anonymous: bool,
    /// The driver's options as typed.
    pub options: BTreeMap<String, String>,
}

const COLUMNS: &str = "SELECT name, created, anonymous, labels, options FROM volumes";

impl Txn<'_> {
    /// Adds a volume. One of the same name stays as it is. Returns whether it is new.
    ///
    /// # Errors
    /// What the database says.
    pub fn insert_volume(&self, volume: &VolumeRecord) -> Result<bool> {
        self.change(
            || format!("add volume {}", volume.name),
            "INSERT OR IGNORE INTO volumes (name, created, anonymous, labels, options) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                volume.name,
                volume.created.0,
                volume.anonymous,
                to_json(&volume.labels)?,
                to_json(&volume.options)?
            ],
        )
        .map(|changed| changed > 0)
    }

    /// One volume.
    ///
    /// # Errors
    /// What the database says.
    pub fn volume(&self, name: &str) -> Result<Option<VolumeRecord>> {
        self.row(|| format!("read volume {name}"), &format!("{COLUMNS} WHERE name = ?1"), [name], volume_at)
    }

    /// One volume that a user means.
    ///
    /// # Errors
    /// `NotFound` in Docker's words.
    pub fn find_volume(&self, name: &str) -> Result<VolumeRecord> {
        self.volume(name)?.ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
    }

    /// All volumes, sorted by name.
    ///
    /// # Errors
    /// What the database says.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>> {
        self.rows(|| "list volumes".to_owned(), &format!("{COLUMNS} ORDER BY name"), [], volume_at)
    }

    /// The volumes of a container, sorted by name.
    ///
    /// # Errors
    /// What the database says.
    pub fn volumes_of(&self, container: &ContainerId) -> Result<Vec<VolumeRecord>> {
        self.rows(
            || format!("list the volumes of container {container}"),
            &format!(
                "{COLUMNS} WHERE name IN (SELECT volume FROM container_volumes WHERE container = ?1) ORDER BY name"
            ),
            [container.as_str()],
            volume_at,
        )
    }

    /// The volumes that no container uses.
    ///
    /// # Errors
    /// What the database says.
    pub fn unused_volumes(&self) -> Result<Vec<VolumeRecord>> {
        self.rows(
            || "list unused volumes".to_owned(),
            &format!("{COLUMNS} WHERE name NOT IN (SELECT volume FROM container_volumes) ORDER BY name"),
            [],
            volume_at,
        )
    }

    /// The containers that use a volume, running or not.
    ///
    /// # Errors
    /// What the database says.
    pub fn containers_using_volume(&self, name: &str) -> Result<Vec<ContainerId>> {
        self.rows(
            || format!("list the containers that use volume {name}"),
            "SELECT container FROM container_volumes WHERE volume = ?1 ORDER BY container",
            [name],
            |row| id_at(row, 0),
        )
    }

    /// Forgets a volume. Returns whether it was there.
    ///
    /// # Errors
    /// `Conflict` in Docker's words while a container uses it.
    pub fn delete_volume(&self, name: &str) -> Result<bool> {
        let deleted =
            self.change(|| format!("delete volume {name}"), "DELETE FROM volumes WHERE name = ?1", [name]);
        match deleted {
            Ok(changed) => Ok(changed > 0),
            Err(error) if is_foreign_key(&error) => {
                let users = self.containers_using_volume(name)?;
                let users: Vec<&str> = users.iter().map(ContainerId::as_str).collect();
                Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))))
            }
            Err(error) => Err(error),
        }
    }
}

fn volume_at(row: &Row<'_>) -> Result<VolumeRecord> {
    Ok(VolumeRecord {
        name: column(row, 0)?,
        created: Timestamp(column(row, 1)?),
        anonymous: column(row, 2)?,
        labels: json_column(row, 3)?,
        options: json_column(row, 4)?,
    })
}
