//! `load`: images from an archive that some tool made.

use super::referrers;
use crate::{Engine, events};
use dhow_model::image::Image;
use dhow_model::{Reference, Result};
use dhow_store::db::{Artifact, LayerRecord, Txn};
use dhow_store::install::Loaded;
use dhow_store::referrers::said_of;
use std::fs::File;

/// One image that was loaded.
#[derive(Debug, Clone)]
pub struct LoadedImage {
    /// The image.
    pub image: Image,
    /// The tags that now point at it. Empty: it is known by its id alone.
    pub references: Vec<Reference>,
}

/// One artifact that was loaded.
#[derive(Debug, Clone)]
pub struct LoadedArtifact {
    /// The artifact.
    pub artifact: Artifact,
    /// The tags that now point at it.
    pub references: Vec<Reference>,
}

/// What an archive had.
#[derive(Debug, Default)]
pub struct Loading {
    /// Its images.
    pub images: Vec<LoadedImage>,
    /// What it had that is no image.
    pub artifacts: Vec<LoadedArtifact>,
    /// What is to be said of what refers to them, and is not kept.
    pub warnings: Vec<String>,
}

/// Loads every image and artifact of a docker-archive, OCI archive or OCI layout, plain or compressed, and what refers
/// to them.
///
/// # Errors
/// `Corrupt` naming the blob that does not match its digest, or where the archive ends too early;
/// `Unsupported` for a form that nobody writes. Nothing is tagged unless everything was installed.
pub fn load(engine: &Engine, archive: File) -> Result<Loading> {
    super::gc::install(engine, || {
        let mut archived = dhow_store::archive::load(engine.content(), engine.layer_store(), archive)?;
        let images = std::mem::take(&mut archived.images);
        let mut artifacts = Vec::new();
        let images = record_with(engine, images, "load", |txn| {
            artifacts = archived
                .artifacts
                .iter()
                .map(|(artifact, references)| record_artifact(txn, artifact, references))
                .collect::<Result<_>>()?;
            for (id, reference) in &archived.known_by {
                match txn.artifact(id)? {
                    Some(_) => txn.tag_artifact(reference, id)?,
                    None => txn.tag(reference, id).map(|_| ())?,
                }
            }
            let left_out = referrers::record(txn, &archived.referrers)?;
            archived.left_out.extend(left_out);
            Ok(())
        })?;
        if !archived.left_out.is_empty() {
            // Some of its blobs may be here. What cannot be said now, the next sweep finds.
            let _ = super::gc::want_sweep(engine);
        }
        Ok(Loading { images, artifacts, warnings: said_of(&archived.left_out) })
    })
}

fn record_artifact(txn: &Txn<'_>, artifact: &Artifact, references: &[Reference]) -> Result<LoadedArtifact> {
    let id = artifact.id();
    txn.insert_artifact(artifact)?;
    let references: Vec<Reference> =
        references.iter().map(|reference| reference.clone().with_default_tag()).collect();
    for reference in &references {
        txn.tag_artifact(reference, id)?;
        let by_digest = Reference::parse(&format!("{}@{id}", reference.name()))?;
        txn.tag_artifact(&by_digest, id)?;
    }
    txn.append_event(&events::image("load", id, id.as_str()), events::now())?;
    Ok(LoadedArtifact { artifact: artifact.clone(), references })
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
            // Docker's names: a pull is of a reference, what comes in an archive is an image, which an import then tags.
            let tagged = references.iter().filter(|_| action == "import").map(|reference| ("tag", reference));
            let pulled = references.first().filter(|_| action == "pull").map(|reference| (action, reference));
            for (action, reference) in tagged.chain(pulled) {
                txn.append_event(&events::image(action, &image.id, &reference.familiar()), now)?;
            }
            if pulled.is_none() {
                txn.append_event(&events::image(action, &image.id, image.id.as_str()), now)?;
            }
            images.push(LoadedImage { image, references });
        }
        also(txn)?;
        Ok(images)
    })
}
