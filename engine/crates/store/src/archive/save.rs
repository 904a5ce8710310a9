//! `save`: one archive that is an OCI layout and a docker-archive at once, as Docker writes it since version 25.
//!
//! ```text
//!   blobs/sha256/HEX   configurations as they came, manifests made here, layers as uncompressed tars; artifacts, and
//!                      what refers to something, as they came
//!   index.json         for OCI tools and Docker 25 and later
//!   manifest.json      for everything that reads docker-archives
//!   oci-layout
//!   repositories       for Docker before 1.10
//! ```
//!
//! The same images give the same bytes. Layers are streamed: nothing is stored on the way, because their sizes are
//! known beforehand. The manifest is a new one, because the old one speaks of compressed layers that we do not have;
//! the configuration is the old one, so the image keeps its id.
//!
//! What refers to an image lies beside it in an index of its own, as BuildKit puts attestations there: so that the entry
//! of `index.json` is one, which is what tools want that are told no name. The image's entry is for no platform, so that
//! it is taken on any. A statement is about the manifest or the index that
//! the image had where it came from, which is among the blobs, but in no list: its layers are not there.

use super::oci::{self, blob_path};
use super::statements::{SOURCE, tie};
use crate::content::{Content, digest_of, finish, verify};
use crate::db::{Artifact, KeptBlob, Referrer};
use crate::layer::LayerStore;
use crate::manifest;
use crate::output::Output;
use crate::referrers;
use crate::tarball::Writer;
use dhow_model::image::Image;
use dhow_model::{Digest, Error, ErrorKind, Reference, Result, ResultExt};
use serde_json::{Map, Value, json};
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// All times in the archive.
const EPOCH: u64 = 0;

/// Something to save.
#[derive(Debug, Clone)]
pub struct Chosen<T> {
    /// It.
    pub thing: T,
    /// The names that it shall have.
    pub references: Vec<Reference>,
    /// What refers to it.
    pub referrers: Vec<Referrer>,
}

/// What an archive consists of.
#[derive(Default)]
struct Parts {
    /// What was made here, or read already.
    documents: BTreeMap<Digest, Vec<u8>>,
    /// Layers, and their sizes.
    layers: BTreeMap<Digest, u64>,
    /// What is copied as it is, and its size.
    blobs: BTreeMap<Digest, u64>,
    index: Vec<Value>,
    docker: Vec<Value>,
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

/// Writes images and artifacts with the names that they shall have. Of what refers to them, what is damaged is left out.
///
/// # Errors
/// `NotFound` when a layer or a blob is missing, before anything is written; `Corrupt` when one is damaged, which
/// may show only when a part is written; what `out` fails with.
pub fn save(
    content: &Content,
    layers: &dyn LayerStore,
    images: &[Chosen<Image>],
    artifacts: &[Chosen<Artifact>],
    out: &mut dyn Output,
) -> Result<()> {
    let mut parts = Parts::default();
    for image in images {
        parts.image(content, layers, image)?;
    }
    for artifact in artifacts {
        parts.artifact(content, artifact)?;
    }
    parts.write(content, layers, out)
}

impl Parts {
    fn image(&mut self, content: &Content, layers: &dyn LayerStore, chosen: &Chosen<Image>) -> Result<()> {
        let image = &chosen.thing;
        let config = content.read_small(&image.id)?;
        let mut described = Vec::new();
        for diff_id in &image.layers {
            let size = layers.info(diff_id)?.tar_bytes;
            self.layers.insert(diff_id.clone(), size);
            described.push(json!({ "mediaType": manifest::LAYER, "digest": diff_id.as_str(), "size": size }));
        }
        let manifest = to_json(&json!({
            "schemaVersion": 2,
            "mediaType": manifest::MANIFEST,
            "config": { "mediaType": manifest::CONFIG, "digest": image.id.as_str(), "size": config.len() },
            "layers": described,
        }))?;
        let mut entry = self.document(manifest::MANIFEST, manifest);
        let owner = |_: &Digest, config: Option<&str>| {
            config.filter(|config| *config == image.id.as_str()).map(|_| image.id.clone())
        };
        let statements = self.statements(content, &chosen.referrers, &owner)?;
        if !statements.is_empty() {
            entry = self.together(entry, statements)?;
        }
        let tagged = self.list(&entry, &chosen.references);
        for reference in &tagged {
            if let (Some(top), Some(tag)) = (image.layers.last(), reference.tag()) {
                let tags = self.repositories.entry(reference.familiar_name()).or_default();
                tags.insert(tag.to_owned(), top.hex().to_owned());
            }
        }
        self.docker.push(json!({
            "Config": blob_path(&image.id),
            "RepoTags": tagged.iter().map(|reference| reference.familiar()).collect::<Vec<_>>(),
            "Layers": image.layers.iter().map(blob_path).collect::<Vec<_>>(),
        }));
        self.documents.insert(image.id.clone(), config);
        Ok(())
    }

    fn artifact(&mut self, content: &Content, chosen: &Chosen<Artifact>) -> Result<()> {
        let artifact = &chosen.thing;
        let bytes = content.read_small(artifact.id())?;
        for blob in artifact.parts().into_values().filter(|blob| blob.digest != *artifact.id()) {
            match content.size(&blob.digest) {
                Some(size) if size == blob.size_bytes => self.blobs.insert(blob.digest.clone(), size),
                Some(_) => return Err(Error::corrupt(format!("blob {} has another size", blob.digest))),
                None => return Err(Error::not_found(format!("no such blob: {}", blob.digest))),
            };
        }
        let mut entry = self.document(&artifact.manifest.media_type, bytes);
        entry["artifactType"] = Value::from(artifact.artifact_type.as_str());
        let owner =
            |manifest: &Digest, _: Option<&str>| (manifest == artifact.id()).then(|| manifest.clone());
        let statements = self.statements(content, &chosen.referrers, &owner)?;
        if !statements.is_empty() {
            entry = self.together(entry, statements)?;
        }
        self.list(&entry, &chosen.references);
        Ok(())
    }

