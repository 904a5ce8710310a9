//! Pseudo-terminals of a given devpts instance (pts(4), ioctl_tty(2)).

use crate::error::{Result, check};
use crate::mount::owned;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// TIOCGPTPEER: opens the slave of a master without any path (Linux 4.13).
const TIOCGPTPEER: libc::c_ulong = 0x5441;

/// The two sides of a terminal.
#[derive(Debug)]
pub struct Pty {
    /// Our side.
    pub master: OwnedFd,
    /// The program's side.
    pub slave: OwnedFd,
}

/// Opens a new terminal of the devpts filesystem whose root directory is given. Neither side becomes a
/// controlling terminal yet.
///
/// # Errors
/// As open(2) and ioctl(2).
pub fn open(devpts: BorrowedFd<'_>) -> Result<Pty> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: NUL-terminated string, numbers, and a pointer to the number that unlocks.
    unsafe {
        let master =
            owned(check(libc::c_long::from(libc::openat(devpts.as_raw_fd(), c"ptmx".as_ptr(), flags)))?)?;
        let unlock: i32 = 0;
        check(libc::c_long::from(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlock)))?;
        let slave =
            owned(check(libc::c_long::from(libc::ioctl(master.as_raw_fd(), TIOCGPTPEER as _, flags)))?)?;
        Ok(Pty { master, slave })
    }
}

/// The number of a terminal: the name of its slave in its devpts.
///
/// # Errors
/// `ENOTTY` when it is not a master.
pub fn number(master: BorrowedFd<'_>) -> Result<u32> {
    let mut number: u32 = 0;
    // SAFETY: the number is what the call fills.
    check(libc::c_long::from(unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN as _, &raw mut number)
    }))?;
    Ok(number)
}

/// Sets the size of a terminal, from either side.
///
/// # Errors
/// `ENOTTY`.
pub fn resize(terminal: BorrowedFd<'_>, rows: u16, cols: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the size is what the call reads.
    check(libc::c_long::from(unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size)
    }))?;
    Ok(())
}

/// Makes a slave the controlling terminal of this session.
///
/// # Errors
/// `EPERM` when this is not a session leader or already has one.
pub fn take_control(slave: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: numbers only.
    check(libc::c_long::from(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY as _, 0) }))?;
    Ok(())
}

/// Gives a terminal to its user: owner, and mode 0620 as login(1) does.
///
/// # Errors
/// As fchown(2).
pub fn give_to(slave: BorrowedFd<'_>, uid: u32) -> Result<()> {
    // SAFETY: numbers only; -1 leaves the group that devpts gave it.
    check(libc::c_long::from(unsafe { libc::fchown(slave.as_raw_fd(), uid, u32::MAX) }))?;
    Ok(())
}
