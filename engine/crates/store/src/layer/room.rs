//! Room on the disk: a layer is refused before the disk is full, and leaves some for everybody else.

use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::fsat;
use std::os::fd::BorrowedFd;

/// So much room is left on the disk for everybody else.
pub(super) const RESERVE_BYTES: u64 = 32 << 20;
/// How many files everybody else may still make.
const RESERVE_INODES: u64 = 1000;
/// The room is looked at again after so much data: less than the reserve, or it would be used up in between.
pub(super) const CHECK_BYTES: u64 = 16 << 20;
/// Before a file of this size, it is looked at, too.
pub(super) const LARGE: u64 = 1 << 20;

/// Refuses to go on when the disk would be full after `wanted` more bytes.
pub(super) fn check(place: BorrowedFd<'_>, wanted: u64) -> Result<()> {
    let free = fsat::space(place).context(|| "write a layer".to_owned())?;
    if free.bytes < wanted.saturating_add(RESERVE_BYTES) {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "no room for the layer: {wanted} more bytes are wanted, {} are free, {RESERVE_BYTES} of them kept in reserve",
                free.bytes
            ),
        ));
    }
    match free.inodes {
        Some(inodes) if inodes < RESERVE_INODES => Err(Error::new(
            ErrorKind::Unavailable,
            format!("no room for the layer: only {inodes} more files can be made on this filesystem"),
        )),
        _ => Ok(()),
    }
}
