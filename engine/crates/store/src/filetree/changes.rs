//! What a container changed: its overlay's upper directory against the layers below, and the same as a layer.
//!
//! The rules are those of Docker's `diff`: directories differ by mode, owner and attributes (not by size or
//! time), everything else by size and time too; a directory in which something changed is itself shown as
//! changed. What overlayfs copied up but nobody changed is compared to the last byte, and is not shown.
//!
//! Two things are not the container's: the places that every start makes for its own mounts, as long as they are
//! empty ([`is_own_place`]), and overlayfs's marks, which are read here and nowhere else.

use super::pack::{Packer, attributes};
use super::place::{join, open_directory, open_parent, path};
use crate::tarball::Mtime;
use dhow_model::{Error, Result, ResultExt};
use dhow_sys::fsat::{self, Stat, resolve};
use dhow_sys::{Errno, xattr};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

/// How something changed; the numbers are the Engine API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another than below.
    Modified = 0,
    /// It is new.
    Added = 1,
    /// It is gone.
    Deleted = 2,
}

/// One changed name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// From the root, without a slash at the beginning.
    pub path: Vec<u8>,
    /// How.
    pub kind: ChangeKind,
}

/// Compares an upper directory with what lies below it: `None` for an image without layers. In the order of the
/// paths, directories before their content.
///
/// # Errors
/// When something cannot be read; `Unsupported` for an overlay with renamed directories (`redirect_dir`).
pub fn changes(upper: BorrowedFd<'_>, lower: Option<BorrowedFd<'_>>) -> Result<Vec<Change>> {
    let mut comparison = Comparison { upper, lower, open: None, found: Vec::new(), todo: Vec::new() };
    comparison.list(b"", lower.is_some(), false)?;
    while let Some(job) = comparison.todo.pop() {
        comparison.one(job)?;
    }
    Ok(settle(comparison.found))
}

/// What something in the upper directory is, apart from its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Itself {
    Same,
    Modified,
    Added,
    Deleted,
    /// New, but made by a start as a place for a mount: only worth a word with something in it.
    OwnPlace,
}

/// Directories that did not change themselves count when something in them did. What is in a directory follows it
/// at once, so the next that counts tells.
fn settle(found: Vec<(Vec<u8>, Itself)>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (path, itself) in found.into_iter().rev() {
        let next = changes.last().map(|change| change.path.as_slice());
        let has_content = next
            .and_then(|next| next.strip_prefix(path.as_slice()))
            .is_some_and(|rest| rest.starts_with(b"/"));
        let kind = match itself {
            Itself::Modified => ChangeKind::Modified,
            Itself::Added => ChangeKind::Added,
            Itself::Deleted => ChangeKind::Deleted,
            Itself::Same if has_content => ChangeKind::Modified,
            Itself::OwnPlace if has_content => ChangeKind::Added,
            Itself::Same | Itself::OwnPlace => continue,
        };
        changes.push(Change { path, kind });
    }
    changes.reverse();
    changes
}

/// A name to compare.
struct Job {
    parent: Vec<u8>,
    name: Vec<u8>,
    /// Whether the layers below have that directory too, and it shows.
    merged: bool,
    /// Whether that directory hides what is below it.
    opaque: bool,
}

/// A directory in both trees.
struct Open {
    name: Vec<u8>,
    upper: OwnedFd,
    below: Option<OwnedFd>,
}

struct Comparison<'a> {
    upper: BorrowedFd<'a>,
    lower: Option<BorrowedFd<'a>>,
    open: Option<Open>,
    found: Vec<(Vec<u8>, Itself)>,
    todo: Vec<Job>,
}

