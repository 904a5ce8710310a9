//! openat2(2): paths that cannot leave a directory (Linux 5.6).

use crate::error::{Errno, Result, check};
use crate::mount::owned;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `/` and `..` and absolute symbolic links are meant relative to the directory.
pub const IN_ROOT: u64 = 0x10;
/// Leaving the directory is an error.
pub const BENEATH: u64 = 0x08;
/// No symbolic link anywhere in the path.
pub const NO_SYMLINKS: u64 = 0x04;
/// No magic link (`/proc/PID/fd/N`).
pub const NO_MAGICLINKS: u64 = 0x02;
/// No mount point is crossed.
pub const NO_XDEV: u64 = 0x01;

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// How often `EAGAIN` (something was renamed meanwhile) is tried again before it is given back.
const RACE_TRIES: u32 = 64;

/// openat2(2) with `O_CLOEXEC`.
///
/// # Errors
/// As the manual has it; `EAGAIN` only after many tries.
pub fn open(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    let how = OpenHow {
        flags: u64::from((flags | libc::O_CLOEXEC).unsigned_abs()),
        mode: u64::from(mode),
        resolve,
    };
    let mut tries = 0;
    loop {
        // SAFETY: a NUL-terminated string, and a structure of the size that the last argument says.
        let result = check(unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        });
        match result {
            Err(crate::Errno::EAGAIN | crate::Errno::EINTR) if tries < RACE_TRIES => tries += 1,
            other => return owned(other?),
        }
    }
}

/// Opens `path` as if `dir` were the root directory.
///
/// # Errors
/// As [`open`].
pub fn open_in_root(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    open(dir, path, flags, mode, IN_ROOT | NO_MAGICLINKS)
}

/// mkdirat(2) of one name in an opened directory. Refuses names with a slash by nature of its callers: pass
/// single components.
///
/// # Errors
/// As the manual has it.
pub fn mkdir_at(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: a NUL-terminated string and numbers.
    check(libc::c_long::from(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }))?;
    Ok(())
}

/// Makes an empty regular file of one name in an opened directory.
///
/// # Errors
/// `EEXIST`, and as open(2).
pub fn create_at(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_WRONLY;
    // SAFETY: a NUL-terminated string and numbers.
    let fd = check(libc::c_long::from(unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags, mode) }))?;
    drop(owned(fd)?);
    Ok(())
}

/// symlinkat(2) of one name in an opened directory.
///
/// # Errors
/// As the manual has it.
pub fn symlink_at(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: two NUL-terminated strings and a number.
    check(libc::c_long::from(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }))?;
    Ok(())
}

/// readlinkat(2) of one name in an opened directory, as far as the buffer goes; how many bytes that were.
///
/// # Errors
/// `EINVAL` for what is no symbolic link, and as the manual has it.
pub fn read_link_at(dir: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: a NUL-terminated string, and a buffer of that length.
    let length = check(unsafe {
        libc::syscall(libc::SYS_readlinkat, dir.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr(), buffer.len())
    })?;
    usize::try_from(length).map_err(|_| Errno::EINVAL)
}

/// unlinkat(2) of one name in an opened directory; not a directory.
///
/// # Errors
/// As the manual has it.
pub fn unlink_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: a NUL-terminated string and numbers.
    check(libc::c_long::from(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) }))?;
    Ok(())
}

/// mknodat(2) of one name in an opened directory, with exactly this mode whatever the umask.
///
/// # Errors
/// As the manual has it.
pub fn mknod_at(dir: BorrowedFd<'_>, name: &CStr, mode: u32, device: u64) -> Result<()> {
    // SAFETY: a NUL-terminated string and numbers.
    unsafe {
        check(libc::c_long::from(libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, device)))?;
        check(libc::c_long::from(libc::fchmodat(dir.as_raw_fd(), name.as_ptr(), mode & 0o7777, 0)))?;
    }
    Ok(())
}

/// fchownat(2) of one name in an opened directory, never through a symbolic link.
///
/// # Errors
/// As the manual has it.
pub fn chown_at(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: a NUL-terminated string and numbers.
    check(libc::c_long::from(unsafe {
        libc::fchownat(
            dir.as_raw_fd(),
            name.as_ptr(),
            uid,
            gid,
            libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH,
        )
    }))?;
    Ok(())
}

/// fstat(2), also of an `O_PATH` descriptor.
///
/// # Errors
/// As the manual has it.
pub fn stat(fd: BorrowedFd<'_>) -> Result<libc::stat> {
    let mut buffer = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer has the size that the call fills.
    check(libc::c_long::from(unsafe { libc::fstat(fd.as_raw_fd(), buffer.as_mut_ptr()) }))?;
    // SAFETY: the call succeeded and filled it.
    Ok(unsafe { buffer.assume_init() })
}

/// stat(2) of a path, following symbolic links.
///
/// # Errors
/// As the manual has it.
pub fn stat_path(path: &CStr) -> Result<libc::stat> {
    let mut buffer = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: a NUL-terminated string, and a buffer of the size that the call fills.
    check(libc::c_long::from(unsafe { libc::stat(path.as_ptr(), buffer.as_mut_ptr()) }))?;
    // SAFETY: the call succeeded and filled it.
    Ok(unsafe { buffer.assume_init() })
}
