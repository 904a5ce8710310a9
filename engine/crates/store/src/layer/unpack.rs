//! From the members of a tar to files in a directory.
//!
//! Every file is made relative to the descriptor of its parent directory. A member that names something that an
//! earlier member of the same layer made replaces it (directories merge), as in every tar. Owners, modes and
//! extended attributes are set at once, the times of directories at the very end, because filling a directory
//! changes its time.
//!
//! One thread reads the tar and makes every name, in order; layers with many small files have workers beside it that
//! write them: see `workers.rs`. Several layers are unpacked at once.
//!
//! `dhow load` of 50,000 files of 8 KiB in 500 directories, sync included, on a fresh ext4; medians of five, in turns,
//! without workers and with one, on two cores on which others compiled (load 5, which helps whoever has more threads):
//!
//! | layer | wall time, ms | processor time, s |
//! |---|--:|--:|
//! | gzip | 5046 → 4522 | 2.45 → 2.64 |
//! | plain | 4271 → 3399 | 1.97 → 2.00 |
//! | zstd | 4391 → 3787 | 2.33 → 2.44 |
//!
//! On the same cores idle, until all was written but for the sync, a prototype took 1549 → 1504, 1433 → 1234 and
//! 1534 → 1377: inflating gzip and hashing have the second core. More cores were not there to be measured.
//!
//! What is left out, on purpose: `trusted.overlay.*` attributes (they would steer our own overlay mounts) and
//! aufs's own files (`.wh..wh.*`).

mod attributes;
mod parents;
mod replace;
mod workers;

use super::split::{Payload, SplitWriter};
use super::tree::{Clean, Tree, breakout, path, shown};
use super::{LayerInfo, room};
use crate::tarball::{Entry, Kind, Mtime, Observer, Reader};
use dhow_model::{Error, ErrorKind, Result, ResultExt, limits};
use dhow_sys::fsat::{self, Stat, Time};
use dhow_sys::{Errno, xattr};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use attributes::Warnings;
use workers::{Job, Workers};

pub use workers::WorkersPlan;

/// The room is looked at again after so many members.
const CHECK_ENTRIES: u64 = 8192;
/// Files from this size on are reserved in one piece before they are written.
const ALLOCATE_FROM: u64 = 8 << 20;

/// Files from this size on begin their way to the disk while others are still unpacked.
const WRITEBACK_FROM: u64 = 64 << 10;

/// What overlayfs takes for "nothing of the layers below".
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";

/// What unpacking made, beside files.
pub(super) struct Unpacked {
    pub(super) info: LayerInfo,
    pub(super) payloads: Vec<Payload>,
    /// Directories that no member describes, by cleaned name.
    pub(super) implied: Vec<Vec<u8>>,
    /// Whether the layer hides everything below it.
    pub(super) opaque_root: bool,
    pub(super) warnings: Vec<String>,
}

/// How to unpack.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// An archive that just ends is an error: nothing else would tell that it is truncated.
    pub(super) need_end_marker: bool,
    /// A sync follows: large files may begin their way to the disk.
    pub(super) early_sync: bool,
    /// Who writes small files.
    pub(super) workers: WorkersPlan,
}

/// Unpacks into `layer/diff`, which is there and empty. Reads `input` to its end.
pub(super) fn unpack(
    input: &mut dyn BufRead,
    layer: &std::path::Path,
    split: SplitWriter,
    how: How,
) -> Result<(Unpacked, SplitWriter)> {
    let mut reader = Reader::observed(input, split);
    let mut unpacker = Unpacker::new(layer, how)?;
    let made = unpacker.make_members(&mut reader);
    // First: what a worker failed with is of a member before the one at which the reader ended.
    unpacker.end_workers()?;
    let unpacked = unpacker.finish(made?)?;
    Ok((unpacked, reader.into_observer()))
}

/// Where nothing else tells that an archive is whole, its end marker must.
pub(super) fn check_end<R: BufRead, O: Observer>(reader: &Reader<R, O>, how: How) -> Result<()> {
    if how.need_end_marker && !reader.has_end_marker() {
        return Err(Error::corrupt(format!(
            "the archive ends at byte {} without an end marker: it is empty or truncated",
            reader.position()
        )));
    }
    Ok(())
}

