//! From a tar archive to files below a root, which others may be changing meanwhile.
//!
//! Docker's rules for `cp`: directories merge, everything else is replaced; a directory does not become anything
//! else, nor anything else a directory, when the caller says so; missing directories are made. What is made gets
//! its owner, mode and time by its own descriptor, so that nobody can put another file in between.

use super::pack::is_kept;
use super::place::{join, open_directory, path, split};
use crate::layer::stream::{Compression, decoder, read_start};
use crate::layer::tree::Clean;
use crate::tarball::{Entry, Kind, Mtime, Reader};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::fsat::{self, Time};
use dhow_sys::{Errno, xattr, xattr_ids};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// Directories that the archive does not describe.
const IMPLIED_MODE: u32 = 0o755;
/// How much of the input is read at once.
const WINDOW_BYTES: usize = 256 << 10;

/// Whose the files become.
pub enum Owners<'a> {
    /// As the archive says, translated.
    Archived(Box<dyn Fn(u32, u32) -> (u32, u32) + 'a>),
    /// All the same.
    Fixed(u32, u32),
    /// Whoever extracts.
    Ours,
}

/// Where an archive goes, and how.
pub struct Extraction<'a> {
    /// What `/` means.
    pub root: BorrowedFd<'a>,
    /// The directory below it that the members' names start from, without a slash at its ends.
    pub base: Vec<u8>,
    /// How paths below the root are walked ([`fsat::resolve`]).
    pub resolve: u64,
    /// Whose the files become.
    pub owners: Owners<'a>,
    /// A directory may not replace anything else, nor be replaced.
    pub keep_kinds: bool,
    /// The member `./` is the base itself, and says what it is to be like.
    pub with_base: bool,
    /// What a member, or the target of a hard link, is called instead.
    pub rename: &'a dyn Fn(&[u8]) -> Vec<u8>,
}

/// Extracts an archive, plain or compressed with gzip or zstd. Reads all of it.
///
/// # Errors
/// `InvalidArgument` for a member that leaves the directory, or would change a kind that is to be kept;
/// `Corrupt` for a damaged archive; `Unavailable` when the disk is full; else what the kernel says, with the
/// member's name.
pub fn extract(input: &mut dyn Read, extraction: Extraction<'_>) -> Result<()> {
    let mut input = input;
    let start = read_start(&mut input)?;
    if start.is_empty() {
        return Ok(());
    }
    let how = Compression::detect(&start)?;
    let input = BufReader::with_capacity(WINDOW_BYTES, Cursor::new(start).chain(input));
    let mut reader = Reader::new(BufReader::with_capacity(WINDOW_BYTES, decoder(input, how)?));
    let mut extractor = Extractor { how: extraction, open: None, directories: Vec::new() };
    while let Some(entry) = reader.next_entry()? {
        extractor.member(&entry, &mut reader).map_err(|error| {
            let shown = format!("extract {:?}", entry.display());
            Error::caused(error.kind(), shown, error)
        })?;
    }
    reader.finish()?;
    extractor.finish()
}

struct Extractor<'a> {
    how: Extraction<'a>,
    /// The directory of the last member.
    open: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Their times are set when nothing more is put into them.
    directories: Vec<(Vec<u8>, Mtime)>,
}

