//! Files by directory descriptor: every call that makes, changes or reads a file takes the directory it lies in
//! as a descriptor, so that nobody can swap a parent directory in between, and no untrusted text is ever
//! resolved as a path from `/`.
//!
//! Names are single components unless a function says otherwise; none of the calls follows a symbolic link in
//! the last component. Unlike most of this crate these calls may allocate (for names over 255 bytes, and for
//! messages), so they are not for the child of a clone. Errors carry call, object and errno.

mod data;
mod mapping;
mod reopen;
mod tree;

pub use data::{
    allocate, copy_file_range, drop_pages, punch_hole, send_file, set_len, start_writeback, sync_data,
    write_all, write_all_at,
};
pub use mapping::Mapping;
pub use reopen::{chmod_place, is_readonly, next_data, reopen, set_times_place};
pub use tree::{Listed, ensure_directory, list_directory, remove_tree};

use crate::error::{Errno, Error, OnErrno, check};
use crate::openat2;
use std::ffi::{CStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// How openat2(2) walks a path; see `crate::openat2` for the single bits.
pub mod resolve {
    use crate::openat2;
    /// The directory is `/`: `..` and absolute links stay inside. No magic links.
    pub const IN_ROOT: u64 = openat2::IN_ROOT | openat2::NO_MAGICLINKS;
    /// Leaving the directory is an error. No magic links.
    pub const BENEATH: u64 = openat2::BENEATH | openat2::NO_MAGICLINKS;
    /// Leaving the directory, or any symbolic link, is an error.
    pub const NO_SYMLINKS: u64 = openat2::BENEATH | openat2::NO_SYMLINKS | openat2::NO_MAGICLINKS;
}

/// What stat(2) tells, as far as copies and archives need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The device that the file lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Number of names.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Which device this file is, for device files.
    pub special: u64,
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes that it takes.
    pub blocks: u64,
    /// When its data changed.
    pub mtime: Time,
}

/// A point in time as the kernel has it: nanoseconds count upwards, also before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Stat {
    /// The type bits of the mode.
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == libc::S_IFREG
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }

    /// Whether it is a character device with the number 0/0: what overlayfs takes for "deleted".
    pub fn is_whiteout(&self) -> bool {
        self.kind() == libc::S_IFCHR && self.special == 0
    }
}

/// Free room on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that the caller may still write.
    pub bytes: u64,
    /// Files that may still be made; `None` where the filesystem has no such limit.
    pub inodes: Option<u64>,
}

/// The device number of `major` and `minor`.
pub fn make_device(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// Major and minor of a device number.
pub fn split_device(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

/// Runs `call` with `path` as a C string, on the stack when it is short.
pub(crate) fn with_path<T>(
    name: &'static str,
    path: &Path,
    call: impl FnOnce(&CStr) -> crate::error::Result<T>,
) -> Result<T> {
    let bytes = path.as_os_str().as_bytes();
    let mut short = [0u8; 256];
    let result = if let Some(target) = short.get_mut(..=bytes.len()) {
        target[..bytes.len()].copy_from_slice(bytes);
        CStr::from_bytes_with_nul(target).map_err(|_| Errno::EINVAL).and_then(call)
    } else {
        std::ffi::CString::new(bytes).map_err(|_| Errno::EINVAL).and_then(|long| call(&long))
    };
    result.on(name, path.display())
}

/// openat2(2): opens `path`, of any number of components, as `resolve` says. Close-on-exec.
///
/// # Errors
/// As the manual has it.
pub fn open_resolved(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: i32,
    mode: u32,
    resolve: u64,
) -> Result<OwnedFd> {
    with_path("openat2", path, |path| openat2::open(dir, path, flags, mode, resolve))
}

/// Opens a directory by path, as a place to start from: the one function here that takes a path from `/`.
///
/// # Errors
/// As open(2) has it.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    with_path("open", path, |path| {
        // SAFETY: a NUL-terminated string and numbers.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) };
        own(fd)
    })
}