/// A directory's name and time, to be set at the end.
struct DirectoryTime {
    name: Clean,
    mtime: Mtime,
}

struct Unpacker {
    tree: Tree,
    /// The layer's own directory, for `kept/`.
    layer: PathBuf,
    how: How,
    kept: Option<OwnedFd>,
    /// By inode: names may change their meaning when links are replaced.
    directories: HashMap<u64, DirectoryTime>,
    implied: HashMap<u64, Clean>,
    /// Bytes of the names that these and `payloads` have had.
    name_bytes: u64,
    opaque_root: bool,
    payloads: Vec<Payload>,
    /// Payloads by inode; made when something is replaced for the first time.
    by_inode: Option<HashMap<u64, usize>>,
    entries: u64,
    size_bytes: u64,
    unchecked_bytes: u64,
    warnings: Warnings,
    /// Files that workers could have written, so far.
    small: u64,
    workers: Option<Workers>,
}

impl Unpacker {
    fn new(layer: &std::path::Path, how: How) -> Result<Self> {
        let this = Self {
            tree: Tree::open(&layer.join("diff"))?,
            layer: layer.to_owned(),
            how,
            kept: None,
            directories: HashMap::new(),
            implied: HashMap::new(),
            name_bytes: 0,
            opaque_root: false,
            payloads: Vec::new(),
            by_inode: None,
            entries: 0,
            size_bytes: 0,
            unchecked_bytes: 0,
            warnings: Warnings::default(),
            small: 0,
            workers: None,
        };
        this.check_room(0)?;
        Ok(this)
    }

    /// Makes all members; gives the length of the tar.
    fn make_members<R: BufRead>(&mut self, reader: &mut Reader<R, SplitWriter>) -> Result<u64> {
        while let Some(entry) = reader.next_entry()? {
            self.member(&entry, reader).map_err(|error| of_member(&entry, error))?;
            if let Some(workers) = &self.workers {
                workers.check()?;
            }
        }
        check_end(reader, self.how)?;
        reader.finish()
    }

