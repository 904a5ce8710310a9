//! Layers as they came: the exact uncompressed tar, and an index over it that the kernel mounts. No file is made.
//!
//! ```text
//!   tar as it comes ─► keep.rs ─► layers/tmp/X/tar       (as it is; its end padded to a whole block)
//!                        └► tarball::Reader ─► tree.rs ─► erofs.rs ─► layers/tmp/X/index
//! ```
//!
//! | file | |
//! |---|---|
//! | `tree.rs` | members to a tree in memory, by the rules of unpacking |
//! | `erofs.rs` | the tree to an EROFS image without data |
//! | `read.rs` | looking names up in such an image |
//! | `keep.rs` | writes the tar while it is read |
//! | `check.rs` | both in memory, for fuzzing |
//!
//! An index is always made here, of a tar that was just verified, and never taken from anybody else. A layer that
//! has something in it which an index cannot say, or about which the kernel should be asked, is [`Unfit`]: its tar
//! is then unpacked, and thrown away.

mod check;
mod erofs;
mod keep;
pub(super) mod read;
mod tree;

use super::room;
use super::unpack::{How, check_end};
use super::{LayerInfo, below};
use crate::content::{finish, verify};
use crate::output::Output;
use crate::tarball::Reader;
pub use check::{check_index, index_of};
use dhow_model::{Digest, Error, Layout, Result, ResultExt};
use dhow_sys::fsat::{self, Mapping};
use keep::{Disk, Keeper};
use sha2::Digest as _;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tree::Tree;
pub(crate) use tree::Unfit;

/// A tar that was kept.
pub(super) struct Kept {
    pub(super) tar_bytes: u64,
    /// What it describes, unless it has to be unpacked.
    tree: Result<Tree, Unfit>,
    /// On its way to the disk.
    disk: Option<Disk>,
}

/// Reads `input` to its end, and writes it to `layer/tar`.
pub(super) fn keep(input: &mut dyn BufRead, layer: &Path, how: How) -> Result<Kept> {
    let directory = fsat::open_directory(layer).context(|| "open the layer's directory".to_owned())?;
    let mut keeper = Keeper::create(input, &layer.join("tar"), how.early_sync)?;
    let mut reader = Reader::new(&mut keeper);
    let mut tree = Ok(Tree::new());
    while let Some(entry) = reader.next_entry()? {
        if entry.stored() >= room::LARGE {
            room::check(directory.as_fd(), entry.stored()).map_err(|error| {
                Error::caused(error.kind(), format!("unpack {:?}", entry.display()), error)
            })?;
        }
        if let Ok(so_far) = &mut tree
            && let Err(unfit) = so_far.member(&entry, reader.position())
        {
            tree = Err(unfit);
        }
    }
    check_end(&reader, how)?;
    reader.finish()?;
    let (tar_bytes, disk) = keeper.finish()?;
    Ok(Kept { tar_bytes, tree, disk })
}

impl Kept {
    /// Writes the index and all that belongs to it. An error of the inner sort: the layer is to be unpacked.
    pub(super) fn write_index(&mut self, layer: &Path) -> Result<Result<LayerInfo, &Unfit>> {
        let tree = match &self.tree {
            Ok(tree) => tree,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let info =
            LayerInfo { tar_bytes: self.tar_bytes, size_bytes: tree.size_bytes, entries: tree.entries };
        let blocks = self.tar_bytes.div_ceil(erofs::BLOCK);
        let uuid = uuid_of(layer, &info)?;
        let Ok(index) = erofs::encode(tree, blocks, uuid) else { return Ok(Err(&Unfit("it is too large"))) };
        write_new(&layer.join("index"), &index)?;
        let text = format!("{} {} {}\n", info.tar_bytes, info.size_bytes, info.entries);
        write_new(&layer.join("info"), text.as_bytes())?;
        below::write_notes(layer, &tree.implied(), tree.opaque_root)?;
        self.disk.take().map(Disk::finish).transpose()?;
        Ok(Ok(info))
    }
}

/// The tar of a layer that turned out to be unfit, for unpacking.
pub(super) fn mapped_tar(layer: &Path) -> Result<Mapping> {
    let file = File::open(layer.join("tar")).context(|| "open the kept tar".to_owned())?;
    Mapping::of_file(&file).context(|| "map the kept tar".to_owned())
}

/// Overlayfs tells filesystems apart by it: any that no other layer has will do.
fn uuid_of(layer: &Path, info: &LayerInfo) -> Result<[u8; 16]> {
    // The name of the stage is unique in its store; the time makes it so elsewhere.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let text = format!("{} {} {info:?}", layer.display(), now.as_nanos());
    let hash: [u8; 32] = sha2::Sha256::digest(text.as_bytes()).into();
    hash[..16].try_into().map_err(|_| Error::internal("a hash is too short"))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let writing = || format!("write {}", path.display());
    let mut file = File::options().write(true).create_new(true).mode(0o400).open(path).context(writing)?;
    file.write_all(bytes).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                dhow_model::ErrorKind::Unavailable
            }
            _ => dhow_model::ErrorKind::Internal,
        };
        Error::caused(kind, writing(), error)
    })
}

/// Waits until a layer that is about to be visible is on the disk: its few files, and nobody else's.
pub(super) fn sync(layer: &Path) -> Result<()> {
    for name in ["tar", "index", "info", "notes", "."] {
        let path = layer.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.context(|| format!("open {}", path.display()))?,
        };
        file.sync_all().context(|| format!("write {} to the disk", path.display()))?;
    }
    Ok(())
}

/// Writes the exact tar, and checks that it has the diff id and the size that it should.
pub(super) fn export(layout: &Layout, diff_id: &Digest, out: &mut dyn Output) -> Result<()> {
    let length = info(layout, diff_id)?.tar_bytes;
    let file = File::open(tar_of(layout, diff_id)).context(|| format!("open the tar of layer {diff_id}"))?;
    let tar = Mapping::of_file(&file).context(|| format!("map the tar of layer {diff_id}"))?;
    let tar = usize::try_from(length)
        .ok()
        .and_then(|length| tar.get(..length))
        .ok_or_else(|| Error::corrupt(format!("the tar of layer {diff_id} is shorter than it was")))?;
    let got = std::thread::scope(|scope| {
        let hash = scope.spawn(|| finish(sha2::Sha256::new_with_prefix(tar)));
        let written = out.append_file(&file, length).and_then(|()| out.flush());
        let hash = hash.join().map_err(|_| Error::internal("a thread that hashes a layer panicked"))?;
        written.context_kind(dhow_model::ErrorKind::Unavailable, || "write a layer's tar".to_owned())?;
        Ok::<_, Error>(hash)
    })?;
    verify("the layer on disk", Some(diff_id), &got)
}

/// Where the tar of a layer of this form is; nothing is there for one of the other.
pub fn tar_of(layout: &Layout, diff_id: &Digest) -> PathBuf {
    layout.layer(diff_id).join("tar")
}

/// Whether a layer is kept in this form.
pub(super) fn is_indexed(layout: &Layout, diff_id: &Digest) -> bool {
    layout.layer(diff_id).join("index").exists()
}

/// Sizes of an installed layer of this form.
pub(super) fn info(layout: &Layout, diff_id: &Digest) -> Result<LayerInfo> {
    let path = layout.layer(diff_id).join("info");
    let text = std::fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [tar_bytes, size_bytes, entries] => Ok(LayerInfo { tar_bytes, size_bytes, entries }),
        _ => Err(Error::corrupt(format!("{} is damaged", path.display()))),
    }
}
