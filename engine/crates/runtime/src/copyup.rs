//! Filling an empty volume with what the image has in its place.
//!
//! The image's side is private to this launch. The volume's side may be in use by another container at the same
//! time, which may swap names for symbolic links: so everything there is made relative to opened directories,
//! exclusively, and never through a link (CVE-2022-23648, CVE-2023-0778). One fills it at a time, to the end or not
//! at all ([`journal`]).

mod journal;

use self::journal::Journal;
use crate::idmap::IdMaps;
use dhow_model::{ErrorKind, Result, ResultExt};
use dhow_sys::{Errno, OnErrno, fsat, openat2, xattr, xattr_ids};
use nix::libc::{O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_WRONLY};
use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Deeper trees are refused: two descriptors are held for each level.
const MAX_DEPTH: usize = 1024;

/// Copies the directory `target` of the image below `root` into `volume`, if `volume` is empty. With `maps` the
/// files below `root` show the host's ids; the volume gets the container's, as it is mounted id-mapped.
///
/// # Errors
/// Names the file that could not be copied.
pub(crate) fn fill(root: BorrowedFd<'_>, target: &CStr, volume: &Path, maps: Option<&IdMaps>) -> Result<()> {
    let journal = Journal::open(volume)?;
    let to =
        fsat::open_directory(volume).context_kind(ErrorKind::StartFailed, || "fill volume".to_owned())?;
    if !fsat::list_directory(to.as_fd()).context(|| "fill volume".to_owned())?.is_empty() {
        return Ok(());
    }
    let from = match openat2::open_in_root(root, target, O_RDONLY | O_DIRECTORY, 0) {
        Ok(from) => from,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        Err(errno) => {
            return Err(errno).context_kind(ErrorKind::StartFailed, || {
                format!("fill volume: open {}", target.to_string_lossy())
            });
        }
    };
    let what = || format!("fill volume {} from {}", volume.display(), target.to_string_lossy());
    let names = fsat::list_directory(from.as_fd()).context(what)?.into_iter().map(|entry| entry.name);
    journal.keep(&names.collect::<Vec<_>>(), || {
        let mut copy = Copy { links: HashMap::new(), top: to.as_fd(), maps };
        copy.directory(from.as_fd(), to.as_fd(), &mut PathBuf::new(), 0)
            .context_kind(ErrorKind::StartFailed, what)
    })
}

/// Copies all of a directory, with everything that it has, into an empty one: with shared extents where the
/// filesystem can.
///
/// # Errors
/// Names the file that could not be copied. What was copied stays.
pub fn copy_tree(from: BorrowedFd<'_>, to: &Path) -> Result<()> {
    let what = || format!("copy to {}", to.display());
    let from = fsat::open_at(from, Path::new("."), O_RDONLY | O_DIRECTORY, 0).context(what)?;
    let to = fsat::open_directory(to).context(what)?;
    let mut copy = Copy { links: HashMap::new(), top: to.as_fd(), maps: None };
    copy.directory(from.as_fd(), to.as_fd(), &mut PathBuf::new(), 0).context(what)
}

struct Copy<'a> {
    /// First name of each file with several: (device, inode) of the source → path below the volume.
    links: HashMap<(u64, u64), PathBuf>,
    top: BorrowedFd<'a>,
    maps: Option<&'a IdMaps>,
}