impl Comparison<'_> {
    /// Opens a directory in both trees; false when the container has just removed it.
    fn open(&mut self, name: &[u8], merged: bool) -> Result<bool> {
        if self.open.as_ref().is_some_and(|open| open.name == name) {
            return Ok(true);
        }
        let Some(upper) = open_if_there(self.upper, name)? else { return Ok(false) };
        let below = match self.lower.filter(|_| merged) {
            Some(lower) => open_if_there(lower, name)?,
            None => None,
        };
        self.open = Some(Open { name: name.to_vec(), upper, below });
        Ok(true)
    }

    /// Puts a directory's names on the stack, so that they come off in order.
    fn list(&mut self, name: &[u8], merged: bool, opaque: bool) -> Result<()> {
        if !self.open(name, merged)? {
            return Ok(());
        }
        let Some(open) = &self.open else { return Ok(()) };
        let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
        let listed = |dir: &OwnedFd| fsat::list_directory(dir.as_fd()).context(comparing);
        names.extend(listed(&open.upper)?.into_iter().map(|listed| listed.name.into_vec()));
        // The roots are always merged. What is in an opaque directory hides what is below as well.
        let opaque =
            opaque || (!name.is_empty() && mark(&open.upper, OPAQUE)?.is_some_and(|value| value == b"y"));
        if let Some(below) = open.below.as_ref().filter(|_| opaque) {
            names.extend(listed(below)?.into_iter().map(|listed| listed.name.into_vec()));
        }
        let jobs =
            names.into_iter().rev().map(|last| Job { parent: name.to_vec(), name: last, merged, opaque });
        self.todo.extend(jobs);
        Ok(())
    }

    fn one(&mut self, Job { parent, name, merged, opaque }: Job) -> Result<()> {
        if !self.open(&parent, merged)? {
            return Ok(());
        }
        let Some(open) = &self.open else { return Ok(()) };
        let full = join(&parent, &name);
        let failing = |error: Error| {
            Error::caused(error.kind(), format!("compare {:?}", String::from_utf8_lossy(&full)), error)
        };
        let old = match &open.below {
            Some(below) => stat_if_there(below, &name).map_err(failing)?,
            None => None,
        };
        let new = stat_if_there(&open.upper, &name).map_err(failing)?.filter(|new| !new.is_whiteout());
        let Some(new) = new else {
            if old.is_some() {
                self.found.push((full, Itself::Deleted));
            }
            return Ok(());
        };
        let itself = match (&old, &open.below) {
            // A link of the image's in the way of one of our files.
            (Some(old), _) if old.is_symlink() && is_own_place(&full, &new) => Itself::Same,
            (Some(old), Some(below)) => {
                let pair =
                    Pair { upper: open.upper.as_fd(), below: below.as_fd(), name: &name, new, old: *old };
                if pair.differs().map_err(failing)? { Itself::Modified } else { Itself::Same }
            }
            _ if is_own_place(&full, &new) => Itself::OwnPlace,
            _ => Itself::Added,
        };
        self.found.push((full.clone(), itself));
        if new.is_dir() {
            let dir = fsat::open_at(open.upper.as_fd(), path(&name), libc::O_PATH | libc::O_DIRECTORY, 0);
            if mark(&dir.context(comparing)?, REDIRECT)?.is_some() {
                return Err(failing(Error::unsupported(
                    "the overlay renamed this directory (redirect_dir): its content cannot be told from the layers",
                )));
            }
            self.list(&full, old.is_some_and(|old| old.is_dir()), opaque)?;
        }
        Ok(())
    }
}

/// One name that is in both trees.
struct Pair<'a> {
    upper: BorrowedFd<'a>,
    below: BorrowedFd<'a>,
    name: &'a [u8],
    new: Stat,
    old: Stat,
}

impl Pair<'_> {
    fn differs(&self) -> Result<bool> {
        let (new, old) = (&self.new, &self.old);
        let owners = |stat: &Stat| (stat.mode, stat.uid, stat.gid, stat.special);
        if owners(new) != owners(old) {
            return Ok(true);
        }
        if !new.is_dir() && ((new.size, new.mtime) != (old.size, old.mtime)) {
            return Ok(true);
        }
        if attributes(self.upper, self.name)? != attributes(self.below, self.name)? {
            return Ok(true);
        }
        if new.is_symlink() {
            let target = |dir| fsat::read_link_at(dir, path(self.name)).context(comparing);
            return Ok(target(self.upper)? != target(self.below)?);
        }
        if new.is_file() { self.content_differs() } else { Ok(false) }
    }

    /// Copied up, and of the same size and time: mostly the same, but a program may have set the time back.
    fn content_differs(&self) -> Result<bool> {
        let open = |dir| -> Result<File> {
            let place = fsat::open_at(dir, path(self.name), libc::O_PATH, 0).context(comparing)?;
            Ok(File::from(fsat::reopen(place.as_fd(), libc::O_RDONLY | libc::O_NONBLOCK).context(comparing)?))
        };
        let (new, old) = (open(self.upper)?, open(self.below)?);
        let mut pieces = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let mut at = 0;
        loop {
            let length = new.read_at(&mut pieces.0, at).context(comparing)?;
            if length == 0 {
                return Ok(false);
            }
            if old.read_exact_at(&mut pieces.1[..length], at).is_err()
                || pieces.0[..length] != pieces.1[..length]
            {
                return Ok(true);
            }
            at += length as u64;
        }
    }
}

/// What overlayfs takes for "nothing of the layers below".
const OPAQUE: &str = "trusted.overlay.opaque";
/// Where a renamed directory's lower content lies.
const REDIRECT: &str = "trusted.overlay.redirect";

fn mark(dir: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>> {
    xattr::get_at(dir.as_fd(), path(b""), OsStr::new(name)).context(comparing)
}

fn open_if_there(root: BorrowedFd<'_>, name: &[u8]) -> Result<Option<OwnedFd>> {
    match open_directory(root, name, resolve::NO_SYMLINKS) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(error) => Err(error).context(comparing),
    }
}

fn stat_if_there(dir: &OwnedFd, name: &[u8]) -> Result<Option<Stat>> {
    match fsat::stat_at(dir.as_fd(), path(name)) {
        Ok(stat) => Ok(Some(stat)),
        Err(error) if error.errno == Errno::ENOENT => Ok(None),
        Err(error) => Err(error).context(comparing),
    }
}

