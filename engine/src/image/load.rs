//! `load`: images from an archive that some tool made.

use crate::{Engine, events};
use dhow_model::image::Image;
use dhow_model::{Reference, Result};
use dhow_store::db::{LayerRecord, Txn};
use dhow_store::install::Loaded;
use std::fs::File;

/// One image that was loaded.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The image.
    pub image: Image,
    /// The tags that now point at it. Empty: it is known by its id alone.
    pub references: Vec<Reference>,
}

/// Loads every image of a docker-archive, OCI archive or OCI layout, plain or compressed.
///
/// # Errors
/// `Corrupt` naming the blob that does not match its digest, or where the archive ends too early;
/// `Unsupported` for a form that nobody writes. Nothing is tagged unless everything was installed.
pub fn load(engine: &Engine, archive: File) -> Result<Vec<LoadedImage>> {
    super::gc::install(engine, || {
        let loaded = dhow_store::archive::load(engine.content(), engine.layer_store(), archive)?;
        record(engine, loaded, "load")
    })
}

/// Rows, tags and events of images whose layers are installed, in one transaction.
pub(crate) fn record(engine: &Engine, loaded: Vec<Loaded>, action: &str) -> Result<Vec<LoadedImage>> {
    record_with(engine, loaded, action, |_| Ok(()))
}

/// The same, with more to write in that transaction.
pub(crate) fn record_with(
    engine: &Engine,
    loaded: Vec<Loaded>,
    action: &str,
    also: impl FnOnce(&Txn<'_>) -> Result<()>,
) -> Result<Vec<LoadedImage>> {
    let now = events::now();
    engine.db()?.write_durable(|txn| {
        let mut images = Vec::with_capacity(loaded.len());
        for Loaded { mut image, references, layers } in loaded {
            image.installed = now;
            for layer in layers {
                txn.insert_layer(&LayerRecord {
                    diff_id: layer.diff_id,
                    size_bytes: layer.size_bytes,
                    installed: now,
                })?;
            }
            txn.insert_image(&image)?;
            let references: Vec<Reference> =
                references.into_iter().map(Reference::with_default_tag).collect();
            for reference in &references {
                txn.tag(reference, &image.id)?;
            }
            let name = references.first().map_or_else(|| image.id.to_string(), Reference::familiar);
            txn.append_event(&events::image(action, &image.id, &name), now)?;
            images.push(LoadedImage { image, references });
        }
        also(txn)?;
        Ok(images)
    })
}
