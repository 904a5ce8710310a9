//! What depends on the layers below: attributes of implied directories, and an opaque root.
//!
//! A tar may hold `root/.bashrc` without `root/`. Applied to the layers below, as its maker saw it, the directory
//! keeps the attributes that it has there (`root/` is 0700). But overlayfs takes a merged directory's attributes
//! from the topmost layer that has it, and a layer's tree must have it. So the tree gets a plain directory (root,
//! 0755), the layer's `notes` name it, and when a chain is about to be mounted, a tree with nothing but these
//! directories, attributes copied from the layers below, is put on top of the layer:
//!
//! ```text
//!   layers/HEX/below/CHAIN/…   directories only; CHAIN: hash of the diff ids below
//!   layers/HEX/below/CHAIN     an empty file: nothing to correct for this chain
//! ```
//!
//! It is made once per chain, and shared by all containers. Most layers have no `notes`, and cost one failed open.
//!
//! Overlayfs merges the roots of all layers, whatever their attributes: a layer whose root is opaque simply ends
//! the list of lower directories.

use super::indexed::{self, read::Index};
use super::stage::Stage;
use super::tree::{Tree, path};
use super::unpack::OPAQUE;
use crate::content::digest_of;
use dhow_model::{Digest, Error, IndexedLayer, Layout, LowerLayer, Result, ResultExt};
use dhow_sys::fsat::{self, Stat, Time};
use dhow_sys::{Errno, xattr};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a layer's `notes` say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notes {
    opaque_root: bool,
    implied: BTreeSet<Vec<u8>>,
}

/// Writes `notes`, if there is anything to note.
pub(super) fn write_notes(layer: &Path, implied: &[Vec<u8>], opaque_root: bool) -> Result<()> {
    if implied.is_empty() && !opaque_root {
        return Ok(());
    }
    let mut text = if opaque_root { b"opaque\0".to_vec() } else { b"merged\0".to_vec() };
    for name in implied {
        text.extend_from_slice(name);
        text.push(0);
    }
    std::fs::write(layer.join("notes"), text).context(|| "write a layer's notes".to_owned())
}

fn read_notes(layout: &Layout, diff_id: &Digest) -> Result<Option<Notes>> {
    let layer = layout.layer(diff_id);
    let text = match std::fs::read(layer.join("notes")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if layer.exists() {
                return Ok(None);
            }
            return Err(Error::not_found(format!("no such layer: {diff_id}")));
        }
        Err(error) => return Err(error).context(|| format!("read the notes of layer {diff_id}")),
    };
    let mut fields = text.split(|&b| b == 0).filter(|field| !field.is_empty()).map(<[u8]>::to_vec);
    let opaque_root = fields.next().is_some_and(|first| first == b"opaque");
    Ok(Some(Notes { opaque_root, implied: fields.collect() }))
}

/// The lower directories for a chain of layers (base first), topmost first.
pub(super) fn lower_dirs(layout: &Layout, layers: &[Digest]) -> Result<Vec<LowerLayer>> {
    let mut dirs = Vec::with_capacity(layers.len());
    for (height, diff_id) in layers.iter().enumerate().rev() {
        let notes = read_notes(layout, diff_id)?;
        let own = own_files(layout, diff_id);
        let Some(notes) = notes else {
            dirs.push(own);
            continue;
        };
        let below = &layers[..height];
        if !notes.implied.is_empty() && !below.is_empty() && !notes.opaque_root {
            dirs.extend(ensure_correction(layout, diff_id, &notes, below)?.map(LowerLayer::from));
        }
        dirs.push(own);
        if notes.opaque_root {
            break;
        }
    }
    Ok(dirs)
}

/// A layer's files, in either form.
pub(super) fn own_files(layout: &Layout, diff_id: &Digest) -> LowerLayer {
    if indexed::is_indexed(layout, diff_id) {
        return LowerLayer::Indexed(indexed_layer(layout, diff_id));
    }
    LowerLayer::Directory(layout.layer(diff_id).join("diff"))
}

/// A layer as it is mounted if it is indexed.
pub(super) fn indexed_layer(layout: &Layout, diff_id: &Digest) -> IndexedLayer {
    let layer = layout.layer(diff_id);
    IndexedLayer {
        name: diff_id.hex().to_owned(),
        index: layer.join("index"),
        tar: layer.join("tar"),
        mounts: layout.layer_mounts(),
    }
}