impl Extractor<'_> {
    fn member<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        let name = self.clean(&entry.path)?;
        if name.is_empty() {
            return if entry.kind == Kind::Directory && self.how.with_base {
                let base = self.parent(b"")?;
                let flags = libc::O_RDONLY | libc::O_DIRECTORY;
                let base = fsat::open_at(base.as_fd(), path(b"."), flags, 0).context(extracting)?;
                self.directories.push((Vec::new(), entry.mtime));
                self.attributes(base.as_fd(), entry)
            } else if entry.kind == Kind::Directory {
                Ok(())
            } else {
                Err(Error::invalid("a member without a name"))
            };
        }
        let (parent, last) = split(&name);
        let parent = self.parent(parent)?;
        let dir = parent.as_fd();
        let merge = self.make_way(dir, last, entry)?;
        match entry.kind {
            Kind::Directory => self.directory(dir, &name, last, entry, merge),
            Kind::File => self.file(dir, last, entry, reader),
            Kind::HardLink => self.hard_link(dir, last, entry),
            Kind::Symlink => {
                fsat::symlink_at(path(&entry.link), dir, path(last)).map_err(full_disk)?;
                self.node(dir, last, entry, libc::S_IFLNK)
            }
            Kind::CharDevice => self.device(dir, last, entry, libc::S_IFCHR),
            Kind::BlockDevice => self.device(dir, last, entry, libc::S_IFBLK),
            Kind::Fifo => self.device(dir, last, entry, libc::S_IFIFO),
            // A volume label says nothing about any file.
            Kind::Other(b'V') => Ok(()),
            Kind::Other(flag) => Err(Error::unsupported(format!(
                "a tar member of type {:?} is not supported",
                char::from(flag)
            ))),
        }
    }

    fn clean(&self, written: &[u8]) -> Result<Vec<u8>> {
        let renamed = (self.how.rename)(written);
        let outside = || {
            let shown = String::from_utf8_lossy(written);
            Error::invalid(format!("{shown:?} is outside of the directory that is extracted to"))
        };
        Clean::parse(&renamed).map(|clean| clean.as_bytes().to_vec()).ok_or_else(outside)
    }

    /// The directory of that name below the base; made with those above it when it is missing.
    fn parent(&mut self, name: &[u8]) -> Result<Rc<OwnedFd>> {
        if let Some((known, dir)) = &self.open
            && known == name
        {
            return Ok(Rc::clone(dir));
        }
        let full = join(&self.how.base, name);
        let full = full.strip_suffix(b"/").unwrap_or(&full);
        let dir = match self.open_directory(full) {
            Err(error) if error.errno == Errno::ENOENT => {
                let ends = full.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
                for end in ends.chain([full.len()]) {
                    self.ensure(&full[..end])?;
                }
                self.open_directory(full)
            }
            other => other,
        };
        let dir = Rc::new(dir.map_err(leaves)?);
        self.open = Some((name.to_vec(), Rc::clone(&dir)));
        Ok(dir)
    }

    fn open_directory(&self, full: &[u8]) -> fsat::Result<OwnedFd> {
        open_directory(self.how.root, full, self.how.resolve)
    }

    fn ensure(&self, full: &[u8]) -> Result<()> {
        if full.is_empty() || self.open_directory(full).is_ok() {
            return Ok(());
        }
        let (above, last) = split(full);
        let above = self.open_directory(above).map_err(leaves)?;
        match fsat::mkdir_at(above.as_fd(), path(last), IMPLIED_MODE) {
            Err(error) if error.errno == Errno::EEXIST => return Ok(()),
            other => other.map_err(full_disk)?,
        }
        // The umask is that of whoever runs this. By descriptor: the container may put a link in its place.
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let made = fsat::open_at(above.as_fd(), path(last), flags, 0).context(extracting)?;
        fsat::chmod(made.as_fd(), IMPLIED_MODE).context(extracting)
    }

    /// Removes what is in the way; true if a directory is there and stays.
    fn make_way(&mut self, dir: BorrowedFd<'_>, last: &[u8], entry: &Entry) -> Result<bool> {
        let old = match fsat::stat_at(dir, path(last)) {
            Err(error) if error.errno == Errno::ENOENT => return Ok(false),
            other => other.context(extracting)?,
        };
        let is_directory = entry.kind == Kind::Directory;
        if old.is_dir() && is_directory {
            return Ok(true);
        }
        if self.how.keep_kinds && old.is_dir() != is_directory {
            let (kind, by) =
                if old.is_dir() { ("directory", "non-directory") } else { ("non-directory", "directory") };
            let (name, base) = (String::from_utf8_lossy(last), String::from_utf8_lossy(&self.how.base));
            return Err(Error::invalid(format!("cannot overwrite {kind} {name:?} with {by} in \"/{base}\"")));
        }
        if entry.kind == Kind::HardLink && self.is_same_file(&old, entry)? {
            return Ok(false);
        }
        self.open = None;
        fsat::remove_tree(dir, path(last)).context(extracting)?;
        Ok(false)
    }

    fn link_target(&mut self, entry: &Entry) -> Result<(Rc<OwnedFd>, Vec<u8>)> {
        let target = self.clean(&entry.link)?;
        let (parent, last) = split(&target);
        let full = join(&self.how.base, parent);
        let full = full.strip_suffix(b"/").unwrap_or(&full);
        Ok((Rc::new(self.open_directory(full).map_err(leaves)?), last.to_vec()))
    }

    fn is_same_file(&mut self, old: &fsat::Stat, entry: &Entry) -> Result<bool> {
        let (dir, name) = self.link_target(entry)?;
        let target = fsat::stat_at(dir.as_fd(), path(&name)).context(extracting)?;
        Ok((old.device, old.inode) == (target.device, target.inode))
    }

    fn hard_link(&mut self, dir: BorrowedFd<'_>, last: &[u8], entry: &Entry) -> Result<()> {
        let (from, name) = self.link_target(entry)?;
        match fsat::link_at(from.as_fd(), path(&name), dir, path(last)) {
            // It is that file already: see `make_way`.
            Err(error) if error.errno == Errno::EEXIST => Ok(()),
            other => other.context(extracting),
        }
    }

    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        last: &[u8],
        entry: &Entry,
        merge: bool,
    ) -> Result<()> {
        if !merge {
            fsat::mkdir_at(dir, path(last), 0o700).map_err(full_disk)?;
        }
        let made =
            fsat::open_at(dir, path(last), libc::O_RDONLY | libc::O_DIRECTORY, 0).context(extracting)?;
        self.attributes(made.as_fd(), entry)?;
        self.directories.push((name.to_vec(), entry.mtime));
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        dir: BorrowedFd<'_>,
        last: &[u8],
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        let made = fsat::open_at(dir, path(last), flags, 0o600).map_err(full_disk)?;
        let out = made.as_fd();
        if entry.is_sparse() {
            fsat::set_len(out, entry.size).map_err(full_disk)?;
        }
        while let Some((offset, bytes)) = reader.next_chunk()? {
            fsat::write_all_at(out, bytes, offset).map_err(full_disk)?;
        }
        self.attributes(out, entry)?;
        fsat::set_times(out, time(entry.mtime), time(entry.mtime)).context(extracting)
    }

    /// Of an open file or directory, all but the time.
    fn attributes(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        if let Some((uid, gid)) = self.owner(entry) {
            fsat::chown(file, uid, gid).context(extracting)?;
        }
        fsat::chmod(file, entry.mode).context(extracting)?;
        for (name, value) in &entry.xattrs {
            let name = OsStr::from_bytes(name);
            if is_kept(name) {
                tolerate(xattr::set(file, name, &self.translated(name, value)))?;
            }
        }
        Ok(())
    }

    fn owner(&self, entry: &Entry) -> Option<(u32, u32)> {
        match &self.how.owners {
            Owners::Archived(translate) => Some(translate(entry.uid, entry.gid)),
            Owners::Fixed(uid, gid) => Some((*uid, *gid)),
            Owners::Ours => None,
        }
    }

    fn translated(&self, name: &OsStr, value: &[u8]) -> Vec<u8> {
        match &self.how.owners {
            Owners::Archived(translate) => xattr_ids::translate(name.as_bytes(), value.to_vec(), translate),
            Owners::Fixed(..) | Owners::Ours => value.to_vec(),
        }
    }

    fn device(&self, dir: BorrowedFd<'_>, last: &[u8], entry: &Entry, kind: u32) -> Result<()> {
        let special = match kind {
            libc::S_IFIFO => 0,
            _ => fsat::make_device(entry.device.0, entry.device.1),
        };
        fsat::mknod_at(dir, path(last), kind | 0o600, special).map_err(full_disk)?;
        self.node(dir, last, entry, kind)
    }

    /// Attributes of what has just been made and cannot be opened.
    fn node(&self, dir: BorrowedFd<'_>, last: &[u8], entry: &Entry, kind: u32) -> Result<()> {
        let place = fsat::open_at(dir, path(last), libc::O_PATH, 0).context(extracting)?;
        if fsat::stat(place.as_fd()).context(extracting)?.kind() != kind {
            return Err(Error::conflict("somebody put another file in its place"));
        }
        if let Some((uid, gid)) = self.owner(entry) {
            fsat::chown_at(place.as_fd(), path(b""), uid, gid).context(extracting)?;
        }
        for (name, value) in &entry.xattrs {
            let name = OsStr::from_bytes(name);
            if is_kept(name) {
                tolerate(xattr::set_at(dir, path(last), name, &self.translated(name, value)))?;
            }
        }
        let moment = time(entry.mtime);
        if kind == libc::S_IFLNK {
            return fsat::set_times_at(dir, path(last), moment, moment).context(extracting);
        }
        fsat::chmod_place(place.as_fd(), entry.mode).context(extracting)?;
        fsat::set_times_place(place.as_fd(), moment, moment).context(extracting)
    }

    fn finish(self) -> Result<()> {
        for (name, mtime) in self.directories.iter().rev() {
            let full = join(&self.how.base, name);
            match self.open_directory(&full) {
                Ok(place) => {
                    fsat::set_times_place(place.as_fd(), time(*mtime), time(*mtime)).context(extracting)?;
                }
                // Somebody moved it.
                Err(_) => continue,
            }
        }
        Ok(())
    }
}

