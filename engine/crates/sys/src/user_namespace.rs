//! User namespaces: id maps, and a namespace that serves as the map of id-mapped mounts (user_namespaces(7),
//! mount_setattr(2)).

use crate::clone::{self, Child};
use crate::error::{Errno, Error, OnErrno};
use crate::process;
use std::os::fd::{AsFd, OwnedFd};

/// Writes the maps of the user namespace that process `pid`, a child of ours, was cloned into. Each map is what
/// `/proc/PID/uid_map` takes: lines of `inside outside count`. It can be done once for each namespace.
///
/// # Errors
/// `EPERM` without CAP_SETUID and CAP_SETGID, `EINVAL` for maps that overlap or are malformed.
pub fn write_maps(pid: i32, uids: &str, gids: &str) -> Result<(), Error> {
    for (file, map) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{pid}/{file}");
        // One write: the kernel takes a map as a whole or not at all.
        std::fs::write(&path, map)
            .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
            .on("write", &path)?;
    }
    Ok(())
}

/// Makes a user namespace with these maps that no process lives in. It lasts as long as the descriptor, or a
/// mount that is mapped through it. For any caller: see [`clone::fork_unseen`].
///
/// # Errors
/// `ENOSPC` when the machine's limit (`/proc/sys/user/max_user_namespaces`) is reached; as [`write_maps`].
pub fn make(uids: &str, gids: &str) -> Result<OwnedFd, Error> {
    // The first process keeps the namespace alive until we hold it. It never reads a byte: its end is a signal,
    // or that of this thread. (Not the end of the pipe alone: a program that another thread starts meanwhile may
    // hold that open for a while.)
    let (theirs, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).on("pipe2", "user namespace")?;
    let waits = || {
        process::close_in_child(ours.as_fd());
        let _ = process::read_once(theirs.as_fd(), &mut [0]);
        process::exit_now(0)
    };
    let Child { pid, pidfd } = clone::fork_unseen(clone::NEWUSER, waits).on("clone3", "user namespace")?;
    let path = format!("/proc/{pid}/ns/user");
    let made = write_maps(pid, uids, gids).and_then(|()| {
        std::fs::File::open(&path)
            .map(OwnedFd::from)
            .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))
            .on("open", &path)
    });
    let ended = process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL).on("kill", "user namespace");
    process::wait_pidfd(pidfd.as_fd(), true).on("waitid", "user namespace")?;
    ended.and(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_maps_are_refused_and_nobody_is_left() {
        let error = make("0 1 0\n", "0 1 1\n").unwrap_err();
        assert_eq!((error.call, error.errno), ("write", Errno::EINVAL));
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        assert_eq!(children, "");
    }
}
