//! Detached mounts of what the host has: tmpfs, cgroup directories, bind sources.

use crate::bind_tree;
use crate::rootfs::{c_path, c_string};
use crate::step::{BindPlan, MountStep};
use crate::volume_fs::{self, holder};
use dhow_model::mount::Propagation;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::mount::{self, FsContext, OPEN_TREE_CLONE, RECURSIVE};
use dhow_sys::{Errno, OnErrno, clone, openat2, process};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A tmpfs of that name with these options, as a detached mount.
pub(crate) fn tmpfs(name: &str, options: &[String], attributes: u64, target: &str) -> Result<OwnedFd> {
    let context = FsContext::of_source(c"tmpfs", &c_string(name)?)
        .on("fsopen", "tmpfs")
        .context(|| format!("mount at {target}"))?;
    for option in options {
        let set = match option.split_once('=') {
            Some((key, value)) => context.set(&c_string(key)?, &c_string(value)?),
            None => context.set_flag(&c_string(option.as_str())?),
        };
        set.on("fsconfig", option).context_kind(ErrorKind::InvalidArgument, || {
            format!("tmpfs at {target}: option {option:?} is refused")
        })?;
    }
    context.mount(attributes).on("fsmount", "tmpfs").context(|| format!("mount at {target}"))
}

/// A copy of the mount at a cgroup directory. Its root is the container's own directory, which is also the root
/// of its cgroup namespace.
pub(super) fn cgroup_view(path: Option<&Path>, attributes: u64) -> Result<OwnedFd> {
    let path = path.ok_or_else(|| Error::internal("a cgroup mount was planned without its directory"))?;
    let view = || -> Result<OwnedFd, Errno> {
        let text = c_path(path).map_err(|_| Errno::EINVAL)?;
        let tree = mount::open_tree(None, &text, OPEN_TREE_CLONE)?;
        mount::set_attributes(tree.as_fd(), attributes, 0, mount::PRIVATE, false)?;
        Ok(tree)
    };
    view().on("open_tree", path.display()).context(|| "mount cgroups".to_owned())
}

/// A copy of another container's `/dev/shm`. Only inside its mount namespace can the mount be copied; this process,
/// which has one thread, goes there for that and comes back.
pub(crate) fn shared_memory(donor: BorrowedFd<'_>, attributes: u64) -> Result<OwnedFd> {
    let what = || "share the other container's /dev/shm".to_owned();
    let home = File::open("/proc/thread-self/ns/mnt").context(what)?;
    process::setns(donor, clone::NEWNS).context(what)?;
    let copied = copy_shared_memory(attributes);
    // A monitor that cannot come back must not go on: its paths would be the container's.
    process::setns(home.as_fd(), clone::NEWNS).context(what)?;
    copied.context_kind(ErrorKind::StartFailed, what)
}

fn copy_shared_memory(attributes: u64) -> Result<OwnedFd, Errno> {
    let root = mount::open_path(c"/")?;
    let flags = nix::libc::O_PATH | nix::libc::O_DIRECTORY;
    let resolve = openat2::IN_ROOT | openat2::NO_SYMLINKS;
    let place = openat2::open(root.as_fd(), c"dev/shm", flags, 0, resolve)?;
    // Whatever else the container has put there is not what it promised to share.
    if mount::filesystem_magic(place.as_fd())? != nix::libc::TMPFS_MAGIC {
        return Err(Errno::EINVAL);
    }
    let tree = mount::open_tree(Some(place.as_fd()), c"", OPEN_TREE_CLONE)?;
    mount::set_attributes(tree.as_fd(), attributes, 0, mount::PRIVATE, false)?;
    Ok(tree)
}

/// Whether a source is a directory, and so mounted on one.
pub(crate) fn is_directory(source: &OwnedFd, step: &MountStep) -> Result<bool> {
    let status = openat2::stat(source.as_fd()).on("fstat", &step.target);
    let mode = status.context(|| format!("mount at {}", step.target))?.st_mode;
    Ok(mode & nix::libc::S_IFMT == nix::libc::S_IFDIR)
}

/// A copy of the mount tree at a host path, with the flags and the propagation of the step.
pub(crate) fn bind_source(bind: &BindPlan, step: &MountStep) -> Result<OwnedFd> {
    let path = &bind.path;
    let tree = if bind.subpath.is_empty() { whole(bind)? } else { part(bind)? };
    let tree = tree.map_err(|errno| match errno {
        Errno::ENOENT => Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            path.display()
        )),
        errno => Error::caused(
            ErrorKind::StartFailed,
            format!("mount {} at {}", path.display(), step.target),
            errno,
        ),
    })?;
    let (propagation, tree_wide) = match step.propagation {
        Propagation::Rprivate => (mount::PRIVATE, true),
        Propagation::Private => (mount::PRIVATE, false),
        Propagation::Rslave => (mount::SLAVE, true),
        Propagation::Slave => (mount::SLAVE, false),
        Propagation::Rshared => (mount::SHARED, true),
        Propagation::Shared => (mount::SHARED, false),
    };
    if propagation == mount::SHARED || propagation == mount::SLAVE {
        check_propagation(path, propagation)?;
    }
    let attributes = step.flags.attributes();
    let deep = bind.recursive && !bind.writable_below;
    let set = if tree_wide == deep {
        mount::set_attributes(tree.as_fd(), attributes, 0, propagation, deep)
    } else {
        mount::set_attributes(tree.as_fd(), attributes, 0, 0, deep)
            .and_then(|()| mount::set_attributes(tree.as_fd(), 0, 0, propagation, tree_wide))
    };
    set.on("mount_setattr", path.display())
        .context_kind(ErrorKind::StartFailed, || format!("mount at {}", step.target))?;
    Ok(tree)
}

/// All of a source.
fn whole(bind: &BindPlan) -> Result<Result<OwnedFd, Errno>> {
    let path = &bind.path;
    Ok(match bind_tree::copy_of(path, bind.recursive) {
        Err(Errno::ENOENT) if bind.create => {
            std::fs::create_dir_all(path)
                .context_kind(ErrorKind::StartFailed, || format!("make bind source {}", path.display()))?;
            bind_tree::copy_of(path, bind.recursive)
        }
        other => other,
    })
}

/// What lies below a volume: others may be swapping names in it, and it is looked up once.
fn part(bind: &BindPlan) -> Result<Result<OwnedFd, Errno>> {
    let place = volume_fs::below(&bind.path, &bind.subpath).map_err(|errno| {
        let (path, reason) = (bind.path.join(&bind.subpath), dhow_sys::error::reason(errno));
        Error::new(ErrorKind::StartFailed, format!("cannot access path {}: {reason}", path.display()))
    })?;
    Ok(mount::open_tree(Some(place.as_fd()), c"", OPEN_TREE_CLONE | RECURSIVE))
}

/// Docker's rule: what is to be shared must lie on a shared mount, what is to be a slave on a shared or slave
/// one; else nothing would ever travel, silently.
fn check_propagation(path: &Path, wanted: u64) -> Result<()> {
    let holder = holder(path)?;
    let has = |tag: &str| holder.as_ref().is_some_and(|(_, tags)| tags.iter().any(|t| t.starts_with(tag)));
    let (fine, word) = if wanted == mount::SHARED {
        (has("shared:"), "a shared")
    } else {
        (has("shared:") || has("master:"), "a shared or slave")
    };
    if fine {
        return Ok(());
    }
    let point = holder.map(|(point, _)| point).unwrap_or_default();
    Err(Error::invalid(format!(
        "path {} is mounted on {} but it is not {word} mount",
        path.display(),
        point.display()
    )))
}
