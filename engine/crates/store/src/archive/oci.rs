//! OCI layouts: `index.json` and what it leads to (image-spec, image-layout.md, image-index.md, manifest.md), with
//! Docker's media types accepted beside OCI's.

use super::bundle::Bundle;
use super::install::{Place, Planned};
use crate::content::{digest_of, verify};
use dhow_model::{Digest, Error, ErrorKind, Reference, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The full name that containerd and Docker give an image.
pub(super) const NAME: &str = "io.containerd.image.name";
/// What the OCI layout calls a reference: a tag, or with some tools a full name.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Says that a manifest is no image, but a statement about one.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// An index in an index in an index …: one level is usual.
const DEPTH_MAX: u32 = 4;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// An index or a manifest: read as both, so that a document that is both can be refused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

/// The images that `index.json` names, for this machine.
pub(super) fn plan(bundle: &Bundle, index: &[u8]) -> Result<Vec<Planned>> {
    if let Some(layout) = bundle.read_small("oci-layout")? {
        check_version(&layout)?;
    }
    let document = parse("index.json", index, Some(INDEX))?;
    let Some(mut entries) = document.manifests else {
        return Err(Error::corrupt("index.json has no manifests"));
    };
    entries.retain(|entry| !entry.is_attestation());
    // Images of one name for several machines may lie side by side: then only ours are meant.
    if entries.iter().any(Descriptor::is_ours) {
        entries.retain(|entry| entry.platform.is_none() || entry.is_ours());
    } else if entries.len() > 1 && entries.iter().all(|entry| entry.platform.is_some()) {
        return Err(nothing_for_us("index.json", &entries));
    }
    entries.iter().map(|entry| plan_one(bundle, entry)).collect()
}

fn plan_one(bundle: &Bundle, entry: &Descriptor) -> Result<Planned> {
    let mut current = entry.clone();
    for _ in 0..DEPTH_MAX {
        let bytes = current.read(bundle, "manifest")?;
        let document = parse(
            &current.digest,
            &bytes,
            Some(&current.media_type).filter(|t| !t.is_empty()).map(String::as_str),
        )?;
        match document.manifests {
            Some(entries) => current = choose(&current.digest, entries)?,
            None => {
                let mut image = plan_manifest(bundle, &current, document, bytes)?;
                for reference in entry.references()? {
                    image.add_reference(reference);
                }
                return Ok(image);
            }
        }
    }
    Err(Error::corrupt(format!("{} is an index in an index in an index, and so on", entry.digest)))
}

/// The manifest for this machine.
fn choose(index: &str, mut entries: Vec<Descriptor>) -> Result<Descriptor> {
    entries.retain(|entry| !entry.is_attestation());
    let ours: Vec<_> = entries.iter().filter(|entry| entry.is_ours()).collect();
    // Several variants: the one without, else the first, as the specification asks.
    let plain = ours
        .iter()
        .find(|entry| entry.platform.as_ref().is_some_and(|p| p.variant.as_deref().unwrap_or("").is_empty()));
    match (plain.or(ours.first()), entries.as_slice()) {
        (Some(entry), _) => Ok((*entry).clone()),
        (None, [only]) if only.platform.is_none() => Ok(only.clone()),
        _ => Err(nothing_for_us(index, &entries)),
    }
}

fn nothing_for_us(index: &str, entries: &[Descriptor]) -> Error {
    let have: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .map(|p| match p.variant.as_deref() {
            None | Some("") => format!("{}/{}", p.os, p.architecture),
            Some(variant) => format!("{}/{}/{variant}", p.os, p.architecture),
        })
        .collect();
    Error::not_found(format!(
        "{index} has no image for linux/{}; it has: {}",
        architecture(),
        have.join(", ")
    ))
}

fn plan_manifest(bundle: &Bundle, entry: &Descriptor, document: Document, bytes: Vec<u8>) -> Result<Planned> {
    let (Some(config), Some(layers)) = (document.config, document.layers) else {
        return Err(Error::corrupt(format!("manifest {} has no config or no layers", entry.digest)));
    };
    if ![CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
        return Err(Error::unsupported(format!(
            "manifest {} is not of an image: its config is of type {:?}",
            entry.digest, config.media_type
        )));
    }
    let places = layers.iter().map(Descriptor::place).collect::<Result<_>>()?;
    Planned::new(config.read(bundle, "configuration")?, Some(bytes), places)
        .map_err(|error| Error::caused(error.kind(), format!("manifest {}", entry.digest), error))
}

impl Descriptor {
    fn parsed_digest(&self) -> Result<Digest> {
        Digest::parse(&self.digest).map_err(|error| error.with_kind(ErrorKind::Corrupt))
    }

    /// Reads a small blob, and checks it.
    fn read(&self, bundle: &Bundle, what: &str) -> Result<Vec<u8>> {
        let digest = self.parsed_digest()?;
        let path = blob_path(&digest);
        let Some(bytes) = bundle.read_small(&path)? else {
            return Err(Error::corrupt(format!("the archive has no {path:?}, which is a {what}")));
        };
        if bytes.len() as u64 != self.size {
            let got = bytes.len();
            return Err(Error::corrupt(format!(
                "{what} {digest} has {got} bytes, its descriptor says {}",
                self.size
            )));
        }
        verify(&format!("{what} {path}"), Some(&digest), &digest_of(&bytes))?;
        Ok(bytes)
    }

    /// Where a layer is. The compression is told by the bytes, not by the type; only what cannot be unpacked at
    /// all is refused here.
    fn place(&self) -> Result<Place> {
        if self.media_type.contains("encrypted") {
            return Err(Error::unsupported(format!("layer {} is encrypted", self.digest)));
        }
        if !self.media_type.is_empty() && !self.media_type.contains(".tar") {
            return Err(Error::unsupported(format!(
                "layer {} is of type {:?}",
                self.digest, self.media_type
            )));
        }
        let digest = self.parsed_digest()?;
        Ok(Place { path: blob_path(&digest), blob: Some(digest), size: Some(self.size) })
    }

    fn is_attestation(&self) -> bool {
        self.annotations.as_ref().is_some_and(|all| all.contains_key(REFERENCE_TYPE))
            || self.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }

    fn is_ours(&self) -> bool {
        self.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == architecture())
    }

    /// The names that the annotations give. A mere tag (`latest`) names no repository, and is none.
    fn references(&self) -> Result<Vec<Reference>> {
        let Some(all) = &self.annotations else { return Ok(Vec::new()) };
        let full = all.get(NAME);
        let layout = all.get(REF_NAME).filter(|name| name.contains(['/', ':']));
        full.or(layout).map(|name| parse_reference(name)).transpose().map(|name| name.into_iter().collect())
    }
}

