//! Project quotas: how much a directory and all below it may hold (quotactl_fd(2), Linux 5.14; ioctl_xfs_fsgetxattr(2),
//! which ext4 has too).

use crate::error::{Errno, Error, OnErrno, check};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)` (include/uapi/linux/fs.h).
const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;
/// What is made in the directory belongs to its project, too.
const FS_XFLAG_PROJINHERIT: u32 = 0x200;
/// `QCMD(Q_SETQUOTA, PRJQUOTA)` and `QCMD(Q_GETQUOTA, PRJQUOTA)` (include/uapi/linux/quota.h).
const SET_PROJECT_QUOTA: u32 = command(0x80_0008);
const GET_PROJECT_QUOTA: u32 = command(0x80_0007);
const PRJQUOTA: u32 = 2;
/// Only the limits of space are set.
const QIF_BLIMITS: u32 = 1;
/// `struct if_dqblk` counts space in these.
const BLOCK_BYTES: u64 = 1024;

const fn command(number: u32) -> u32 {
    (number << 8) | PRJQUOTA
}

/// struct fsxattr.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// struct if_dqblk.
#[repr(C)]
#[derive(Default)]
struct Limits {
    hard_blocks: u64,
    soft_blocks: u64,
    bytes_used: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes_used: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

fn attributes(dir: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    let mut attributes = Attributes::default();
    // SAFETY: the structure is what the call fills.
    check(libc::c_long::from(unsafe {
        libc::ioctl(dir.as_raw_fd(), FS_IOC_FSGETXATTR, &raw mut attributes)
    }))?;
    Ok(attributes)
}

/// The project that a directory belongs to; 0: none.
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` when the filesystem has no projects.
pub fn project(dir: BorrowedFd<'_>) -> Result<u32, Error> {
    attributes(dir).map(|attributes| attributes.project).on("ioctl(FS_IOC_FSGETXATTR)", "directory")
}

/// Makes a directory, and what will be made in it, part of a project.
///
/// # Errors
/// `EOPNOTSUPP` when the filesystem has no projects.
pub fn set_project(dir: BorrowedFd<'_>, project: u32) -> Result<(), Error> {
    let set = || -> Result<(), Errno> {
        let mut attributes = attributes(dir)?;
        attributes.project = project;
        attributes.flags |= FS_XFLAG_PROJINHERIT;
        // SAFETY: the structure is what the call reads.
        check(libc::c_long::from(unsafe {
            libc::ioctl(dir.as_raw_fd(), FS_IOC_FSSETXATTR, &raw const attributes)
        }))?;
        Ok(())
    };
    set().on("ioctl(FS_IOC_FSSETXATTR)", "directory")
}

fn quotactl(file: BorrowedFd<'_>, command: u32, project: u32, limits: &mut Limits) -> Result<(), Errno> {
    // SAFETY: the structure is what the call reads or fills.
    check(unsafe {
        libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, project, &raw mut *limits)
    })?;
    Ok(())
}

/// Limits what a project may hold on the filesystem of `file`; 0: no limit.
///
/// # Errors
/// `ESRCH` when project quotas are off there, `ENOSYS` when the kernel has none.
pub fn set_limit(file: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<(), Error> {
    let blocks = bytes.div_ceil(BLOCK_BYTES);
    let mut limits =
        Limits { hard_blocks: blocks, soft_blocks: blocks, valid: QIF_BLIMITS, ..Limits::default() };
    quotactl(file, SET_PROJECT_QUOTA, project, &mut limits).on("quotactl_fd", "project quota")
}

/// The limit of a project in bytes, 0: none; and what it holds.
///
/// # Errors
/// As [`set_limit`].
pub fn limit(file: BorrowedFd<'_>, project: u32) -> Result<(u64, u64), Error> {
    let mut limits = Limits::default();
    match quotactl(file, GET_PROJECT_QUOTA, project, &mut limits) {
        // XFS knows no project that nothing was ever said of or charged to.
        Err(Errno::ENOENT) => {}
        other => other.on("quotactl_fd", "project quota")?,
    }
    Ok((limits.hard_blocks.saturating_mul(BLOCK_BYTES), limits.bytes_used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!((size_of::<Attributes>(), size_of::<Limits>()), (28, 72));
        assert_eq!((SET_PROJECT_QUOTA, GET_PROJECT_QUOTA), (0x8000_0802, 0x8000_0702));
    }

    #[test]
    fn where_there_are_none_it_is_an_error() {
        let file = std::fs::File::open("/proc/self").unwrap();
        assert!(project(file.as_fd()).is_err());
        assert!(set_limit(file.as_fd(), 1, 1).is_err());
    }
}
