//! The container's `/dev`: a small tmpfs with nodes and links, made detached before the clone.

use crate::step::DevPlan;
use dhow_model::{Error, Result, ResultExt};
use dhow_sys::fsat;
use dhow_sys::mount::FsContext;
use dhow_sys::openat2;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;
const TYPE_MASK: u32 = 0o170_000;

/// The nodes that every container has (OCI runtime-spec, config-linux.md, "Default Devices").
const NODES: [(&CStr, u32, u32); 6] = [
    (c"null", 1, 3),
    (c"zero", 1, 5),
    (c"full", 1, 7),
    (c"random", 1, 8),
    (c"urandom", 1, 9),
    (c"tty", 5, 0),
];
/// The links that every container has (the same, "Dev symbolic links").
const LINKS: [(&CStr, &CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
    (c"core", c"/proc/kcore"),
];
/// Where further filesystems are mounted.
const DIRECTORIES: [&CStr; 3] = [c"pts", c"shm", c"mqueue"];
/// Names of the host's `/dev` that are never copied: mounts of its own, and what this module makes itself.
const NOT_COPIED: [&str; 12] = [
    "pts",
    "shm",
    "mqueue",
    "hugepages",
    "fd",
    "stdin",
    "stdout",
    "stderr",
    "ptmx",
    "core",
    "console",
    ".udev",
];
/// Deeper than any real `/dev`.
const MAX_DEPTH: usize = 16;

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostNode {
    /// Below the path that was asked for; empty for that path itself.
    pub relative: PathBuf,
    /// Type and permissions.
    pub mode: u32,
    device: u64,
    /// Whose it is.
    pub uid: u32,
    /// The same.
    pub gid: u32,
}

impl HostNode {
    pub(crate) fn is_block(&self) -> bool {
        self.mode & TYPE_MASK == BLOCK
    }

    pub(crate) fn major(&self) -> u32 {
        fsat::split_device(self.device).0
    }

    pub(crate) fn minor(&self) -> u32 {
        fsat::split_device(self.device).1
    }
}

/// The node at a host path, or all nodes below it when it is a directory.
///
/// # Errors
/// `InvalidArgument` when there is none.
pub(crate) fn host_nodes(path: &Path) -> Result<Vec<HostNode>> {
    let metadata = std::fs::metadata(path)
        .context(|| {
            format!("error gathering device information while adding custom device {:?}", path.display())
        })
        .map_err(|e| e.with_kind(dhow_model::ErrorKind::InvalidArgument))?;
    let mut nodes = Vec::new();
    if metadata.is_dir() {
        walk(path, Path::new(""), 0, &mut nodes)?;
    } else {
        nodes.extend(node(PathBuf::new(), &metadata));
    }
    if nodes.is_empty() {
        return Err(Error::invalid(format!("{}: not a device node", path.display())));
    }
    Ok(nodes)
}

fn node(relative: PathBuf, metadata: &std::fs::Metadata) -> Option<HostNode> {
    let kind = metadata.file_type();
    (kind.is_char_device() || kind.is_block_device()).then(|| HostNode {
        relative,
        mode: metadata.mode(),
        device: metadata.rdev(),
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

fn walk(top: &Path, below: &Path, depth: usize, nodes: &mut Vec<HostNode>) -> Result<()> {
    let directory = top.join(below);
    let entries = std::fs::read_dir(&directory).context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        let entry = entry.context(|| format!("list {}", directory.display()))?;
        let name = entry.file_name();
        if depth == 0 && NOT_COPIED.iter().any(|skip| name == *skip) {
            continue;
        }
        // Links are not followed; a device unplugged meanwhile is not there.
        let Ok(metadata) = entry.metadata() else { continue };
        let relative = below.join(&name);
        if metadata.is_dir() && depth < MAX_DEPTH {
            walk(top, &relative, depth + 1, nodes)?;
        } else {
            nodes.extend(node(relative, &metadata));
        }
    }
    Ok(())
}

/// Makes the tmpfs, filled, as a detached mount. `owner` is the container's root, user and group.
///
/// # Errors
/// Names the node that could not be made.
pub(crate) fn make(plan: &DevPlan, attributes: u64, owner: (u32, u32)) -> Result<OwnedFd> {
    let mount = || -> dhow_sys::Result<OwnedFd> {
        let context = FsContext::open(c"tmpfs")?;
        context.set(c"mode", c"755")?;
        context.set(c"size", c"65536k")?;
        context.mount(attributes)
    };
    let mount = mount().context(|| "make a tmpfs for /dev".to_owned())?;
    let dev = mount.as_fd();
    for (name, major, minor) in NODES {
        openat2::mknod_at(dev, name, CHARACTER | 0o666, fsat::make_device(major, minor))
            .context(|| format!("mknod /dev/{}", name.to_string_lossy()))?;
    }
    for (name, target) in links() {
        openat2::symlink_at(target, dev, name)
            .context(|| format!("symlink /dev/{}", name.to_string_lossy()))?;
    }
    for name in DIRECTORIES {
        openat2::mkdir_at(dev, name, 0o755).context(|| format!("mkdir /dev/{}", name.to_string_lossy()))?;
    }
    if plan.console {
        openat2::create_at(dev, c"console", 0o600).context(|| "create /dev/console".to_owned())?;
    }
    if owner != (0, 0) {
        give(dev, owner, plan.console)?;
    }
    for (node, target) in wanted(plan)? {
        place(dev, &node, &target)?;
    }
    Ok(mount)
}

/// The nodes of the host that a plan asks for, and where they go below `/dev`.
///
/// # Errors
/// As [`host_nodes`].
pub(crate) fn wanted(plan: &DevPlan) -> Result<Vec<(HostNode, PathBuf)>> {
    let mut nodes = Vec::new();
    if plan.all_of_host {
        for node in host_nodes(Path::new("/dev"))? {
            let target = node.relative.clone();
            nodes.push((node, target));
        }
    }
    for (host, name) in &plan.from_host {
        for node in host_nodes(host)? {
            let target = if node.relative.as_os_str().is_empty() {
                PathBuf::from(name)
            } else {
                Path::new(name).join(&node.relative)
            };
            nodes.push((node, target));
        }
    }
    Ok(nodes)
}

/// Where the kernel has no `/proc/kcore`, a link to it would lead nowhere.
fn links() -> impl Iterator<Item = (&'static CStr, &'static CStr)> {
    let has_core = Path::new("/proc/kcore").exists();
    LINKS.into_iter().filter(move |(name, _)| *name != c"core" || has_core)
}

/// Gives what every container has to its root. The host's devices keep their owners.
fn give(dev: BorrowedFd<'_>, (uid, gid): (u32, u32), console: bool) -> Result<()> {
    let standard = NODES.iter().map(|(name, ..)| *name).chain(links().map(|(name, _)| name));
    let console = console.then_some(c"console");
    for name in standard.chain(DIRECTORIES).chain(console).chain([c"."]) {
        openat2::chown_at(dev, name, uid, gid)
            .context(|| format!("chown /dev/{}", name.to_string_lossy()))?;
    }
    Ok(())
}

/// Copies one node to `target` below the new `/dev`, which holds nothing but what we put there.
fn place(dev: BorrowedFd<'_>, node: &HostNode, target: &Path) -> Result<()> {
    let name = CString::new(target.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(format!("device path {} contains a NUL byte", target.display())))?;
    if let Some(parents) = target.parent() {
        let mut path = PathBuf::new();
        for part in parents {
            path.push(part);
            match fsat::mkdir_at(dev, &path, 0o755) {
                Ok(()) | Err(dhow_sys::Error { errno: dhow_sys::Errno::EEXIST, .. }) => {}
                Err(error) => return Err(error).context(|| format!("mkdir /dev/{}", path.display())),
            }
        }
    }
    match openat2::mknod_at(dev, &name, node.mode, node.device) {
        Ok(()) => openat2::chown_at(dev, &name, node.uid, node.gid)
            .context(|| format!("chown /dev/{}", target.display())),
        // One of the standard nodes.
        Err(dhow_sys::Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno).context(|| format!("mknod /dev/{}", target.display())),
    }
}