/// An attribute that the filesystem has no place for is left out, as Docker does.
fn tolerate(result: fsat::Result<()>) -> Result<()> {
    match result {
        Err(error) if matches!(error.errno, Errno::EOPNOTSUPP | Errno::EPERM) => Ok(()),
        other => other.context(extracting),
    }
}

fn time(mtime: Mtime) -> Time {
    Time { seconds: mtime.seconds, nanos: mtime.nanos }
}

fn extracting() -> String {
    "extract".to_owned()
}

/// A link on the way that leads out, where that is an error.
fn leaves(error: dhow_sys::Error) -> Error {
    match error.errno {
        Errno::EXDEV => Error::invalid(format!("{}: a link leads out of the directory", error.object)),
        Errno::ENOENT => Error::caused(ErrorKind::NotFound, extracting(), error),
        Errno::ENOTDIR | Errno::ELOOP => Error::caused(ErrorKind::InvalidArgument, extracting(), error),
        _ => Error::caused(ErrorKind::Internal, extracting(), error),
    }
}

/// A failed write: `Unavailable` when the disk is full.
fn full_disk(error: dhow_sys::Error) -> Error {
    let kind = match error.errno {
        Errno::ENOSPC | Errno::EDQUOT => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::caused(kind, extracting(), error)
}
