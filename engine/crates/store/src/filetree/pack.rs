//! From files to a tar archive.
//!
//! Directories are opened anew by their path below the top, never through a link, so that a tree of any depth
//! takes a handful of descriptors. What vanishes while it is being packed is left out; a file that shrinks is
//! filled up with zeros, one that grows is cut, as `tar` does: the archive stays whole. Sockets have no place in
//! an archive, and are left out.

use super::place::{join, open_directory, path};
use crate::tarball::{Entry, Kind, Mtime, Segment, encode};
use dhow_model::{Error, Result, ResultExt};
use dhow_sys::fsat::{self, Stat, resolve};
use dhow_sys::{Errno, xattr, xattr_ids};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

/// How much file data is read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Smaller files are written whole, holes and all: a map would save nothing.
const SPARSE_FROM_BYTES: u64 = 64 << 10;
/// A file with more stretches of data than this is written whole.
const SEGMENTS_MAX: usize = 1 << 16;

/// Writes files and trees into one archive.
pub struct Packer<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    /// First names of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Ids as the archive is to have them.
    owners: Box<dyn Fn(u32, u32) -> (u32, u32) + 'a>,
}

/// One file to pack.
struct Job {
    /// Its directory's path below the top.
    parent: Vec<u8>,
    name: Vec<u8>,
    /// What the archive calls it.
    member: Vec<u8>,
}

