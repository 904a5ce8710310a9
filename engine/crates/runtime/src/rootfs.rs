//! The container's root filesystem as a detached mount, and paths below it.

mod one_string;

use crate::spec::Rootfs;
use crate::{facts, layers, view};
use dhow_model::{Error, ErrorKind, LowerLayer, Result, ResultExt};
use dhow_sys::mount::{self, FsContext, OPEN_TREE_CLONE, RECURSIVE};
use dhow_sys::{Errno, fsat, openat2};
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// fsconfig(2) takes strings of at most 255 bytes.
const FSCONFIG_STRING_MAX: usize = 255;
const OVERLAY_LAYERS_MAX: usize = dhow_model::limits::LAYERS.most_here();
/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(text).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).into_owned();
        Error::invalid(format!("{text:?} contains a NUL byte"))
    })
}

pub(crate) fn c_path(path: &Path) -> Result<CString> {
    c_string(path.as_os_str().as_bytes())
}

/// Makes the root filesystem. Nothing appears in the host's mount table.
///
/// # Errors
/// Names the layer or directory that is at fault.
pub(crate) fn mount(rootfs: &Rootfs, mapping: Option<Mapping<'_>>) -> Result<OwnedFd> {
    match rootfs {
        Rootfs::Directory(path) => {
            let tree = clone_tree(path)?;
            mapping.map_or(Ok(()), |mapping| mapping.apply(tree.as_fd(), path))?;
            Ok(tree)
        }
        Rootfs::Overlay { lower, upper, work, volatile } => {
            if let Some(Mapping { root: (uid, gid), .. }) = mapping {
                // What the container writes has its ids as the host knows them: overlayfs makes its own files
                // there too, as us, whom an id-mapped mount would not let.
                std::os::unix::fs::chown(upper, Some(uid), Some(gid))
                    .context(|| format!("chown {}", upper.display()))?;
            }
            // An image without layers.
            if lower.is_empty() {
                clone_tree(upper)
            } else {
                forget_volatile(work)?;
                overlay(lower, &Writable { upper, work, volatile: *volatile }, mapping)
            }
        }
    }
}

/// How the ids of an image's files become those of a container with a user namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping<'a> {
    /// A user namespace with the container's maps.
    pub namespace: BorrowedFd<'a>,
    /// The container's root on the host: user and group.
    pub root: (u32, u32),
}

impl Mapping<'_> {
    /// Maps a detached mount of `path`.
    pub(crate) fn apply(&self, tree: BorrowedFd<'_>, path: &Path) -> Result<()> {
        mount::map_ids(tree, self.namespace, true).map_err(|errno| match errno {
            Errno::EINVAL => Error::unsupported(format!(
                "the filesystem of {} does not support id-mapped mounts, which a user namespace needs \
                 (mount_setattr: {})",
                path.display(),
                dhow_sys::error::reason(errno)
            )),
            errno => Error::caused(
                ErrorKind::StartFailed,
                format!("mount_setattr {}: map ids", path.display()),
                errno,
            ),
        })
    }
}

fn clone_tree(path: &Path) -> Result<OwnedFd> {
    mount::open_tree(None, &c_path(path)?, OPEN_TREE_CLONE | RECURSIVE)
        .context_kind(ErrorKind::StartFailed, || format!("root filesystem: open_tree {}", path.display()))
}

/// The same without a writable directory. `scratch` is any directory of ours (older kernels need a place).
pub(crate) fn readonly_overlay(layers: &[Layer<'_>], scratch: &Path) -> Result<OwnedFd> {
    overlay_of(&Lower::open(layers)?, None, scratch)
}

/// The files of an image as a mount, which nobody can write to. `scratch` as in [`readonly_overlay`].
pub(crate) fn of_image(
    lower: &[LowerLayer],
    subpath: &str,
    mapping: Option<Mapping<'_>>,
    scratch: &Path,
) -> Result<OwnedFd> {
    let layers: Vec<Layer<'_>> = lower.iter().map(|layer| Layer { layer, mapping }).collect();
    let whole = match layers.as_slice() {
        [] => return Err(Error::invalid("an image without files cannot be mounted")),
        [one] => one.mount()?,
        _ => readonly_overlay(&layers, scratch)?,
    };
    let tree = if subpath.is_empty() { whole } else { view::part_of(&whole, subpath, scratch)? };
    mount::set_attributes(tree.as_fd(), mount::ATTR_RDONLY, 0, mount::PRIVATE, true)
        .context(|| "make an image's files read-only".to_owned())?;
    Ok(tree)
}

fn overlay(lower: &[LowerLayer], writable: &Writable<'_>, mapping: Option<Mapping<'_>>) -> Result<OwnedFd> {
    let layers: Vec<Layer<'_>> = lower.iter().map(|layer| Layer { layer, mapping }).collect();
    overlay_of(&Lower::open(&layers)?, Some(writable), writable.work)
}

/// Where an overlay's files are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writable<'a> {
    pub upper: &'a Path,
    pub work: &'a Path,
    /// As in [`Rootfs::Overlay`].
    pub volatile: bool,
}

