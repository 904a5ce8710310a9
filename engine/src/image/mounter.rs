//! Between the store, which keeps indexed layers, and the runtime, which mounts them: neither knows the other.

use dhow_model::{IndexedLayer, Result};
use dhow_runtime::layers;
use dhow_store::layer::{Mounter, PROBE};
use std::path::Path;

/// Mounts layers on this machine.
pub(crate) struct HostMounter;

impl Mounter for HostMounter {
    fn works(&self, layer: &IndexedLayer, scratch: &Path) -> bool {
        layers::works(layer, scratch, PROBE)
    }

    fn release(&self, layer: &IndexedLayer) -> Result<()> {
        layers::release(layer)
    }
}