/// The tree that corrects a layer on this chain, if it needs one.
fn ensure_correction(
    layout: &Layout,
    diff_id: &Digest,
    notes: &Notes,
    below: &[Digest],
) -> Result<Option<PathBuf>> {
    let chain = digest_of(below.iter().map(Digest::as_str).collect::<Vec<_>>().join(" ").as_bytes());
    let place = layout.layer(diff_id).join("below");
    let target = place.join(chain.hex());
    if let Ok(metadata) = std::fs::metadata(&target) {
        return Ok(metadata.is_dir().then_some(target));
    }
    let stage = Stage::create(layout)?;
    let tree = stage.path().join("tree");
    std::fs::create_dir(&tree).context(correcting)?;
    let corrected = correct(layout, diff_id, notes, below, &tree)?;
    crate::db::private_directory(&place)?;
    if corrected {
        stage.sync()?;
    } else {
        std::fs::remove_dir(&tree).and_then(|()| std::fs::write(&tree, b"")).context(correcting)?;
    }
    match fsat::rename_new(&tree, &target) {
        // Another process was faster: the same result.
        Ok(()) | Err(dhow_sys::Error { errno: Errno::EEXIST, .. }) => {}
        Err(error) => return Err(error).context(correcting),
    }
    stage.remove()?;
    Ok(corrected.then_some(target))
}

/// Fills `tree`; `false` when no layer below has any of the directories.
fn correct(layout: &Layout, diff_id: &Digest, notes: &Notes, below: &[Digest], tree: &Path) -> Result<bool> {
    let mut lower: Vec<Lower> =
        below.iter().rev().map(|id| Lower::open(layout, id)).collect::<Result<_>>()?;
    let mut found = Vec::new();
    for name in &notes.implied {
        if let Some(attributes) = look_up(&mut lower, name)? {
            found.push((name, attributes));
        }
    }
    if found.is_empty() {
        return Ok(false);
    }
    let mut own = Lower::open(layout, diff_id)?;
    let mut target = Tree::open(tree)?;
    // What was made, and its attributes; parents before children.
    let mut made: Vec<(Vec<u8>, Attributes)> = vec![(Vec::new(), own.directory(b"")?)];
    for (name, attributes) in found {
        let slashes = name.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in slashes.chain([name.len()]) {
            let part = &name[..end];
            if made.iter().any(|(known, _)| known == part) {
                continue;
            }
            let (parent, last) = part
                .iter()
                .rposition(|&b| b == b'/')
                .map_or((&[][..], part), |at| (&part[..at], &part[at + 1..]));
            let dir = target.directory(parent).context(correcting)?;
            fsat::mkdir_at(dir.as_fd(), path(last), 0o700).context(correcting)?;
            // A parent that nobody has to correct keeps what the layer says.
            let wanted = if end == name.len() { attributes.clone() } else { own.directory(part)? };
            made.push((part.to_vec(), wanted));
        }
    }
    for (name, attributes) in made.iter().rev() {
        attributes.apply(&open_again(&target.directory(name).context(correcting)?)?)?;
    }
    Ok(true)
}

/// One layer below, topmost first in their list.
struct Lower {
    files: Files,
    notes: Notes,
}

/// Where a layer's files are looked up.
enum Files {
    Tree(Tree),
    Index(Index),
}

impl Lower {
    fn open(layout: &Layout, diff_id: &Digest) -> Result<Self> {
        let notes = read_notes(layout, diff_id)?.unwrap_or_default();
        let files = match own_files(layout, diff_id) {
            LowerLayer::Directory(path) => Files::Tree(Tree::open(&path)?),
            LowerLayer::Indexed(layer) => Files::Index(Index::open(&layer.index)?),
        };
        Ok(Self { files, notes })
    }

    /// The attributes of a directory that the layer has.
    fn directory(&mut self, name: &[u8]) -> Result<Attributes> {
        match self.see(name)? {
            Seen::Directory { attributes, .. } => Ok(attributes),
            Seen::Hidden | Seen::Nothing => {
                Err(Error::corrupt("a layer lacks a directory that its notes name"))
            }
        }
    }

    fn see(&mut self, name: &[u8]) -> Result<Seen> {
        match &mut self.files {
            Files::Tree(tree) => see_in_tree(tree, name),
            Files::Index(index) => see_in_index(index, name),
        }
    }
}

