//! Mounts of indexed layers: each layer is mounted once on the whole machine, and every container gets a copy of that
//! mount. So containers of one image share its page cache, and so do runs that follow each other.
//!
//! ```text
//!   STATE/layers            itself, mounted on itself, unbindable: what lies below is nobody else's
//!   STATE/layers/ns         a mount namespace, pinned; nobody lives in it
//!     /                     a tmpfs
//!     /NAME                 a layer: EROFS, its index and its tar opened as files
//!   STATE/layers.lock       flock, while a mount is made or removed
//! ```
//!
//! In the host's mount table there are the two mounts that pin the namespace, and these only while a layer is mounted.
//! The first start of a layer's container mounts it; its removal unmounts it. What a crash leaves here is used by the
//! next start; a reboot takes all of it.
//!
//! **An index without its device, or a tar that shrinks below a mount, is an I/O error in a container**: both files
//! are read-only, and removed only after their mount.
//!
//! Data is cached twice while it is read: as EROFS's pages, which stay, and as the tar's. The latter are dropped
//! by the monitor, when its container is idle and when it has ended.

use crate::rootfs::{self, Lower, c_path, c_string, short_path};
use crate::spec::Rootfs;
use dhow_model::{Error, ErrorKind, IndexedLayer, LowerLayer, Result, ResultExt};
use dhow_sys::mount::{self, ATTR_NOATIME, ATTR_RDONLY, FsContext, OPEN_TREE_CLONE};
use dhow_sys::{Errno, fsat, mount_namespace};
use nix::fcntl::{Flock, FlockArg};
use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// EROFS_SUPER_MAGIC_V1 (include/uapi/linux/magic.h).
const EROFS: i64 = 0xE0F5_E1E2;
/// NSFS_MAGIC (the same).
const NSFS: i64 = 0x6e73_6673;

/// A mount for each layer that is indexed: a detached copy of the one that all share.
///
/// # Errors
/// Names the layer that cannot be mounted.
pub(crate) fn mounts_of(layers: &[&LowerLayer]) -> Result<Vec<Option<OwnedFd>>> {
    let indexed: Vec<&IndexedLayer> = layers.iter().filter_map(|layer| as_indexed(layer)).collect();
    let mut mounts = copies(&indexed)?.into_iter();
    Ok(layers.iter().map(|layer| as_indexed(layer).and_then(|_| mounts.next())).collect())
}

fn as_indexed(layer: &LowerLayer) -> Option<&IndexedLayer> {
    match layer {
        LowerLayer::Indexed(layer) => Some(layer),
        LowerLayer::Directory(_) => None,
    }
}

/// The same for one.
pub(crate) fn mount_of(layer: &IndexedLayer) -> Result<OwnedFd> {
    copies(&[layer])?.pop().ok_or_else(|| Error::internal("a layer has no mount"))
}

