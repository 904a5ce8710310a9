//! Paths below a root, of any length.

use dhow_sys::fsat;
use dhow_sys::{Errno, Error};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The kernel takes paths of less than 4096 bytes (PATH_MAX); longer ones are walked in pieces.
const PIECE_MAX: usize = 4000;

/// Bytes as a path, without copying.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// `parent` and `name` joined; the root's name is empty.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// Opens a directory below `root` as a place (`O_PATH`), as `resolve` says.
///
/// # Errors
/// `ENOENT`, `ENOTDIR` and what else openat2(2) has.
pub fn open_directory(root: BorrowedFd<'_>, name: &[u8], resolve: u64) -> Result<OwnedFd, Error> {
    open(root, name, libc::O_PATH | libc::O_DIRECTORY, resolve)
}

/// Opens whatever the path leads to as a place (`O_PATH`); a symbolic link at its end is followed unless
/// `nofollow`.
///
/// # Errors
/// As [`open_directory`].
pub fn open_place(root: BorrowedFd<'_>, name: &[u8], nofollow: bool, resolve: u64) -> Result<OwnedFd, Error> {
    let nofollow = if nofollow { libc::O_NOFOLLOW } else { 0 };
    open(root, name, libc::O_PATH | nofollow, resolve)
}

/// The directory that a path's last name lies in, and that name.
///
/// # Errors
/// As [`open_directory`].
pub fn open_parent<'a>(
    root: BorrowedFd<'_>,
    name: &'a [u8],
    resolve: u64,
) -> Result<(OwnedFd, &'a [u8]), Error> {
    let (parent, last) = split(name);
    Ok((open_directory(root, parent, resolve)?, last))
}

/// The parent's name and the last one.
pub(super) fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (b"", name),
    }
}

fn open(root: BorrowedFd<'_>, name: &[u8], flags: i32, resolve: u64) -> Result<OwnedFd, Error> {
    let mut rest = name;
    let mut here: Option<OwnedFd> = None;
    while rest.len() > PIECE_MAX {
        // In pieces `..` and absolute links would mean something else: only plain names are walked so.
        let slash = rest[..PIECE_MAX].iter().rposition(|&b| b == b'/').ok_or(Error {
            call: "openat2",
            object: String::from_utf8_lossy(&name[..64]).into_owned(),
            errno: Errno::ENAMETOOLONG,
        })?;
        let dir = here.as_ref().map_or(root, AsFd::as_fd);
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        here = Some(fsat::open_resolved(dir, path(&rest[..slash]), flags, 0, fsat::resolve::NO_SYMLINKS)?);
        rest = &rest[slash + 1..];
    }
    let resolve = if here.is_some() { fsat::resolve::NO_SYMLINKS } else { resolve };
    let dir = here.as_ref().map_or(root, AsFd::as_fd);
    let rest: &[u8] = if rest.is_empty() { b"." } else { rest };
    fsat::open_resolved(dir, path(rest), flags, 0, resolve)
}

/// As many symbolic links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// Where a path leads when every link in it is followed, as far as it exists: without a slash at the beginning,
/// without `.` and `..`. Absolute links start from the root.
///
/// # Errors
/// `ELOOP`; else as [`open_directory`].
pub fn follow(root: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Error> {
    let mut pending: VecDeque<Vec<u8>> = name.split(|&b| b == b'/').map(<[u8]>::to_vec).collect();
    let mut resolved: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(part) = pending.pop_front() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                resolved.pop();
                continue;
            }
            _ => {}
        }
        // What was resolved has no link in it; if it has one now, somebody is playing, and the path ends here.
        let parent = open_directory(root, &resolved.join(&b'/'), fsat::resolve::NO_SYMLINKS);
        let link = parent.and_then(|parent| fsat::read_link_at(parent.as_fd(), path(&part)));
        let Ok(link) = link else {
            resolved.push(part);
            continue;
        };
        links += 1;
        if links > LINKS_MAX {
            let object = String::from_utf8_lossy(name).into_owned();
            return Err(Error { call: "openat2", object, errno: Errno::ELOOP });
        }
        let link = link.into_vec();
        if link.starts_with(b"/") {
            resolved.clear();
        }
        for name in link.split(|b| *b == b'/').rev() {
            pending.push_front(name.to_vec());
        }
    }
    Ok(resolved.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_sys::fsat::resolve;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_below_the_root_only() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::create_dir(at("etc")).unwrap();
        symlink("/etc", at("abs")).unwrap();
        symlink("../../../../etc/up", at("etc/up")).unwrap();
        symlink("../etc/./gone/deep", at("etc/dangling")).unwrap();
        let root = fsat::open_directory(scratch.path()).unwrap();
        let to = |name: &str| follow(root.as_fd(), name.as_bytes()).map(|f| String::from_utf8(f).unwrap());
        assert_eq!(to("/abs/x//y").unwrap(), "etc/x/y");
        assert_eq!(to("abs/dangling").unwrap(), "etc/gone/deep");
        assert_eq!(to("etc/up").unwrap_err().errno, Errno::ELOOP);
        assert_eq!(to("../..").unwrap(), "");
        let inside = fsat::stat_at(root.as_fd(), path(b"etc")).unwrap().inode;
        let place = open_place(root.as_fd(), b"abs", false, resolve::IN_ROOT).unwrap();
        assert_eq!(fsat::stat(place.as_fd()).unwrap().inode, inside);
        let link = open_place(root.as_fd(), b"abs", true, resolve::IN_ROOT).unwrap();
        assert!(fsat::stat(link.as_fd()).unwrap().is_symlink());
    }

    #[test]
    fn paths_longer_than_the_kernel_takes() {
        let scratch = tempfile::tempdir().unwrap();
        let root = fsat::open_directory(scratch.path()).unwrap();
        let mut here = root.try_clone().unwrap();
        let mut name = Vec::new();
        for _ in 0..60 {
            let part = [b'n'; 200];
            fsat::mkdir_at(here.as_fd(), path(&part), 0o700).unwrap();
            here = fsat::open_at(here.as_fd(), path(&part), libc::O_DIRECTORY, 0).unwrap();
            name = join(&name, &part);
        }
        let (parent, last) = open_parent(root.as_fd(), &name, resolve::IN_ROOT).unwrap();
        let found = fsat::stat_at(parent.as_fd(), path(last)).unwrap();
        assert_eq!(found.inode, fsat::stat(here.as_fd()).unwrap().inode);
        fsat::remove_tree(root.as_fd(), path(&[b'n'; 200])).unwrap();
    }
}
