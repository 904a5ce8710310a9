//! Whether indexed layers work here: asked with a small one, before the first is made.

use super::indexed;
use super::stage::Stage;
use super::unpack::{How, WorkersPlan};
use crate::tarball::Writer;
use dhow_model::{IndexedLayer, Layout, Result};
use std::path::Path;

/// The file in the probe, and what is in it.
pub const PROBE: (&str, &[u8]) = ("probe", b"dhow\n");

/// Who mounts indexed layers. The store itself knows nothing of mounts.
pub trait Mounter: Send + Sync {
    /// Whether this layer, which has the file [`PROBE`], can be mounted, and read through an overlay. `scratch` is an
    /// empty directory for both.
    fn works(&self, layer: &IndexedLayer, scratch: &Path) -> bool;

    /// A layer is about to be removed: its mount goes, if there is one.
    ///
    /// # Errors
    /// What the kernel says.
    fn release(&self, layer: &IndexedLayer) -> Result<()>;
}

/// Makes a small layer in a stage, and asks.
pub(super) fn works(layout: &Layout, mounter: &dyn Mounter) -> Result<bool> {
    let stage = Stage::create(layout)?;
    let mut tar = Vec::new();
    let mut writer = Writer::new(&mut tar);
    writer.file(PROBE.0, 0, PROBE.1)?;
    writer.finish()?;
    let how = How { need_end_marker: true, early_sync: false, workers: WorkersPlan::default() };
    let mut kept = indexed::keep(&mut &tar[..], stage.path(), how)?;
    if kept.write_index(stage.path())?.is_err() {
        return Ok(false);
    }
    let scratch = stage.path().join("scratch");
    std::fs::create_dir(&scratch).map_err(|_| dhow_model::Error::internal("make a scratch directory"))?;
    let layer = IndexedLayer {
        name: "probe".to_owned(),
        index: stage.path().join("index"),
        tar: stage.path().join("tar"),
        mounts: layout.layer_mounts(),
    };
    let works = mounter.works(&layer, &scratch);
    stage.remove()?;
    Ok(works)
}
