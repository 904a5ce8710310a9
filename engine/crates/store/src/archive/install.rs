//! From what an archive says to installed images.

use super::Loaded;
use super::bundle::Bundle;
use crate::content::{Content, digest_of};
use crate::image_config::{self, ParsedConfig};
use crate::layer::{Expected, InstalledLayer, LayerStore, Progress};
use dhow_model::{Digest, Error, Reference, Result, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// An image of an archive: everything about it was read and verified, but for its layers' bytes.
pub(super) struct Planned {
    pub(super) config: Vec<u8>,
    pub(super) parsed: ParsedConfig,
    pub(super) manifest: Option<Vec<u8>>,
    /// Where each layer's bytes are, from the base upwards; as many as there are diff ids.
    pub(super) layers: Vec<Place>,
    pub(super) references: Vec<Reference>,
}

/// Where a layer's bytes are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Name in the archive.
    pub(super) path: String,
    /// Digest of the bytes, when the archive says one.
    pub(super) blob: Option<Digest>,
    /// Their number, when the archive says one.
    pub(super) size: Option<u64>,
}

impl Planned {
    /// Checks that configuration and layers fit together.
    pub(super) fn new(config: Vec<u8>, manifest: Option<Vec<u8>>, layers: Vec<Place>) -> Result<Self> {
        let parsed = image_config::parse(&config)?;
        if parsed.diff_ids.len() != layers.len() {
            return Err(Error::corrupt(format!(
                "the image's manifest has {} layers, its configuration {}",
                layers.len(),
                parsed.diff_ids.len()
            )));
        }
        Ok(Self { config, parsed, manifest, layers, references: Vec::new() })
    }

    pub(super) fn id(&self) -> Digest {
        digest_of(&self.config)
    }

    pub(super) fn add_reference(&mut self, reference: Reference) {
        if !self.references.contains(&reference) {
            self.references.push(reference);
        }
    }
}

/// Installs layers, then blobs. Images that are in the archive more than once become one.
pub(super) fn install(
    content: &Content,
    layers: &dyn LayerStore,
    bundle: &Bundle,
    images: Vec<Planned>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    if images.is_empty() {
        return Err(Error::invalid("the archive has no image in it"));
    }
    let installed = install_layers(layers, bundle, &images, progress)?;
    let now = Timestamp::from(SystemTime::now());
    let mut loaded: Vec<Loaded> = Vec::new();
    for image in images {
        let id = content.put_bytes(&image.config, None)?;
        let manifest = image.manifest.as_deref().map(|bytes| content.put_bytes(bytes, None)).transpose()?;
        if let Some(known) = loaded.iter_mut().find(|known| known.image.id == id) {
            for reference in image.references {
                if !known.references.contains(&reference) {
                    known.references.push(reference);
                }
            }
            continue;
        }
        let own: Vec<InstalledLayer> = image
            .parsed
            .diff_ids
            .iter()
            .map(|diff_id| {
                installed.get(diff_id).cloned().ok_or_else(|| Error::internal("a layer was not installed"))
            })
            .collect::<Result<_>>()?;
        let sizes: Vec<u64> = own.iter().map(|layer| layer.size_bytes).collect();
        let references = image.references;
        loaded.push(Loaded {
            image: image.parsed.into_image(id, manifest, &sizes, now),
            references,
            layers: own,
        });
    }
    Ok(loaded)
}

/// Installs each layer once, as many at a time as there are processors: one layer's inflating and hashing fill
/// the waits of another's unpacking.
fn install_layers(
    layers: &dyn LayerStore,
    bundle: &Bundle,
    images: &[Planned],
    progress: &dyn Progress,
) -> Result<BTreeMap<Digest, InstalledLayer>> {
    let mut seen = HashSet::new();
    let jobs: Vec<(&Digest, &Place)> = images
        .iter()
        .flat_map(|image| image.parsed.diff_ids.iter().zip(&image.layers))
        .filter(|(diff_id, _)| seen.insert(*diff_id))
        .collect();
    let next = AtomicUsize::new(0);
    let results: Mutex<(BTreeMap<Digest, InstalledLayer>, Option<Error>)> = Mutex::default();
    let work = || {
        while let Some((diff_id, place)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = install_one(layers, bundle, diff_id, place, progress);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(layer) => {
                    results.0.insert((*diff_id).clone(), layer);
                }
                Err(error) => {
                    // The first failure is the one to tell; nobody starts another layer.
                    results.1.get_or_insert(error);
                    next.store(jobs.len(), Ordering::Relaxed);
                }
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    match results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        (_, Some(error)) => Err(error),
        (installed, None) => Ok(installed),
    }
}

fn install_one(
    layers: &dyn LayerStore,
    bundle: &Bundle,
    diff_id: &Digest,
    place: &Place,
    progress: &dyn Progress,
) -> Result<InstalledLayer> {
    let name = || format!("layer {} ({})", diff_id, place.path);
    let expected = Expected { diff_id: Some(diff_id), blob: place.blob.as_ref() };
    let Some((source, size)) = bundle.open_layer(&place.path)? else {
        if layers.contains(diff_id) {
            // An archive may leave out what its receiver has.
            return layers.install(crate::layer::LayerSource::Bytes(&[]), expected, progress);
        }
        return Err(Error::corrupt(format!("the archive has no {:?}, which is layer {diff_id}", place.path)));
    };
    if place.size.is_some_and(|wanted| wanted != size) {
        let wanted = place.size.unwrap_or(0);
        return Err(Error::corrupt(format!("{} has {size} bytes, its manifest says {wanted}", name())));
    }
    layers.install(source, expected, progress).map_err(|error| Error::caused(error.kind(), name(), error))
}
