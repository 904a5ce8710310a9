//! `image inspect`: everything that is known of one image.

use crate::Engine;
use dhow_model::image::Image;
use dhow_model::{LowerLayer, Reference, Result};

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
}

/// Looks an image up.
///
/// # Errors
/// `NotFound`, or `InvalidArgument` for an ambiguous prefix.
pub fn inspect(engine: &Engine, name: &str) -> Result<InspectedImage> {
    let (image, references) = engine.db()?.read(|txn| {
        let image = txn.find_image(name)?;
        let references = txn.tags_of(&image.id)?;
        Ok((image, references))
    })?;
    let lower = engine.layers().lower_dirs(&image.layers)?;
    let raw_config = engine.content().read_small(&image.id)?;
    Ok(InspectedImage { image, references, lower, raw_config })
}
