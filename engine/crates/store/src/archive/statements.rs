//! What an archive has that refers to its images and artifacts: attestations beside an image in its index, and entries
//! of `index.json` or of an index that say, or whose manifests say, what they are about.
//!
//! ```text
//!   index.json ─► index ─┬► the image's manifest ──────────► configuration: the image's id
//!                        └► a statement ─ about ─► the digest of a document above, or of one that only lies there:
//!                                                   the manifest or index that the image had where it came from
//! ```
//!
//! Such a document is believed for what its bytes say: that it, or a manifest that it lists, has the configuration of an
//! image of this archive. It is trusted no more than what a registry says, and nothing here spoils a load.

use super::PlannedArtifact;
use super::bundle::Bundle;
use super::oci::blob_path;
use crate::content::{Content, digest_of};
use crate::db::{KeptBlob, Referrer};
use crate::install::{BlobSource, Loaded, Place, Planned};
use crate::layer::LayerSource;
use crate::manifest::{Descriptor, SUBJECT, parse, parse_remarks};
use crate::referrers::{self, MANIFEST_MAX, PER_SUBJECT_MAX, Room, TOTAL_MAX};
use dhow_model::{Digest, Error, Reference, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Says where a blob came from: `containerd.io/distribution.source.docker.io` is `library/debian`.
pub(super) const SOURCE: &str = "containerd.io/distribution.source.";

/// What an archive says about its images.
#[derive(Default)]
pub(super) struct Statements {
    /// What may be statements, in their order.
    pub(super) entries: Vec<Descriptor>,
    /// Whose each document is that was met on the way to an image or an artifact, and its bytes.
    documents: BTreeMap<Digest, Document>,
    /// Sorted by what they are about.
    about: BTreeMap<Digest, Vec<Descriptor>>,
    /// Bytes that may yet be read to find out what somebody means.
    read: u64,
}

struct Document {
    owner: Digest,
    bytes: Vec<u8>,
}

/// What is kept of it, and why not the rest.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) referrers: Vec<Referrer>,
    /// By what else the images and artifacts are known: id and name.
    pub(super) known_by: Vec<(Digest, Reference)>,
    pub(super) left_out: Vec<String>,
}

/// How a document leads to an image or an artifact.
pub(super) struct Tie {
    pub(super) owner: Digest,
    /// The document, and the manifest that it lists when it is an index.
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
}

/// Follows a document to something that `owner` knows, by the digest of a manifest and that of its configuration.
pub(super) fn tie(
    subject: &Digest,
    read: &mut dyn FnMut(&Digest) -> Option<Vec<u8>>,
    owner: &dyn Fn(&Digest, Option<&str>) -> Option<Digest>,
) -> Option<Tie> {
    let bytes = read(subject)?;
    let document = parse(subject.as_str(), &bytes, None).ok()?;
    let Some(entries) = document.manifests else {
        let config = document.config.map(|config| config.digest);
        let owner = owner(subject, config.as_deref())?;
        return Some(Tie { owner, documents: vec![(subject.clone(), bytes)] });
    };
    for entry in entries.iter().filter(|entry| entry.size <= MANIFEST_MAX && !entry.is_attestation()) {
        let Ok(digest) = entry.parsed_digest() else { continue };
        if let Some(owner) = owner(&digest, None) {
            return Some(Tie { owner, documents: vec![(subject.clone(), bytes)] });
        }
        let Some(manifest) = read(&digest) else { continue };
        let config = parse(digest.as_str(), &manifest, None).ok().and_then(|document| document.config);
        if let Some(owner) = config.and_then(|config| owner(&digest, Some(&config.digest))) {
            return Some(Tie { owner, documents: vec![(subject.clone(), bytes), (digest, manifest)] });
        }
    }
    None
}

impl Statements {
    /// Notes a document on the way to something.
    pub(super) fn lead(&mut self, digest: Digest, bytes: Vec<u8>, owner: &Digest) {
        self.documents.entry(digest).or_insert_with(|| Document { owner: owner.clone(), bytes });
    }

