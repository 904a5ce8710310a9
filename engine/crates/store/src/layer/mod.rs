//! Layers: the uncompressed tar archives of images, installed so that overlayfs can use them.
//!
//! ```text
//!   LayerSource ─► stream (inflate, hash both sides) ─► tarball::Reader ─► unpack ─► layers/tmp/X/diff/
//!                                                            └─► split ─► layers/tmp/X/split
//!   verified, synced ─► rename to layers/HEX         (HEX: the diff id, the hash of the uncompressed tar)
//!
//!   unpacked
//!   ROOT/layers/HEX/diff/    the tree; whiteouts as character devices 0/0, opaque directories by xattr
//!   ROOT/layers/HEX/split    all of the tar but file data: with `diff/` it gives the exact tar back
//!   ROOT/layers/HEX/kept/    data of members that a later member of the same tar replaced; mostly missing
//!   indexed
//!   ROOT/layers/HEX/tar      the exact tar, read-only, its end padded to a whole block
//!   ROOT/layers/HEX/index    an EROFS image of everything but file data, with the tar as its device
//!   ROOT/layers/HEX/info     sizes, in decimal: the tar's, the files', the number of members
//!   both
//!   ROOT/layers/HEX/notes    directories that the tar only implies, and whether `/` is opaque; mostly missing
//!   ROOT/layers/HEX/below/   directories with attributes from the layers below, by chain; mostly missing
//!   ROOT/layers/tmp/X/       being made or removed; locked (flock) by its process
//!   ROOT/layers/lock         byte ranges: one install or removal of a layer at a time
//! ```
//!
//! **A layer becomes visible only when whole, verified and on the disk.** Nothing in it changes afterwards but
//! `below/`. **A layer is known by its diff id alone**, whatever image it belongs to; what depends on the layers
//! below it is decided when the chain is known, in [`LayerStore::lower_dirs`].
//!
//! [`LayerStore`] is what the rest of the engine sees. [`Layers`] keeps each layer in one of two forms, side by side
//! in one chain if need be: unpacked, which works everywhere, or indexed, where [`Mounter`] can mount that. The form
//! is decided when a layer is installed, and seen by what its directory holds.

mod below;
mod export;
pub(crate) mod indexed;
mod probe;
mod room;
mod split;
mod stage;
mod store;
pub(crate) mod stream;
pub(crate) mod tree;
mod unpack;

pub use indexed::{check_index, index_of, tar_of};
pub use probe::{Mounter, PROBE};
pub use store::{Durability, LayerForm, Layers};
pub use stream::LayerSource;
pub use unpack::WorkersPlan;

use crate::output::Output;
use dhow_model::{Digest, LowerLayer, Result};
use std::path::PathBuf;

/// What is known about a layer's bytes before they are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// Digest of the uncompressed tar. `None` only where nobody can know it: `import`.
    pub diff_id: Option<&'a Digest>,
    /// Digest of the bytes as they come, compressed or not.
    pub blob: Option<&'a Digest>,
}

/// A layer that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledLayer {
    /// Digest of its uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of its files, each counted once, holes included.
    pub size_bytes: u64,
    /// Whether it was there before, and nothing was read.
    pub was_present: bool,
    /// What could not be kept, in words: extended attributes that this filesystem does not take.
    pub warnings: Vec<String>,
}

/// Sizes of an installed layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerInfo {
    /// Bytes of the uncompressed tar.
    pub tar_bytes: u64,
    /// Bytes of its files, each counted once, holes included.
    pub size_bytes: u64,
    /// Number of members.
    pub entries: u64,
}

/// Where the installation of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// Its bytes are being read, inflated, hashed and unpacked.
    Unpacking,
    /// Everything is written and verified, and on its way to the disk.
    Syncing,
    /// It is installed.
    Done,
    /// It was installed before.
    AlreadyPresent,
}

/// One report about a layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerProgress<'a> {
    /// Which layer, when that is known.
    pub diff_id: Option<&'a Digest>,
    /// Where it is.
    pub state: LayerState,
    /// Bytes of the source that were read.
    pub bytes: u64,
    /// Bytes of the source, when that is known.
    pub total: Option<u64>,
}

/// Hears how installations go. Called from several threads, a few hundred times for a large layer.
pub trait Progress: Sync {
    /// One more report.
    fn layer(&self, report: &LayerProgress<'_>);
}

impl Progress for () {
    fn layer(&self, _report: &LayerProgress<'_>) {}
}

/// Installed layers, however they are kept.
pub trait LayerStore: Send + Sync {
    /// Installs a layer, unless it is there. Any number of threads and processes may install the same layer at
    /// once: one does it, the others wait and find it.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not what was expected, or not a layer; `Unsupported` for compressions and
    /// members that are not known; `Unavailable` when the disk has no room. Nothing is left behind.
    fn install(
        &self,
        source: LayerSource<'_>,
        expected: Expected<'_>,
        progress: &dyn Progress,
    ) -> Result<InstalledLayer>;

    /// Whether a layer is installed.
    fn contains(&self, diff_id: &Digest) -> bool;

    /// Sizes of an installed layer.
    ///
    /// # Errors
    /// `NotFound` when it is not installed.
    fn info(&self, diff_id: &Digest) -> Result<LayerInfo>;

    /// The directory of one unpacked layer, for those who look into a single layer.
    fn lower_dir(&self, diff_id: &Digest) -> PathBuf;

    /// The lower directories of an overlay mount for a chain of layers (base first), topmost first.
    ///
    /// There may be more or fewer of them than layers: see `below.rs`.
    ///
    /// # Errors
    /// `NotFound` when a layer is not installed.
    fn lower_dirs(&self, layers: &[Digest]) -> Result<Vec<LowerLayer>>;

    /// Writes the exact uncompressed tar, and verifies it on the way.
    ///
    /// # Errors
    /// `Corrupt` when what was written does not have the diff id; `NotFound` when it is not installed.
    fn export_tar(&self, diff_id: &Digest, out: &mut dyn Output) -> Result<()>;

    /// Removes a layer. The caller knows that nothing uses it. Nothing happens if it is not installed.
    ///
    /// # Errors
    /// What the kernel says.
    fn remove(&self, diff_id: &Digest) -> Result<()>;

    /// All installed layers.
    ///
    /// # Errors
    /// What the kernel says.
    fn list(&self) -> Result<Vec<Digest>>;
}