/// A name in an archive.
pub(super) fn parse_reference(name: &str) -> Result<Reference> {
    Reference::parse(name).map_err(|error| {
        Error::caused(ErrorKind::Corrupt, format!("the archive names an image {name:?}"), error)
    })
}

/// Where a layout keeps a blob.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// This machine in the words of Go, which are those of the specification.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

fn check_version(layout: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let layout: Layout = serde_json::from_slice(layout)
        .map_err(|error| Error::caused(ErrorKind::Corrupt, "oci-layout is not valid", error))?;
    if layout.image_layout_version.starts_with("1.") {
        return Ok(());
    }
    Err(Error::unsupported(format!("OCI layout version {:?} is not supported", layout.image_layout_version)))
}

/// Reads an index or a manifest, and refuses what could be both (CVE-2021-41190), or what is not what it was
/// said to be.
fn parse(name: &str, bytes: &[u8], said: Option<&str>) -> Result<Document> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| {
        Error::caused(ErrorKind::Corrupt, format!("{name} is not a valid manifest or index"), error)
    })?;
    let ambiguous = |why: &str| Err(Error::corrupt(format!("{name} is ambiguous: {why}")));
    if document.schema_version != 2 {
        return Err(Error::unsupported(format!(
            "{name} has schema version {}, want 2",
            document.schema_version
        )));
    }
    let is_index = document.manifests.is_some();
    if is_index && (document.config.is_some() || document.layers.is_some()) {
        return ambiguous("it is both an index and a manifest");
    }
    let inside = document.media_type.as_deref();
    if let (Some(inside), Some(said)) = (inside, said)
        && inside != said
        && !(said == INDEX && name == "index.json")
    {
        return ambiguous(&format!("it says that it is {inside:?}, its descriptor says {said:?}"));
    }
    match inside.or(said) {
        Some(INDEX | DOCKER_LIST) if !is_index => {
            ambiguous("it is said to be an index, but has no manifests")
        }
        Some(MANIFEST | DOCKER_MANIFEST) if is_index => {
            ambiguous("it is said to be a manifest, but has manifests")
        }
        Some(INDEX | DOCKER_LIST | MANIFEST | DOCKER_MANIFEST) | None => Ok(document),
        Some(other) => Err(Error::unsupported(format!("{name} is of type {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let both = br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(parse("x", both, None).unwrap_err().to_string().contains("both an index and a manifest"));
        let liar =
            br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        assert!(parse("x", liar, Some(MANIFEST)).unwrap_err().to_string().contains("ambiguous"));
        assert!(parse("x", liar, Some(INDEX)).is_ok());
        let twice = br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(parse("x", twice, None).unwrap_err().to_string().contains("duplicate field"));
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert_eq!(parse("x", old, None).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn the_manifest_for_this_machine_is_chosen() {
        let entry = |arch: &str, variant: Option<&str>| Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: format!("{arch}-{variant:?}"),
            size: 1,
            annotations: None,
            platform: Some(Platform {
                os: if arch == "unknown" { arch } else { "linux" }.to_owned(),
                architecture: arch.to_owned(),
                variant: variant.map(str::to_owned),
            }),
        };
        let ours = architecture();
        let all =
            vec![entry("s390x", None), entry("unknown", None), entry(ours, Some("v3")), entry(ours, None)];
        assert_eq!(choose("index", all).unwrap().digest, format!("{ours}-None"));
        let error = choose("index", vec![entry("s390x", None), entry("arm", Some("v7"))]).unwrap_err();
        assert!(error.to_string().ends_with("it has: linux/s390x, linux/arm/v7"), "{error}");
    }
}
