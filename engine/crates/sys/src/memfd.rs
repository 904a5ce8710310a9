//! Sealed anonymous files: data for another process that nobody can change any more.

use crate::error::{Errno, Error, OnErrno, Result, check};
use crate::mount::owned;
use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd};

const SEALS: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Makes a memfd with this content, sealed, at offset 0.
///
/// # Errors
/// Names the call that failed.
pub fn sealed(name: &CStr, content: &[u8]) -> Result<File, Error> {
    // SAFETY: a NUL-terminated string and flags.
    let fd = check(libc::c_long::from(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    }))
    .and_then(owned)
    .on("memfd_create", name.to_string_lossy())?;
    let mut file = File::from(fd);
    let io = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    file.write_all(content).map_err(io).on("write", name.to_string_lossy())?;
    file.rewind().map_err(io).on("lseek", name.to_string_lossy())?;
    // SAFETY: numbers only.
    check(libc::c_long::from(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) }))
        .on("fcntl(F_ADD_SEALS)", name.to_string_lossy())?;
    Ok(file)
}

/// Makes an empty memfd that anybody who has it may change.
///
/// # Errors
/// Names the call that failed.
pub fn plain(name: &CStr) -> Result<File, Error> {
    // SAFETY: a NUL-terminated string and flags.
    let fd = check(libc::c_long::from(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }))
        .and_then(owned)
        .on("memfd_create", name.to_string_lossy())?;
    Ok(File::from(fd))
}

/// Whether nobody can change a memfd any more.
pub fn is_sealed(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: numbers only.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    seals != -1 && seals & SEALS == SEALS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn sealed_content_stays() {
        let mut file = sealed(c"plan", b"hello").unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert!(is_sealed(file.as_fd()));
        assert!(file.write_all(b"x").is_err() && file.set_len(0).is_err());
    }
}
