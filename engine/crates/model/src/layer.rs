//! One lower directory of an overlay, as those who keep layers and those who mount them both know it.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A layer, or a part of one, that an overlay takes as a lower directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LowerLayer {
    /// A directory with the files.
    Directory(PathBuf),
    /// A tar with an index over it, that the kernel mounts as EROFS.
    Indexed(IndexedLayer),
}

/// What a mount of an indexed layer takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedLayer {
    /// Known by: one name, one mount, on the whole machine.
    pub name: String,
    /// The EROFS image, of metadata only.
    pub index: PathBuf,
    /// The device that its files' data is on.
    pub tar: PathBuf,
    /// Where the namespace that holds the mounts is pinned.
    pub mounts: PathBuf,
}

impl LowerLayer {
    /// Where it lies, for people.
    pub fn path(&self) -> &Path {
        match self {
            LowerLayer::Directory(path) => path,
            LowerLayer::Indexed(layer) => &layer.tar,
        }
    }
}

impl From<PathBuf> for LowerLayer {
    fn from(path: PathBuf) -> Self {
        LowerLayer::Directory(path)
    }
}

impl From<&str> for LowerLayer {
    fn from(path: &str) -> Self {
        LowerLayer::Directory(path.into())
    }
}
