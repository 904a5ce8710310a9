//! `pull`: an image from a registry, until it can run.
//!
//! ```text
//!   tag ─► index? ─► manifest ─► configuration        small, verified, kept in memory
//!   layers, several at once:  network ─► partial file ─► inflate, hash, unpack (store::install)
//!   meanwhile, what refers to it: signatures, attestations (referrers/keep.rs)
//!   one transaction: rows, tag, digest, where the layers are
//! ```
//!
//! A layer is installed while it comes: nothing waits for a whole blob. What is installed already is not fetched.

mod artifact;

use super::gc;
use super::load::record_with;
use super::referrers::{Haste, Keeper};
use super::transfer::{Announce, Message, Registries};
use crate::Engine;
use dhow_model::{Digest, Error, ErrorKind, Reference, Result};
use dhow_registry::{Fetched, Repository};
use dhow_store::content::{SMALL_MAX, digest_of};
use dhow_store::db::{Artifact, LayerBlob};
use dhow_store::install::{BlobSource, Place, Planned, install};
use dhow_store::layer::{LayerProgress, LayerSource, LayerState, Progress};
use dhow_store::manifest::{Descriptor, Document, Platform, choose, parse};
use dhow_store::partial::{Fetch, Opened, Partials};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image; without tag and digest `latest` is meant.
    pub reference: Reference,
    /// All tags of the repository instead.
    pub all_tags: bool,
    /// For which kind of machine; this one's by default.
    pub platform: Option<Platform>,
    /// Who asks, and which registries are asked how.
    pub registries: Registries,
}

/// How many connections a pull has at once, unless `max-concurrent-downloads` says otherwise: one for each layer, and
/// those that are left for pieces of large ones. Each connection is a thread or two that mostly wait.
const CONNECTIONS: usize = 4;
/// An index in an index in an index …: one level is usual.
const DEPTH_MAX: u32 = 4;
/// How often a layer's progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Pulls.
///
/// # Errors
/// `NotFound` when the registry does not have it, or nothing for this kind of machine; `Unavailable` when it cannot be
/// asked; `Corrupt` naming the blob that is not what its digest says. Nothing is visible then.
pub fn pull(engine: &Engine, request: &PullRequest, announce: &dyn Announce) -> Result<()> {
    let reference = &request.reference;
    let registries = &request.registries;
    let (domain, path) = (reference.domain(), reference.path());
    let repository =
        Arc::new(Repository::to_pull(domain, path, &registries.credentials, &registries.settings)?);
    if !request.all_tags {
        let reference = reference.clone().with_default_tag();
        let pulled = pull_one(engine, &repository, &reference, request.platform.as_ref(), announce)?;
        say_status(announce, &reference.familiar(), &[pulled]);
        return Ok(());
    }
    let tags = repository.tags().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let what = format!("repository {} not found", reference.familiar_name());
            Error::caused(ErrorKind::NotFound, what, error)
        }
        _ => denied(reference, error),
    })?;
    if tags.is_empty() {
        return Err(Error::not_found(format!("{} has no tags", reference.familiar_name())));
    }
    // What refers to the others is kept with them, and its lists are no images.
    let mut pulled = Vec::new();
    for tag in tags.into_iter().filter(|tag| !dhow_registry::lists_referrers(tag)) {
        let reference = reference.clone().with_tag(&tag)?;
        pulled.push(pull_one(engine, &repository, &reference, request.platform.as_ref(), announce)?);
    }
    say_status(announce, &reference.familiar(), &pulled);
    Ok(())
}

/// What one reference led to.
struct Pulled {
    /// Whether it points at something else than before.
    is_new: bool,
    is_image: bool,
}

