//! A container's file system, seen from outside of it.
//!
//! ```text
//!   running   a thread enters its mount namespace ──► descriptor of its root: with every mount, or a copy of
//!             the root mount alone
//!   stopped   the overlay as a detached mount; a thread with a mount namespace of its own puts the volumes into
//!             it, and hands out a copy of the whole ──► descriptor of its root
//! ```
//! Nothing appears in the host's mount table, and nothing is left when the descriptor is closed. The threads end
//! at once: it is only by them that a namespace can be entered without a process of its own. No program runs.

use crate::bind_tree;
use crate::copyup;
use crate::idmap::{self, IdMaps};
use crate::rootfs::{self, Layer, Mapping, Target, c_path};
use crate::spec::{ResolvedMount, Rootfs};
use crate::user::{self, InRoot};
use crate::volume_fs::{self, Stay, VolumeFilesystem};
use dhow_model::mount::MountSource;
use dhow_model::{Error, ErrorKind, LowerLayer, Result, ResultExt};
use dhow_sys::mount::{self, OPEN_TREE_CLONE, RECURSIVE};
use dhow_sys::{Errno, clone, fsat, openat2, process};
use nix::libc::{O_DIRECTORY, O_PATH};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What of a running container is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// What its processes see: volumes, `/proc`, `/dev` and all.
    Everything,
    /// Its root filesystem alone, with empty places where something is mounted.
    Root,
}

/// The root directory of a running container, for walking (`O_PATH`), and its ids if they are not the host's.
///
/// # Errors
/// `Unavailable` when the process is gone.
pub fn of_running(pid: i32, start_ticks: u64, seen: Seen) -> Result<(OwnedFd, Option<IdMaps>)> {
    let gone = || Error::new(ErrorKind::Unavailable, "the container has just ended");
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).map_err(|_| gone())?;
    let maps = idmap::of_process(pid).map_err(|_| gone())?;
    // Checked after both: if it is the process now, it was then.
    if process::start_ticks(pid).ok() != Some(start_ticks) {
        return Err(gone());
    }
    let enter = || -> Result<OwnedFd, Errno> {
        process::unshare(clone::FS)?;
        process::setns(namespace.as_fd(), clone::NEWNS)?;
        match seen {
            Seen::Everything => mount::open_path(c"/"),
            Seen::Root => mount::open_tree(None, c"/", OPEN_TREE_CLONE),
        }
    };
    let root = in_thread(enter)?.context(|| "enter the container's mount namespace".to_owned())?;
    Ok((root, maps))
}

/// User and group of `user[:group]`, looked up in the container's own files. No library of anybody's is asked.
///
/// # Errors
/// `InvalidArgument` when a name is unknown.
pub fn user_in(root: BorrowedFd<'_>, user: &str) -> Result<(u32, u32)> {
    let found = user::resolve(&InRoot(root), user, &[])?;
    Ok((found.uid, found.gid))
}

/// How a stopped container's file system is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The writable layer is only one more layer to read: a start at the same time is none the worse for it.
    Read,
    /// As the container would have it. Nobody else may use the writable layer meanwhile.
    Write {
        /// Refuse to write outside of volumes.
        readonly_root: bool,
    },
}

/// The root directory of a stopped container with its volumes, for walking. `None`: the places of some volumes are
/// yet to be made, which takes [`Access::Write`].
///
/// # Errors
/// Names the layer or the mount that is at fault.
///
/// `scratch` is any directory of the engine's own: in the thread's namespace the root is mounted there.
pub fn of_stopped(
    rootfs: &Rootfs,
    volumes: &[ResolvedMount],
    access: Access,
    ids: Option<&IdMaps>,
    scratch: &Path,
) -> Result<Option<OwnedFd>> {
    let filesystems: Vec<_> = volumes.iter().filter_map(|volume| volume.filesystem.as_ref()).collect();
    if filesystems.is_empty() {
        return assemble_stopped(rootfs, volumes, access, ids, scratch);
    }
    in_thread(|| {
        own_mounts()?;
        volume_fs::mount_all(&filesystems, Stay::Short)?;
        assemble_stopped(rootfs, volumes, access, ids, scratch)
    })?
}

