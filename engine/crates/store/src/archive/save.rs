//! `save`: one archive that is an OCI layout and a docker-archive at once, as Docker writes it since version 25.
//!
//! ```text
//!   blobs/sha256/HEX   configurations as they came, manifests made here, layers as uncompressed tars
//!   index.json         for OCI tools and Docker 25 and later
//!   manifest.json      for everything that reads docker-archives
//!   oci-layout
//!   repositories       for Docker before 1.10
//! ```
//!
//! The same images give the same bytes. Layers are streamed: nothing is stored on the way, because their sizes are
//! known beforehand. The manifest is a new one, because the old one speaks of compressed layers that we do not have;
//! the configuration is the old one, so the image keeps its id.

use super::oci::{self, blob_path};
use crate::content::{Content, digest_of};
use crate::layer::LayerStore;
use crate::manifest;
use crate::output::Output;
use crate::tarball::Writer;
use dhow_model::image::Image;
use dhow_model::{Digest, Error, Reference, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// All times in the archive.
const EPOCH: u64 = 0;

/// Writes images with the names that they shall have.
///
/// # Errors
/// `NotFound` when a layer or a blob is missing, before anything is written; `Corrupt` when one is damaged, which
/// may show only when a part is written; what `out` fails with.
pub fn save(
    content: &Content,
    layers: &dyn LayerStore,
    images: &[(Image, Vec<Reference>)],
    out: &mut dyn Output,
) -> Result<()> {
    let mut blobs: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
    let mut sizes: BTreeMap<Digest, u64> = BTreeMap::new();
    let (mut index, mut docker) = (Vec::new(), Vec::new());
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (image, references) in images {
        let config = content.read_small(&image.id)?;
        let mut described = Vec::new();
        for diff_id in &image.layers {
            let size = layers.info(diff_id)?.tar_bytes;
            sizes.insert(diff_id.clone(), size);
            described.push(json!({ "mediaType": manifest::LAYER, "digest": diff_id.as_str(), "size": size }));
        }
        let manifest = to_json(&json!({
            "schemaVersion": 2,
            "mediaType": manifest::MANIFEST,
            "config": { "mediaType": manifest::CONFIG, "digest": image.id.as_str(), "size": config.len() },
            "layers": described,
        }))?;
        let manifest_digest = digest_of(&manifest);
        let entry = json!({ "mediaType": manifest::MANIFEST, "digest": manifest_digest.as_str(), "size": manifest.len() });
        let tagged: BTreeSet<&Reference> = references.iter().filter(|r| r.tag().is_some()).collect();
        if tagged.is_empty() {
            index.push(entry.clone());
        }
        for reference in &tagged {
            let mut annotations = Map::new();
            annotations.insert(oci::NAME.to_owned(), Value::from(reference.to_string()));
            annotations.insert(oci::REF_NAME.to_owned(), Value::from(reference.tag().unwrap_or_default()));
            let mut entry = entry.clone();
            entry["annotations"] = Value::Object(annotations);
            index.push(entry);
            if let (Some(top), Some(tag)) = (image.layers.last(), reference.tag()) {
                let tags = repositories.entry(reference.familiar_name()).or_default();
                tags.insert(tag.to_owned(), top.hex().to_owned());
            }
        }
        docker.push(json!({
            "Config": blob_path(&image.id),
            "RepoTags": tagged.iter().map(|reference| reference.familiar()).collect::<Vec<_>>(),
            "Layers": image.layers.iter().map(blob_path).collect::<Vec<_>>(),
        }));
        blobs.insert(image.id.clone(), config);
        blobs.insert(manifest_digest, manifest);
    }

    let mut tar = Writer::new(out);
    tar.directory("blobs/", EPOCH)?;
    tar.directory("blobs/sha256/", EPOCH)?;
    for digest in blobs.keys().chain(sizes.keys()).collect::<BTreeSet<_>>() {
        let path = blob_path(digest);
        match (blobs.get(digest), sizes.get(digest)) {
            (Some(bytes), _) => tar.file(&path, EPOCH, bytes)?,
            (None, Some(&size)) => {
                tar.file_with(&path, EPOCH, size, |out| layers.export_tar(digest, out))?;
            }
            (None, None) => {}
        }
    }
    let index = json!({ "schemaVersion": 2, "mediaType": manifest::INDEX, "manifests": index });
    tar.file("index.json", EPOCH, &to_json(&index)?)?;
    tar.file("manifest.json", EPOCH, &to_json(&Value::from(docker))?)?;
    tar.file("oci-layout", EPOCH, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    if !repositories.is_empty() {
        tar.file("repositories", EPOCH, &to_json(&json!(repositories))?)?;
    }
    tar.finish()
}

fn to_json(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::caused(dhow_model::ErrorKind::Internal, "write the archive's JSON", error))
}
