//! Listing and removing directories.

use super::{Descriptor, Result, mkdir_at, open_at, rename_new_at, rmdir_at, unlink_at};
use crate::error::{Errno, Error, OnErrno};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: OsString,
    /// Whether it is a directory; `None` where the filesystem does not say so in the listing.
    pub is_dir: Option<bool>,
}

/// All names in a directory but `.` and `..`, in the filesystem's order.
///
/// # Errors
/// As opendir(3) and readdir(3) have it.
pub fn list_directory(dir: BorrowedFd<'_>) -> Result<Vec<Listed>> {
    let fail = |errno: Errno| Error { call: "readdir", object: Descriptor(dir).to_string(), errno };
    // A descriptor of its own: reading moves the position, and the caller's may be O_PATH.
    let own = open_at(dir, Path::new("."), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut stream = nix::dir::Dir::from_fd(own).map_err(fail)?;
    let mut names = Vec::new();
    for entry in stream.iter() {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let is_dir = entry.file_type().map(|kind| kind == nix::dir::Type::Directory);
            names.push(Listed { name: OsStr::from_bytes(name).to_owned(), is_dir });
        }
    }
    Ok(names)
}

/// Removes `name` in `dir` with all that is below it. Nothing happens if there is no such name.
///
/// Never follows a symbolic link, never crosses to a path by text, and needs a constant number of descriptors
/// and no recursion however deep the tree is: a directory inside that is not empty is first moved up into the
/// top one, under a name that is free there, and emptied from there.
///
/// # Errors
/// As the calls that it makes have it. What was not yet removed is left.
pub fn remove_tree(dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    match unlink_at(dir, name) {
        Ok(()) => return Ok(()),
        Err(Error { errno: Errno::ENOENT, .. }) => return Ok(()),
        Err(Error { errno: Errno::EISDIR | Errno::EPERM, .. }) => {}
        Err(error) => return Err(error),
    }
    let top = open_at(dir, name, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut moved = Moved { top, count: 0, waiting: Vec::new() };
    let directory = moved.top.try_clone().map_err(|_| Errno::EMFILE).on("dup", name.display())?;
    moved.empty(directory.as_fd())?;
    while let Some(next) = moved.waiting.pop() {
        let inner = open_at(moved.top.as_fd(), Path::new(&next), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
        moved.empty(inner.as_fd())?;
        rmdir_at(moved.top.as_fd(), Path::new(&next))?;
    }
    rmdir_at(dir, name)
}

struct Moved {
    top: OwnedFd,
    count: u64,
    /// Directories in `top` that are yet to be emptied.
    waiting: Vec<OsString>,
}

impl Moved {
    /// Removes everything in `dir`, or moves it into `top`.
    fn empty(&mut self, dir: BorrowedFd<'_>) -> Result<()> {
        // The listing is complete before anything is moved, so that moved directories are not seen twice.
        for Listed { name, is_dir } in list_directory(dir)? {
            let name = Path::new(&name);
            if is_dir != Some(true) {
                match unlink_at(dir, name) {
                    Err(Error { errno: Errno::EISDIR | Errno::EPERM, .. }) if is_dir.is_none() => {}
                    other => {
                        other?;
                        continue;
                    }
                }
            }
            match rmdir_at(dir, name) {
                Err(Error { errno: Errno::ENOTEMPTY | Errno::EEXIST, .. }) => self.move_up(dir, name)?,
                other => other?,
            }
        }
        Ok(())
    }

    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
        loop {
            let free = OsString::from(format!(".removing-{}", self.count));
            self.count += 1;
            match rename_new_at(dir, name, self.top.as_fd(), Path::new(&free)) {
                Ok(()) => {
                    self.waiting.push(free);
                    return Ok(());
                }
                Err(Error { errno: Errno::EEXIST, .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Makes a directory unless it is there.
///
/// # Errors
/// As mkdirat(2) has it.
pub fn ensure_directory(dir: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<()> {
    match mkdir_at(dir, name, mode) {
        Err(Error { errno: Errno::EEXIST, .. }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{open_directory, open_resolved, resolve, stat_at, symlink_at};
    use super::*;

    #[test]
    fn a_deep_and_wide_tree_is_removed_and_links_are_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("outside")).unwrap();
        std::fs::write(scratch.path().join("outside/file"), "x").unwrap();
        let root = open_directory(scratch.path()).unwrap();
        mkdir_at(root.as_fd(), Path::new("tree"), 0o700).unwrap();
        let mut here = open_at(root.as_fd(), Path::new("tree"), libc::O_DIRECTORY, 0).unwrap();
        for _ in 0..1500 {
            mkdir_at(here.as_fd(), Path::new("d"), 0o700).unwrap();
            mkdir_at(here.as_fd(), Path::new("empty"), 0o700).unwrap();
            mkdir_at(here.as_fd(), Path::new(".removing-0"), 0o700).unwrap();
            symlink_at(&scratch.path().join("outside"), here.as_fd(), Path::new("link")).unwrap();
            here = open_at(here.as_fd(), Path::new("d"), libc::O_DIRECTORY, 0).unwrap();
        }
        remove_tree(root.as_fd(), Path::new("tree")).unwrap();
        assert!(!scratch.path().join("tree").exists() && scratch.path().join("outside/file").exists());
        remove_tree(root.as_fd(), Path::new("tree")).unwrap();
        remove_tree(root.as_fd(), Path::new("outside")).unwrap();
        assert!(list_directory(root.as_fd()).unwrap().is_empty());
    }

    #[test]
    fn resolving_stays_inside() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("etc")).unwrap();
        let root = open_directory(scratch.path()).unwrap();
        symlink_at(Path::new("/etc"), root.as_fd(), Path::new("abs")).unwrap();
        symlink_at(Path::new("../../../etc"), root.as_fd(), Path::new("up")).unwrap();
        let inside = stat_at(root.as_fd(), Path::new("etc")).unwrap().inode;
        for name in ["abs", "up", "/etc", "../../etc"] {
            let fd = open_resolved(root.as_fd(), Path::new(name), libc::O_PATH, 0, resolve::IN_ROOT).unwrap();
            assert_eq!(super::super::stat(fd.as_fd()).unwrap().inode, inside, "{name}");
        }
        let error =
            open_resolved(root.as_fd(), Path::new("up"), libc::O_PATH, 0, resolve::BENEATH).unwrap_err();
        assert_eq!((error.call, error.errno), ("openat2", Errno::EXDEV));
        let error = open_resolved(root.as_fd(), Path::new("abs"), libc::O_PATH, 0, resolve::NO_SYMLINKS);
        assert_eq!(error.unwrap_err().errno, Errno::ELOOP);
    }
}