impl Copy<'_> {
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        below: &mut PathBuf,
        depth: usize,
    ) -> Result<(), dhow_sys::Error> {
        if depth > MAX_DEPTH {
            return Err(dhow_sys::Error {
                call: "copy",
                object: "a tree too deep".to_owned(),
                errno: Errno::ELOOP,
            });
        }
        for entry in fsat::list_directory(from)? {
            let name = Path::new(&entry.name);
            below.push(name);
            self.entry(from, to, name, below, depth)?;
            below.pop();
        }
        let stat = self.named_inside(fsat::stat(from)?);
        self.copy_own_xattrs(from, to)?;
        attributes(to, &stat)
    }

    fn named_inside(&self, mut stat: fsat::Stat) -> fsat::Stat {
        if let Some(maps) = self.maps {
            (stat.uid, stat.gid) = maps.inside(stat.uid, stat.gid);
        }
        stat
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &Path,
        below: &mut PathBuf,
        depth: usize,
    ) -> Result<(), dhow_sys::Error> {
        let stat = self.named_inside(fsat::stat_at(from, name)?);
        if stat.is_dir() {
            let source = fsat::open_at(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0)?;
            fsat::mkdir_at(to, name, 0o700)?;
            let copy = fsat::open_at(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0)?;
            return self.directory(source.as_fd(), copy.as_fd(), below, depth + 1);
        }
        if stat.links > 1 {
            if let Some(first) = self.links.get(&(stat.device, stat.inode)) {
                let safely = openat2::BENEATH | openat2::NO_SYMLINKS;
                let file = fsat::open_resolved(self.top, first, O_PATH | O_NOFOLLOW, 0, safely)?;
                return fsat::link_file(file.as_fd(), to, name);
            }
            self.links.insert((stat.device, stat.inode), below.clone());
        }
        if stat.is_file() {
            return self.regular(from, to, name, &stat);
        }
        if stat.is_symlink() {
            fsat::symlink_at(Path::new(&fsat::read_link_at(from, name)?), to, name)?;
        } else {
            fsat::mknod_at(to, name, stat.mode, stat.special)?;
            // mknod obeys the umask. By descriptor, because a name could be swapped for a link meanwhile.
            let node = fsat::open_at(to, name, O_PATH | O_NOFOLLOW, 0)?;
            let path = format!("/proc/self/fd/{}", node.as_raw_fd());
            let mode = fs::Permissions::from_mode(stat.mode & 0o7777);
            fs::set_permissions(path, mode)
                .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))
                .on("chmod", name.display())?;
        }
        fsat::chown_at(to, name, stat.uid, stat.gid)?;
        self.copy_xattrs(
            xattr::list_at(from, name)?,
            |attribute| xattr::get_at(from, name, attribute),
            |attribute, value| xattr::set_at(to, name, attribute, value),
        )?;
        fsat::set_times_at(to, name, stat.mtime, stat.mtime)
    }

    fn regular(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &Path,
        stat: &fsat::Stat,
    ) -> Result<(), dhow_sys::Error> {
        let source = fsat::open_at(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0)?;
        let copy: OwnedFd = fsat::open_at(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)?;
        // Overlay and volume are two filesystems: std goes from copy_file_range to sendfile to read and write.
        let (mut source, mut copy) = (fs::File::from(source), fs::File::from(copy));
        std::io::copy(&mut source, &mut copy)
            .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(nix::libc::EIO)))
            .on("copy", name.display())?;
        self.copy_own_xattrs(source.as_fd(), copy.as_fd())?;
        attributes(copy.as_fd(), stat)
    }

    /// Of an open file or directory.
    fn copy_own_xattrs(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), dhow_sys::Error> {
        self.copy_xattrs(
            xattr::list(from)?,
            |name| xattr::get(from, name),
            |name, value| xattr::set(to, name, value),
        )
    }

    fn copy_xattrs(
        &self,
        names: Vec<OsString>,
        get: impl Fn(&OsStr) -> Result<Option<Vec<u8>>, dhow_sys::Error>,
        set: impl Fn(&OsStr, &[u8]) -> Result<(), dhow_sys::Error>,
    ) -> Result<(), dhow_sys::Error> {
        for name in names {
            // The host's security modules label files themselves.
            if name == "security.selinux" {
                continue;
            }
            let Some(mut value) = get(&name)? else { continue };
            if let Some(maps) = self.maps {
                let inside = |uid, gid| maps.inside(uid, gid);
                value = xattr_ids::translate(name.as_encoded_bytes(), value, &inside);
            }
            match set(&name, &value) {
                // The volume's filesystem has no extended attributes of this kind.
                Ok(()) | Err(dhow_sys::Error { errno: Errno::EOPNOTSUPP, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Owner before mode, because chown clears setuid; times last.
fn attributes(file: BorrowedFd<'_>, stat: &fsat::Stat) -> Result<(), dhow_sys::Error> {
    fsat::chown(file, stat.uid, stat.gid)?;
    fsat::chmod(file, stat.mode & 0o7777)?;
    fsat::set_times(file, stat.mtime, stat.mtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_tree_is_copied_once_with_its_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volume) = (dir.path().join("root"), dir.path().join("volume"));
        fs::create_dir_all(root.join("data/sub")).unwrap();
        fs::create_dir(&volume).unwrap();
        fs::write(root.join("data/sub/a"), "hello").unwrap();
        fs::hard_link(root.join("data/sub/a"), root.join("data/b")).unwrap();
        symlink("/etc/passwd", root.join("data/link")).unwrap();
        fs::set_permissions(root.join("data/sub/a"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o1777)).unwrap();
        let root_fd: OwnedFd = fs::File::open(&root).unwrap().into();
        fill(root_fd.as_fd(), c"/data", &volume, None).unwrap();
        let copied = fs::metadata(volume.join("sub/a")).unwrap();
        assert_eq!((copied.mode() & 0o7777, copied.nlink()), (0o4751, 2));
        assert_eq!(fs::read(volume.join("b")).unwrap(), b"hello");
        assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o1777);
        fs::write(root.join("data/new"), "x").unwrap();
        fill(root_fd.as_fd(), c"/data", &volume, None).unwrap();
        assert!(!volume.join("new").exists(), "not empty any more: left alone");
        fill(root_fd.as_fd(), c"/missing", &volume, None).unwrap();
    }

    #[test]
    fn nothing_is_taken_from_outside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volume) = (dir.path().join("root"), dir.path().join("volume"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&volume).unwrap();
        symlink("/etc", root.join("data")).unwrap();
        let root_fd: OwnedFd = fs::File::open(&root).unwrap().into();
        fill(root_fd.as_fd(), c"/data", &volume, None).unwrap();
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
    }
}