/// Unmounts a layer, if it is mounted. Containers that run keep their copies.
///
/// # Errors
/// What the kernel says.
pub fn release(layer: &IndexedLayer) -> Result<()> {
    let releasing = || format!("unmount layer {}", layer.name);
    if pinned(&layer.mounts)?.is_none() {
        return Ok(());
    }
    let _lock = lock(&layer.mounts)?;
    let Some(namespace) = pinned(&layer.mounts)? else { return Ok(()) };
    let place = place(layer)?;
    let last = mount_namespace::visit(namespace.as_fd(), || {
        match mount::detach(&place) {
            // Not mounted, or not even a place.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let root = fsat::open_directory(Path::new("/")).map_err(|error| error.errno)?;
        match fsat::rmdir_at(root.as_fd(), Path::new(&layer.name)) {
            Err(error) if error.errno != Errno::ENOENT => return Err(error.errno),
            _ => {}
        }
        Ok(fsat::list_directory(root.as_fd()).map_err(|error| error.errno)?.is_empty())
    })
    .context(releasing)?;
    if last { unpin(&layer.mounts) } else { Ok(()) }
}

/// Whether this kernel mounts such a layer and an overlay on it, through which `file` has that content. `scratch` is
/// an empty directory.
pub fn works(layer: &IndexedLayer, scratch: &Path, file: (&str, &[u8])) -> bool {
    let read = || -> Result<Vec<u8>> {
        let overlay = rootfs::overlay_of(&Lower::of_one(mount_alone(layer)?, scratch), None, scratch)?;
        let opened = fsat::open_at(overlay.as_fd(), Path::new(file.0), nix::libc::O_RDONLY, 0);
        let mut content = Vec::new();
        let mut opened = File::from(opened.context(|| "open the probe".to_owned())?);
        std::io::Read::read_to_end(&mut opened, &mut content).context(|| "read the probe".to_owned())?;
        Ok(content)
    };
    read().is_ok_and(|content| content == file.1)
}

/// The tars of a root filesystem's indexed layers.
pub(crate) fn tars_of(rootfs: &Rootfs) -> Vec<PathBuf> {
    let Rootfs::Overlay { lower, .. } = rootfs else { return Vec::new() };
    lower.iter().filter_map(as_indexed).map(|layer| layer.tar.clone()).collect()
}

/// Lets go of what the kernel keeps of these tars beside what it keeps of the files in them.
pub(crate) fn drop_pages_of(tars: &[PathBuf]) {
    for tar in tars {
        if let Ok(tar) = File::open(tar) {
            // Only to be kind: without it the pages go when memory is short.
            let _ = fsat::drop_pages(tar.as_fd());
        }
    }
}

/// A copy of each layer's mount; those that are missing are made.
fn copies(layers: &[&IndexedLayer]) -> Result<Vec<OwnedFd>> {
    let Some(first) = layers.first() else { return Ok(Vec::new()) };
    let places = layers.iter().map(|layer| place(layer)).collect::<Result<Vec<_>>>()?;
    let what = || format!("enter the namespace of the layers at {}", first.mounts.display());
    if let Some(namespace) = pinned(&first.mounts)? {
        let found = mount_namespace::visit(namespace.as_fd(), || copy_all(&places)).context(what)?;
        if let Some(all) = found.into_iter().collect() {
            return Ok(all);
        }
    }
    let _lock = lock(&first.mounts)?;
    let namespace = match pinned(&first.mounts)? {
        Some(namespace) => namespace,
        None => match pin(&first.mounts)? {
            Some(namespace) => namespace,
            None => return layers.iter().map(|layer| mount_alone(layer)).collect(),
        },
    };
    let found = mount_namespace::visit(namespace.as_fd(), || copy_all(&places)).context(what)?;
    // Made here, where their files can be opened, and put there.
    let mut fresh = Vec::new();
    for ((layer, place), found) in layers.iter().zip(&places).zip(&found) {
        if found.is_none() && !fresh.iter().any(|(_, known)| known == place) {
            fresh.push((mount_alone(layer)?, place.clone()));
        }
    }
    let found = mount_namespace::visit(namespace.as_fd(), || {
        for (mount, place) in &fresh {
            let path = Path::new(std::ffi::OsStr::from_bytes(&place.to_bytes()[1..]));
            let root = fsat::open_directory(Path::new("/")).map_err(|error| error.errno)?;
            match fsat::mkdir_at(root.as_fd(), path, 0o700) {
                Err(error) if error.errno != Errno::EEXIST => return Err(error.errno),
                _ => {}
            }
            mount::attach(mount.as_fd(), mount::open_path(place)?.as_fd())?;
        }
        copy_all(&places)
    })
    .context(what)?;
    found.into_iter().collect::<Option<_>>().ok_or_else(|| Error::internal("a layer's mount has vanished"))
}

/// In the namespace: copies of those that are mounted.
fn copy_all(places: &[CString]) -> Result<Vec<Option<OwnedFd>>, Errno> {
    let copy = |place: &CString| match mount::open_tree(None, place, OPEN_TREE_CLONE) {
        // A place without a mount is what a crash has left.
        Ok(tree) => Ok((mount::filesystem_magic(tree.as_fd())? == EROFS).then_some(tree)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    };
    places.iter().map(copy).collect()
}

/// Where a layer is in the namespace.
fn place(layer: &IndexedLayer) -> Result<CString> {
    c_string(format!("/{}", layer.name))
}

/// A detached mount of a layer, shared with nobody.
fn mount_alone(layer: &IndexedLayer) -> Result<OwnedFd> {
    let failed = |context: Option<&FsContext>, errno: Errno| {
        let message = context.and_then(FsContext::message).map(|m| format!(" ({m})")).unwrap_or_default();
        Error::caused(
            ErrorKind::StartFailed,
            format!("mount layer {}{message}", layer.index.display()),
            errno,
        )
    };
    let mut held = Vec::new();
    let index = short_path(&layer.index, &mut held)?;
    let tar = short_path(&layer.tar, &mut held)?;
    let context = FsContext::of_source(c"erofs", &index).map_err(|errno| failed(None, errno))?;
    context
        .set(c"device", &tar)
        .and_then(|()| context.mount(ATTR_RDONLY | ATTR_NOATIME))
        .map_err(|errno| failed(Some(&context), errno))
}

/// The namespace, if it is there.
fn pinned(mounts: &Path) -> Result<Option<OwnedFd>> {
    let path = mounts.join("ns");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(|| format!("open {}", path.display())),
    };
    let magic = mount::filesystem_magic(file.as_fd()).context(|| format!("look at {}", path.display()))?;
    Ok((magic == NSFS).then(|| file.into()))
}

/// Makes the namespace, and pins it. Under the lock. `None` where the kernel does not let it be pinned: a monitor with a
/// mount namespace of its own (volumes that are filesystems, external runtimes) has no pin of the host's in it, and
/// may pin only namespaces that count as newer than its own. That goes by their ids, which since Linux 6.18 are given
/// out in batches to the processors, so that a newer one may well have a smaller.
fn pin(mounts: &Path) -> Result<Option<OwnedFd>> {
    let pinning = || format!("pin a mount namespace at {}", mounts.display());
    DirBuilder::new().recursive(true).mode(0o700).create(mounts).context(pinning)?;
    // What a crash may have left half-made.
    unpin(mounts)?;
    let directory = c_path(mounts)?;
    let file = mounts.join("ns");
    File::create(&file).context(pinning)?;
    let own = mount::open_tree(None, &directory, OPEN_TREE_CLONE).context(pinning)?;
    mount::attach(own.as_fd(), mount::open_path(&directory).context(pinning)?.as_fd()).context(pinning)?;
    // Nobody else gets what is mounted below it: a namespace cannot be mounted where others would get it, too. Nor does
    // anybody who mounts all that lies around it somewhere else: a copy of the pin could be attached to nothing.
    mount::set_attributes(own.as_fd(), 0, 0, mount::UNBINDABLE, false).context(pinning)?;
    let namespace = mount_namespace::make(&directory).context(pinning)?;
    let source = c_string(format!("/proc/self/fd/{}", namespace.as_raw_fd()))?;
    let pin = mount::open_tree(None, &source, OPEN_TREE_CLONE).context(pinning)?;
    match mount::attach(pin.as_fd(), mount::open_path(&c_path(&file)?).context(pinning)?.as_fd()) {
        Ok(()) => Ok(Some(namespace)),
        Err(Errno::ELOOP) => {
            unpin(mounts)?;
            Ok(None)
        }
        Err(errno) => Err(errno).context(pinning),
    }
}

/// Takes the pin away, and with it the namespace and its mounts. Under the lock.
fn unpin(mounts: &Path) -> Result<()> {
    for path in [&mounts.join("ns"), mounts] {
        let path = c_path(path)?;
        loop {
            match mount::detach(&path) {
                Ok(()) => {}
                Err(Errno::EINVAL | Errno::ENOENT) => break,
                Err(errno) => return Err(errno).context(|| format!("unmount {}", mounts.display())),
            }
        }
    }
    Ok(())
}

/// Held while a mount is made or removed.
fn lock(mounts: &Path) -> Result<Flock<File>> {
    let path = mounts.with_extension("lock");
    let locking = || format!("lock {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .context(locking)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(errno).context(locking),
        }
    }
}