/// openat(2) of a single name, never through a symbolic link. Close-on-exec.
///
/// # Errors
/// As the manual has it.
pub fn open_at(dir: BorrowedFd<'_>, name: &Path, flags: i32, mode: u32) -> Result<OwnedFd> {
    with_path("openat", name, |name| {
        let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: a NUL-terminated string and numbers.
        own(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode) })
    })
}

/// mkdirat(2).
///
/// # Errors
/// As the manual has it.
pub fn mkdir_at(dir: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<()> {
    with_path("mkdirat", name, |name| {
        // SAFETY: a NUL-terminated string and numbers.
        done(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) })
    })
}

/// mknodat(2). `mode` carries the type; the umask applies.
///
/// # Errors
/// As the manual has it.
pub fn mknod_at(dir: BorrowedFd<'_>, name: &Path, mode: u32, device: u64) -> Result<()> {
    with_path("mknodat", name, |name| {
        // SAFETY: a NUL-terminated string and numbers.
        done(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, device) })
    })
}

/// symlinkat(2). `target` is any text.
///
/// # Errors
/// As the manual has it.
pub fn symlink_at(target: &Path, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let mut inner = Ok(());
    let outer = with_path("symlinkat", name, |name| {
        inner = with_path("symlinkat", target, |target| {
            // SAFETY: two NUL-terminated strings and a number.
            done(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) })
        });
        Ok(())
    });
    outer.and(inner.map_err(|error| Error { object: name.display().to_string(), ..error }))
}

/// linkat(2): a further name for a file; a symbolic link gets the name itself.
///
/// # Errors
/// As the manual has it.
pub fn link_at(old_dir: BorrowedFd<'_>, old: &Path, new_dir: BorrowedFd<'_>, new: &Path) -> Result<()> {
    two_names("linkat", old, new, |old, new| {
        // SAFETY: two NUL-terminated strings and numbers.
        done(unsafe { libc::linkat(old_dir.as_raw_fd(), old.as_ptr(), new_dir.as_raw_fd(), new.as_ptr(), 0) })
    })
}

/// linkat(2) with `AT_EMPTY_PATH`: a name for an open file, also one without any (`O_TMPFILE`).
///
/// # Errors
/// As the manual has it; needs `CAP_DAC_READ_SEARCH`.
pub fn link_file(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    with_path("linkat", name, |name| {
        // SAFETY: two NUL-terminated strings and numbers.
        done(unsafe {
            libc::linkat(file.as_raw_fd(), c"".as_ptr(), dir.as_raw_fd(), name.as_ptr(), libc::AT_EMPTY_PATH)
        })
    })
}

/// unlinkat(2) of anything but a directory.
///
/// # Errors
/// As the manual has it.
pub fn unlink_at(dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    with_path("unlinkat", name, |name| {
        // SAFETY: a NUL-terminated string and numbers.
        done(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) })
    })
}

/// unlinkat(2) of an empty directory.
///
/// # Errors
/// As the manual has it.
pub fn rmdir_at(dir: BorrowedFd<'_>, name: &Path) -> Result<()> {
    with_path("unlinkat", name, |name| {
        // SAFETY: a NUL-terminated string and numbers.
        done(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), libc::AT_REMOVEDIR) })
    })
}

/// renameat2(2) that replaces nothing: `EEXIST` if the new name is taken.
///
/// # Errors
/// As the manual has it.
pub fn rename_new_at(old_dir: BorrowedFd<'_>, old: &Path, new_dir: BorrowedFd<'_>, new: &Path) -> Result<()> {
    rename_with(old_dir, old, new_dir, new, libc::RENAME_NOREPLACE)
}

/// renameat2(2) that replaces what has the new name.
///
/// # Errors
/// As the manual has it.
pub fn rename_at(old_dir: BorrowedFd<'_>, old: &Path, new_dir: BorrowedFd<'_>, new: &Path) -> Result<()> {
    rename_with(old_dir, old, new_dir, new, 0)
}