impl<'a> Packer<'a> {
    /// An archive on its way to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            buffer: vec![0; PIECE_BYTES],
            links: HashMap::new(),
            owners: Box::new(|uid, gid| (uid, gid)),
        }
    }

    /// Translates owners on the way, also those in extended attributes.
    #[must_use]
    pub fn with_owners(self, owners: impl Fn(u32, u32) -> (u32, u32) + 'a) -> Self {
        Self { owners: Box::new(owners), ..self }
    }

    /// Adds what lies below the directory `top`, with `prefix` before each name. A prefix that is not empty ends in
    /// a slash, and is the name of the directory itself, which is a member then.
    ///
    /// # Errors
    /// When a file cannot be read, naming it, or the output fails.
    pub fn tree(&mut self, top: BorrowedFd<'_>, prefix: &[u8]) -> Result<()> {
        if !prefix.is_empty() {
            let stat = fsat::stat(top).context(packing)?;
            let mut entry = entry(&stat, prefix.to_vec(), Kind::Directory);
            entry.xattrs = attributes(top, b"")?;
            self.header(entry)?;
        }
        self.below(top, prefix)
    }

    /// Adds one file, with what is below it if it is a directory.
    ///
    /// # Errors
    /// As [`Packer::tree`].
    pub fn file(&mut self, dir: BorrowedFd<'_>, name: &[u8], member: &[u8]) -> Result<()> {
        let place = match fsat::open_at(dir, path(name), libc::O_PATH, 0) {
            Err(error) if error.errno == Errno::ENOENT => return Ok(()),
            other => other.context(packing)?,
        };
        if self.one(dir, place.as_fd(), name, member)? {
            self.below(place.as_fd(), &[member, b"/"].concat())?;
        }
        Ok(())
    }

    /// Adds one file without what may be below it. An absent one is left out.
    ///
    /// # Errors
    /// As [`Packer::tree`].
    pub fn alone(&mut self, dir: BorrowedFd<'_>, name: &[u8], member: &[u8]) -> Result<()> {
        match fsat::open_at(dir, path(name), libc::O_PATH, 0) {
            Err(error) if error.errno == Errno::ENOENT => Ok(()),
            other => self.one(dir, other.context(packing)?.as_fd(), name, member).map(drop),
        }
    }

    /// An empty file: for whiteouts, which are but names.
    ///
    /// # Errors
    /// When the output fails.
    pub fn empty(&mut self, member: &[u8], mtime: Mtime) -> Result<()> {
        self.header(Entry {
            path: member.to_vec(),
            link: Vec::new(),
            kind: Kind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime,
            device: (0, 0),
            xattrs: Vec::new(),
            segments: Vec::new(),
            header_at: 0,
            data_at: 0,
        })
    }

    /// The end of the archive.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(self) -> Result<()> {
        encode::end(self.out)
    }

    /// All that is below `top`, directories before their content.
    fn below(&mut self, top: BorrowedFd<'_>, prefix: &[u8]) -> Result<()> {
        let mut jobs = Vec::new();
        list(top, b"", prefix, &mut jobs)?;
        // Jobs of one directory lie together: it is opened once for all of them.
        let mut open: Option<(Vec<u8>, OwnedFd)> = None;
        while let Some(Job { parent, name, member }) = jobs.pop() {
            if open.as_ref().is_none_or(|(known, _)| *known != parent) {
                match open_directory(top, &parent, resolve::NO_SYMLINKS) {
                    Ok(dir) => open = Some((parent.clone(), dir)),
                    Err(error) if is_gone(error.errno) => continue,
                    Err(error) => return Err(error).context(packing),
                }
            }
            let Some((_, dir)) = &open else { continue };
            let place = match fsat::open_at(dir.as_fd(), path(&name), libc::O_PATH, 0) {
                Err(error) if is_gone(error.errno) => continue,
                other => other.context(packing)?,
            };
            if self.one(dir.as_fd(), place.as_fd(), &name, &member)? {
                list(top, &join(&parent, &name), &[&*member, b"/"].concat(), &mut jobs)?;
            }
        }
        Ok(())
    }

    /// Adds one file; true if it is a directory.
    fn one(
        &mut self,
        dir: BorrowedFd<'_>,
        place: BorrowedFd<'_>,
        name: &[u8],
        member: &[u8],
    ) -> Result<bool> {
        let failing = |error: Error| Error::caused(error.kind(), shown(member), error);
        let stat = fsat::stat(place).context(packing)?;
        let kind = match stat.kind() {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFCHR => Kind::CharDevice,
            libc::S_IFBLK => Kind::BlockDevice,
            libc::S_IFIFO => Kind::Fifo,
            _ => return Ok(false),
        };
        let mut entry = entry(&stat, member.to_vec(), kind);
        if kind != Kind::Directory && stat.links > 1 {
            if let Some(first) = self.links.get(&(stat.device, stat.inode)) {
                entry.link.clone_from(first);
                entry.kind = Kind::HardLink;
                self.header(entry)?;
                return Ok(false);
            }
            self.links.insert((stat.device, stat.inode), member.to_vec());
        }
        match kind {
            Kind::File => self.data(place, entry).map_err(failing)?,
            Kind::Directory => {
                entry.path.push(b'/');
                entry.xattrs = attributes(place, b"").map_err(failing)?;
                self.header(entry)?;
            }
            _ => {
                if kind == Kind::Symlink {
                    // An empty name: the link behind the descriptor itself.
                    entry.link = fsat::read_link_at(place, path(b"")).context(packing)?.into_vec();
                }
                entry.xattrs = attributes(dir, name).map_err(failing)?;
                self.header(entry)?;
            }
        }
        Ok(kind == Kind::Directory)
    }

    fn header(&mut self, mut entry: Entry) -> Result<()> {
        (entry.uid, entry.gid) = (self.owners)(entry.uid, entry.gid);
        for (name, value) in &mut entry.xattrs {
            *value = xattr_ids::translate(name, std::mem::take(value), &self.owners);
        }
        encode::write_headers(self.out, &entry)
    }

    fn data(&mut self, place: BorrowedFd<'_>, mut entry: Entry) -> Result<()> {
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::from(fsat::reopen(place, flags).context(packing)?);
        let stat = fsat::stat(file.as_fd()).context(packing)?;
        entry.size = stat.size;
        entry.xattrs = attributes_of(&file)?;
        entry.segments = segments(&file, &stat);
        let segments = entry.segments.clone();
        let stored = entry.stored();
        self.header(entry)?;
        for segment in segments {
            self.copy(&file, segment)?;
        }
        encode::padding(self.out, stored)
    }

    fn copy(&mut self, file: &File, Segment { mut offset, mut length }: Segment) -> Result<()> {
        while length > 0 {
            let wanted = usize::try_from(length).map_or(self.buffer.len(), |n| n.min(self.buffer.len()));
            let piece = &mut self.buffer[..wanted];
            let got = match file.read_at(piece, offset) {
                // It was cut meanwhile.
                Ok(0) => {
                    piece.fill(0);
                    wanted
                }
                Ok(got) => got,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context(|| "read".to_owned()),
            };
            self.out.write_all(&self.buffer[..got]).map_err(encode::failed)?;
            offset += got as u64;
            length -= got as u64;
        }
        Ok(())
    }
}

