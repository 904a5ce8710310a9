//! Extended attributes, by descriptor and by directory descriptor and name.
//!
//! Symbolic links and devices cannot be opened for reading without side effects, and the `f…xattr` calls refuse
//! `O_PATH` descriptors; so files by name are reached through `/proc/self/fd/DIR/NAME` with the `l…xattr` calls,
//! which do not follow the last component. The magic link is our own descriptor's, so no untrusted text is
//! resolved on the way. (Linux 6.13 has `setxattrat` for this.)

use crate::error::{Errno, Error, OnErrno, check};
use crate::fsat::{Descriptor, Result, with_path};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// fsetxattr(2): makes or replaces an attribute.
///
/// # Errors
/// As the manual has it; `EBADF` for `O_PATH` descriptors.
pub fn set(file: BorrowedFd<'_>, name: &OsStr, value: &[u8]) -> Result<()> {
    with_path("fsetxattr", Path::new(name), |name| {
        // SAFETY: a NUL-terminated string, and a buffer with its length.
        done(unsafe {
            libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
        })
    })
    .map_err(|error| named(error, name, &Descriptor(file)))
}

/// lsetxattr(2) of a file in an opened directory; an empty name means the directory itself.
///
/// # Errors
/// As the manual has it.
pub fn set_at(dir: BorrowedFd<'_>, file: &Path, name: &OsStr, value: &[u8]) -> Result<()> {
    at("lsetxattr", dir, file, name, |path, name| {
        // SAFETY: two NUL-terminated strings, and a buffer with its length.
        done(unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
    })
}

/// fgetxattr(2); `None` when there is no such attribute, or the filesystem has none at all.
///
/// # Errors
/// As the manual has it.
pub fn get(file: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let fill = |name: &CStr, buffer: &mut [u8]| {
        // SAFETY: a NUL-terminated string, and a buffer with its length.
        unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    };
    with_path("fgetxattr", Path::new(name), |name| absent(grow(|buffer| fill(name, buffer))))
        .map_err(|error| named(error, name, &Descriptor(file)))
}

/// lgetxattr(2) of a file in an opened directory; `None` when there is no such attribute.
///
/// # Errors
/// As the manual has it.
pub fn get_at(dir: BorrowedFd<'_>, file: &Path, name: &OsStr) -> Result<Option<Vec<u8>>> {
    at("lgetxattr", dir, file, name, |path, name| {
        absent(grow(|buffer| {
            // SAFETY: two NUL-terminated strings, and a buffer with its length.
            unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
        }))
    })
}

/// flistxattr(2): the names of all attributes, sorted.
///
/// # Errors
/// As the manual has it.
pub fn list(file: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let names = grow(|buffer| {
        // SAFETY: a buffer with its length.
        unsafe { libc::flistxattr(file.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) }
    });
    absent(names).map(split).on("flistxattr", Descriptor(file))
}

/// llistxattr(2) of a file in an opened directory: the names of all attributes, sorted.
///
/// # Errors
/// As the manual has it.
pub fn list_at(dir: BorrowedFd<'_>, file: &Path) -> Result<Vec<OsString>> {
    at("llistxattr", dir, file, OsStr::new(""), |path, _| {
        absent(grow(|buffer| {
            // SAFETY: a NUL-terminated string, and a buffer with its length.
            unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
        }))
        .map(split)
    })
}

/// fremovexattr(2). Nothing happens if there is no such attribute.
///
/// # Errors
/// As the manual has it.
pub fn remove(file: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    with_path("fremovexattr", Path::new(name), |name| {
        // SAFETY: a NUL-terminated string and a number.
        absent(done(unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) })).map(drop)
    })
    .map_err(|error| named(error, name, &Descriptor(file)))
}