/// Places that a start makes in the root filesystem for the engine's own mounts, when the image has none. Docker
/// has them in a layer of their own, which `diff` and `commit` do not show either.
fn is_own_place(name: &[u8], stat: &Stat) -> bool {
    const DIRECTORIES: [&[u8]; 8] =
        [b"dev", b"dev/mqueue", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys", b"sys/fs/cgroup"];
    const FILES: [&[u8]; 5] =
        [b".dockerenv", b"dev/console", b"etc/hostname", b"etc/hosts", b"etc/resolv.conf"];
    const LINKS: [&[u8]; 1] = [b"etc/mtab"];
    (stat.is_dir() && DIRECTORIES.contains(&name))
        || (stat.is_file() && stat.size == 0 && FILES.contains(&name))
        || (stat.is_symlink() && LINKS.contains(&name))
}

fn comparing() -> String {
    "compare with the image".to_owned()
}

/// Writes changes as a layer: what is new or other as it is in the upper directory now, with its owners translated;
/// what is gone as a whiteout.
///
/// # Errors
/// When something cannot be read, or the output fails.
pub fn pack_changes(
    upper: BorrowedFd<'_>,
    changes: &[Change],
    owners: impl Fn(u32, u32) -> (u32, u32),
    out: &mut dyn Write,
) -> Result<()> {
    let mut packer = Packer::new(out).with_owners(owners);
    for change in changes {
        if change.kind == ChangeKind::Deleted {
            let (parent, last) = super::place::split(&change.path);
            // Of no time: the same changes are the same layer, whenever they are committed.
            packer.empty(&join(parent, &[b".wh.", last].concat()), Mtime::default())?;
            continue;
        }
        match open_parent(upper, &change.path, resolve::NO_SYMLINKS) {
            Ok((dir, last)) => packer.alone(dir.as_fd(), last, &change.path)?,
            // The container removed it meanwhile.
            Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(error) => return Err(error).context(comparing),
        }
    }
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_count_with_their_content() {
        let entry = |path: &str, itself| (path.as_bytes().to_vec(), itself);
        let found = vec![
            entry("a", Itself::Same),
            entry("a/b", Itself::Same),
            entry("a/b/c", Itself::Added),
            entry("ab", Itself::Same),
            entry("dev", Itself::OwnPlace),
            entry("etc", Itself::OwnPlace),
            entry("etc/hosts", Itself::OwnPlace),
            entry("etc/x", Itself::Deleted),
            entry("z", Itself::Same),
        ];
        let shown: Vec<_> = settle(found)
            .into_iter()
            .map(|c| format!("{:?} {}", c.kind, String::from_utf8(c.path).unwrap()))
            .collect();
        assert_eq!(shown, ["Modified a", "Modified a/b", "Added a/b/c", "Added etc", "Deleted etc/x"]);
    }

    /// The kernel's overlayfs is the judge in the integration tests; this is what it writes.
    #[test]
    fn marks_of_overlayfs_are_read() {
        use std::fs;
        if !nix::unistd::geteuid().is_root() {
            // Whiteouts are devices: `cargo xtask test` runs these tests as root.
            panic!("this test needs root");
        }
        let scratch = tempfile::tempdir().unwrap();
        let (upper, lower) = (scratch.path().join("u"), scratch.path().join("l"));
        for dir in [
            "u/same",
            "u/opaque",
            "l/same",
            "l/opaque",
            "l/gone",
            "u/new/deep",
            "u/opaque/sub",
            "l/opaque/sub/hidden",
        ] {
            fs::create_dir_all(scratch.path().join(dir)).unwrap();
        }
        for file in ["l/opaque/old", "l/opaque/kept", "u/opaque/kept", "u/opaque/new", "l/file", "u/file"] {
            fs::write(scratch.path().join(file), file).unwrap();
        }
        let (up, low) = (fsat::open_directory(&upper).unwrap(), fsat::open_directory(&lower).unwrap());
        let opaque = fsat::open_at(up.as_fd(), path(b"opaque"), libc::O_DIRECTORY, 0).unwrap();
        xattr::set(opaque.as_fd(), OsStr::new(OPAQUE), b"y").unwrap();
        for whiteout in [&b"gone"[..], b"never-was"] {
            fsat::mknod_at(up.as_fd(), path(whiteout), libc::S_IFCHR, 0).unwrap();
        }
        let shown: Vec<_> = changes(up.as_fd(), Some(low.as_fd()))
            .unwrap()
            .into_iter()
            .map(|c| {
                format!(
                    "{} {}",
                    "CAD".as_bytes()[c.kind as usize] as char,
                    String::from_utf8(c.path).unwrap()
                )
            })
            .collect();
        let want = ["C file", "D gone", "A new", "A new/deep", "C opaque", "C opaque/kept", "A opaque/new"];
        assert_eq!(shown, [&want[..], &["D opaque/old", "C opaque/sub", "D opaque/sub/hidden"]].concat());
        assert_eq!(changes(low.as_fd(), None).unwrap().len(), 8);
    }
}
