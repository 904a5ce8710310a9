//! Places of mounts inside the root: found, or made where they are missing. Runs in the child: system calls alone,
//! texts in buffers on the stack.

use crate::rootfs::Target;
use dhow_sys::{Errno, Result, openat2};
use nix::libc;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Links followed inside the root.
const FOLLOW: u64 = openat2::IN_ROOT | openat2::NO_MAGICLINKS;
/// As many symbolic links as the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// PATH_MAX, with the NUL.
const PATH_BYTES: usize = 4096;

/// The place of one of our own mounts: made if missing, never through a symbolic link.
pub(super) fn own(root: BorrowedFd<'_>, target: &Target) -> Result<OwnedFd> {
    with(root, target, true, libc::O_DIRECTORY, openat2::IN_ROOT | openat2::NO_SYMLINKS)
}

/// The place of one of our own files in `/etc`. A symbolic link of the image's there is replaced by an empty file in the
/// container's own layer, as Docker's init layer does: followed, it would lead into a directory of the user's, or to a
/// device (moby#15177 and its like).
pub(super) fn own_file(root: BorrowedFd<'_>, target: &Target) -> Result<OwnedFd> {
    if let Some((directory, name)) = target.parts.last() {
        match openat2::open(root, directory, libc::O_PATH | libc::O_DIRECTORY, 0, FOLLOW) {
            Ok(directory) => {
                if openat2::read_link_at(directory.as_fd(), name, &mut [0; 1]).is_ok() {
                    openat2::unlink_at(directory.as_fd(), name)?;
                }
            }
            // Made below.
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    with(root, target, false, libc::O_NOFOLLOW, FOLLOW)
}

/// The place of a user's mount: made if missing, links followed inside the root, also those that lead to nothing yet.
pub(super) fn of_user(root: BorrowedFd<'_>, target: &Target, is_directory: bool) -> Result<OwnedFd> {
    match with(root, target, is_directory, 0, FOLLOW) {
        // A link in a mount that came before leads to what is not there.
        Err(Errno::ENOENT) => {
            make_through_links(root, &target.path, is_directory)?;
            openat2::open(root, &target.path, libc::O_PATH, 0, FOLLOW)
        }
        other => other,
    }
}

/// A place found with these flags, made part by part if it is missing.
pub(super) fn with(
    root: BorrowedFd<'_>,
    target: &Target,
    is_directory: bool,
    flags: i32,
    resolve: u64,
) -> Result<OwnedFd> {
    let flags = flags | libc::O_PATH;
    match openat2::open(root, &target.path, flags, 0, resolve) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let last = target.parts.len().wrapping_sub(1);
    for (index, (directory, name)) in target.parts.iter().enumerate() {
        let parent = openat2::open(root, directory, libc::O_PATH | libc::O_DIRECTORY, 0, resolve)?;
        make(parent.as_fd(), name, index == last && !is_directory)?;
    }
    openat2::open(root, &target.path, flags, 0, resolve)
}

fn make(parent: BorrowedFd<'_>, name: &CStr, is_file: bool) -> Result<()> {
    let made = if is_file {
        openat2::create_at(parent, name, 0o644)
    } else {
        openat2::mkdir_at(parent, name, 0o755)
    };
    match made {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A path in a buffer of fixed size.
struct PathText {
    bytes: [u8; PATH_BYTES],
    length: usize,
}

impl PathText {
    /// Joins pieces into a path.
    fn of(pieces: &[&[u8]]) -> Result<Self> {
        let mut text = Self { bytes: [0; PATH_BYTES], length: 0 };
        for piece in pieces {
            let end = text.length + piece.len();
            let room = text.bytes.get_mut(text.length..end).ok_or(Errno::ENAMETOOLONG)?;
            room.copy_from_slice(piece);
            text.length = end;
        }
        if text.length < PATH_BYTES { Ok(text) } else { Err(Errno::ENAMETOOLONG) }
    }

    /// Where the next component begins and ends, from a place on.
    fn component(&self, from: usize) -> Option<(usize, usize)> {
        let rest = &self.bytes[from..self.length];
        let start = from + rest.iter().position(|byte| *byte != b'/')?;
        let long = self.bytes[start..self.length].iter().position(|byte| *byte == b'/');
        Some((start, long.map_or(self.length, |long| start + long)))
    }

    /// A part of it as a string for the kernel; the bytes are as before afterwards.
    fn part<T>(&mut self, start: usize, end: usize, use_it: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
        let kept = std::mem::replace(&mut self.bytes[end], 0);
        let result =
            CStr::from_bytes_until_nul(&self.bytes[start..=end]).map_err(|_| Errno::EINVAL).and_then(use_it);
        self.bytes[end] = kept;
        result
    }
}

/// Makes every missing part of a path, following links to what is not there.
fn make_through_links(root: BorrowedFd<'_>, path: &CStr, is_directory: bool) -> Result<()> {
    let mut text = PathText::of(&[path.to_bytes()])?;
    for _ in 0..MAX_LINKS {
        match make_to_first_link(root, &mut text, is_directory)? {
            None => return Ok(()),
            Some(through) => text = through,
        }
    }
    Err(Errno::ELOOP)
}

/// Makes what is missing; stops at a link that leads to nothing, with the path through it.
fn make_to_first_link(
    root: BorrowedFd<'_>,
    text: &mut PathText,
    is_directory: bool,
) -> Result<Option<PathText>> {
    let mut from = 0;
    while let Some((start, end)) = text.component(from) {
        match text.part(0, end, |prefix| openat2::open(root, prefix, libc::O_PATH, 0, FOLLOW)) {
            Ok(_) => {}
            Err(Errno::ENOENT) => {
                let flags = libc::O_PATH | libc::O_DIRECTORY;
                let parent = match start {
                    0 => openat2::open(root, c"/", flags, 0, FOLLOW)?,
                    _ => text.part(0, start, |parent| openat2::open(root, parent, flags, 0, FOLLOW))?,
                };
                let mut link = [0; PATH_BYTES];
                let read =
                    text.part(start, end, |name| openat2::read_link_at(parent.as_fd(), name, &mut link));
                match read {
                    Ok(length) => {
                        let link = &link[..length];
                        let before = if link.starts_with(b"/") { &[] } else { &text.bytes[..start] };
                        return PathText::of(&[before, link, &text.bytes[end..text.length]]).map(Some);
                    }
                    Err(Errno::EINVAL | Errno::ENOENT) => {
                        let is_file = !is_directory && text.component(end).is_none();
                        text.part(start, end, |name| make(parent.as_fd(), name, is_file))?;
                    }
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        }
        from = end;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root(dir: &tempfile::TempDir) -> OwnedFd {
        std::fs::File::open(dir.path()).unwrap().into()
    }

    #[test]
    fn places_are_made_through_links_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("m/deep")).unwrap();
        symlink("/data/real", dir.path().join("m/l")).unwrap();
        symlink("../other/../x/y", dir.path().join("m/deep/rel")).unwrap();
        symlink("chain2", dir.path().join("chain1")).unwrap();
        symlink("../../../../z", dir.path().join("chain2")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let root = root(&dir);
        for (path, made) in [
            ("/m/l", "data/real"),
            ("/m/deep/rel/more", "m/x/y/more"),
            ("/chain1/end", "z/end"),
            ("/n/e/w", "n/e/w"),
        ] {
            of_user(root.as_fd(), &Target::new(path).unwrap(), true).unwrap();
            assert!(dir.path().join(made).is_dir(), "{path}: {made}");
        }
        of_user(root.as_fd(), &Target::new("/m/l/file").unwrap(), false).unwrap();
        assert!(dir.path().join("data/real/file").is_file());
        let error = of_user(root.as_fd(), &Target::new("/loop/x").unwrap(), true).unwrap_err();
        assert_eq!(error, Errno::ELOOP);
    }

    #[test]
    fn own_files_replace_links() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::create_dir_all(dir.path().join("run")).unwrap();
        symlink("../run/stub", dir.path().join("etc/resolv.conf")).unwrap();
        std::fs::write(dir.path().join("etc/hosts"), "kept").unwrap();
        let root = root(&dir);
        for name in ["resolv.conf", "hosts", "hostname"] {
            own_file(root.as_fd(), &Target::new(&format!("/etc/{name}")).unwrap()).unwrap();
            assert!(dir.path().join("etc").join(name).symlink_metadata().unwrap().is_file(), "{name}");
        }
        assert_eq!(std::fs::read_dir(dir.path().join("run")).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(dir.path().join("etc/hosts")).unwrap(), "kept");
    }
}
