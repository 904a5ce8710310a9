//! Making files as another user (setfsuid(2)), for the calling thread alone.
//!
//! On a mount that maps ids, nobody can make a file whose own id is not in the map, not even root (`EOVERFLOW`).

use crate::caps;
use crate::error::{Errno, Result};
use std::marker::PhantomData;

/// As long as it lives, files that this thread makes belong to another user and group. What the thread may do is
/// as before.
#[derive(Debug)]
pub struct FileIds {
    old: (u32, u32),
    /// It concerns this thread, and must end here.
    _here: PhantomData<*const ()>,
}

impl FileIds {
    /// From now on.
    ///
    /// # Errors
    /// `EPERM` without CAP_SETUID and CAP_SETGID.
    pub fn of(uid: u32, gid: u32) -> Result<Self> {
        // Groups first: the other order would take the right to it.
        let old_gid = set(libc::SYS_setfsgid, gid);
        let old_uid = set(libc::SYS_setfsuid, uid);
        let this = Self { old: (old_uid, old_gid), _here: PhantomData };
        // These calls report no failure, but what was there before.
        if (set(libc::SYS_setfsuid, uid), set(libc::SYS_setfsgid, gid)) != (uid, gid) {
            return Err(Errno::EPERM);
        }
        // The kernel takes the rights over files away with root's own id: they are permitted still.
        caps::raise_permitted()?;
        Ok(this)
    }
}

impl Drop for FileIds {
    fn drop(&mut self) {
        set(libc::SYS_setfsuid, self.old.0);
        set(libc::SYS_setfsgid, self.old.1);
    }
}

/// What it was before.
fn set(call: libc::c_long, id: u32) -> u32 {
    // SAFETY: a number. The raw call, because it concerns a thread and not the process.
    let old = unsafe { libc::syscall(call, id) };
    // An id of 32 bits, in whatever the call's type is.
    u32::try_from(old & libc::c_long::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn files_are_anothers_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, "").unwrap();
            let about = std::fs::metadata(path).unwrap();
            (about.uid(), about.gid())
        };
        {
            let _ids = FileIds::of(1234, 5678).expect("this test needs root");
            assert_eq!(make("theirs"), (1234, 5678), "the directory is root's, and can be written to still");
        }
        assert_eq!(make("ours"), (0, 0));
    }
}
