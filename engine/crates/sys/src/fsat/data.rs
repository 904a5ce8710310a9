//! File data: writing, copying inside the kernel, reserving, making holes.

use super::{Descriptor, Result, done};
use crate::error::{Errno, OnErrno, check};
use std::os::fd::{AsRawFd, BorrowedFd};

/// write(2) until everything is written.
///
/// # Errors
/// As the manual has it.
pub fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        // SAFETY: a buffer with its length.
        let written = unsafe { libc::write(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        bytes = advance(bytes, written).on("write", Descriptor(file))?;
    }
    Ok(())
}

/// pwrite(2) until everything is written.
///
/// # Errors
/// As the manual has it.
pub fn write_all_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        let at = offset_of(offset).on("pwrite", Descriptor(file))?;
        // SAFETY: a buffer with its length.
        let written = unsafe { libc::pwrite(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), at) };
        let rest = advance(bytes, written).on("pwrite", Descriptor(file))?;
        offset += (bytes.len() - rest.len()) as u64;
        bytes = rest;
    }
    Ok(())
}

fn advance(bytes: &[u8], written: isize) -> crate::error::Result<&[u8]> {
    match check(written as libc::c_long) {
        Ok(0) => Err(Errno::EIO),
        Ok(count) => Ok(usize::try_from(count).ok().and_then(|n| bytes.get(n..)).unwrap_or_default()),
        Err(Errno::EINTR) => Ok(bytes),
        Err(errno) => Err(errno),
    }
}

/// copy_file_range(2) of `length` bytes at both files' positions: shares the blocks where the filesystem can.
/// Gives how much was copied before the input ended.
///
/// # Errors
/// As the manual has it; `EXDEV`, `EOPNOTSUPP` or `EINVAL` where these files cannot be copied so.
pub fn copy_file_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: u64) -> Result<u64> {
    pump("copy_file_range", to, length, |count| {
        // SAFETY: numbers and null pointers only: the files' own positions are used.
        unsafe {
            libc::copy_file_range(
                from.as_raw_fd(),
                std::ptr::null_mut(),
                to.as_raw_fd(),
                std::ptr::null_mut(),
                count,
                0,
            )
        }
    })
}

/// sendfile(2) of `length` bytes from the input's position to the output's. Gives how much was copied before
/// the input ended.
///
/// # Errors
/// As the manual has it.
pub fn send_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: u64) -> Result<u64> {
    pump("sendfile", to, length, |count| {
        // SAFETY: numbers and a null pointer only.
        unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), std::ptr::null_mut(), count) }
    })
}

fn pump(call: &'static str, to: BorrowedFd<'_>, length: u64, copy: impl Fn(usize) -> isize) -> Result<u64> {
    let mut total = 0;
    while total < length {
        // 1 GiB: below what one call of either may move (0x7ffff000).
        let count = usize::try_from((length - total).min(1 << 30)).unwrap_or(1 << 30);
        match check(copy(count) as libc::c_long) {
            Ok(0) => break,
            Ok(copied) => total += copied.unsigned_abs(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).on(call, Descriptor(to)),
        }
    }
    Ok(total)
}

/// ftruncate(2).
///
/// # Errors
/// As the manual has it.
pub fn set_len(file: BorrowedFd<'_>, size: u64) -> Result<()> {
    let size = offset_of(size).on("ftruncate", Descriptor(file))?;
    // SAFETY: numbers only.
    done(unsafe { libc::ftruncate(file.as_raw_fd(), size) }).on("ftruncate", Descriptor(file))
}

/// fallocate(2): reserves the first `size` bytes, in one piece if the filesystem can. The file's size stays.
///
/// # Errors
/// As the manual has it; `EOPNOTSUPP` where the filesystem cannot.
pub fn allocate(file: BorrowedFd<'_>, size: u64) -> Result<()> {
    fallocate(file, libc::FALLOC_FL_KEEP_SIZE, 0, size)
}

/// fallocate(2): gives a stretch of the file back, which then reads as zeros.
///
/// # Errors
/// As the manual has it; `EOPNOTSUPP` where the filesystem cannot.
pub fn punch_hole(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<()> {
    fallocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, length)
}

fn fallocate(file: BorrowedFd<'_>, mode: i32, offset: u64, length: u64) -> Result<()> {
    let call = || {
        let (offset, length) = (offset_of(offset)?, offset_of(length)?);
        // SAFETY: numbers only.
        done(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) })
    };
    call().on("fallocate", Descriptor(file))
}

/// sync_file_range(2) with `SYNC_FILE_RANGE_WRITE`: the kernel begins to write the file's data to the disk, and
/// this does not wait for it.
///
/// # Errors
/// As the manual has it.
pub fn start_writeback(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: numbers only; a length of 0 means up to the end.
    done(unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) })
        .on("sync_file_range", Descriptor(file))
}

/// fdatasync(2): the file's data is on the disk, with all that is needed to find it.
///
/// # Errors
/// As the manual has it.
pub fn sync_data(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: a number only.
    done(unsafe { libc::fdatasync(file.as_raw_fd()) }).on("fdatasync", Descriptor(file))
}

/// posix_fadvise(2) with `POSIX_FADV_DONTNEED`: the kernel forgets the file's pages that nobody uses and that are on
/// the disk.
///
/// # Errors
/// As the manual has it.
pub fn drop_pages(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: numbers only; a length of 0 means up to the end.
    let errno = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    let result = if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno)) };
    result.on("posix_fadvise", Descriptor(file))
}

fn offset_of(value: u64) -> crate::error::Result<libc::off_t> {
    libc::off_t::try_from(value).map_err(|_| Errno::EFBIG)
}
