//! From what an archive or a registry says to installed images.

use crate::content::{Content, digest_of};
use crate::image_config::{self, ParsedConfig};
use crate::layer::{Expected, InstalledLayer, LayerSource, LayerStore, Progress};
use dhow_model::image::Image;
use dhow_model::{Digest, Error, ErrorKind, Reference, Result, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// One image that is installed, but not yet in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image; its blobs are in the content store.
    pub image: Image,
    /// Its names, normalised; a name without tag and digest may be among them.
    pub references: Vec<Reference>,
    /// Its layers, from the base upwards.
    pub layers: Vec<InstalledLayer>,
}

/// Where the bytes of layers come from. Several threads ask at once.
pub trait BlobSource: Sync {
    /// Opens a layer; `None` when it is missing. Nothing may be read yet: a layer that is installed already is never
    /// read.
    ///
    /// # Errors
    /// What the source says.
    fn open_layer(&self, place: &Place) -> Result<Option<LayerSource<'_>>>;

    /// How many layers are installed at once: one layer's inflating and hashing fill the waits of another's
    /// unpacking.
    fn at_once(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// A layer is installed: what was kept of its way here can go.
    fn installed(&self, _place: &Place) {}

    /// A layer was not what it should be. Returns whether it is worth another try: something that was kept from
    /// before may have been spoilt, and is gone now.
    fn may_try_again(&self, _place: &Place) -> bool {
        false
    }
}

/// An image about which everything was read and verified, but for its layers' bytes.
pub struct Planned {
    pub(crate) config: Vec<u8>,
    pub(crate) parsed: ParsedConfig,
    pub(crate) manifest: Option<Vec<u8>>,
    /// Where each layer's bytes are, from the base upwards; as many as there are diff ids.
    pub(crate) layers: Vec<Place>,
    pub(crate) references: Vec<Reference>,
}

/// Where a layer's bytes are.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name in the archive, or for whoever reads an error.
    pub path: String,
    /// Digest of the bytes, when something says one.
    pub blob: Option<Digest>,
    /// Their number, when something says one.
    pub size: Option<u64>,
}

impl Planned {
    /// Checks that configuration and layers fit together. The bytes were verified by the caller.
    ///
    /// # Errors
    /// `Corrupt` when they do not.
    pub fn new(config: Vec<u8>, manifest: Option<Vec<u8>>, layers: Vec<Place>) -> Result<Self> {
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

    /// The image's id: the digest of its configuration.
    pub fn id(&self) -> Digest {
        digest_of(&self.config)
    }

    /// Its layers, by the digests of their uncompressed tars, from the base upwards.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.parsed.diff_ids
    }

    /// Gives it a name.
    pub fn add_reference(&mut self, reference: Reference) {
        if !self.references.contains(&reference) {
            self.references.push(reference);
        }
    }
}

/// Installs layers, then blobs. Images that are there more than once become one.
///
/// # Errors
/// `Corrupt` naming the layer that is not what its digest says; what the source says; `Unavailable` when the disk has
/// no room.
pub fn install(
    content: &Content,
    layers: &dyn LayerStore,
    source: &dyn BlobSource,
    images: Vec<Planned>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    if images.is_empty() {
        return Err(Error::invalid("the archive has no image in it"));
    }
    let installed = install_layers(layers, source, &images, progress)?;
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

/// Installs each layer once, several at a time.
fn install_layers(
    layers: &dyn LayerStore,
    source: &dyn BlobSource,
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
            let result = install_one(layers, source, diff_id, place, progress);
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
    let workers = source.at_once().min(jobs.len());
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
    source: &dyn BlobSource,
    diff_id: &Digest,
    place: &Place,
    progress: &dyn Progress,
) -> Result<InstalledLayer> {
    let name = || format!("layer {} ({})", diff_id, place.path);
    let expected = Expected { diff_id: Some(diff_id), blob: place.blob.as_ref() };
    loop {
        let Some(bytes) = source.open_layer(place)? else {
            if layers.contains(diff_id) {
                // An archive may leave out what its receiver has.
                return layers.install(LayerSource::Bytes(&[]), expected, progress);
            }
            let path = &place.path;
            return Err(Error::corrupt(format!("the archive has no {path:?}, which is layer {diff_id}")));
        };
        if let (Some(size), Some(wanted)) = (bytes.size(), place.size)
            && size != wanted
        {
            return Err(Error::corrupt(format!("{} has {size} bytes, its manifest says {wanted}", name())));
        }
        match layers.install(bytes, expected, progress) {
            Ok(installed) => {
                source.installed(place);
                return Ok(installed);
            }
            Err(error) if error.kind() == ErrorKind::Corrupt && source.may_try_again(place) => {}
            Err(error) => return Err(Error::caused(error.kind(), name(), error)),
        }
    }
}
