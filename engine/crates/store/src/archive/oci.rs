//! OCI layouts: `index.json` and what it leads to (image-spec, image-layout.md).

use super::PlannedArtifact;
use super::bundle::Bundle;
use super::statements::Statements;
use crate::content::{digest_of, verify};
use crate::db::Artifact;
use crate::install::{Place, Planned};
use crate::manifest::{
    Descriptor, Document, INDEX, MANIFEST, Platform, choose, nothing_for, parse, parse_remarks,
};
use dhow_model::{Digest, Error, ErrorKind, Reference, Result, Timestamp};
use serde::Deserialize;
use std::time::SystemTime;

/// The full name that containerd and Docker give an image.
pub(super) const NAME: &str = "io.containerd.image.name";
/// What the OCI layout calls a reference: a tag, or with some tools a full name.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An index in an index in an index …: one level is usual.
const DEPTH_MAX: u32 = 4;

/// What an archive has.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) images: Vec<Planned>,
    pub(super) artifacts: Vec<PlannedArtifact>,
    pub(super) statements: Statements,
}

/// The images and artifacts that `index.json` names, for this machine, and what is said about them.
pub(super) fn plan(bundle: &Bundle, index: &[u8]) -> Result<Plan> {
    if let Some(layout) = bundle.read_small("oci-layout")? {
        check_version(&layout)?;
    }
    let document = parse("index.json", index, Some(INDEX))?;
    let Some(entries) = document.manifests else {
        return Err(Error::corrupt("index.json has no manifests"));
    };
    let host = Platform::host();
    let mut plan = Plan::default();
    let (statements, mut entries): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(Descriptor::is_attestation);
    plan.statements.entries = statements;
    // Images of one name for several machines may lie side by side: then only ours are meant.
    if entries.iter().any(|entry| entry.is_for(&host)) {
        entries.retain(|entry| entry.platform.is_none() || entry.is_for(&host));
    } else if entries.len() > 1 && entries.iter().all(|entry| entry.platform.is_some()) {
        return Err(nothing_for("index.json", &entries, &host));
    }
    for entry in &entries {
        plan_one(bundle, entry, &mut plan)?;
    }
    Ok(plan)
}

fn plan_one(bundle: &Bundle, entry: &Descriptor, plan: &mut Plan) -> Result<()> {
    let mut current = entry.clone();
    let mut way: Vec<(Digest, Vec<u8>)> = Vec::new();
    let is_named = entry.annotation(NAME).is_some() || entry.annotation(REF_NAME).is_some();
    for _ in 0..DEPTH_MAX {
        let bytes = match read(bundle, &current, "manifest") {
            // What no image can be is nothing to fail for.
            Err(_) if entry.artifact_type.is_some() && !is_named => {
                plan.statements.entries.push(current);
                return Ok(());
            }
            read => read?,
        };
        let said = Some(&current.media_type).filter(|t| !t.is_empty()).map(String::as_str);
        let mut document = parse(&current.digest, &bytes, said)?;
        let digest = current.parsed_digest()?;
        if let Some(entries) = document.manifests.take() {
            let chosen = choose(&current.digest, entries.clone(), &Platform::host())?;
            let beside = entries.into_iter().filter(|entry| entry.digest != chosen.digest);
            let statements = beside.filter(|entry| entry.is_attestation() || entry.artifact_type.is_some());
            plan.statements.entries.extend(statements);
            way.push((digest, bytes));
            current = chosen;
            continue;
        }
        let refers = !is_named && parse_remarks(&current.digest, &bytes)?.subject.is_some();
        let is_unpackable =
            |document: &Document| document.layers.iter().flatten().any(|layer| layer.check_layer().is_err());
        if refers && (document.is_artifact() || is_unpackable(&document)) {
            plan.statements.entries.push(current);
            return Ok(());
        }
        let owner = if document.is_artifact() {
            let media_type = said.or(document.media_type.as_deref()).unwrap_or(MANIFEST).to_owned();
            let now = Timestamp::from(SystemTime::now());
            let artifact = Artifact::of_manifest(&digest, document, &media_type, &bytes, now)?;
            plan.artifact(PlannedArtifact {
                artifact,
                manifest: bytes.clone(),
                references: references(entry)?,
            });
            digest.clone()
        } else {
            let content = document.of_image(&current.digest)?;
            let mut image = plan_manifest(bundle, &current, content, bytes.clone())?;
            for reference in references(entry)? {
                image.add_reference(reference);
            }
            let id = image.id();
            plan.images.push(image);
            id
        };
        way.push((digest, bytes));
        for (digest, bytes) in way {
            plan.statements.lead(digest, bytes, &owner);
        }
        return Ok(());
    }
    Err(Error::corrupt(format!("{} is an index in an index in an index, and so on", entry.digest)))
}

impl Plan {
    /// Artifacts that are there more than once become one.
    fn artifact(&mut self, new: PlannedArtifact) {
        match self.artifacts.iter_mut().find(|known| known.artifact.id() == new.artifact.id()) {
            None => self.artifacts.push(new),
            Some(known) => known.references.extend(new.references),
        }
    }
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