/// The same by paths, for directories of our own.
///
/// # Errors
/// As the manual has it.
pub fn rename_new(old: &Path, new: &Path) -> Result<()> {
    // SAFETY: not a descriptor but the kernel's word for "relative to the working directory".
    let here = unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) };
    rename_new_at(here, old, here, new)
}

fn rename_with(
    old_dir: BorrowedFd<'_>,
    old: &Path,
    new_dir: BorrowedFd<'_>,
    new: &Path,
    flags: u32,
) -> Result<()> {
    two_names("renameat2", old, new, |old, new| {
        // SAFETY: two NUL-terminated strings and numbers.
        done(unsafe {
            libc::renameat2(old_dir.as_raw_fd(), old.as_ptr(), new_dir.as_raw_fd(), new.as_ptr(), flags)
        })
    })
}

/// readlinkat(2).
///
/// # Errors
/// As the manual has it.
pub fn read_link_at(dir: BorrowedFd<'_>, name: &Path) -> Result<OsString> {
    // Linux has no target longer than PATH_MAX.
    let mut target = vec![0u8; 4096];
    let length = with_path("readlinkat", name, |name| {
        // SAFETY: a NUL-terminated string, and a buffer with its length.
        check(unsafe {
            libc::readlinkat(dir.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len())
                as libc::c_long
        })
    })?;
    target.truncate(usize::try_from(length).unwrap_or(0));
    Ok(OsString::from_vec(target))
}

/// fchownat(2): `None` leaves an id as it is. An empty name means `dir` itself.
///
/// # Errors
/// As the manual has it.
pub fn chown_at(dir: BorrowedFd<'_>, name: &Path, uid: u32, gid: u32) -> Result<()> {
    with_path("fchownat", name, |name| {
        let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
        // SAFETY: a NUL-terminated string and numbers.
        done(unsafe { libc::fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) })
    })
}

/// fchown(2).
///
/// # Errors
/// As the manual has it.
pub fn chown(file: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::fchown(file.as_raw_fd(), uid, gid) }).on("fchown", Descriptor(file))
}

/// fchmodat(2). The file must not be a symbolic link: Linux would follow it.
///
/// # Errors
/// As the manual has it.
pub fn chmod_at(dir: BorrowedFd<'_>, name: &Path, mode: u32) -> Result<()> {
    with_path("fchmodat", name, |name| {
        // SAFETY: a NUL-terminated string and numbers.
        done(unsafe { libc::fchmodat(dir.as_raw_fd(), name.as_ptr(), mode, 0) })
    })
}

/// fchmod(2).
///
/// # Errors
/// As the manual has it.
pub fn chmod(file: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::fchmod(file.as_raw_fd(), mode) }).on("fchmod", Descriptor(file))
}

/// utimensat(2): sets the time of access and of modification, of a symbolic link itself too.
///
/// # Errors
/// As the manual has it.
pub fn set_times_at(dir: BorrowedFd<'_>, name: &Path, accessed: Time, modified: Time) -> Result<()> {
    let times = [timespec(accessed), timespec(modified)];
    with_path("utimensat", name, |name| {
        // SAFETY: a NUL-terminated string, and two structures as the call wants them.
        done(unsafe {
            libc::utimensat(dir.as_raw_fd(), name.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW)
        })
    })
}

/// futimens(2).
///
/// # Errors
/// As the manual has it; `EBADF` for descriptors opened with `O_PATH`.
pub fn set_times(file: BorrowedFd<'_>, accessed: Time, modified: Time) -> Result<()> {
    let times = [timespec(accessed), timespec(modified)];
    // SAFETY: two structures as the call wants them.
    done(unsafe { libc::futimens(file.as_raw_fd(), times.as_ptr()) }).on("futimens", Descriptor(file))
}

