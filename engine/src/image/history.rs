//! `history`: how an image was made.

use crate::Engine;
use dhow_model::image::History;
use dhow_model::{Digest, Reference, Result};

/// The history of one image, the newest step first, with the id and the tags that belong to the first.
///
/// # Errors
/// `NotFound`, or `InvalidArgument` for an ambiguous prefix.
pub fn history(engine: &Engine, name: &str) -> Result<(Digest, Vec<Reference>, Vec<History>)> {
    engine.db()?.read(|txn| {
        if let Some(artifact) = super::artifacts::named(txn, name)? {
            return Err(super::artifacts::refusal(name, &artifact));
        }
        let image = txn.find_image(name)?;
        let references = txn.tags_of(&image.id)?;
        Ok((image.id, references, image.history.into_iter().rev().collect()))
    })
}
