//! `rmi`: takes a tag away, and the image with its last one.

use super::{artifacts, referrers};
use crate::{Engine, events};
use dhow_model::image::Image;
use dhow_model::state::Status;
use dhow_model::{Digest, Error, Reference, Result};
use dhow_store::db::{Referrer, Txn};

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
/// `NotFound`; `Conflict` when a container uses it (unless `force`, and none runs where an id is named), or
/// when an id has several tags and `force` is not set.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<Removed>> {
    remove_counting(engine, name, force).map(|(removed, _)| removed)
}

/// The same; and the bytes of what referred to it and is gone with it.
pub(super) fn remove_counting(engine: &Engine, name: &str, force: bool) -> Result<(Vec<Removed>, u64)> {
    let mut artifact = None;
    let (mut removed, unused, orphans) = engine.db()?.write(|txn| {
        if let Some(found) = artifacts::named(txn, name)? {
            let removed = artifacts::remove(txn, &found, name, force)?;
            artifact = Some(found);
            return Ok((removed, None, txn.forget_orphaned_referrers()?));
        }
        let image = txn.find_image(name)?;
        let tags = txn.tags_of(&image.id)?;
        let named = Reference::parse(name).map(Reference::with_default_tag).ok().filter(|r| tags.contains(r));
        let mut removed = Vec::new();
        let untag: Vec<Reference> = match &named {
            Some(reference) => with_orphaned_digests(reference, &tags),
            None if !is_single(&tags) && !force => {
                return Err(Error::conflict(format!(
                    "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                    image.id.short()
                )));
            }
            None => tags.clone(),
        };
        let last = untag.len() == tags.len();
        if last {
            check_unused(txn, &image, named.as_ref().map(|_| name), force)?;
        }
        for reference in untag {
            txn.untag(&reference)?;
            txn.append_event(&events::image("untag", &image.id, image.id.as_str()), events::now())?;
            removed.push(Removed::Untagged(reference));
        }
        // An image that a container uses stays, without a name: the container still needs its layers.
        if last && txn.containers_using_image(&image.id)?.is_empty() {
            txn.delete_image(&image.id)?;
            txn.append_event(&events::image("delete", &image.id, image.id.as_str()), events::now())?;
            removed.push(Removed::Deleted(image.id.clone()));
            return Ok((removed, Some(image), txn.forget_orphaned_referrers()?));
        }
        Ok((removed, None, txn.forget_orphaned_referrers()?))
    })?;
    let digests = removed.iter().filter_map(|r| match r {
        Removed::Untagged(reference) => reference.digest().cloned(),
        Removed::Deleted(_) => None,
    });
    let mut blobs: Vec<Digest> = digests.collect();
    blobs.extend(orphans.iter().flat_map(Referrer::parts).map(|blob| blob.digest.clone()));
    if let Some(artifact) = artifact {
        blobs.extend(artifact.parts().into_keys().cloned());
    }
    if unused.is_some() || !blobs.is_empty() {
        removed.extend(collect(engine, unused.as_ref(), blobs)?.into_iter().map(Removed::Deleted));
    }
    Ok((removed, referrers::bytes(orphans.iter())))
}

/// A reference that goes, and the digests of its repository when no tag of that stays.
pub(super) fn with_orphaned_digests(reference: &Reference, all: &[Reference]) -> Vec<Reference> {
    let of_repository = |r: &&Reference| r.name() == reference.name();
    let stays = |r: &&Reference| *r != reference && r.tag().is_some();
    if reference.tag().is_none() || all.iter().filter(of_repository).any(|r| stays(&r)) {
        return vec![reference.clone()];
    }
    let digests = all.iter().filter(of_repository).filter(|r| *r != reference).cloned();
    std::iter::once(reference.clone()).chain(digests).collect()
}

/// Whether at most one tag, and digests of that tag's repository, point at the image.
pub(super) fn is_single(all: &[Reference]) -> bool {
    let Some(first) = all.first() else { return true };
    all.iter().all(|r| r.name() == first.name()) && all.iter().filter(|r| r.tag().is_some()).count() <= 1
}

/// A tag is taken from an image in use only by force. An id asks for the image itself, which who runs on it keeps.
fn check_unused(txn: &Txn<'_>, image: &Image, tag: Option<&str>, force: bool) -> Result<()> {
    let mut stopped = None;
    for id in txn.containers_using_image(&image.id)? {
        let Some(container) = txn.container(&id)? else { continue };
        if let Some(tag) = tag {
            if force {
                return Ok(());
            }
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference \"{}\" (must force) - container {} is using its referenced image {}",
                tag,
                id.short(),
                image.id.short()
            )));
        }
        let runs = matches!(
            container.state.status,
            Status::Running | Status::Paused | Status::Restarting | Status::Starting
        );
        if runs {
            return Err(Error::conflict(format!(
                "conflict: unable to delete {} (cannot be forced) - image is being used by running container {}",
                image.id.short(),
                id.short()
            )));
        }
        stopped = Some(id);
    }
    match stopped {
        Some(id) if !force => Err(Error::conflict(format!(
            "conflict: unable to delete {} (must be forced) - image is being used by stopped container {}",
            image.id.short(),
            id.short()
        ))),
        _ => Ok(()),
    }
}

/// Deletes layers of an image that is gone, and blobs, that no image needs any more; returns the layers. `blobs` are
/// those of digests that are forgotten. While images are being installed nothing is deleted: whoever installs does it
/// then.
fn collect(engine: &Engine, gone: Option<&Image>, mut blobs: Vec<Digest>) -> Result<Vec<Digest>> {
    let Some(_lock) = super::gc::try_collecting(engine)? else { return Ok(Vec::new()) };
    let (layers, blobs) = engine.db()?.write(|txn| {
        let mut layers = Vec::new();
        if let Some(image) = gone {
            layers = txn.unreferenced_layers()?;
            layers.retain(|diff_id| image.layers.contains(diff_id));
            blobs.push(image.id.clone());
            blobs.extend(image.manifest.clone());
        }
        for diff_id in &layers {
            txn.delete_layer(diff_id)?;
        }
        // It may have come back in the meantime.
        let needed = super::gc::referenced_blobs(txn)?;
        blobs.retain(|blob| !needed.contains(blob));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_go_with_their_repositorys_last_tag() {
        let reference = |text: &str| Reference::parse(text).unwrap();
        let digest = format!("a@sha256:{}", "0".repeat(64));
        let (one, two, other, digest) =
            (reference("a:1"), reference("a:2"), reference("b:1"), reference(&digest));
        let both = [one.clone(), two.clone(), digest.clone()];
        assert_eq!(with_orphaned_digests(&one, &both), both[..1]);
        let last = [one.clone(), other.clone(), digest.clone()];
        assert_eq!(with_orphaned_digests(&one, &last), [one.clone(), digest.clone()]);
        assert_eq!(with_orphaned_digests(&digest, &last), last[2..]);
        assert!(is_single(&[one.clone(), digest.clone()]) && is_single(&[digest]) && is_single(&[]));
        assert!(!is_single(&both) && !is_single(&[one, other]));
    }
}