/// lremovexattr(2) of a file in an opened directory. Nothing happens if there is no such attribute.
///
/// # Errors
/// As the manual has it.
pub fn remove_at(dir: BorrowedFd<'_>, file: &Path, name: &OsStr) -> Result<()> {
    at("lremovexattr", dir, file, name, |path, name| {
        // SAFETY: two NUL-terminated strings.
        absent(done(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) })).map(drop)
    })
}

fn at<T>(
    call_name: &'static str,
    dir: BorrowedFd<'_>,
    file: &Path,
    name: &OsStr,
    call: impl FnOnce(&CStr, &CStr) -> crate::error::Result<T>,
) -> Result<T> {
    // An empty name must not leave a closing slash away: the link itself has no attributes, its target has.
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.push(if file.as_os_str().is_empty() { Path::new(".") } else { file });
    let c_name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL).on(call_name, file.display())?;
    with_path(call_name, &path, |path| call(path, &c_name))
        .map_err(|error| named(error, name, &file.display()))
}

/// A call that fills a buffer and tells the length, with a buffer that grows until it fits.
fn grow(fill: impl Fn(&mut [u8]) -> isize) -> crate::error::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match check(fill(&mut buffer) as libc::c_long) {
            Ok(length) => {
                buffer.truncate(usize::try_from(length).unwrap_or(0));
                return Ok(buffer);
            }
            // 64 KiB is the kernel's own limit for one value and for the list of names (XATTR_SIZE_MAX).
            Err(Errno::ERANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

fn absent<T>(result: crate::error::Result<T>) -> crate::error::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn split(names: Option<Vec<u8>>) -> Vec<OsString> {
    let names = names.unwrap_or_default();
    let mut names: Vec<_> =
        names.split(|&b| b == 0).filter(|n| !n.is_empty()).map(|n| OsString::from_vec(n.to_vec())).collect();
    names.sort();
    names
}

fn done(result: libc::c_int) -> crate::error::Result<()> {
    check(libc::c_long::from(result)).map(drop)
}

fn named(error: Error, name: &OsStr, file: &dyn std::fmt::Display) -> Error {
    Error { object: format!("{} of {file}", name.to_string_lossy()), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsat::{open_at, open_directory, symlink_at};
    use std::os::fd::AsFd;

    #[test]
    fn of_files_links_and_directories() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("f"), "x").unwrap();
        let root = open_directory(scratch.path()).unwrap();
        let dir = open_at(root.as_fd(), Path::new("."), libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        let (file, link, none) = (Path::new("f"), Path::new("l"), Path::new(""));
        symlink_at(Path::new("f"), dir.as_fd(), link).unwrap();
        let (user, trusted) = (OsStr::new("user.a"), OsStr::new("trusted.b"));
        let large = vec![7; 2000];
        set_at(dir.as_fd(), file, user, &large).unwrap();
        set_at(dir.as_fd(), none, user, b"directory").unwrap();
        assert_eq!(get_at(dir.as_fd(), file, user).unwrap(), Some(large));
        assert_eq!(get(root.as_fd(), user).unwrap().as_deref(), Some(&b"directory"[..]));
        if nix::unistd::geteuid().is_root() {
            set_at(dir.as_fd(), link, trusted, b"link").unwrap();
            assert_eq!(list_at(dir.as_fd(), link).unwrap(), [trusted]);
            assert_eq!(get_at(dir.as_fd(), file, trusted).unwrap(), None);
        }
        remove_at(dir.as_fd(), file, user).unwrap();
        remove_at(dir.as_fd(), file, user).unwrap();
        remove(root.as_fd(), user).unwrap();
        assert_eq!(list(root.as_fd()).unwrap(), Vec::<OsString>::new());
        // A descriptor opened with O_PATH cannot be used by itself: the error says on what.
        let error = set(dir.as_fd(), user, b"x").unwrap_err();
        assert_eq!((error.call, error.errno), ("fsetxattr", Errno::EBADF));
        assert!(error.object.starts_with("user.a of /"), "{error}");
    }
}
