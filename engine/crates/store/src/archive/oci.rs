//! OCI layouts: `index.json` and what it leads to (image-spec, image-layout.md).

use super::bundle::Bundle;
use crate::content::{digest_of, verify};
use crate::install::{Place, Planned};
use crate::manifest::{Descriptor, INDEX, Platform, choose, nothing_for, parse};
use dhow_model::{Digest, Error, ErrorKind, Reference, Result};
use serde::Deserialize;

/// The full name that containerd and Docker give an image.
pub(super) const NAME: &str = "io.containerd.image.name";
/// What the OCI layout calls a reference: a tag, or with some tools a full name.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An index in an index in an index …: one level is usual.
const DEPTH_MAX: u32 = 4;

/// The images that `index.json` names, for this machine.
pub(super) fn plan(bundle: &Bundle, index: &[u8]) -> Result<Vec<Planned>> {
    if let Some(layout) = bundle.read_small("oci-layout")? {
        check_version(&layout)?;
    }
    let document = parse("index.json", index, Some(INDEX))?;
    let Some(mut entries) = document.manifests else {
        return Err(Error::corrupt("index.json has no manifests"));
    };
    let host = Platform::host();
    entries.retain(|entry| !entry.is_attestation());
    // Images of one name for several machines may lie side by side: then only ours are meant.
    if entries.iter().any(|entry| entry.is_for(&host)) {
        entries.retain(|entry| entry.platform.is_none() || entry.is_for(&host));
    } else if entries.len() > 1 && entries.iter().all(|entry| entry.platform.is_some()) {
        return Err(nothing_for("index.json", &entries, &host));
    }
    entries.iter().map(|entry| plan_one(bundle, entry)).collect()
}

fn plan_one(bundle: &Bundle, entry: &Descriptor) -> Result<Planned> {
    let mut current = entry.clone();
    for _ in 0..DEPTH_MAX {
        let bytes = read(bundle, &current, "manifest")?;
        let document = parse(
            &current.digest,
            &bytes,
            Some(&current.media_type).filter(|t| !t.is_empty()).map(String::as_str),
        )?;
        match document.manifests {
            Some(entries) => current = choose(&current.digest, entries, &Platform::host())?,
            None => {
                let mut image = plan_manifest(bundle, &current, document.of_image(&current.digest)?, bytes)?;
                for reference in references(entry)? {
                    image.add_reference(reference);
                }
                return Ok(image);
            }
        }
    }
    Err(Error::corrupt(format!("{} is an index in an index in an index, and so on", entry.digest)))
}

fn plan_manifest(
    bundle: &Bundle,
    entry: &Descriptor,
    (config, layers): (Descriptor, Vec<Descriptor>),
    bytes: Vec<u8>,
) -> Result<Planned> {
    let places = layers.iter().map(place).collect::<Result<_>>()?;
    Planned::new(read(bundle, &config, "configuration")?, Some(bytes), places)
        .map_err(|error| Error::caused(error.kind(), format!("manifest {}", entry.digest), error))
}

/// Reads a small blob, and checks it.
fn read(bundle: &Bundle, descriptor: &Descriptor, what: &str) -> Result<Vec<u8>> {
    let digest = descriptor.parsed_digest()?;
    let path = blob_path(&digest);
    let Some(bytes) = bundle.read_small(&path)? else {
        return Err(Error::corrupt(format!("the archive has no {path:?}, which is a {what}")));
    };
    if bytes.len() as u64 != descriptor.size {
        let got = bytes.len();
        return Err(Error::corrupt(format!(
            "{what} {digest} has {got} bytes, its descriptor says {}",
            descriptor.size
        )));
    }
    verify(&format!("{what} {path}"), Some(&digest), &digest_of(&bytes))?;
    Ok(bytes)
}

/// Where a layer is.
fn place(descriptor: &Descriptor) -> Result<Place> {
    descriptor.check_layer()?;
    let digest = descriptor.parsed_digest()?;
    Ok(Place { path: blob_path(&digest), blob: Some(digest), size: Some(descriptor.size) })
}

/// The names that the annotations give. A mere tag (`latest`) names no repository, and is none.
fn references(descriptor: &Descriptor) -> Result<Vec<Reference>> {
    let Some(all) = &descriptor.annotations else { return Ok(Vec::new()) };
    let full = all.get(NAME);
    let layout = all.get(REF_NAME).filter(|name| name.contains(['/', ':']));
    full.or(layout).map(|name| parse_reference(name)).transpose().map(|name| name.into_iter().collect())
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
