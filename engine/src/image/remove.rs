//! `rmi`: takes a tag away, and the image with its last one.

use crate::{Engine, events};
use dhow_model::image::Image;
use dhow_model::state::Status;
use dhow_model::{Digest, Error, Reference, Result};
use dhow_store::db::Txn;

/// One line of what `rmi` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A tag is gone.
    Untagged(Reference),
    /// An image or a layer is gone.
    Deleted(Digest),
}

/// Removes a tag, or an image by id.
///
/// # Errors
/// `NotFound`; `Conflict` when a container uses it (unless `force` and none runs), or when an id has several
/// tags and `force` is not set.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<Removed>> {
    let (mut removed, unused) = engine.db()?.write(|txn| {
        let image = txn.find_image(name)?;
        let tags = txn.tags_of(&image.id)?;
        let named = Reference::parse(name).map(Reference::with_default_tag).ok().filter(|r| tags.contains(r));
        let mut removed = Vec::new();
        let untag: Vec<Reference> = match &named {
            Some(reference) => vec![reference.clone()],
            None if tags.len() > 1 && !force => {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                    image.id.short()
                )));
            }
            None => tags.clone(),
        };
        let last = untag.len() == tags.len();
        if last {
            check_unused(txn, &image, name, force)?;
        }
        for reference in untag {
            txn.untag(&reference)?;
            txn.append_event(&events::image("untag", &image.id, &reference.familiar()), events::now())?;
            removed.push(Removed::Untagged(reference));
        }
        // An image that a stopped container uses stays, without a name: the container still needs its layers.
        if last && txn.containers_using_image(&image.id)?.is_empty() {
            txn.delete_image(&image.id)?;
            txn.append_event(&events::image("delete", &image.id, image.id.as_str()), events::now())?;
            removed.push(Removed::Deleted(image.id.clone()));
            return Ok((removed, Some(image)));
        }
        Ok((removed, None))
    })?;
    if let Some(image) = unused {
        removed.extend(collect(engine, &image)?.into_iter().map(Removed::Deleted));
    }
    Ok(removed)
}

fn check_unused(txn: &Txn<'_>, image: &Image, name: &str, force: bool) -> Result<()> {
    let mut stopped = None;
    for id in txn.containers_using_image(&image.id)? {
        let Some(container) = txn.container(&id)? else { continue };
        let runs = matches!(
            container.state.status,
            Status::Running | Status::Paused | Status::Restarting | Status::Starting
        );
        if runs {
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference \"{name}\" (cannot be forced) - container {} is using its referenced image {}",
                id.short(),
                image.id.short()
            )));
        }
        stopped = Some(id);
    }
    match stopped {
        Some(id) if !force => Err(Error::conflict(format!(
            "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {}",
            id.short(),
            image.id.short()
        ))),
        _ => Ok(()),
    }
}

/// Deletes blobs and layers that no image needs any more; returns the layers.
pub(crate) fn collect(engine: &Engine, image: &Image) -> Result<Vec<Digest>> {
    let _lock = super::gc::collecting(engine)?;
    let (layers, blobs) = engine.db()?.write(|txn| {
        let mut layers = txn.unreferenced_layers()?;
        layers.retain(|diff_id| image.layers.contains(diff_id));
        for diff_id in &layers {
            txn.delete_layer(diff_id)?;
        }
        let blobs = if txn.image(&image.id)?.is_none() {
            let shared = match &image.manifest {
                Some(manifest) => txn.images()?.iter().any(|(i, _)| i.manifest.as_ref() == Some(manifest)),
                None => false,
            };
            std::iter::once(image.id.clone()).chain(image.manifest.clone().filter(|_| !shared)).collect()
        } else {
            Vec::new()
        };
        Ok((layers, blobs))
    })?;
    for blob in &blobs {
        engine.content().delete(blob)?;
    }
    for layer in &layers {
        engine.layers().remove(layer)?;
    }
    Ok(layers)
}