/// Docker's last line, which is about all tags together.
fn say_status(announce: &dyn Announce, name: &str, pulled: &[Pulled]) {
    let is_image = pulled.is_empty() || pulled.iter().any(|one| one.is_image);
    let status = match (pulled.iter().any(|one| one.is_new), is_image) {
        (true, true) => format!("Downloaded newer image for {name}"),
        (true, false) => format!("Downloaded newer artifact for {name}"),
        (false, true) => format!("Image is up to date for {name}"),
        (false, false) => format!("Artifact is up to date for {name}"),
    };
    announce.say(&Message::status(format!("Status: {status}")));
}

fn pull_one(
    engine: &Engine,
    repository: &Arc<Repository>,
    reference: &Reference,
    platform: Option<&Platform>,
    announce: &dyn Announce,
) -> Result<Pulled> {
    let connections = engine.settings().max_concurrent_downloads.unwrap_or(CONNECTIONS);
    let remote = Remote {
        repository,
        reference,
        announce,
        partials: Partials::open(engine.layout())?.with_connections(connections),
        connections,
        tried: Mutex::default(),
    };
    let found = remote.find(platform)?;
    announce
        .say(&Message { id: found.named, ..Message::status(format!("Pulling from {}", reference.path())) });
    let keeper = Keeper {
        engine,
        repository,
        name: &reference.name(),
        subjects: found.subjects,
        attestations: found.attestations,
        haste: Haste::default(),
        announce,
    };
    let references = [reference.clone(), reference.clone().with_digest(found.digest.clone())];
    let (kept, is_new, kind) = match found.thing {
        Thing::Image(image) => {
            let before = engine.db()?.read(|txn| txn.tagged(reference))?;
            let is_new = before != Some(image.planned.id());
            (remote.install_image(engine, *image, &found.documents, &references, keeper)?, is_new, "image")
        }
        Thing::Artifact(artifact, manifest) => {
            let before = engine.db()?.read(|txn| txn.tagged_artifact(reference))?;
            let is_new = before.as_ref() != Some(artifact.id());
            let documents = &found.documents;
            let kept =
                remote.install_artifact(engine, &artifact, &manifest, documents, &references, keeper)?;
            (kept, is_new, "artifact")
        }
    };
    if kept > 0 {
        announce.say(&Message::status(format!("Referrers: {kept} kept with the {kind}")));
    }
    announce.say(&Message::status(format!("Digest: {}", found.digest)));
    Ok(Pulled { is_new, is_image: kind == "image" })
}

/// A repository, as the source of one image.
struct Remote<'a> {
    repository: &'a Arc<Repository>,
    reference: &'a Reference,
    announce: &'a dyn Announce,
    partials: Partials,
    connections: usize,
    /// Blobs that were fetched anew because what was kept of them was wrong.
    tried: Mutex<BTreeSet<Digest>>,
}

/// What a reference led to.
struct Found {
    /// The tag, or else the whole reference with its digest.
    named: String,
    /// Digest of what it points at: an index, or a manifest.
    digest: Digest,
    /// The indexes on the way, as they came.
    documents: Vec<Vec<u8>>,
    /// What something may refer to: the image's manifest, and what the reference points at.
    subjects: Vec<Digest>,
    /// What the indexes say that is about one of their images.
    attestations: Vec<Descriptor>,
    thing: Thing,
}

/// What a registry has.
enum Thing {
    Image(Box<RemoteImage>),
    /// Something else, and its manifest as it came.
    Artifact(Box<Artifact>, Vec<u8>),
}

struct RemoteImage {
    planned: Planned,
    diff_ids: Vec<Digest>,
    layers: Vec<Descriptor>,
}

impl RemoteImage {
    /// What the repository has of it.
    fn blobs(&self, repository: &str) -> Vec<(Digest, LayerBlob)> {
        let pairs = self.diff_ids.iter().zip(&self.layers);
        pairs
            .filter_map(|(diff_id, layer)| {
                let blob = LayerBlob {
                    repository: repository.to_owned(),
                    digest: layer.parsed_digest().ok()?,
                    size_bytes: layer.size,
                    media_type: layer.media_type.clone(),
                };
                Some((diff_id.clone(), blob))
            })
            .collect()
    }
}

