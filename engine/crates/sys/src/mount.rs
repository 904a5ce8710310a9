//! The mount API by descriptors: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2),
//! mount_setattr(2), pivot_root(2), umount2(2). Linux 5.12 has all of it.

use crate::error::{Errno, Result, check};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Flags of include/uapi/linux/mount.h.
pub const ATTR_RDONLY: u64 = 0x1;
/// No setuid.
pub const ATTR_NOSUID: u64 = 0x2;
/// No device nodes.
pub const ATTR_NODEV: u64 = 0x4;
/// No execution.
pub const ATTR_NOEXEC: u64 = 0x8;
/// Never update access times.
pub const ATTR_NOATIME: u64 = 0x10;
/// Map ids through a user namespace.
pub const ATTR_IDMAP: u64 = 0x0010_0000;

/// Clone the tree instead of only opening it.
pub const OPEN_TREE_CLONE: u32 = 1;
/// The mounts below too.
pub const RECURSIVE: u32 = 0x8000;

/// Nothing travels.
pub const PRIVATE: u64 = libc::MS_PRIVATE;
/// Both ways.
pub const SHARED: u64 = libc::MS_SHARED;
/// From the master only.
pub const SLAVE: u64 = libc::MS_SLAVE;
/// Nothing travels, and no copy is made of it but by a whole new namespace.
pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// What mount(2) takes of its options: the smallest page that Linux has, less its end (copy_mount_options,
/// fs/namespace.c).
pub const OPTIONS_MAX: usize = 4095;

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

/// What mount_setattr(2) takes.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn raw(fd: Option<BorrowedFd<'_>>) -> i32 {
    fd.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd())
}

pub(crate) fn owned(fd: libc::c_long) -> Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A filesystem being configured.
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// fsopen(2).
    ///
    /// # Errors
    /// `ENODEV` for an unknown filesystem.
    pub fn open(kind: &CStr) -> Result<Self> {
        // What mount tables show as the device; "none" otherwise.
        Self::of_source(kind, kind)
    }

    /// The same for a filesystem that lies somewhere.
    ///
    /// # Errors
    /// `ENODEV` for an unknown filesystem.
    pub fn of_source(kind: &CStr, source: &CStr) -> Result<Self> {
        // SAFETY: a NUL-terminated string and a flag.
        let fd = check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
        let context = Self(owned(fd)?);
        context.set(c"source", source)?;
        Ok(context)
    }

    fn config(&self, command: u32, key: *const libc::c_char, value: *const libc::c_char) -> Result<()> {
        // SAFETY: key and value are null or NUL-terminated strings that outlive the call.
        check(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) })?;
        Ok(())
    }

    /// Sets `key=value`.
    ///
    /// # Errors
    /// `EINVAL` when the filesystem does not know it; [`FsContext::message`] says more.
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<()> {
        self.config(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// Sets an option without a value.
    ///
    /// # Errors
    /// As [`FsContext::set`].
    pub fn set_flag(&self, key: &CStr) -> Result<()> {
        self.config(FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
    }

    /// Makes the superblock and a detached mount of it.
    ///
    /// # Errors
    /// Whatever the filesystem says; [`FsContext::message`] says more.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
        // SAFETY: numbers only.
        let fd = check(unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes)
        })?;
        owned(fd)
    }

    /// What the filesystem wrote about its refusal, if anything. Allocates: not for a cloned child.
    pub fn message(&self) -> Option<String> {
        let mut buffer = [0u8; 512];
        let mut messages = Vec::new();
        while let Ok(length) = nix::unistd::read(&self.0, &mut buffer) {
            if length == 0 {
                break;
            }
            // "e text": severity, blank, text.
            let text = String::from_utf8_lossy(&buffer[..length]);
            messages.push(text.split_once(' ').map_or(text.as_ref(), |(_, t)| t).trim().to_owned());
        }
        (!messages.is_empty()).then(|| messages.join("; "))
    }
}