fn assemble_stopped(
    rootfs: &Rootfs,
    volumes: &[ResolvedMount],
    access: Access,
    ids: Option<&IdMaps>,
    scratch: &Path,
) -> Result<Option<OwnedFd>> {
    let ids = ids.map(Shifted::new).transpose()?;
    let mapping = ids.as_ref().map(Shifted::mapping);
    let Rootfs::Overlay { lower, upper, .. } = rootfs else {
        return Err(Error::unsupported("only containers of the engine's own can be looked into"));
    };
    let root = match access {
        Access::Write { .. } => rootfs::mount(rootfs, mapping)?,
        // Never started, and its image has no layers: there is nothing to see before something is made.
        Access::Read if !upper.exists() && lower.is_empty() => return Ok(None),
        // What the container wrote has the host's ids for it already.
        Access::Read => {
            let own = LowerLayer::Directory(upper.clone());
            let own = upper.exists().then_some(Layer { layer: &own, mapping: None });
            let layers = own.into_iter().chain(lower.iter().map(|layer| Layer { layer, mapping }));
            of_layers(&layers.collect::<Vec<_>>(), scratch)?
        }
    };
    let mut volumes: Vec<&ResolvedMount> = volumes.iter().filter(|v| v.has_files()).collect();
    // What lies inside another comes after it.
    volumes.sort_by_key(|volume| volume.mount.target.matches('/').count());
    if access == Access::Read {
        for volume in &volumes {
            let target = rootfs::c_string(volume.mount.target.as_str())?;
            if openat2::open_in_root(root.as_fd(), &target, O_PATH, 0).is_err() {
                return Ok(None);
            }
        }
    }
    // A volume that was never used has what the image has in its place, as after a first start.
    for volume in volumes.iter().filter(|volume| volume.copy_up) {
        let target = rootfs::c_string(volume.mount.target.as_str())?;
        if let Some(path) = &volume.host_path {
            copyup::fill(root.as_fd(), &target, path, ids.as_ref().map(|ids| ids.maps))?;
        }
    }
    let readonly_root = access == Access::Write { readonly_root: true };
    if volumes.is_empty() && !readonly_root {
        return Ok(Some(root));
    }
    let place = c_path(scratch)?;
    let trees = volumes.iter().map(|volume| source(volume, mapping, scratch)).collect::<Result<Vec<_>>>()?;
    let assemble = || -> Result<OwnedFd> {
        own_mounts()?;
        mount::open_path(&place)
            .and_then(|place| mount::attach(root.as_fd(), place.as_fd()))
            .context(|| format!("mount the root filesystem on {}", scratch.display()))?;
        for (volume, tree) in volumes.iter().zip(&trees) {
            attach(root.as_fd(), volume, tree)
                .context(|| format!("mount {} on {}", shown(volume), volume.mount.target))?;
        }
        if readonly_root {
            mount::set_attributes(root.as_fd(), mount::ATTR_RDONLY, 0, 0, false)
                .context(|| "make the root filesystem read-only".to_owned())?;
        }
        mount::open_tree(Some(root.as_fd()), c"", OPEN_TREE_CLONE | RECURSIVE)
            .context(|| "copy the mounts".to_owned())
    };
    in_thread(assemble)?.map(Some)
}

/// The directory of a volume, for walking: with its filesystem, which a container that runs may have mounted already.
///
/// # Errors
/// When it cannot be mounted.
pub fn of_volume(place: &Path, filesystem: Option<&VolumeFilesystem>) -> Result<OwnedFd> {
    let what = || format!("open_tree {}", place.display());
    let path = c_path(place)?;
    let Some(filesystem) = filesystem else { return mount::open_path(&path).context(what) };
    in_thread(|| {
        own_mounts()?;
        volume_fs::mount_all(&[filesystem], Stay::Short)?;
        mount::open_tree(None, &path, OPEN_TREE_CLONE | RECURSIVE).context(what)
    })?
}

/// The ids of a container, and a namespace to map mounts through.
pub(crate) struct Shifted<'a> {
    pub(crate) maps: &'a IdMaps,
    namespace: OwnedFd,
    root: (u32, u32),
}

impl<'a> Shifted<'a> {
    pub(crate) fn new(maps: &'a IdMaps) -> Result<Self> {
        Ok(Self { maps, namespace: maps.namespace()?, root: maps.root()? })
    }

    pub(crate) fn mapping(&self) -> Mapping<'_> {
        Mapping { namespace: self.namespace.as_fd(), root: self.root }
    }
}

/// The layers below a container's own, merged, with the ids that the container's files have for them; `None` for an
/// image without any.
///
/// # Errors
/// Names the layer that is at fault.
pub fn of_image(lower: &[LowerLayer], ids: Option<&IdMaps>, scratch: &Path) -> Result<Option<OwnedFd>> {
    if lower.is_empty() {
        return Ok(None);
    }
    let ids = ids.map(Shifted::new).transpose()?;
    let mapping = ids.as_ref().map(Shifted::mapping);
    let layers: Vec<Layer<'_>> = lower.iter().map(|layer| Layer { layer, mapping }).collect();
    of_layers(&layers, scratch).map(Some)
}