impl Remote<'_> {
    /// Fetches an image, and records it under its references. Returns how many referrers are kept with it.
    fn install_image(
        &self,
        engine: &Engine,
        image: RemoteImage,
        documents: &[Vec<u8>],
        references: &[Reference],
        keeper: Keeper<'_>,
    ) -> Result<usize> {
        let names = LayerNames::of(&image, self.announce);
        // Of what is here Docker says nothing.
        if engine.db()?.read(|txn| txn.image(&image.planned.id()))?.is_none() {
            names.tell_all(&image, engine);
        }
        let blobs: Vec<(Digest, LayerBlob)> = image.blobs(&self.reference.name());
        let mut planned = image.planned;
        references.iter().for_each(|reference| planned.add_reference(reference.clone()));
        gc::install(engine, || {
            for bytes in documents {
                engine.content().put_bytes(bytes, None)?;
            }
            let (loaded, referrers) =
                keeper.beside(|| install(engine.content(), engine.layers(), self, vec![planned], &names));
            let mut kept = referrers.len();
            record_with(engine, loaded?, "pull", |txn| {
                blobs.iter().try_for_each(|(diff_id, blob)| txn.note_layer_blob(diff_id, blob))?;
                referrers.iter().try_for_each(|referrer| txn.keep_referrer(referrer))?;
                // An image that is here with another manifest stays that one.
                let orphans = txn.forget_orphaned_referrers()?;
                kept -= referrers.iter().filter(|own| orphans.contains(own)).count();
                Ok(())
            })?;
            Ok(kept)
        })
    }

    /// Follows the reference to an image's manifest and configuration.
    fn find(&self, platform: Option<&Platform>) -> Result<Found> {
        // What is asked for, and what Docker calls it.
        let (asked, named) = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => (digest.to_string(), self.reference.to_string()),
            (None, tag) => (tag.unwrap_or_default().to_owned(), tag.unwrap_or_default().to_owned()),
        };
        let fetched = self.repository.manifest(&asked).map_err(|error| self.missing(error))?;
        let digest = digest_of(&fetched.bytes);
        if self.reference.digest().is_some_and(|wanted| *wanted != digest) {
            let host = self.repository.host();
            return Err(Error::corrupt(format!("registry {host}: manifest {asked} has the digest {digest}")));
        }
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let (mut documents, mut attestations) = (Vec::new(), Vec::new());
        let mut current = self.parse(&digest, &fetched)?;
        let (mut bytes, mut said) = (fetched.bytes, fetched.media_type);
        let mut name = digest.clone();
        for _ in 0..DEPTH_MAX {
            let Some(entries) = current.manifests.take() else {
                let thing = if current.is_artifact() {
                    let media_type = current.media_type.clone().unwrap_or(said);
                    let artifact =
                        Artifact::of_manifest(&name, current, &media_type, &bytes, crate::events::now())?;
                    Thing::Artifact(Box::new(artifact), bytes)
                } else {
                    Thing::Image(Box::new(self.image(&name, current, bytes)?))
                };
                let mut subjects = vec![name, digest.clone()];
                subjects.dedup();
                return Ok(Found { named, digest, documents, subjects, attestations, thing });
            };
            attestations.extend(entries.iter().filter(|entry| entry.attests().is_some()).cloned());
            let chosen = choose(&self.reference.familiar(), entries, &wanted)?;
            documents.push(bytes);
            (name, bytes) = self.small(&chosen, "manifest")?;
            said = chosen.media_type;
            current = self.parse(&name, &Fetched { media_type: said.clone(), bytes: bytes.clone() })?;
        }
        Err(Error::corrupt(format!("{digest} is an index in an index in an index, and so on")))
    }

    fn parse(&self, name: &Digest, fetched: &Fetched) -> Result<Document> {
        // What a server says of a file without a type is not about images.
        let said = Some(fetched.media_type.as_str()).filter(|t| t.contains("vnd."));
        parse(&format!("{}@{name}", self.reference.familiar_name()), &fetched.bytes, said)
    }

    fn image(&self, name: &Digest, document: Document, bytes: Vec<u8>) -> Result<RemoteImage> {
        let (config, layers) = document.of_image(name.as_str())?;
        let (_, config) = self.small(&config, "configuration")?;
        let places = layers.iter().map(|layer| {
            layer.check_layer()?;
            let digest = layer.parsed_digest()?;
            let path = format!("blob {digest} of {}", self.reference.familiar_name());
            Ok(Place { path, blob: Some(digest), size: Some(layer.size) })
        });
        let planned = Planned::new(config, Some(bytes), places.collect::<Result<_>>()?)
            .map_err(|error| Error::caused(error.kind(), format!("manifest {name}"), error))?;
        Ok(RemoteImage { diff_ids: planned.diff_ids().to_vec(), planned, layers })
    }

    /// A manifest or a configuration, verified.
    fn small(&self, descriptor: &Descriptor, what: &str) -> Result<(Digest, Vec<u8>)> {
        let digest = descriptor.parsed_digest()?;
        let about =
            |why: &str| Error::corrupt(format!("registry {}: {what} {digest} {why}", self.repository.host()));
        if descriptor.size > SMALL_MAX {
            return Err(about(&format!("has {} bytes; at most {SMALL_MAX} are taken", descriptor.size)));
        }
        let bytes = if what == "manifest" {
            self.repository.manifest(digest.as_str()).map_err(|error| self.missing(error))?.bytes
        } else {
            let mut bytes = Vec::new();
            let fetch = self.fetch(digest.clone());
            // No file is kept of these.
            let mut reader = self.partials.reader(&digest, descriptor.size, fetch, Box::new(|_| {}));
            reader.read_to_end(&mut bytes).map_err(|error| own(error, what))?;
            self.partials.forget(&digest)?;
            bytes
        };
        if bytes.len() as u64 != descriptor.size || digest_of(&bytes) != digest {
            return Err(about("is not what its digest says"));
        }
        Ok((digest, bytes))
    }

    /// Tells how far a blob is.
    fn heard<'b>(&'b self, digest: &Digest, size: u64) -> Box<dyn FnMut(u64) + Send + 'b> {
        let name = digest.short().to_owned();
        let mut told = Instant::now();
        let mut is_complete = false;
        Box::new(move |bytes: u64| {
            let say = |status: &str, progress| {
                self.announce.say(&Message { id: name.clone(), status: status.to_owned(), progress });
            };
            if bytes < size {
                if told.elapsed() >= PROGRESS_INTERVAL {
                    told = Instant::now();
                    say("Downloading", Some((bytes, size)));
                }
            } else if !std::mem::replace(&mut is_complete, true) {
                // It is hashed while it comes: what is left of that is the last piece.
                say("Verifying Checksum", None);
                say("Download complete", None);
            }
        })
    }

    fn fetch(&self, digest: Digest) -> Fetch {
        let repository = Arc::clone(self.repository);
        Arc::new(move |from, to| {
            let blob = repository.blob(&digest, from, to)?;
            Ok(Opened { reader: blob.reader, start: blob.start, is_range: blob.is_range })
        })
    }

    /// Docker's words for what is not there.
    fn missing(&self, error: Error) -> Error {
        let familiar = self.reference.familiar();
        match error.kind() {
            ErrorKind::NotFound => {
                Error::caused(ErrorKind::NotFound, format!("manifest for {familiar} not found"), error)
            }
            _ => denied(self.reference, error),
        }
    }
}