/// Takes away the mark of a volatile mount, which keeps overlayfs from mounting the same directory again. Nothing
/// of what that mount wrote is lost while the machine runs; and once it went down, there is no such container.
fn forget_volatile(work: &Path) -> Result<()> {
    let mark = work.join("work/incompat/volatile");
    match std::fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", mark.display()))
        }
        _ => Ok(()),
    }
}

/// A layer to be looked at, and whose ids its files have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub layer: &'a LowerLayer,
    /// `None`: as they are.
    pub mapping: Option<Mapping<'a>>,
}

impl Layer<'_> {
    /// It alone, as a mount.
    fn mount(self) -> Result<OwnedFd> {
        let path = self.layer.path();
        let tree = match self.layer {
            LowerLayer::Indexed(layer) => layers::mount_of(layer)?,
            LowerLayer::Directory(_) => clone_tree(path)?,
        };
        self.mapping.map_or(Ok(()), |mapping| mapping.apply(tree.as_fd(), path))?;
        Ok(tree)
    }

    /// It alone, for walking.
    pub(crate) fn open(self) -> Result<OwnedFd> {
        if let (LowerLayer::Directory(path), None) = (self.layer, self.mapping) {
            return mount::open_path(&c_path(path)?).context(|| format!("open {}", path.display()));
        }
        self.mount()
    }
}

/// Layers as the mount takes them.
pub(crate) struct Lower {
    /// Topmost first. Where a layer is mounted: the way to that mount.
    paths: Vec<PathBuf>,
    /// For messages.
    names: Vec<PathBuf>,
    /// If ids are mapped: a copy of the mount of each directory, mapped or not. Overlayfs takes them from 5.19 on.
    mapped: Vec<OwnedFd>,
    /// Mounts of indexed layers.
    indexed: Vec<OwnedFd>,
}