/// open_tree(2): with [`OPEN_TREE_CLONE`] a detached copy of the mount at `path`.
///
/// # Errors
/// As the manual has it.
pub fn open_tree(dir: Option<BorrowedFd<'_>>, path: &CStr, flags: u32) -> Result<OwnedFd> {
    let empty = if path.is_empty() { libc::AT_EMPTY_PATH.unsigned_abs() } else { 0 };
    let flags = flags | libc::O_CLOEXEC.unsigned_abs() | empty;
    // SAFETY: a NUL-terminated string and numbers.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, raw(dir), path.as_ptr(), flags) })?;
    owned(fd)
}

/// Opens a path as a mere place (`O_PATH`), following symbolic links.
///
/// # Errors
/// As open(2).
pub fn open_path(path: &CStr) -> Result<OwnedFd> {
    // SAFETY: a NUL-terminated string and flags.
    let fd = check(libc::c_long::from(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) }))?;
    owned(fd)
}

/// move_mount(2) from a detached mount onto an opened place.
///
/// # Errors
/// `ENOTDIR` when a directory meets a file; else as the manual has it.
pub fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: empty NUL-terminated strings and numbers.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            place.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// mount(2) of a filesystem with all its options as one string, which the kernel cuts at [`OPTIONS_MAX`] bytes.
///
/// # Errors
/// As the manual has it.
pub fn mount_with_options(kind: &CStr, target: &CStr, options: &CStr) -> Result<()> {
    // SAFETY: NUL-terminated strings; the kernel reads at most one page from the last, which may end earlier.
    check(libc::c_long::from(unsafe {
        libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast())
    }))?;
    Ok(())
}

/// mount_setattr(2) on an opened mount. `propagation` 0 leaves it.
///
/// # Errors
/// As the manual has it.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
) -> Result<()> {
    setattr(mount.as_raw_fd(), c"", &MountAttr { set, clear, propagation, userns_fd: 0 }, recursive)
}

/// Maps the ids of a detached mount through a user namespace.
///
/// # Errors
/// `EINVAL` when the filesystem does not support it.
pub fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let userns_fd = u64::from(user_namespace.as_raw_fd().unsigned_abs());
    setattr(
        mount.as_raw_fd(),
        c"",
        &MountAttr { set: ATTR_IDMAP, clear: 0, propagation: 0, userns_fd },
        recursive,
    )
}

/// Changes the propagation of the whole mount tree of this namespace.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_root_propagation(propagation: u64) -> Result<()> {
    setattr(libc::AT_FDCWD, c"/", &MountAttr { set: 0, clear: 0, propagation, userns_fd: 0 }, true)
}

fn setattr(dir: i32, path: &CStr, attributes: &MountAttr, recursive: bool) -> Result<()> {
    let mut flags = 0;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH.unsigned_abs();
    }
    if recursive {
        flags |= RECURSIVE;
    }
    // SAFETY: the structure is the size that the last argument says.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            &raw const *attributes,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// pivot_root(".", "."): the current directory becomes the root; the old root lies on top of it, at `.`.
///
/// # Errors
/// As pivot_root(2).
pub fn pivot_here() -> Result<()> {
    // SAFETY: two NUL-terminated strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    Ok(())
}

/// umount2(path, MNT_DETACH).
///
/// # Errors
/// As umount2(2).
pub fn detach(path: &CStr) -> Result<()> {
    // SAFETY: a NUL-terminated string and a flag.
    check(libc::c_long::from(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }))?;
    Ok(())
}

/// The type of the filesystem behind a descriptor (statfs(2)), such as `libc::PROC_SUPER_MAGIC`.
///
/// # Errors
/// As fstatfs(2).
pub fn filesystem_magic(fd: BorrowedFd<'_>) -> Result<i64> {
    let mut buffer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the buffer has the size that the call fills.
    check(libc::c_long::from(unsafe { libc::fstatfs(fd.as_raw_fd(), buffer.as_mut_ptr()) }))?;
    // SAFETY: the call succeeded and filled it.
    Ok(unsafe { buffer.assume_init() }.f_type)
}
