//! What refers to an image: signatures, lists of what is in it, BuildKit's attestations.
//!
//! ```text
//!   pull   keep.rs   the index's attestations, and what the registry lists under the digest: asked while the layers
//!                    come, verified, kept as content; what cannot be had is said, and left out
//!   load   mod.rs    what an archive has, verified by the store
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
use dhow_model::{Digest, Reference, Result};
use dhow_store::db::{Referrer, Txn};
use dhow_store::referrers::{PER_SUBJECT_MAX, TOTAL_MAX};
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

/// Records those that came with an archive, within the bounds for what is here already. Says what is left out.
pub(super) fn record(txn: &Txn<'_>, new: &[Referrer]) -> Result<Vec<String>> {
    let mut left_out = Vec::new();
    if new.is_empty() {
        return Ok(left_out);
    }
    for referrer in new {
        let (digest, subject) = (&referrer.manifest.digest, &referrer.subject);
        let known = txn.referrers_of(subject)?;
        if known.iter().any(|known| known.manifest.digest == *digest) {
            continue;
        }
        if known.len() >= PER_SUBJECT_MAX {
            left_out.push(format!("{digest} of {subject}: at most {PER_SUBJECT_MAX} are kept"));
        } else if bytes(known.iter().chain([referrer])) > TOTAL_MAX {
            left_out.push(format!("{digest}: all together have more than {TOTAL_MAX} bytes"));
        } else {
            txn.keep_referrer(referrer)?;
        }
    }
    let orphans = txn.forget_orphaned_referrers()?;
    let why = "is not known here by the digest that it is about";
    left_out.extend(
        orphans
            .iter()
            .filter(|orphan| new.contains(orphan))
            .map(|orphan| format!("{}: the image {why}", orphan.manifest.digest)),
    );
    Ok(left_out)
}

/// Bytes of what referrers consist of, each blob counted once.
pub(crate) fn bytes<'a>(referrers: impl Iterator<Item = &'a Referrer>) -> u64 {
    let parts: BTreeMap<&Digest, u64> =
        referrers.flat_map(Referrer::parts).map(|blob| (&blob.digest, blob.size_bytes)).collect();
    parts.values().sum()
}