/// What one layer says about a directory.
enum Seen {
    /// It has it; whether what is below still counts.
    Directory { attributes: Attributes, opaque: bool },
    /// It hides it.
    Hidden,
    /// It says nothing.
    Nothing,
}

/// The directory as the merged layers show it.
fn look_up(lower: &mut [Lower], name: &[u8]) -> Result<Option<Attributes>> {
    let mut best = None;
    for layer in lower {
        match layer.see(name)? {
            Seen::Hidden => break,
            Seen::Nothing => {}
            Seen::Directory { attributes, opaque } => {
                let stop = opaque || !layer.notes.implied.contains(name);
                // An implied one only stands in for those further down.
                if best.is_none() || stop {
                    best = Some(attributes);
                }
                if stop {
                    break;
                }
            }
        }
        if layer.notes.opaque_root {
            break;
        }
    }
    Ok(best)
}

fn parts(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|&b| b == b'/').filter(|part| !part.is_empty())
}

fn see_in_tree(tree: &mut Tree, name: &[u8]) -> Result<Seen> {
    let mut here = open_again(&tree.directory(b"").context(correcting)?)?;
    let mut opaque = false;
    for part in parts(name) {
        let stat: Stat = match fsat::stat_at(here.as_fd(), path(part)) {
            Ok(stat) => stat,
            Err(error) if error.errno == Errno::ENOENT => {
                return Ok(if opaque { Seen::Hidden } else { Seen::Nothing });
            }
            Err(error) => return Err(error).context(correcting),
        };
        if !stat.is_dir() {
            return Ok(Seen::Hidden);
        }
        let mark = xattr::get_at(here.as_fd(), path(part), OsStr::new(OPAQUE)).context(correcting)?;
        opaque |= mark.is_some_and(|value| value == b"y");
        here = fsat::open_at(here.as_fd(), path(part), libc::O_RDONLY | libc::O_DIRECTORY, 0)
            .context(correcting)?;
    }
    Ok(Seen::Directory { attributes: Attributes::of(&here)?, opaque })
}

fn see_in_index(index: &Index, name: &[u8]) -> Result<Seen> {
    let mut here = index.root()?;
    let mut opaque = false;
    for part in parts(name) {
        let Some(next) = index.find(here, part)? else {
            return Ok(if opaque { Seen::Hidden } else { Seen::Nothing });
        };
        if !index.is_dir(next)? {
            return Ok(Seen::Hidden);
        }
        let marked = |(name, value): &(Vec<u8>, Vec<u8>)| name == OPAQUE.as_bytes() && value == b"y";
        opaque |= index.attributes(next)?.xattrs.iter().any(marked);
        here = next;
    }
    Ok(Seen::Directory { attributes: index.attributes(here)?, opaque })
}

/// What a directory passes on to one that is only implied above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    fn of(dir: &OwnedFd) -> Result<Self> {
        let stat = fsat::stat(dir.as_fd()).context(correcting)?;
        let mut xattrs = Vec::new();
        for name in xattr::list(dir.as_fd()).context(correcting)? {
            if let Some(value) = xattr::get(dir.as_fd(), &name).context(correcting)? {
                xattrs.push((name.as_bytes().to_vec(), value));
            }
        }
        Ok(Self { mode: stat.mode, uid: stat.uid, gid: stat.gid, mtime: stat.mtime, xattrs })
    }

    fn apply(&self, to: &OwnedFd) -> Result<()> {
        fsat::chown(to.as_fd(), self.uid, self.gid).context(correcting)?;
        fsat::chmod(to.as_fd(), self.mode & 0o7777).context(correcting)?;
        for (name, value) in &self.xattrs {
            if !name.starts_with(b"trusted.overlay.") {
                xattr::set(to.as_fd(), OsStr::from_bytes(name), value).context(correcting)?;
            }
        }
        fsat::set_times(to.as_fd(), self.mtime, self.mtime).context(correcting)
    }
}

/// For reading: those of a [`Tree`] are only for walking.
fn open_again(dir: &Rc<OwnedFd>) -> Result<OwnedFd> {
    fsat::open_at(dir.as_fd(), Path::new("."), libc::O_RDONLY | libc::O_DIRECTORY, 0).context(correcting)
}

fn correcting() -> String {
    "correct a layer's implied directories".to_owned()
}
