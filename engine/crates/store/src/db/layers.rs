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

/// A layer as a registry has it: compressed in some way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// The repository that has it: `docker.io/library/debian`.
    pub repository: String,
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Their number.
    pub size_bytes: u64,
    /// As the manifest said.
    pub media_type: String,
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

    /// Notes that a repository has a layer.
    ///
    /// # Errors
    /// `NotFound` when the layer is not installed.
    pub fn note_layer_blob(&self, diff_id: &Digest, blob: &LayerBlob) -> Result<()> {
        self.change(
            || format!("note where layer {diff_id} is"),
            "INSERT OR REPLACE INTO layer_blobs (diff_id, repository, digest, size_bytes, media_type) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                diff_id.as_str(),
                blob.repository,
                blob.digest.as_str(),
                to_signed(blob.size_bytes)?,
                blob.media_type
            ],
        )
        .map(|_| ())
        .map_err(|error| match is_foreign_key(&error) {
            true => Error::not_found(format!("layer {diff_id} is not installed")),
            false => error,
        })
    }

    /// Which repositories have a layer, as what.
    ///
    /// # Errors
    /// What the database says.
    pub fn layer_blobs(&self, diff_id: &Digest) -> Result<Vec<LayerBlob>> {
        self.rows(
            || format!("list where layer {diff_id} is"),
            "SELECT repository, digest, size_bytes, media_type FROM layer_blobs WHERE diff_id = ?1 \
             ORDER BY repository, digest",
            [diff_id.as_str()],
            |row| {
                Ok(LayerBlob {
                    repository: super::column(row, 0)?,
                    digest: text_column(row, 1, Digest::parse)?,
                    size_bytes: unsigned_column(row, 2)?,
                    media_type: super::column(row, 3)?,
                })
            },
        )
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