/// Puts the names of a directory on the stack, so that they come off in order.
fn list(top: BorrowedFd<'_>, parent: &[u8], prefix: &[u8], jobs: &mut Vec<Job>) -> Result<()> {
    let dir = match open_directory(top, parent, resolve::NO_SYMLINKS) {
        Err(error) if is_gone(error.errno) => return Ok(()),
        other => other.context(packing)?,
    };
    let listed = fsat::list_directory(dir.as_fd()).context(packing)?;
    let mut names: Vec<OsString> = listed.into_iter().map(|listed| listed.name).collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    jobs.extend(names.into_iter().map(|name| {
        let member = [prefix, name.as_bytes()].concat();
        Job { parent: parent.to_vec(), name: name.into_vec(), member }
    }));
    Ok(())
}

/// Another thread of the container moved or replaced it.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV)
}

fn entry(stat: &Stat, member: Vec<u8>, kind: Kind) -> Entry {
    let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    Entry {
        path: member,
        link: Vec::new(),
        kind,
        mode: stat.mode & 0o7777,
        uid: stat.uid,
        gid: stat.gid,
        size: 0,
        mtime: Mtime { seconds: stat.mtime.seconds, nanos: stat.mtime.nanos },
        device: if is_device { fsat::split_device(stat.special) } else { (0, 0) },
        xattrs: Vec::new(),
        segments: Vec::new(),
        header_at: 0,
        data_at: 0,
    }
}

/// The stretches of a file that hold data; all of it unless it has holes worth a map.
fn segments(file: &File, stat: &Stat) -> Vec<Segment> {
    let whole = || {
        let all = Segment { offset: 0, length: stat.size };
        if stat.size > 0 { vec![all] } else { Vec::new() }
    };
    if stat.size < SPARSE_FROM_BYTES || stat.blocks.saturating_mul(512) >= stat.size {
        return whole();
    }
    let mut found = Vec::new();
    let mut at = 0;
    while at < stat.size {
        match fsat::next_data(file.as_fd(), at) {
            Ok(Some((begin, end))) if end > begin && found.len() < SEGMENTS_MAX => {
                let end = end.min(stat.size);
                if begin < end {
                    found.push(Segment { offset: begin, length: end - begin });
                }
                at = end.max(begin + 1);
            }
            Ok(None) => break,
            // This filesystem does not tell, or the file is more holes than cheese.
            _ => return whole(),
        }
    }
    found
}

/// What an archive keeps of the extended attributes: not overlayfs's own, nor the host's labels.
pub(super) fn is_kept(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && name != b"security.selinux"
        && !name.starts_with(b"system.nfs4")
}

fn attributes_of(file: &File) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = xattr::list(file.as_fd()).context(packing)?;
    collect(names, |name| xattr::get(file.as_fd(), name))
}

/// Extended attributes of a file by name; an empty one means `dir` itself.
pub(super) fn attributes(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match xattr::list_at(dir, path(name)) {
        Err(error) if is_gone(error.errno) => return Ok(Vec::new()),
        other => other.context(packing)?,
    };
    collect(names, |attribute| xattr::get_at(dir, path(name), attribute))
}

fn collect(
    names: Vec<OsString>,
    get: impl Fn(&OsStr) -> fsat::Result<Option<Vec<u8>>>,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| is_kept(name)) {
        match get(&name) {
            Ok(Some(value)) => found.push((name.into_vec(), value)),
            Ok(None) => {}
            Err(error) if is_gone(error.errno) => {}
            Err(error) => return Err(error).context(packing),
        }
    }
    Ok(found)
}

fn shown(member: &[u8]) -> String {
    format!("pack {:?}", String::from_utf8_lossy(member))
}

fn packing() -> String {
    "pack files".to_owned()
}
