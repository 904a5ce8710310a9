//! From a descriptor that is a mere place (`O_PATH`) to one that can be read, and changes of exactly that file:
//! whoever looked at a file first cannot be given another one afterwards.

use super::{Descriptor, Result, Time, done, own, timespec, with_path};
use crate::error::{Errno, OnErrno, check};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The way to a file through its descriptor: a magic link of ours, so no untrusted text is resolved.
fn through(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// open(2) of the very file behind a descriptor. Close-on-exec.
///
/// # Errors
/// As open(2); `ELOOP` for a symbolic link.
pub fn reopen(file: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd> {
    with_path("open", Path::new(&through(file)), |path| {
        // SAFETY: a NUL-terminated string and numbers.
        own(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })
    })
    .on_file(file)
}

/// chmod(2) of the very file behind a descriptor, which may be `O_PATH`. Not for symbolic links.
///
/// # Errors
/// As chmod(2).
pub fn chmod_place(file: BorrowedFd<'_>, mode: u32) -> Result<()> {
    with_path("chmod", Path::new(&through(file)), |path| {
        // SAFETY: a NUL-terminated string and a number.
        done(unsafe { libc::chmod(path.as_ptr(), mode) })
    })
    .on_file(file)
}

/// utimensat(2) of the very file behind a descriptor, which may be `O_PATH`. Not for symbolic links.
///
/// # Errors
/// As utimensat(2).
pub fn set_times_place(file: BorrowedFd<'_>, accessed: Time, modified: Time) -> Result<()> {
    let times = [timespec(accessed), timespec(modified)];
    with_path("utimensat", Path::new(&through(file)), |path| {
        // SAFETY: a NUL-terminated string, and two structures as the call wants them.
        done(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) })
    })
    .on_file(file)
}

/// Messages name the file, not our link to it.
trait OnFile {
    fn on_file(self, file: BorrowedFd<'_>) -> Self;
}

impl<T> OnFile for Result<T> {
    fn on_file(self, file: BorrowedFd<'_>) -> Self {
        self.map_err(|error| crate::Error { object: Descriptor(file).to_string(), ..error })
    }
}

/// The next stretch of data of a file from `offset` on, as (begin, end): lseek(2) with `SEEK_DATA` and
/// `SEEK_HOLE`. `None` when only a hole follows.
///
/// # Errors
/// As the manual has it; `EINVAL` where the filesystem does not know holes.
pub fn next_data(file: BorrowedFd<'_>, offset: u64) -> Result<Option<(u64, u64)>> {
    let seek = |offset: u64, whence: i32| {
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        // SAFETY: numbers only.
        check(unsafe { libc::lseek(file.as_raw_fd(), offset, whence) }).map(libc::c_long::unsigned_abs)
    };
    let begin = match seek(offset, libc::SEEK_DATA) {
        Err(Errno::ENXIO) => return Ok(None),
        other => other.on("lseek", Descriptor(file))?,
    };
    let end = seek(begin, libc::SEEK_HOLE).on("lseek", Descriptor(file))?;
    Ok(Some((begin, end)))
}

/// Whether the mount that the file lies on is read-only (fstatvfs(3)).
///
/// # Errors
/// As the manual has it.
pub fn is_readonly(file: BorrowedFd<'_>) -> Result<bool> {
    let mut raw = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: room for one structure, which is filled when the call succeeds.
    let raw = unsafe {
        done(libc::fstatvfs(file.as_raw_fd(), raw.as_mut_ptr())).on("fstatvfs", Descriptor(file))?;
        raw.assume_init()
    };
    Ok(raw.f_flag & libc::ST_RDONLY != 0)
}

#[cfg(test)]
mod tests {
    use super::super::{mkdir_at, open_at, open_directory, stat, stat_at, symlink_at};
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    #[test]
    fn it_is_the_same_file_whatever_its_name_is_now() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("f"), "seen").unwrap();
        let dir = open_directory(scratch.path()).unwrap();
        let place = open_at(dir.as_fd(), Path::new("f"), libc::O_PATH, 0).unwrap();
        std::fs::rename(scratch.path().join("f"), scratch.path().join("g")).unwrap();
        symlink_at(Path::new("/etc/passwd"), dir.as_fd(), Path::new("f")).unwrap();
        let file = reopen(place.as_fd(), libc::O_RDONLY).unwrap();
        assert_eq!(std::io::read_to_string(std::fs::File::from(file)).unwrap(), "seen");
        chmod_place(place.as_fd(), 0o604).unwrap();
        let moment = Time { seconds: 77, nanos: 5 };
        set_times_place(place.as_fd(), moment, moment).unwrap();
        let now = stat_at(dir.as_fd(), Path::new("g")).unwrap();
        assert_eq!((now.mode & 0o777, now.mtime), (0o604, moment));
        let link = open_at(dir.as_fd(), Path::new("f"), libc::O_PATH, 0).unwrap();
        let error = reopen(link.as_fd(), libc::O_RDONLY).unwrap_err();
        assert_eq!(error.errno, Errno::ELOOP);
        assert!(stat(link.as_fd()).unwrap().is_symlink());
        mkdir_at(dir.as_fd(), Path::new("d"), 0o700).unwrap();
        assert!(!is_readonly(dir.as_fd()).unwrap());
    }

    #[test]
    fn data_between_holes_is_found() {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        let file = scratch.as_file();
        file.set_len(10 << 20).unwrap();
        file.write_at(b"x", 5 << 20).unwrap();
        let (begin, end) = next_data(file.as_fd(), 0).unwrap().unwrap();
        assert!(begin <= 5 << 20 && end > 5 << 20 && end - begin < 4 << 20, "{begin} {end}");
        assert_eq!(next_data(file.as_fd(), end).unwrap(), None);
    }
}