/// fstatat(2), of a symbolic link itself.
///
/// # Errors
/// As the manual has it.
pub fn stat_at(dir: BorrowedFd<'_>, name: &Path) -> Result<Stat> {
    with_path("fstatat", name, |name| fill_stat(dir, name))
}

/// fstat(2), also of descriptors opened with `O_PATH`.
///
/// # Errors
/// As the manual has it.
pub fn stat(file: BorrowedFd<'_>) -> Result<Stat> {
    fill_stat(file, c"").on("fstat", Descriptor(file))
}

fn fill_stat(dir: BorrowedFd<'_>, name: &CStr) -> crate::error::Result<Stat> {
    let mut raw = std::mem::MaybeUninit::<libc::stat>::uninit();
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: a NUL-terminated string, and room for one structure, which is filled when the call succeeds.
    let raw = unsafe {
        done(libc::fstatat(dir.as_raw_fd(), name.as_ptr(), raw.as_mut_ptr(), flags))?;
        raw.assume_init()
    };
    Ok(Stat {
        device: raw.st_dev,
        inode: raw.st_ino,
        mode: raw.st_mode,
        links: raw.st_nlink,
        uid: raw.st_uid,
        gid: raw.st_gid,
        special: raw.st_rdev,
        size: u64::try_from(raw.st_size).unwrap_or(0),
        blocks: u64::try_from(raw.st_blocks).unwrap_or(0),
        mtime: Time { seconds: raw.st_mtime, nanos: u32::try_from(raw.st_mtime_nsec).unwrap_or(0) },
    })
}

/// fstatvfs(3): what is free on the filesystem of `file`.
///
/// # Errors
/// As the manual has it.
pub fn space(file: BorrowedFd<'_>) -> Result<Space> {
    let mut raw = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: room for one structure, which is filled when the call succeeds.
    let raw = unsafe {
        done(libc::fstatvfs(file.as_raw_fd(), raw.as_mut_ptr())).on("fstatvfs", Descriptor(file))?;
        raw.assume_init()
    };
    Ok(Space {
        bytes: raw.f_bavail.saturating_mul(raw.f_frsize),
        inodes: (raw.f_files > 0).then_some(raw.f_favail),
    })
}

/// syncfs(2): everything of the filesystem of `file` is on the disk when this returns.
///
/// # Errors
/// As the manual has it: errors of earlier writes too.
pub fn sync_filesystem(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: a number only.
    done(unsafe { libc::syncfs(file.as_raw_fd()) }).on("syncfs", Descriptor(file))
}

fn two_names(
    call_name: &'static str,
    old: &Path,
    new: &Path,
    call: impl FnOnce(&CStr, &CStr) -> crate::error::Result<()>,
) -> Result<()> {
    let both = |error: Error| Error { object: format!("{} to {}", old.display(), new.display()), ..error };
    let mut inner = Ok(());
    with_path(call_name, old, |old| {
        inner = with_path(call_name, new, |new| call(old, new));
        Ok(())
    })
    .and(inner)
    .map_err(both)
}

fn timespec(time: Time) -> libc::timespec {
    libc::timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanos) }
}

fn own(fd: libc::c_int) -> crate::error::Result<OwnedFd> {
    done(fd)?;
    // SAFETY: the kernel has just given this descriptor to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn done(result: libc::c_int) -> crate::error::Result<()> {
    check(libc::c_long::from(result)).map(drop)
}

/// A descriptor for messages: the path that the kernel knows for it.
pub(crate) struct Descriptor<'a>(pub(crate) BorrowedFd<'a>);

impl std::fmt::Display for Descriptor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::fs::read_link(format!("/proc/self/fd/{}", self.0.as_raw_fd())) {
            Ok(path) => write!(f, "{}", path.display()),
            Err(_) => write!(f, "descriptor {}", self.0.as_raw_fd()),
        }
    }
}
