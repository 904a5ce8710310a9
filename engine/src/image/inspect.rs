//! `image inspect`: everything that is known of one image.

use crate::Engine;
use dhow_model::image::Image;
use dhow_model::{ContainerId, LowerLayer, Reference, Result};
use dhow_store::db::Referrer;
use dhow_store::manifest::{MANIFEST, parse};

/// What is known of an image.
#[derive(Debug, Clone)]
pub struct InspectedImage {
    /// The image.
    pub image: Image,
    /// Its tags.
    pub references: Vec<Reference>,
    /// Its layers' directories, top first.
    pub lower: Vec<LowerLayer>,
    /// The configuration blob as it came, for the fields that the engine does not act on.
    pub raw_config: Vec<u8>,
    /// What refers to it: signatures, attestations.
    pub referrers: Vec<Referrer>,
    /// What its manifest says that it is, and the manifest's bytes; `None` when it came without one.
    pub manifest: Option<(String, u64)>,
    /// The containers that use it.
    pub containers: Vec<ContainerId>,
}

/// Looks an image up.
///
/// # Errors
/// `NotFound`, or `InvalidArgument` for an ambiguous prefix.
pub fn inspect(engine: &Engine, name: &str) -> Result<InspectedImage> {
    let (image, references, mut referrers, containers) = engine.db()?.read(|txn| {
        let image = txn.find_image(name)?;
        let references = txn.tags_of(&image.id)?;
        let containers = txn.containers_using_image(&image.id)?;
        Ok((image, references, txn.referrers()?, containers))
    })?;
    referrers.retain(|referrer| super::referrers::is_about(referrer, &image, &references));
    let lower = engine.layers().lower_dirs(&image.layers)?;
    let raw_config = engine.content().read_small(&image.id)?;
    let manifest = image.manifest.as_ref().and_then(|digest| {
        // What is wrong with it, a check says.
        let bytes = engine.content().read_small(digest).ok()?;
        let document = parse(digest.as_str(), &bytes, None).ok()?;
        Some((document.media_type.unwrap_or_else(|| MANIFEST.to_owned()), bytes.len() as u64))
    });
    Ok(InspectedImage { image, references, lower, raw_config, referrers, manifest, containers })
}
