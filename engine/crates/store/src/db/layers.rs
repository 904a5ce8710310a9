//! Installed layers. Who refers to them is what `image_layers` says: there is no count to go wrong.

use super::error::is_foreign_key;
use super::{Txn, text_column, to_signed, unsigned_column};
use dhow_model::{Digest, Error, Result, Timestamp};
use rusqlite::{Row, params};

/// A layer that is whole and verified below `ROOT/layers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRecord {
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// When it was installed.
    pub installed: Timestamp,
}

const COLUMNS: &str = "SELECT diff_id, size_bytes, installed FROM layers";

impl Txn<'_> {
    /// Records a layer that is in place. One that is known already stays as it is. Returns whether it is new.
    ///
    /// # Errors
    /// What the database says.
    pub fn insert_layer(&self, layer: &LayerRecord) -> Result<bool> {
        self.change(
            || format!("add layer {}", layer.diff_id),
            "INSERT OR IGNORE INTO layers (diff_id, size_bytes, installed) VALUES (?1, ?2, ?3)",
            params![layer.diff_id.as_str(), to_signed(layer.size_bytes)?, layer.installed.0],
        )
        .map(|changed| changed > 0)
    }

    /// One layer.
    ///
    /// # Errors
    /// What the database says.
    pub fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>> {
        self.row(
            || format!("read layer {diff_id}"),
            &format!("{COLUMNS} WHERE diff_id = ?1"),
            [diff_id.as_str()],
            layer_at,
        )
    }

    /// Whether a layer is recorded.
    ///
    /// # Errors
    /// What the database says.
    pub fn layer_installed(&self, diff_id: &Digest) -> Result<bool> {
        self.row(
            || format!("read layer {diff_id}"),
            "SELECT 1 FROM layers WHERE diff_id = ?1",
            [diff_id.as_str()],
            |_| Ok(()),
        )
        .map(|found| found.is_some())
    }

    /// All layers, sorted by diff id.
    ///
    /// # Errors
    /// What the database says.
    pub fn layers(&self) -> Result<Vec<LayerRecord>> {
        self.rows(|| "list layers".to_owned(), &format!("{COLUMNS} ORDER BY diff_id"), [], layer_at)
    }

    /// The layers that no image has.
    ///
    /// # Errors
    /// What the database says.
    pub fn unreferenced_layers(&self) -> Result<Vec<Digest>> {
        self.rows(
            || "list layers without an image".to_owned(),
            "SELECT diff_id FROM layers WHERE diff_id NOT IN (SELECT diff_id FROM image_layers) ORDER BY diff_id",
            [],
            |row| text_column(row, 0, Digest::parse),
        )
    }

    /// Forgets a layer, before or after its files go. Returns whether it was there.
    ///
    /// # Errors
    /// `Conflict` while an image has it.
    pub fn delete_layer(&self, diff_id: &Digest) -> Result<bool> {
        self.change(
            || format!("delete layer {diff_id}"),
            "DELETE FROM layers WHERE diff_id = ?1",
            [diff_id.as_str()],
        )
        .map(|changed| changed > 0)
        .map_err(|error| match is_foreign_key(&error) {
            true => Error::conflict(format!("layer {diff_id} is part of an image")),
            false => error,
        })
    }
}

fn layer_at(row: &Row<'_>) -> Result<LayerRecord> {
    Ok(LayerRecord {
        diff_id: text_column(row, 0, Digest::parse)?,
        size_bytes: unsigned_column(row, 1)?,
        installed: Timestamp(super::column(row, 2)?),
    })
}
