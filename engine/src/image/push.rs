//! `push`: an image to a registry.
//!
//! Layers are kept unpacked, not as they came: one that the registry has, here or in another repository, is not sent;
//! any other is compressed anew on its way, which gives it another digest there. When every layer is what the image's
//! own manifest says, that manifest is sent as it is, and the image keeps its digest.

use super::transfer::{Announce, Message, Registries};
mod artifact;
pub(in crate::image) mod blob;

use super::{artifacts, find_or_embedded, referrers};
use crate::{Engine, events};
use dhow_model::image::Image;
use dhow_model::{Digest, Error, ErrorKind, Reference, Result};
use dhow_registry::{Repository, Upload};
use dhow_store::content::digest_of;
use dhow_store::db::{Artifact, LayerBlob};
use dhow_store::manifest::{CONFIG, DOCKER_CONFIG, DOCKER_MANIFEST, LAYER, MANIFEST, Platform, parse};
use dhow_store::output::Output;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What to push.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The image; without a tag `latest` is meant.
    pub reference: Reference,
    /// All tags of the repository instead.
    pub all_tags: bool,
    /// The kind of machine that the image must be for; no matter by default.
    pub platform: Option<Platform>,
    /// Who asks, and which registries are asked how.
    pub registries: Registries,
}

/// What a tag became at the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag.
    pub tag: String,
    /// Digest of the manifest there.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: usize,
}

/// How many layers go at once.
const LAYERS_AT_ONCE: usize = 3;
/// How much of a compressed layer is sent with one request.
const PIECE: usize = 8 << 20;

/// Pushes; says of each tag what it became.
///
/// # Errors
/// `NotFound` when there is no such image here; `Unauthorized`, `Forbidden` and `Unavailable` in the registry's words.
pub fn push(engine: &Engine, request: &PushRequest, announce: &dyn Announce) -> Result<Vec<Pushed>> {
    let reference = &request.reference;
    if reference.digest().is_some() {
        return Err(Error::invalid("cannot push a digest reference"));
    }
    announce.say(&Message::status(format!("The push refers to repository [{}]", reference.name())));
    let tags = if request.all_tags {
        all_tags(engine, reference)?
    } else {
        vec![reference.clone().with_default_tag()]
    };
    let images = tags
        .into_iter()
        .map(|tag| {
            let missing = |error: Error| match error.kind() {
                ErrorKind::NotFound => Error::not_found(format!(
                    "An image does not exist locally with the tag: {}",
                    reference.familiar_name()
                )),
                _ => error,
            };
            let found = find(engine, &tag).map_err(missing)?;
            check_platform(&tag, &found, request.platform.as_ref())?;
            Ok((tag, found))
        })
        .collect::<Result<Vec<_>>>()?;
    let registries = &request.registries;
    let repository = Repository::to_push(
        reference.domain(),
        reference.path(),
        &registries.credentials,
        &registries.settings,
    )?;
    let mut pushed = Vec::new();
    for (tag, found) in &images {
        let push = Push { engine, repository: &repository, reference: tag, announce };
        pushed.push(match found {
            Kept::Image(image) => push.image(image)?,
            Kept::Artifact(artifact) => push.artifact(artifact)?,
        });
    }
    Ok(pushed)
}

/// What can be pushed.
enum Kept {
    Image(Box<Image>),
    Artifact(Box<Artifact>),
}

fn find(engine: &Engine, tag: &Reference) -> Result<Kept> {
    let name = tag.to_string();
    if let Some(artifact) = engine.db()?.read(|txn| artifacts::named(txn, &name))? {
        return Ok(Kept::Artifact(Box::new(artifact)));
    }
    find_or_embedded(engine, &name).map(|image| Kept::Image(Box::new(image)))
}

/// An image is kept for one kind of machine: the wanted one, or it is not there.
fn check_platform(tag: &Reference, found: &Kept, wanted: Option<&Platform>) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let image = match found {
        Kept::Image(image) => image,
        Kept::Artifact(_) => {
            let name = tag.familiar();
            return Err(Error::not_found(format!("{name} is an OCI artifact, which is for no platform")));
        }
    };
    let variant = Some(image.variant.clone()).filter(|variant| !variant.is_empty());
    let found = Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant };
    if wanted.takes(&found) {
        return Ok(());
    }
    Err(Error::not_found(format!(
        "image with reference {} was found but its platform ({found}) does not match the specified platform ({wanted})",
        tag.familiar()
    )))
}