    /// Finds out what each is about. An image whose manifest was made for the archive gets back the one that it had.
    pub(super) fn settle(&mut self, bundle: &Bundle, images: &mut [Planned], artifacts: &[PlannedArtifact]) {
        let mut seen = BTreeSet::new();
        for entry in std::mem::take(&mut self.entries) {
            if seen.insert(entry.digest.clone())
                && let Some(subject) = self.subject(bundle, &entry)
            {
                self.about.entry(subject).or_default().push(entry);
            }
        }
        let unknown: Vec<Digest> =
            self.about.keys().filter(|subject| !self.documents.contains_key(*subject)).cloned().collect();
        for subject in unknown {
            let ids: BTreeSet<Digest> = images.iter().map(Planned::id).collect();
            let owner = |manifest: &Digest, config: Option<&str>| {
                let of_image = config.and_then(|config| Digest::parse(config).ok());
                of_image.filter(|id| ids.contains(id)).or_else(|| {
                    artifacts.iter().any(|one| one.artifact.id() == manifest).then(|| manifest.clone())
                })
            };
            let Some(found) = tie(&subject, &mut |digest| self.document(bundle, digest), &owner) else {
                continue;
            };
            if let Some((digest, bytes)) = found.documents.last() {
                for image in images.iter_mut().filter(|image| image.id() == found.owner) {
                    self.give_back(image, digest, bytes);
                }
            }
            for (digest, bytes) in found.documents.into_iter().take(1) {
                self.lead(digest, bytes, &found.owner);
            }
        }
    }

    /// Takes the manifest that an image had for the one in the archive, unless something is about that one.
    fn give_back(&self, image: &mut Planned, digest: &Digest, bytes: &[u8]) {
        let is_spoken_of =
            image.manifest.as_deref().is_some_and(|own| self.about.contains_key(&digest_of(own)));
        let layers = parse(digest.as_str(), bytes, None).ok().and_then(|document| document.layers);
        if !is_spoken_of && layers.is_some_and(|layers| layers.len() == image.layers.len()) {
            image.manifest = Some(bytes.to_vec());
        }
    }

    /// What one says that it is about: the entry, or else its manifest.
    fn subject(&mut self, bundle: &Bundle, entry: &Descriptor) -> Option<Digest> {
        let said = entry.annotation(SUBJECT).or_else(|| entry.attests()).map(str::to_owned);
        let said = match said {
            Some(said) => said,
            None => {
                let digest = referrers::check_entry(entry).ok()?;
                let bytes = self.document(bundle, &digest)?;
                parse_remarks(digest.as_str(), &bytes).ok()?.subject?.digest
            }
        };
        Digest::parse(&said).ok()
    }

    /// A document of the archive, verified; `None` also when too much was read already.
    fn document(&mut self, bundle: &Bundle, digest: &Digest) -> Option<Vec<u8>> {
        let bytes = (self.read < TOTAL_MAX).then(|| bundle.read_small(&blob_path(digest)))?.ok()??;
        self.read += bytes.len() as u64;
        (digest_of(&bytes) == *digest).then_some(bytes)
    }