/// What lies below a detached mount, as another one. Kernels before 6.15 copy only what is mounted somewhere: so it is, on
/// `scratch`, where nobody sees it.
pub(crate) fn part_of(whole: &OwnedFd, subpath: &str, scratch: &Path) -> Result<OwnedFd> {
    let missing = |errno| {
        let reason = dhow_sys::error::reason(errno);
        Error::new(dhow_model::ErrorKind::StartFailed, format!("cannot access path {subpath}: {reason}"))
    };
    in_thread(|| {
        own_mounts()?;
        mount::open_path(&c_path(scratch)?)
            .and_then(|place| mount::attach(whole.as_fd(), place.as_fd()))
            .context(|| format!("mount an image on {}", scratch.display()))?;
        let place = fsat::open_resolved(whole.as_fd(), Path::new(subpath), O_PATH, 0, fsat::resolve::BENEATH)
            .map_err(|error| missing(error.errno))?;
        mount::open_tree(Some(place.as_fd()), c"", OPEN_TREE_CLONE | RECURSIVE).map_err(missing)
    })?
}

/// Layers (topmost first) merged, for reading.
fn of_layers(layers: &[Layer<'_>], scratch: &Path) -> Result<OwnedFd> {
    match layers {
        [one] => one.open(),
        _ => rootfs::readonly_overlay(layers, scratch),
    }
}

fn shown(volume: &ResolvedMount) -> String {
    match (&volume.mount.source, &volume.host_path) {
        (MountSource::Volume { name, .. }, _) => format!("volume {name}"),
        (MountSource::Image { name, .. }, _) => format!("image {name}"),
        (_, Some(path)) => path.display().to_string(),
        (_, None) => String::new(),
    }
}

/// A volume, a bind mount or an image, detached.
fn source(volume: &ResolvedMount, mapping: Option<Mapping<'_>>, scratch: &Path) -> Result<OwnedFd> {
    if let MountSource::Image { subpath, .. } = &volume.mount.source {
        return rootfs::of_image(&volume.layers, subpath, mapping, scratch);
    }
    let path = volume.host_path.as_deref().unwrap_or(Path::new("/"));
    let recursive = match volume.mount.source {
        MountSource::Bind { recursive: false, .. } => 0,
        _ => RECURSIVE,
    };
    let tree = match volume.subpath() {
        "" => bind_tree::copy_of(path, recursive != 0),
        subpath => volume_fs::below(path, subpath)
            .and_then(|place| mount::open_tree(Some(place.as_fd()), c"", OPEN_TREE_CLONE | recursive)),
    };
    let tree = tree.context(|| format!("open_tree {}", path.join(volume.subpath()).display()))?;
    // As a start does: a volume has the ids of the inside, a directory of the host its own.
    if let (Some(mapping), MountSource::Volume { .. }) = (mapping, &volume.mount.source) {
        mapping.apply(tree.as_fd(), path)?;
    }
    if volume.mount.readonly {
        mount::set_attributes(tree.as_fd(), mount::ATTR_RDONLY, 0, 0, false)
            .context(|| format!("mount_setattr {}", path.display()))?;
    }
    Ok(tree)
}

/// Puts it where it belongs. Whoever shares a volume may change what is in it at the same time: so the place is
/// looked up once, below the root, and what was found is mounted on.
fn attach(root: BorrowedFd<'_>, volume: &ResolvedMount, tree: &OwnedFd) -> Result<()> {
    let is_directory = fsat::stat(tree.as_fd()).context(|| "stat".to_owned())?.is_dir();
    let target = Target::in_root(root, &volume.mount.target)?;
    let place = place(root, &target, is_directory)?;
    mount::attach(tree.as_fd(), place.as_fd()).context(|| "move_mount".to_owned())
}

/// The place of a mount; made when it is missing, as a start would.
fn place(root: BorrowedFd<'_>, target: &Target, is_directory: bool) -> Result<OwnedFd> {
    let making = || "make the place".to_owned();
    match openat2::open_in_root(root, &target.path, O_PATH, 0) {
        Err(Errno::ENOENT) => {}
        other => return other.context(making),
    }
    for (at, (directory, name)) in target.parts.iter().enumerate() {
        let parent = openat2::open_in_root(root, directory, O_PATH | O_DIRECTORY, 0).context(making)?;
        let made = if is_directory || at + 1 < target.parts.len() {
            openat2::mkdir_at(parent.as_fd(), name, 0o755)
        } else {
            openat2::create_at(parent.as_fd(), name, 0o644)
        };
        match made {
            Err(Errno::EEXIST) => {}
            other => other.context(making)?,
        }
    }
    openat2::open_in_root(root, &target.path, O_PATH, 0).context(making)
}

/// Gives the calling thread, one of [`in_thread`], a mount namespace of its own. With it goes a umask of its own
/// (unshare(2)): what is made in a container has the modes that a start gives, whatever the program's umask is.
fn own_mounts() -> Result<()> {
    process::unshare(clone::NEWNS)
        .and_then(|()| mount::set_root_propagation(mount::PRIVATE))
        .context(|| "make a mount namespace".to_owned())?;
    process::umask(0o022);
    Ok(())
}

/// Runs something in a thread that ends with it: what it does to its own namespaces ends there too.
fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("dhow-view".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, work)
            .context(|| "start a thread".to_owned())?;
        thread.join().map_err(|_| Error::internal("a thread that looks into a container panicked"))
    })
}
