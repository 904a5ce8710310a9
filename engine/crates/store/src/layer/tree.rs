//! Names inside a layer's tree, and the directories that they lie in.
//!
//! A name from an archive is never given to the kernel as a path from `/`: it is cleaned by text first (as Go's
//! `path.Clean` does, which is what Docker applies), then its parent is opened with `RESOLVE_IN_ROOT` below the
//! tree's own root, so that symbolic links that the layer itself made lead where they lead in a container.

use dhow_model::{Error, Result, ResultExt, limits};
use dhow_sys::Errno;
use dhow_sys::fsat::{self, resolve};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// How many directories are kept open. Archives list directory by directory, so few are enough; and several
/// layers are unpacked at once in a process that may have only 1024 descriptors.
const OPEN_MAX: usize = 48;
/// Paths from this length on are walked name by name: the kernel takes no longer ones (PATH_MAX).
const PATH_MAX: usize = 4096;
/// What of a name is told where it would be longer than anybody reads.
const SHOWN_MAX: usize = 1024;
/// Linux follows no more symbolic links in one path (path_resolution(7)).
pub(super) const LINKS_MAX: usize = 40;

/// A cleaned name: `a/b/c` without `.`, `..`, empty components; empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Clean(Vec<u8>);

impl Clean {
    /// Cleans a name as an archive has it. `None` when it leads out of the tree.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let absolute = name.starts_with(b"/");
        let mut clean: Vec<u8> = Vec::with_capacity(name.len());
        for part in name.split(|&b| b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if clean.is_empty() && !absolute {
                        return None;
                    }
                    let end = clean.iter().rposition(|&b| b == b'/').unwrap_or(0);
                    clean.truncate(end);
                }
                _ => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(part);
                }
            }
        }
        Some(Self(clean))
    }

    /// One that is clean already: read back from our own files.
    pub(super) fn trusted(name: Vec<u8>) -> Self {
        Self(name)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The parent's name and the last component.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        }
    }

    /// No longer than the kernel takes from a container: longer ones cost memory for each directory on the way.
    pub(super) fn check_length(&self) -> Result<()> {
        limits::PATH_BYTES.check_count(|| "its name".to_owned(), self.0.len())
    }

    pub(super) fn display(&self) -> String {
        shown(&self.0)
    }
}

/// Bytes as a path, without copying.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A tree, and some of its directories kept open.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
}

impl Tree {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let root = fsat::open_directory(root).context(|| format!("open layer tree {}", root.display()))?;
        Ok(Self { root: Rc::new(root), open: HashMap::new() })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Forgets the open directories: something was removed or replaced, so names may mean other ones now.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    /// Opens the directory of that cleaned name.
    ///
    /// Errors are the kernel's: `ENOENT` when it is missing, `ENOTDIR` when it is something else.
    pub(super) fn directory(&mut self, name: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if name.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(open) = self.open.get(name) {
            return Ok(Rc::clone(open));
        }
        let opened = if name.len() < PATH_MAX {
            fsat::open_resolved(
                self.root.as_fd(),
                path(name),
                libc::O_PATH | libc::O_DIRECTORY,
                0,
                resolve::IN_ROOT,
            )
            .map_err(|error| error.errno)?
        } else {
            self.walk_long(name)?
        };
        Ok(self.remember(name, opened))
    }

    /// Keeps an opened directory.
    pub(super) fn remember(&mut self, name: &[u8], opened: OwnedFd) -> Rc<OwnedFd> {
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let opened = Rc::new(opened);
        self.open.insert(name.to_vec(), Rc::clone(&opened));
        opened
    }

    /// Opens a directory by a name longer than the kernel takes, from the nearest one above it that is open.
    /// Symbolic links on the way are `ENOTDIR` or `ELOOP`.
    fn walk_long(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let mut above = name.len();
        let mut here: Rc<OwnedFd> = loop {
            match name[..above].iter().rposition(|&b| b == b'/') {
                None => break Rc::clone(&self.root),
                Some(slash) => above = slash,
            }
            if let Some(open) = self.open.get(&name[..above]) {
                break Rc::clone(open);
            }
        };
        let rest = if Rc::ptr_eq(&here, &self.root) { name } else { &name[above + 1..] };
        for part in rest.split(|&b| b == b'/') {
            let next = fsat::open_at(here.as_fd(), path(part), libc::O_PATH | libc::O_DIRECTORY, 0);
            here = Rc::new(next.map_err(|error| error.errno)?);
        }
        Rc::try_unwrap(here).map_err(|_| Errno::ENOENT)
    }
}

/// The error for a name that leads out of the tree.
pub(super) fn breakout(what: &str, name: &[u8]) -> Error {
    Error::corrupt(format!("{what} {} leads out of the layer", shown(name)))
}

/// A name for people: quoted, and not all of it where it has kilobytes.
pub(super) fn shown(name: &[u8]) -> String {
    match name.get(..SHOWN_MAX) {
        Some(start) => format!("{:?}…", String::from_utf8_lossy(start)),
        None => format!("{:?}", String::from_utf8_lossy(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_as_docker_cleans_them() {
        for (name, want) in [
            ("a/b", Some("a/b")),
            ("./a//b/./c/", Some("a/b/c")),
            ("./", Some("")),
            ("/", Some("")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a/../b", Some("b")),
            ("a/b/../../c", Some("c")),
            ("/../etc", Some("etc")),
            ("../etc", None),
            ("a/../../etc", None),
        ] {
            let clean = Clean::parse(name.as_bytes());
            assert_eq!(clean.as_ref().map(|c| std::str::from_utf8(c.as_bytes()).unwrap()), want, "{name}");
        }
        assert_eq!(Clean::parse(b"a/b/c").unwrap().split(), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(Clean::parse(b"a").unwrap().split(), (&b""[..], &b"a"[..]));
    }
}