    /// Keeps what is about the images and artifacts that were installed.
    pub(super) fn keep(
        mut self,
        bundle: &Bundle,
        content: &Content,
        images: &[Loaded],
        artifacts: &[PlannedArtifact],
    ) -> Kept {
        let images = images.iter().map(|image| (&image.image.id, image.references.as_slice()));
        let artifacts = artifacts.iter().map(|one| (one.artifact.id(), one.references.as_slice()));
        let names: BTreeMap<&Digest, &[Reference]> = images.chain(artifacts).collect();
        let all: BTreeSet<String> = self.about.values().flatten().map(|entry| entry.digest.clone()).collect();
        let mut rooms: BTreeMap<Digest, Room> = BTreeMap::new();
        let mut kept = Kept::default();
        for (subject, mut entries) in std::mem::take(&mut self.about) {
            let Some(document) = self.documents.get(&subject) else {
                // Those of an index about machines that are not in the archive, and what is about statements.
                entries.retain(|entry| entry.attests().is_none() && !all.contains(subject.as_str()));
                let why = format!("it is about {subject}, which is no image of the archive");
                kept.left_out
                    .extend(entries.iter().map(|entry| format!("{}: {why}", referrers::shown(entry))));
                continue;
            };
            if let more @ 1.. = entries.len().saturating_sub(PER_SUBJECT_MAX) {
                kept.left_out.push(format!("{more} of {subject}: at most {PER_SUBJECT_MAX} are kept"));
                entries.truncate(PER_SUBJECT_MAX);
            }
            let room = rooms.entry(document.owner.clone()).or_default();
            let references = names.get(&document.owner).copied().unwrap_or_default();
            let before = kept.referrers.len();
            for entry in &entries {
                match keep_one(bundle, content, &subject, entry, references, room) {
                    Ok(referrer) => kept.referrers.push(referrer),
                    Err(error) => kept.left_out.push(format!("{}: {error}", referrers::shown(entry))),
                }
            }
            let new = &kept.referrers[before..];
            if new.is_empty() {
                continue;
            }
            if let Err(error) = content.put_bytes(&document.bytes, Some(&subject)) {
                kept.left_out.push(format!("those of {subject}: {error}"));
                kept.referrers.truncate(before);
                continue;
            }
            let mut repositories: BTreeSet<String> = references.iter().map(Reference::name).collect();
            if repositories.is_empty() {
                repositories = new.iter().map(|referrer| referrer.repository.clone()).collect();
            }
            let by_digest = |name: &String| Reference::parse(&format!("{name}@{subject}")).ok();
            let known_by = repositories.iter().filter_map(by_digest);
            kept.known_by.extend(known_by.map(|reference| (document.owner.clone(), reference)));
        }
        kept
    }
}

/// One of them, verified and in place.
fn keep_one(
    bundle: &Bundle,
    content: &Content,
    subject: &Digest,
    entry: &Descriptor,
    references: &[Reference],
    room: &mut Room,
) -> Result<Referrer> {
    let digest = referrers::check_entry(entry)?;
    let path = blob_path(&digest);
    let Some(bytes) = bundle.read_small(&path)? else {
        return Err(Error::corrupt("its manifest is not in the archive"));
    };
    let repository = source(entry).or_else(|| references.first().map(Reference::name)).unwrap_or_default();
    let referrer = referrers::read(subject, entry, &bytes, &repository)?;
    room.take(content, &referrer)?;
    for blob in &referrer.blobs {
        let digest = &blob.digest;
        let is_there = keep_blob(bundle, content, blob)
            .map_err(|_| Error::corrupt(format!("blob {digest} of it is not what its manifest says")))?;
        if !is_there {
            return Err(Error::corrupt(format!("blob {digest} of it is not in the archive")));
        }
    }
    content.put_bytes(&bytes, Some(&digest))?;
    Ok(referrer)
}

/// Puts a blob of the archive where content is, unless it is there. Returns whether it is there then.
///
/// # Errors
/// `Corrupt` when it is not what its descriptor says.
pub(super) fn keep_blob(bundle: &Bundle, content: &Content, blob: &KeptBlob) -> Result<bool> {
    let digest = &blob.digest;
    let wrong = |size: u64| {
        let said = blob.size_bytes;
        Error::corrupt(format!("blob {digest} has {size} bytes, its manifest says {said}"))
    };
    if let Some(size) = content.size(digest) {
        return if size == blob.size_bytes { Ok(true) } else { Err(wrong(size)) };
    }
    let place = Place { path: blob_path(digest), blob: None, size: None };
    let Some(LayerSource::Reader { mut reader, size }) = bundle.open_layer(&place)? else { return Ok(false) };
    match size {
        Some(size) if size != blob.size_bytes => Err(wrong(size)),
        _ => content.put(&mut *reader, Some(digest)).map(|_| true),
    }
}

/// The repository that it came from, by its own word.
fn source(entry: &Descriptor) -> Option<String> {
    let all = entry.annotations.as_ref()?;
    let (host, path) = all.iter().find_map(|(key, value)| Some((key.strip_prefix(SOURCE)?, value)))?;
    let first = path.split(',').next().unwrap_or_default();
    Reference::parse(&format!("{host}/{first}")).ok().map(|reference| reference.name())
}