    /// What points at what refers to something, each with its blobs and what leads to its subject.
    fn statements(
        &mut self,
        content: &Content,
        referrers: &[Referrer],
        owner: &dyn Fn(&Digest, Option<&str>) -> Option<Digest>,
    ) -> Result<Vec<Value>> {
        let mut entries = Vec::new();
        let mut ties: BTreeMap<&Digest, bool> = BTreeMap::new();
        for referrer in referrers {
            let is_whole = |blob: &KeptBlob| {
                content.size(&blob.digest) == Some(blob.size_bytes) && content.verify(&blob.digest).is_ok()
            };
            let subject = &referrer.subject;
            let is_tied = *ties.entry(subject).or_insert_with(|| {
                let tied = tie(subject, &mut |digest| content.read_small(digest).ok(), owner);
                let documents = tied.map(|tie| tie.documents).unwrap_or_default();
                let any = !documents.is_empty();
                self.documents.extend(documents);
                any
            });
            if !is_tied || !referrer.parts().all(is_whole) {
                continue;
            }
            let mut entry = referrers::descriptor(referrer);
            let mut remarks = entry["annotations"].as_object().cloned().unwrap_or_default();
            // Names are for what is listed.
            remarks.retain(|key, _| ![oci::NAME, oci::REF_NAME].contains(&key.as_str()));
            remarks.insert(manifest::SUBJECT.to_owned(), Value::from(subject.as_str()));
            remarks.retain(|key, _| !key.starts_with(SOURCE));
            if let Some((host, path)) = referrer.repository.split_once('/') {
                remarks.insert(format!("{SOURCE}{host}"), Value::from(path));
            }
            entry["annotations"] = Value::Object(remarks);
            entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
            entries.push(entry);
            self.documents
                .insert(referrer.manifest.digest.clone(), content.read_small(&referrer.manifest.digest)?);
            self.blobs.extend(referrer.blobs.iter().map(|blob| (blob.digest.clone(), blob.size_bytes)));
        }
        Ok(entries)
    }

    /// An index of a thing and what refers to it.
    fn together(&mut self, entry: Value, statements: Vec<Value>) -> Result<Value> {
        let entries: Vec<Value> = std::iter::once(entry).chain(statements).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": manifest::INDEX, "manifests": entries });
        Ok(self.document(manifest::INDEX, to_json(&index)?))
    }

    /// Adds a document; what points at it.
    fn document(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest_of(&bytes);
        let entry = json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() });
        self.documents.insert(digest, bytes);
        entry
    }

    /// Lists something under each of its tags, or else without a name. Returns its tags.
    fn list<'r>(&mut self, entry: &Value, references: &'r [Reference]) -> BTreeSet<&'r Reference> {
        let tagged: BTreeSet<&Reference> = references.iter().filter(|r| r.tag().is_some()).collect();
        if tagged.is_empty() {
            self.index.push(entry.clone());
        }
        for reference in &tagged {
            let mut annotations = Map::new();
            annotations.insert(oci::NAME.to_owned(), Value::from(reference.to_string()));
            annotations.insert(oci::REF_NAME.to_owned(), Value::from(reference.tag().unwrap_or_default()));
            let mut entry = entry.clone();
            entry["annotations"] = Value::Object(annotations);
            self.index.push(entry);
        }
        tagged
    }

    fn write(self, content: &Content, layers: &dyn LayerStore, out: &mut dyn Output) -> Result<()> {
        let mut tar = Writer::new(out);
        tar.directory("blobs/", EPOCH)?;
        tar.directory("blobs/sha256/", EPOCH)?;
        let all = self.documents.keys().chain(self.layers.keys()).chain(self.blobs.keys());
        for digest in all.collect::<BTreeSet<_>>() {
            let path = blob_path(digest);
            match (self.documents.get(digest), self.layers.get(digest), self.blobs.get(digest)) {
                (Some(bytes), ..) => tar.file(&path, EPOCH, bytes)?,
                (None, Some(&size), _) => {
                    tar.file_with(&path, EPOCH, size, |out| layers.export_tar(digest, out))?;
                }
                (None, None, Some(&size)) => {
                    tar.file_with(&path, EPOCH, size, |out| copy_blob(content, digest, out))?;
                }
                (None, None, None) => {}
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": manifest::INDEX, "manifests": self.index });
        tar.file("index.json", EPOCH, &to_json(&index)?)?;
        tar.file("manifest.json", EPOCH, &to_json(&Value::from(self.docker))?)?;
        tar.file("oci-layout", EPOCH, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !self.repositories.is_empty() {
            tar.file("repositories", EPOCH, &to_json(&json!(self.repositories))?)?;
        }
        tar.finish()
    }
}

/// Copies a blob, and verifies it once more.
fn copy_blob(content: &Content, digest: &Digest, out: &mut dyn Output) -> Result<()> {
    let reading = || format!("read blob {digest}");
    let mut file = content.open_blob(digest)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).context(reading)? {
            0 => break,
            length => {
                hasher.update(&buffer[..length]);
                out.write_all(&buffer[..length])
                    .context_kind(ErrorKind::Unavailable, || "write the archive".to_owned())?;
            }
        }
    }
    verify(&format!("blob {digest}"), Some(digest), &finish(hasher))
}

fn to_json(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::caused(dhow_model::ErrorKind::Internal, "write the archive's JSON", error))
}