fn all_tags(engine: &Engine, reference: &Reference) -> Result<Vec<Reference>> {
    if reference.tag().is_some() {
        return Err(Error::invalid("tag can't be used with --all-tags/-a"));
    }
    let (images, artifacts) = engine.db()?.read(|txn| Ok((txn.images()?, txn.artifacts()?)))?;
    let of_images = images.into_iter().flat_map(|(_, references)| references);
    let all = of_images.chain(artifacts.into_iter().flat_map(|(_, references)| references));
    let tags: Vec<Reference> = all.filter(|r| r.name() == reference.name() && r.tag().is_some()).collect();
    if tags.is_empty() {
        let name = reference.familiar_name();
        return Err(Error::not_found(format!("An image does not exist locally with the tag: {name}")));
    }
    Ok(tags)
}

struct Push<'a> {
    engine: &'a Engine,
    repository: &'a Repository,
    reference: &'a Reference,
    announce: &'a dyn Announce,
}

impl Push<'_> {
    fn image(&self, image: &Image) -> Result<Pushed> {
        let blobs = self.layers(image)?;
        let config = self.engine.content().read_small(&image.id)?;
        if self.repository.blob_size(&image.id)?.is_none() {
            self.small(&image.id, &config)?;
        }
        let (media_type, bytes) = self.manifest(image, &blobs, config.len())?;
        let tag = self.reference.tag().unwrap_or_default().to_owned();
        self.repository.put_manifest(&tag, media_type, &bytes)?;
        let digest = digest_of(&bytes);
        let size = bytes.len();
        referrers::send(self.engine, self.repository, self.reference, &digest, self.announce)?;
        self.announce.say(&Message::status(format!("{tag}: digest: {digest} size: {size}")));
        self.record(image, &blobs, &digest)?;
        Ok(Pushed { tag, digest, size })
    }

    /// Sees to it that the registry has every layer, and says what it calls them.
    fn layers(&self, image: &Image) -> Result<BTreeMap<Digest, LayerBlob>> {
        let mut distinct: Vec<&Digest> = image.layers.iter().collect();
        distinct.sort();
        distinct.dedup();
        for diff_id in &distinct {
            self.say(diff_id, "Preparing", None);
        }
        let next = AtomicUsize::new(0);
        let results: Mutex<Result<BTreeMap<Digest, LayerBlob>>> = Mutex::new(Ok(BTreeMap::new()));
        let work = || {
            while let Some(diff_id) = distinct.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.layer(diff_id);
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                match (result, results.as_mut()) {
                    (Ok(blob), Ok(all)) => {
                        all.insert((*diff_id).clone(), blob);
                    }
                    (Err(error), Ok(_)) => {
                        // The first failure is the one to tell; nobody begins another layer.
                        *results = Err(error);
                        next.store(distinct.len(), Ordering::Relaxed);
                    }
                    (_, Err(_)) => {}
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..LAYERS_AT_ONCE.min(distinct.len()) {
                scope.spawn(work);
            }
            work();
        });
        results.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn layer(&self, diff_id: &Digest) -> Result<LayerBlob> {
        let known = self.engine.db()?.read(|txn| txn.layer_blobs(diff_id))?;
        let here = self.reference.name();
        for blob in known.iter().filter(|blob| blob.repository == here) {
            if self.repository.blob_size(&blob.digest)?.is_some() {
                self.say(diff_id, "Layer already exists", None);
                return Ok(blob.clone());
            }
        }
        let domain = format!("{}/", self.reference.domain());
        for blob in &known {
            let Some(path) = blob.repository.strip_prefix(&domain).filter(|_| blob.repository != here) else {
                continue;
            };
            // Whoever may not read the other repository is simply given an upload.
            if self.repository.upload(Some((&blob.digest, path)))?.is_none() {
                self.say(diff_id, &format!("Mounted from {path}"), None);
                return Ok(LayerBlob { repository: here, ..blob.clone() });
            }
        }
        let upload = self
            .repository
            .upload(None)?
            .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the registry has a blob that nobody named"))?;
        let (digest, size_bytes) = self.compress(diff_id, upload)?;
        self.say(diff_id, "Pushed", None);
        Ok(LayerBlob { repository: here, digest, size_bytes, media_type: format!("{LAYER}+gzip") })
    }

    /// Compresses a layer into an upload.
    fn compress(&self, diff_id: &Digest, upload: Upload<'_>) -> Result<(Digest, u64)> {
        let total = self.engine.layers().info(diff_id)?.tar_bytes;
        let sink = Sink { upload, pending: Vec::with_capacity(PIECE), hasher: Sha256::new(), sent: 0 };
        let mut counted = Counted {
            inner: GzEncoder::new(sink, flate2::Compression::default()),
            count: 0,
            tell: &|count| self.say(diff_id, "Pushing", Some((count, total))),
        };
        self.engine.layers().export_tar(diff_id, &mut counted)?;
        counted.inner.finish().map_err(sending)?.finish()
    }

    /// A small blob.
    fn small(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if let Some(mut upload) = self.repository.upload(None)? {
            upload.send(bytes)?;
            upload.finish(digest)?;
        }
        Ok(())
    }

    /// The image's own manifest if it still tells the truth, else a new one.
    fn manifest(
        &self,
        image: &Image,
        blobs: &BTreeMap<Digest, LayerBlob>,
        config_size: usize,
    ) -> Result<(&'static str, Vec<u8>)> {
        let layer = |diff_id: &Digest| {
            blobs.get(diff_id).ok_or_else(|| Error::internal(format!("layer {diff_id} was not pushed")))
        };
        let ours: Vec<&LayerBlob> = image.layers.iter().map(layer).collect::<Result<_>>()?;
        if let Some(digest) = &image.manifest
            && let Ok(bytes) = self.engine.content().read_small(digest)
        {
            let document = parse(digest.as_str(), &bytes, None)?;
            let docker = document.config.as_ref().is_some_and(|config| config.media_type == DOCKER_CONFIG);
            let own = document.layers.unwrap_or_default();
            let same = own.len() == ours.len()
                && own.iter().zip(&ours).all(|(own, ours)| own.digest == ours.digest.as_str());
            if same {
                return Ok((if docker { DOCKER_MANIFEST } else { MANIFEST }, bytes));
            }
        }
        let layers: Vec<_> = ours
            .iter()
            .map(|blob| json!({ "mediaType": oci_type(&blob.media_type), "digest": blob.digest.as_str(), "size": blob.size_bytes }))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": image.id.as_str(), "size": config_size },
            "layers": layers,
        });
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|error| Error::internal(format!("encode the manifest: {error}")))?;
        Ok((MANIFEST, bytes))
    }

    /// Where the layers are now, and the digest that the image is known by there.
    fn record(&self, image: &Image, blobs: &BTreeMap<Digest, LayerBlob>, digest: &Digest) -> Result<()> {
        self.engine.db()?.write(|txn| {
            for (diff_id, blob) in blobs {
                txn.note_layer_blob(diff_id, blob)?;
            }
            txn.tag(&self.reference.clone().with_digest(digest.clone()), &image.id)?;
            txn.append_event(&events::image("push", &image.id, &self.reference.familiar()), events::now())?;
            Ok(())
        })
    }

    fn say(&self, diff_id: &Digest, status: &str, progress: Option<(u64, u64)>) {
        let id = diff_id.short().to_owned();
        self.announce.say(&Message { id, status: status.to_owned(), progress });
    }
}