    /// Waits for all that the workers have to do, and lets them go.
    fn end_workers(&mut self) -> Result<()> {
        match self.workers.take() {
            Some(workers) => {
                self.warnings.merge(workers.finish()?);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn member<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R, SplitWriter>) -> Result<()> {
        self.entries += 1;
        limits::LAYER_MEMBERS.check(|| "the layer".to_owned(), self.entries)?;
        if self.entries.is_multiple_of(CHECK_ENTRIES) {
            self.check_room(0)?;
        }
        let name = Clean::parse(&entry.path).ok_or_else(|| breakout("the name", &entry.path))?;
        name.check_length()?;
        if name.as_bytes().split(|&b| b == b'/').any(is_aufs) {
            return match name.split() {
                (parent, b".wh..wh..opq") if !parent.split(|&b| b == b'/').any(is_aufs) => {
                    self.opaque(&Clean::trusted(parent.to_vec()), entry.mtime)
                }
                _ => Ok(()),
            };
        }
        if name.is_root() {
            return match entry.kind {
                Kind::Directory => self.root(entry),
                Kind::Other(_) => other(entry),
                _ => Err(Error::corrupt("the root of a layer must be a directory")),
            };
        }
        let (parent_name, last) = name.split();
        let parent = self.parent(parent_name, entry.mtime)?;
        let (dir, file) = (parent.as_fd(), path(last));
        if let Some(hidden) = last.strip_prefix(b".wh.") {
            return self.whiteout(dir, hidden, entry.mtime);
        }
        match entry.kind {
            Kind::File => self.file(dir, &name, last, entry, reader),
            Kind::Directory => self.directory(dir, &name, last, entry),
            Kind::HardLink => self.hard_link(dir, last, entry),
            Kind::Symlink => {
                let target = path(&entry.link);
                self.make(dir, last, |_| fsat::symlink_at(target, dir, file))?;
                self.attributes_at(dir, last, entry)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let (kind, device) = match entry.kind {
                    Kind::CharDevice => (libc::S_IFCHR, fsat::make_device(entry.device.0, entry.device.1)),
                    Kind::BlockDevice => (libc::S_IFBLK, fsat::make_device(entry.device.0, entry.device.1)),
                    _ => (libc::S_IFIFO, 0),
                };
                self.make(dir, last, |_| fsat::mknod_at(dir, file, kind | entry.mode & 0o777, device))?;
                self.attributes_at(dir, last, entry)
            }
            Kind::Other(_) => other(entry),
        }
    }

    fn file<R: BufRead>(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &Clean,
        last: &[u8],
        entry: &Entry,
        reader: &mut Reader<R, SplitWriter>,
    ) -> Result<()> {
        let stored = entry.stored();
        if stored >= room::LARGE {
            self.check_room(stored)?;
        }
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        let fd = self.make(dir, last, |_| fsat::open_at(dir, path(last), flags, entry.mode & 0o777))?;
        let out = fd.as_fd();
        if entry.is_sparse() {
            fsat::set_len(out, entry.size).context(unpacking)?;
        } else if stored >= ALLOCATE_FROM {
            match fsat::allocate(out, stored) {
                // Only a hint: where the filesystem cannot, the data is written all the same.
                Ok(()) | Err(dhow_sys::Error { errno: Errno::EOPNOTSUPP, .. }) => {}
                Err(error) => return Err(no_room(error)),
            }
        }
        let stat = fsat::stat(out).context(unpacking)?;
        if stored > 0 {
            reader.observer_mut().payload(&entry.segments)?;
            if let Some(known) = &mut self.by_inode {
                known.insert(stat.inode, self.payloads.len());
            }
            self.keep_name(name.as_bytes().len())?;
            self.payloads.push(Payload { path: name.as_bytes().to_vec(), kept: false, inode: stat.inode });
        }
        self.size_bytes = self.size_bytes.saturating_add(entry.size);
        if self.has_worker_for(entry) {
            return self.hand_over(fd, stat, entry, reader);
        }
        while let Some((offset, bytes)) = reader.next_chunk()? {
            fsat::write_all_at(out, bytes, offset).map_err(no_room)?;
            self.wrote(bytes.len())?;
        }
        complete(out, &stat, entry, self.how.early_sync, &mut self.warnings)
    }

    /// One more name in memory until the layer is whole.
    fn keep_name(&mut self, bytes: usize) -> Result<()> {
        self.name_bytes += bytes as u64;
        limits::LAYER_NAMES_BYTES.check(|| "the names of the layer's files".to_owned(), self.name_bytes)
    }

    /// Whether that file is for workers. Starts them when they are worth it.
    fn has_worker_for(&mut self, entry: &Entry) -> bool {
        if !workers::takes(entry) {
            return false;
        }
        self.small += 1;
        if self.workers.is_none() && self.how.workers.is_time(self.small) {
            self.workers = Workers::start(self.how.workers, self.how.early_sync);
        }
        self.workers.is_some()
    }

    fn hand_over<R: BufRead>(
        &mut self,
        file: OwnedFd,
        stat: Stat,
        entry: &Entry,
        reader: &mut Reader<R, SplitWriter>,
    ) -> Result<()> {
        let Some(workers) = &mut self.workers else { return Err(Error::internal("there are no workers")) };
        let mut length = 0;
        // Not sparse: its pieces follow each other.
        while let Some((_, bytes)) = reader.next_chunk()? {
            workers.add(bytes);
            length += bytes.len();
        }
        workers.push(Job { file, stat, entry: entry.clone() });
        self.wrote(length)
    }

    fn wrote(&mut self, bytes: usize) -> Result<()> {
        self.unchecked_bytes += bytes as u64;
        if self.unchecked_bytes >= room::CHECK_BYTES {
            self.unchecked_bytes = 0;
            self.check_room(0)?;
        }
        Ok(())
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &Clean, last: &[u8], entry: &Entry) -> Result<()> {
        let file = path(last);
        match fsat::mkdir_at(dir, file, entry.mode & 0o777) {
            Ok(()) => {}
            Err(error) if error.errno == Errno::EEXIST => {
                let old = fsat::stat_at(dir, file).context(unpacking)?;
                if !old.is_dir() {
                    self.replace(dir, last, &old)?;
                    fsat::mkdir_at(dir, file, entry.mode & 0o777).map_err(no_room)?;
                }
                if old.is_whiteout() {
                    // Deleted and made anew in one layer: nothing from below may show.
                    xattr::set_at(dir, file, OsStr::new(OPAQUE), b"y").context(unpacking)?;
                }
            }
            Err(error) => return Err(no_room(error)),
        }
        let stat = self.attributes_at_known(dir, last, entry)?;
        self.implied.remove(&stat.inode);
        self.keep_name(name.as_bytes().len())?;
        self.directories.insert(stat.inode, DirectoryTime { name: name.clone(), mtime: entry.mtime });
        Ok(())
    }

    /// `./`: attributes of the tree's root.
    fn root(&mut self, entry: &Entry) -> Result<()> {
        let root = Rc::clone(&self.tree.directory(b"").context(unpacking)?);
        let stat = self.attributes_at_known(root.as_fd(), b"", entry)?;
        let name = Clean::trusted(Vec::new());
        self.directories.insert(stat.inode, DirectoryTime { name, mtime: entry.mtime });
        Ok(())
    }

    fn hard_link(&mut self, dir: BorrowedFd<'_>, last: &[u8], entry: &Entry) -> Result<()> {
        let target = Clean::parse(&entry.link).ok_or_else(|| breakout("the link target", &entry.link))?;
        target.check_length()?;
        if target.as_bytes().split(|&b| b == b'/').any(is_aufs) {
            return Err(Error::unsupported("a hard link into aufs's own directory is not supported"));
        }
        let missing = |error: Errno| match error {
            Errno::ENOENT | Errno::ENOTDIR => {
                Error::corrupt(format!("the hard link's target {} is not in this layer", target.display()))
            }
            other => {
                Error::caused(ErrorKind::Internal, format!("open the target {}", target.display()), other)
            }
        };
        let (parent_name, target_last) = target.split();
        let parent = self.tree.directory(parent_name).map_err(missing)?;
        let stat = fsat::stat_at(parent.as_fd(), path(target_last)).map_err(|error| missing(error.errno))?;
        if stat.is_dir() {
            return Err(Error::corrupt(format!(
                "the hard link's target {} is a directory",
                target.display()
            )));
        }
        if let Ok(old) = fsat::stat_at(dir, path(last))
            && (old.device, old.inode) == (stat.device, stat.inode)
        {
            // The same file already: replacing it would remove it.
            return Ok(());
        }
        self.make(dir, last, |_| fsat::link_at(parent.as_fd(), path(target_last), dir, path(last)))
    }

    /// `.wh.NAME`: hides NAME of the layers below, but not what this very layer has under that name, before or
    /// after (image-spec, layer.md, "Whiteouts").
    fn whiteout(&mut self, dir: BorrowedFd<'_>, hidden: &[u8], mtime: Mtime) -> Result<()> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::corrupt("a whiteout of nothing"));
        }
        let file = path(hidden);
        match fsat::mknod_at(dir, file, libc::S_IFCHR, 0) {
            Ok(()) => fsat::set_times_at(dir, file, time(mtime), time(mtime)).context(unpacking),
            Err(error) if error.errno == Errno::EEXIST => {
                if fsat::stat_at(dir, file).context(unpacking)?.is_dir() {
                    xattr::set_at(dir, file, OsStr::new(OPAQUE), b"y").context(unpacking)?;
                }
                Ok(())
            }
            Err(error) => Err(no_room(error)),
        }
    }

    /// `.wh..wh..opq`: hides everything that the layers below have in that directory.
    fn opaque(&mut self, name: &Clean, mtime: Mtime) -> Result<()> {
        if name.is_root() {
            // Overlayfs merges the roots of all layers whatever their attributes: see `below.rs`.
            self.opaque_root = true;
            return Ok(());
        }
        let dir = self.parent(name.as_bytes(), mtime)?;
        xattr::set_at(dir.as_fd(), path(b""), OsStr::new(OPAQUE), b"y").context(unpacking)
    }

    /// Refuses to go on when the disk would be full after `wanted` more bytes.
    fn check_room(&self, wanted: u64) -> Result<()> {
        room::check(self.tree.root(), wanted)
    }

    fn finish(mut self, tar_bytes: u64) -> Result<Unpacked> {
        self.settle_payloads()?;
        let mut directories: Vec<_> = std::mem::take(&mut self.directories).into_iter().collect();
        // Neighbours together, so that their parents are open already.
        directories.sort_unstable_by(|(_, a), (_, b)| a.name.as_bytes().cmp(b.name.as_bytes()));
        let (mut implied, mut lost) = (Vec::new(), HashMap::new());
        for (inode, DirectoryTime { name, mtime }) in directories {
            let found = self.find(&name).filter(|(_, stat)| stat.is_dir() && stat.inode == inode);
            let Some((parent, _)) = found else {
                lost.insert(inode, mtime);
                continue;
            };
            if self.implied.contains_key(&inode) {
                implied.push(name.as_bytes().to_vec());
            }
            let (_, last) = name.split();
            let file = if name.is_root() { path(b".") } else { path(last) };
            fsat::set_times_at(parent.as_fd(), file, time(mtime), time(mtime)).context(unpacking)?;
        }
        self.set_times_of_lost(lost)?;
        implied.sort();
        Ok(Unpacked {
            info: LayerInfo { tar_bytes, size_bytes: self.size_bytes, entries: self.entries },
            payloads: self.payloads,
            implied,
            opaque_root: self.opaque_root,
            warnings: self.warnings.into_texts(),
        })
    }

    /// Directories that were reached through a link which was replaced later: they are looked for by their inodes.
    fn set_times_of_lost(&self, mut lost: HashMap<u64, Mtime>) -> Result<()> {
        // Names in one directory share its descriptor: there are never more of them than the tree is deep.
        let mut todo = Vec::new();
        let mut here = Some((Rc::new(self.root_again()?), Vec::from(*b".")));
        while let Some((dir, name)) = here.filter(|_| !lost.is_empty()) {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let inner = Rc::new(fsat::open_at(dir.as_fd(), path(&name), flags, 0).context(unpacking)?);
            for listed in fsat::list_directory(inner.as_fd()).context(unpacking)? {
                let name = listed.name.as_bytes();
                if listed.is_dir == Some(false) {
                    continue;
                }
                let stat = fsat::stat_at(inner.as_fd(), path(name)).context(unpacking)?;
                if let Some(mtime) = lost.remove(&stat.inode) {
                    fsat::set_times_at(inner.as_fd(), path(name), time(mtime), time(mtime))
                        .context(unpacking)?;
                }
                if stat.is_dir() {
                    todo.push((Rc::clone(&inner), name.to_vec()));
                }
            }
            here = todo.pop();
        }
        Ok(())
    }

    /// The parent directory of `name` and what `name` is now.
    fn find(&mut self, name: &Clean) -> Option<(Rc<OwnedFd>, Stat)> {
        let (parent, last) = name.split();
        let dir = self.tree.directory(parent).ok()?;
        let stat = fsat::stat_at(dir.as_fd(), path(last)).ok()?;
        Some((dir, stat))
    }
}

/// What is left to do for a file whose data is written.
fn complete(
    file: BorrowedFd<'_>,
    stat: &Stat,
    entry: &Entry,
    early_sync: bool,
    warnings: &mut Warnings,
) -> Result<()> {
    if early_sync && entry.stored() >= WRITEBACK_FROM {
        // Only to be early: the sync at the end finds less to do.
        let _ = fsat::start_writeback(file);
    }
    attributes::set_of(file, stat, entry, warnings)
}

fn other(entry: &Entry) -> Result<()> {
    match entry.kind {
        // A volume label says nothing about any file.
        Kind::Other(b'V') => Ok(()),
        Kind::Other(flag) => {
            Err(Error::unsupported(format!("a tar member of type {:?} is not supported", char::from(flag))))
        }
        _ => Ok(()),
    }
}

/// aufs's own names, which are never part of the tree (the opaque marker is one of them).
pub(super) fn is_aufs(part: &[u8]) -> bool {
    part.starts_with(b".wh..wh.")
}

fn time(mtime: Mtime) -> Time {
    Time { seconds: mtime.seconds, nanos: mtime.nanos }
}

fn of_member(entry: &Entry, error: Error) -> Error {
    Error::caused(error.kind(), format!("unpack {}", shown(&entry.path)), error)
}

fn unpacking() -> String {
    "write a layer".to_owned()
}

/// A failed write: `Unavailable` when the disk is full.
fn no_room(error: dhow_sys::Error) -> Error {
    let kind = match error.errno {
        Errno::ENOSPC | Errno::EDQUOT => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::caused(kind, unpacking(), error)
}
