//! What registries have that is no image: charts, models, policies, in the form of OCI artifacts. They are kept as they
//! came, as content, and have names as images have. Nothing can be run of them.

use super::referrers;
use super::remove::{Removed, is_single, with_orphaned_digests};
use crate::filters::Filters;
use crate::{Engine, events};
use dhow_model::{Error, ErrorKind, Reference, Result, Timestamp};
use dhow_store::db::{Artifact, Referrer, Txn};
use std::collections::BTreeMap;

/// One artifact with its tags, and the digests that it was pulled by.
#[derive(Debug, Clone)]
pub struct ArtifactSummary {
    /// The artifact.
    pub artifact: Artifact,
    /// Its references; without a tag it is dangling.
    pub references: Vec<Reference>,
}

impl ArtifactSummary {
    /// When it was made, by its own word, or else when it came.
    pub fn created(&self) -> Timestamp {
        self.artifact.created.unwrap_or(self.artifact.installed)
    }

    /// Whether no tag points at it.
    pub fn is_dangling(&self) -> bool {
        self.references.iter().all(|reference| reference.tag().is_none())
    }
}

/// What is known of an artifact.
#[derive(Debug, Clone)]
pub struct InspectedArtifact {
    /// The artifact and its references.
    pub summary: ArtifactSummary,
    /// What refers to it.
    pub referrers: Vec<Referrer>,
}

/// The artifact that a name means, if it is none of an image.
pub(crate) fn named(txn: &Txn<'_>, name: &str) -> Result<Option<Artifact>> {
    let Some(artifact) = txn.find_artifact(name)? else { return Ok(None) };
    if let Ok(reference) = Reference::parse(name)
        && txn.tagged_artifact(&reference.with_default_tag())?.is_some()
    {
        return Ok(Some(artifact));
    }
    // The beginning of an id may be that of both.
    match txn.find_image_id(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(artifact)),
        Err(error) => Err(error),
        Ok(_) => Ok(None),
    }
}

/// Why something cannot be done with it.
pub(crate) fn refusal(name: &str, artifact: &Artifact) -> Error {
    let kind = &artifact.artifact_type;
    Error::invalid(format!("{name} is an OCI artifact of type {kind}, not an image that can run"))
}

/// Looks one up; `None` when the name is not that of an artifact.
///
/// # Errors
/// `InvalidArgument` for an ambiguous prefix.
pub fn inspect(engine: &Engine, name: &str) -> Result<Option<InspectedArtifact>> {
    engine.db()?.read(|txn| {
        let Some(artifact) = named(txn, name)? else { return Ok(None) };
        let references = txn.tags_of_artifact(artifact.id())?;
        let mut referrers = txn.referrers()?;
        referrers.retain(|referrer| referrers::is_about_digests(referrer, Some(artifact.id()), &references));
        Ok(Some(InspectedArtifact { summary: ArtifactSummary { artifact, references }, referrers }))
    })
}

/// Lists artifacts, the newest first. The filters are those of images; they have no labels.
///
/// # Errors
/// As `image::list`.
pub fn list(engine: &Engine, filters: &Filters) -> Result<Vec<ArtifactSummary>> {
    let chosen = super::list::Choice::parse(engine, filters)?;
    let artifacts = engine.db()?.read(|txn| txn.artifacts())?;
    let mut rows: Vec<ArtifactSummary> = artifacts
        .into_iter()
        .map(|(artifact, references)| ArtifactSummary { artifact, references })
        .filter_map(|mut row| {
            let created = Some(row.created());
            chosen.takes(created, &BTreeMap::new(), &mut row.references).then_some(row)
        })
        .collect();
    rows.sort_by(|a, b| b.created().cmp(&a.created()).then_with(|| a.references.cmp(&b.references)));
    Ok(rows)
}

/// Takes a tag of an artifact away, and the artifact with its last one; its blobs are the caller's to collect.
pub(super) fn remove(txn: &Txn<'_>, artifact: &Artifact, name: &str, force: bool) -> Result<Vec<Removed>> {
    let id = artifact.id();
    let tags = txn.tags_of_artifact(id)?;
    let named = Reference::parse(name).map(Reference::with_default_tag).ok().filter(|r| tags.contains(r));
    let untag = match &named {
        Some(reference) => with_orphaned_digests(reference, &tags),
        None if !is_single(&tags) && !force => {
            return Err(Error::conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                id.short()
            )));
        }
        None => tags.clone(),
    };
    let last = untag.len() == tags.len();
    let mut removed = Vec::new();
    for reference in untag {
        txn.untag_artifact(&reference)?;
        txn.append_event(&events::image("untag", id, id.as_str()), events::now())?;
        removed.push(Removed::Untagged(reference));
    }
    if last {
        txn.delete_artifact(id)?;
        txn.append_event(&events::image("delete", id, id.as_str()), events::now())?;
        removed.push(Removed::Deleted(id.clone()));
    }
    Ok(removed)
}