/// Docker's names for layers, in an OCI manifest.
fn oci_type(media_type: &str) -> &str {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar" => LAYER,
        other => other,
    }
}

fn sending(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::caused(ErrorKind::Unavailable, "send a layer", error),
    }
}

/// Gathers pieces for an upload, and hashes them.
struct Sink<'a> {
    upload: Upload<'a>,
    pending: Vec<u8>,
    hasher: Sha256,
    sent: u64,
}

impl Sink<'_> {
    fn send(&mut self) -> Result<()> {
        self.upload.send(&self.pending)?;
        self.sent += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(Digest, u64)> {
        self.send()?;
        let digest = Digest::from_sha256(self.hasher.finalize().into());
        self.upload.finish(&digest)?;
        Ok((digest, self.sent))
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.pending.len());
        self.hasher.update(&bytes[..taken]);
        self.pending.extend_from_slice(&bytes[..taken]);
        if self.pending.len() == PIECE {
            self.send().map_err(std::io::Error::other)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Tells how many bytes passed, once in a mebibyte.
struct Counted<'a, W> {
    inner: W,
    count: u64,
    tell: &'a dyn Fn(u64),
}

impl<W: Write> Output for Counted<'_, W> {}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        let before = self.count;
        self.count += written as u64;
        if before >> 20 != self.count >> 20 {
            (self.tell)(self.count);
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
