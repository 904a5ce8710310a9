//! What refers to an image: signatures, lists of what is in it, BuildKit's attestations.
//!
//! ```text
//!   pull   keep.rs   the index's attestations, and what the registry lists under the digest: asked while the layers
//!                    come, verified, kept as content; what cannot be had is said, and left out
//!   push   send.rs   sent along when the manifest that is pushed is the one that they refer to
//! ```
//!
//! They belong to a digest, not to an image: of a manifest, or of the index that an image was pulled by. A row says so,
//! and goes with the last thing that is known by that digest; their bytes go with the row (`super::gc`).

mod keep;
mod send;

pub(super) use keep::{Haste, Keeper};
pub(super) use send::send;

use dhow_model::image::Image;
use dhow_model::{Digest, Reference};
use dhow_store::db::Referrer;
use std::collections::BTreeMap;

/// Whether a referrer is about an image: about its manifest, or a digest that it is known by.
pub(crate) fn is_about(referrer: &Referrer, image: &Image, references: &[Reference]) -> bool {
    is_about_digests(referrer, image.manifest.as_ref(), references)
}

/// The same of anything that has a manifest and references.
pub(crate) fn is_about_digests(
    referrer: &Referrer,
    manifest: Option<&Digest>,
    references: &[Reference],
) -> bool {
    let subject = &referrer.subject;
    manifest == Some(subject) || references.iter().any(|r| r.digest() == Some(subject))
}

/// Bytes of what referrers consist of, each blob counted once.
pub(crate) fn bytes<'a>(referrers: impl Iterator<Item = &'a Referrer>) -> u64 {
    let parts: BTreeMap<&Digest, u64> =
        referrers.flat_map(Referrer::parts).map(|blob| (&blob.digest, blob.size_bytes)).collect();
    parts.values().sum()
}