impl Lower {
    fn open(layers: &[Layer<'_>]) -> Result<Self> {
        let names: Vec<PathBuf> = layers.iter().map(|layer| layer.layer.path().to_owned()).collect();
        let mut lower = Self { paths: names.clone(), names, mapped: Vec::new(), indexed: Vec::new() };
        let maps = layers.iter().any(|layer| layer.mapping.is_some());
        let all: Vec<&LowerLayer> = layers.iter().map(|layer| layer.layer).collect();
        for (number, mount) in layers::mounts_of(&all)?.into_iter().enumerate() {
            let name = &lower.names[number];
            let (tree, kept) = match mount {
                Some(mount) => (mount, &mut lower.indexed),
                None if maps => (clone_tree(name)?, &mut lower.mapped),
                None => continue,
            };
            layers[number].mapping.map_or(Ok(()), |mapping| mapping.apply(tree.as_fd(), name))?;
            lower.paths[number] = through(&tree);
            kept.push(tree);
        }
        Ok(lower)
    }

    /// One layer that is mounted already, over an empty directory.
    pub(crate) fn of_one(mount: OwnedFd, empty: &Path) -> Self {
        let paths = vec![through(&mount), empty.to_owned()];
        Self { names: paths.clone(), paths, mapped: Vec::new(), indexed: vec![mount] }
    }
}

/// A path to what a descriptor holds.
fn through(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// `scratch` is any directory of ours: older kernels need a place.
pub(crate) fn overlay_of(lower: &Lower, writable: Option<&Writable<'_>>, scratch: &Path) -> Result<OwnedFd> {
    if lower.paths.len() > OVERLAY_LAYERS_MAX {
        return Err(Error::unsupported(format!(
            "root filesystem: {} layers: an overlay takes {OVERLAY_LAYERS_MAX} at most",
            lower.paths.len()
        )));
    }
    // Descriptors behind /proc/self/fd paths must live until the superblock is made.
    let mut held = Vec::new();
    if !facts::overlay_takes_layers_one_by_one(&short_path(&lower.paths[0], &mut held)?)? {
        if !lower.indexed.is_empty() {
            return Err(Error::unsupported(
                "this kernel cannot use indexed layers: pull or load the image anew",
            ));
        }
        return one_string::overlay(&lower.names, &lower.mapped, writable, scratch);
    }
    let failed = |context: Option<&FsContext>, what: String, errno: Errno| {
        let message = context.and_then(FsContext::message).map(|m| format!(" ({m})")).unwrap_or_default();
        Error::caused(ErrorKind::StartFailed, format!("root filesystem: {what}{message}"), errno)
    };
    let context =
        FsContext::open(c"overlay").map_err(|errno| failed(None, "fsopen overlay".to_owned(), errno))?;
    let set = |key: &CStr, path: &Path, held: &mut Vec<OwnedFd>| -> Result<Result<(), Errno>> {
        let text = short_path(path, held)?;
        Ok(context.set(key, &text))
    };
    for (path, name) in lower.paths.iter().zip(&lower.names) {
        set(c"lowerdir+", path, &mut held)?
            .map_err(|errno| failed(Some(&context), format!("layer {}", name.display()), errno))?;
    }
    let directories = writable.map(|writable| [(c"upperdir", writable.upper), (c"workdir", writable.work)]);
    for (key, path) in directories.into_iter().flatten() {
        set(key, path, &mut held)?.map_err(|errno| {
            failed(Some(&context), format!("{} {}", key.to_string_lossy(), path.display()), errno)
        })?;
    }
    if !lower.indexed.is_empty() {
        // Several filesystems below: without it, files and directories would seem to lie on different devices, and
        // `find -xdev`, `du -x` and `cp -x` would take the one for the other (overlayfs.rst, "Inode properties").
        context.set(c"xino", c"on").map_err(|errno| failed(Some(&context), "xino".to_owned(), errno))?;
    }
    if writable.is_some_and(|writable| writable.volatile) {
        context
            .set_flag(c"volatile")
            .map_err(|errno| failed(Some(&context), "volatile".to_owned(), errno))?;
    }
    context.mount(0).map_err(|errno| {
        let place = writable.map_or(scratch, |writable| writable.upper);
        failed(
            Some(&context),
            format!("overlay of {} layers at {}", lower.paths.len(), place.display()),
            errno,
        )
    })
}

/// The path itself, or a way to it through a descriptor when it is too long for fsconfig(2).
pub(crate) fn short_path(path: &Path, held: &mut Vec<OwnedFd>) -> Result<CString> {
    let text = c_path(path)?;
    if text.count_bytes() <= FSCONFIG_STRING_MAX {
        return Ok(text);
    }
    let fd = mount::open_path(&text).context(|| format!("open {}", path.display()))?;
    let short = c_string(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    held.push(fd);
    Ok(short)
}

/// A path in the container that something is to be made at, or mounted on.
#[derive(Debug)]
pub(crate) struct Target {
    /// All of it, absolute.
    pub path: CString,
    /// (directory, name in it) from the top down.
    pub parts: Vec<(CString, CString)>,
}

impl Target {
    pub(crate) fn new(path: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut directory = String::from("/");
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            parts.push((c_string(directory.as_str())?, c_string(name)?));
            if directory.len() > 1 {
                directory.push('/');
            }
            directory.push_str(name);
        }
        Ok(Self { path: c_string(directory)?, parts })
    }

    /// For a user's path: when it does not exist, symbolic links on the way, dangling ones too, are read now,
    /// so that the child only ever makes plain names.
    pub(crate) fn in_root(root: BorrowedFd<'_>, path: &str) -> Result<Self> {
        match openat2::open_in_root(root, &c_string(path)?, nix::libc::O_PATH, 0) {
            Err(Errno::ENOENT) => Self::new(&resolve_missing(root, path)?),
            // Other errors come up again in the child, with their step.
            _ => Self::new(path),
        }
    }
}

/// Where `path` would be made: symbolic links followed inside the root, absolute ones from its top.
fn resolve_missing(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let mut pending: VecDeque<Vec<u8>> = path.split('/').map(|part| part.as_bytes().to_vec()).collect();
    let mut resolved: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(part) = pending.pop_front() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                resolved.pop();
                continue;
            }
            _ => resolved.push(part),
        }
        let so_far = PathBuf::from(std::ffi::OsString::from_vec(resolved.join(&b'/')));
        // Not a link, or not there: it stays as it is. No component before it is a link.
        let Ok(link) = fsat::read_link_at(root, &so_far) else { continue };
        links += 1;
        if links > MAX_LINKS {
            return Err(Error::new(
                ErrorKind::StartFailed,
                format!("{path}: too many levels of symbolic links"),
            ));
        }
        resolved.pop();
        let link = link.into_vec();
        if link.starts_with(b"/") {
            resolved.clear();
        }
        for name in link.split(|b| *b == b'/').rev() {
            pending.push_front(name.to_vec());
        }
    }
    String::from_utf8(resolved.join(&b'/'))
        .map(|text| format!("/{text}"))
        .map_err(|_| Error::new(ErrorKind::StartFailed, format!("{path}: leads to a name that is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_inside_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        symlink("../run/resolve/stub.conf", dir.path().join("etc/resolv.conf")).unwrap();
        symlink("/etc", dir.path().join("abs")).unwrap();
        symlink("../../../../..", dir.path().join("etc/up")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let root: OwnedFd = std::fs::File::open(dir.path()).unwrap().into();
        let resolve = |path| resolve_missing(root.as_fd(), path);
        assert_eq!(resolve("/etc/resolv.conf").unwrap(), "/run/resolve/stub.conf");
        assert_eq!(resolve("/abs/new/file").unwrap(), "/etc/new/file");
        assert_eq!(resolve("/etc/up/x").unwrap(), "/x");
        assert!(resolve("/loop/x").is_err());
    }

    #[test]
    fn targets_have_their_parts() {
        let target = Target::new("/a//b/./c").unwrap();
        assert_eq!(target.path.as_c_str(), c"/a/b/c");
        let parts: Vec<_> =
            target.parts.iter().map(|(d, n)| (d.to_str().unwrap(), n.to_str().unwrap())).collect();
        assert_eq!(parts, [("/", "a"), ("/a", "b"), ("/a/b", "c")]);
    }
}
