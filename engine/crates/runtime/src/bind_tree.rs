//! What is mounted at a path of the host's, for a bind mount.

use crate::volume_fs::unescaped;
use dhow_sys::mount::{self, OPEN_TREE_CLONE, RECURSIVE};
use dhow_sys::{Errno, clone};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A copy of what is mounted at a path, and below it. Mount namespaces that are pinned there (snapd's, another tool's)
/// are left out, as by mount(8): the kernel attaches no tree that has an older namespace than the one it is attached in.
///
/// # Errors
/// As open_tree(2).
pub(crate) fn copy_of(path: &Path, recursive: bool) -> std::result::Result<OwnedFd, Errno> {
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    if !recursive {
        return mount::open_tree(None, &text, OPEN_TREE_CLONE);
    }
    let copy = || mount::open_tree(None, &text, OPEN_TREE_CLONE | RECURSIVE);
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let pins = pins(&table);
    if pins.is_empty() {
        return copy();
    }
    match std::fs::canonicalize(path) {
        Ok(real) if pins.iter().any(|pin| pin.starts_with(&real)) => clone::in_copied_mounts(copy),
        _ => copy(),
    }
}

/// Where mount namespaces are mounted, but for those that a copy leaves out anyway.
fn pins(table: &str) -> Vec<PathBuf> {
    let fields = |line: &'_ str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let is_pin = |line: &&str| line.contains(" mnt:[") && line.contains(" - nsfs ");
    let is_left_out = |parent: &str| {
        table.lines().map(fields).any(|line| {
            line.first().is_some_and(|id| id == parent) && line.iter().any(|tag| tag == "unbindable")
        })
    };
    let pins = table.lines().filter(is_pin).map(fields);
    let pins = pins.filter(|line| line.get(1).is_some_and(|parent| !is_left_out(parent)));
    pins.filter_map(|line| line.get(4).map(|point| PathBuf::from(unescaped(point)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_mounts_of_mount_namespaces_that_a_copy_would_have() {
        let table = "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
                     30 22 254:0 /run/snapd/ns /run/snapd/n\\040s rw - ext4 /dev/vda rw\n\
                     31 30 0:4 mnt:[4026532257] /run/snapd/n\\040s/x.mnt rw - nsfs nsfs rw\n\
                     32 22 0:4 net:[4026532258] /run/netns/y rw - nsfs nsfs rw\n\
                     40 22 254:0 /run/e /run/e rw unbindable - ext4 /dev/vda rw\n\
                     41 40 0:4 mnt:[4026532259] /run/e/ns rw - nsfs nsfs rw\n";
        assert_eq!(pins(table), [Path::new("/run/snapd/n s/x.mnt")]);
    }
}