/// A transfer that ends when nobody waits for it any more.
struct WhileHeard<'a, R> {
    reader: R,
    announce: &'a dyn Announce,
}

impl<R: Read> Read for WhileHeard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.announce.is_gone() {
            return Err(std::io::Error::other(Error::new(
                ErrorKind::Unavailable,
                "the client that asked for it is gone",
            )));
        }
        self.reader.read(buffer)
    }
}

impl BlobSource for Remote<'_> {
    fn open_layer(&self, place: &Place) -> Result<Option<LayerSource<'_>>> {
        let (Some(digest), Some(size)) = (place.blob.clone(), place.size) else { return Ok(None) };
        let heard = self.heard(&digest, size);
        let reader = self.partials.reader(&digest, size, self.fetch(digest.clone()), heard);
        let reader = WhileHeard { reader, announce: self.announce };
        Ok(Some(LayerSource::Reader { reader: Box::new(reader), size: Some(size) }))
    }

    fn at_once(&self) -> usize {
        self.connections
    }

    fn installed(&self, place: &Place) {
        if let Some(digest) = &place.blob {
            // What cannot be removed now, the next prune removes.
            let _ = self.partials.forget(digest);
        }
    }

    fn may_try_again(&self, place: &Place) -> bool {
        let Some(digest) = &place.blob else { return false };
        self.tried.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(digest.clone())
            && self.partials.forget(digest).unwrap_or(false)
    }
}

/// Tells how the layers go, by the names that the registry has for them.
struct LayerNames<'a> {
    /// With the bytes of the blob.
    names: BTreeMap<Digest, (String, u64)>,
    announce: &'a dyn Announce,
    last: Mutex<BTreeMap<Digest, LayerState>>,
}

impl<'a> LayerNames<'a> {
    fn of(image: &RemoteImage, announce: &'a dyn Announce) -> Self {
        let pairs = image.diff_ids.iter().zip(&image.layers);
        let names = pairs.filter_map(|(diff_id, layer)| {
            Some((diff_id.clone(), (layer.parsed_digest().ok()?.short().to_owned(), layer.size)))
        });
        Self { names: names.collect(), announce, last: Mutex::default() }
    }

    /// The list of layers, before the first byte.
    fn tell_all(&self, image: &RemoteImage, engine: &Engine) {
        for diff_id in &image.diff_ids {
            let present = engine.layers().contains(diff_id);
            let status = if present { "Already exists" } else { "Pulling fs layer" };
            self.say(diff_id, status);
        }
    }

    fn say(&self, diff_id: &Digest, status: &str) {
        if let Some((name, _)) = self.names.get(diff_id) {
            self.announce.say(&Message { id: name.clone(), ..Message::status(status.to_owned()) });
        }
    }

    /// With numbers: clients leave such a line out where lines do not change, as they do with Docker's.
    fn say_extracting(&self, diff_id: &Digest) {
        if let Some((name, size)) = self.names.get(diff_id) {
            let progress = Some((*size, *size));
            self.announce.say(&Message { id: name.clone(), status: "Extracting".to_owned(), progress });
        }
    }
}

impl Progress for LayerNames<'_> {
    fn layer(&self, report: &LayerProgress<'_>) {
        let Some(diff_id) = report.diff_id else { return };
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.insert(diff_id.clone(), report.state) == Some(report.state) {
            return;
        }
        drop(last);
        match report.state {
            LayerState::Syncing => self.say_extracting(diff_id),
            LayerState::Done => self.say(diff_id, "Pull complete"),
            LayerState::Unpacking | LayerState::AlreadyPresent => {}
        }
    }
}

/// A registry does not tell whether something is missing or forbidden.
pub(super) fn denied(reference: &Reference, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unauthorized | ErrorKind::Forbidden => {
            let name = reference.familiar_name();
            let what = format!(
                "pull access denied for {name}, repository does not exist or may require 'docker login'"
            );
            Error::caused(ErrorKind::NotFound, what, error)
        }
        _ => error,
    }
}

/// Our own error, when that is what is in the other.
fn own(error: std::io::Error, what: &str) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::caused(ErrorKind::Unavailable, format!("read a {what}"), error),
    }
}
