//! Doing something in another mount namespace, and coming back.

use crate::error::{Errno, Result, check};
use crate::mount::open_path;
use crate::{clone, process};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Runs `work` in another mount namespace, with its root as root and working directory.
///
/// A thread that shares its working directory with others cannot leave its namespace: there, `work` runs in a thread
/// of its own that ends with it.
///
/// # Errors
/// Those of `work`; of setns(2); and what hinders the way back.
pub fn visit<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let (root, place) = (open_path(c"/")?, open_path(c".")?);
    let own = std::fs::File::open("/proc/thread-self/ns/mnt")
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    match process::setns(namespace, clone::NEWNS) {
        // Other threads use this one's working directory (or the namespace is none: then this fails, too).
        Err(Errno::EINVAL) => std::thread::scope(|scope| {
            let visit = || {
                process::unshare(clone::FS)?;
                process::setns(namespace, clone::NEWNS)?;
                work()
            };
            let thread = std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, visit);
            thread.map_err(|_| Errno::EAGAIN)?.join().map_err(|_| Errno::ECANCELED)?
        }),
        Err(errno) => Err(errno),
        Ok(()) => {
            let result = work();
            process::setns(own.as_fd(), clone::NEWNS)?;
            process::fchdir(root.as_fd())?;
            chroot_here()?;
            process::fchdir(place.as_fd())?;
            result
        }
    }
}

/// chroot(".").
fn chroot_here() -> Result<()> {
    // SAFETY: a NUL-terminated string.
    check(libc::c_long::from(unsafe { libc::chroot(c".".as_ptr()) }))?;
    Ok(())
}

/// A new mount namespace whose root is an empty tmpfs and that has no other mount; nobody is in it. `place` is any
/// directory.
///
/// # Errors
/// Of the calls that it takes.
pub fn make(place: &std::ffi::CStr) -> Result<OwnedFd> {
    let own = c"/proc/self/ns/mnt";
    clone::in_mount_namespace(|| {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: a NUL-terminated string and flags.
        let namespace =
            crate::mount::owned(check(libc::c_long::from(unsafe { libc::open(own.as_ptr(), flags) }))?)?;
        let files = crate::mount::FsContext::open(c"tmpfs")?;
        files.set(c"mode", c"0700")?;
        let root = files.mount(0)?;
        crate::mount::attach(root.as_fd(), open_path(place)?.as_fd())?;
        process::chdir(place)?;
        crate::mount::pivot_here()?;
        crate::mount::detach(c".")?;
        Ok(namespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let place = tempfile::tempdir().unwrap();
        let path = std::ffi::CString::new(place.path().to_str().unwrap()).unwrap();
        let namespace = make(&path).expect("this test needs root");
        let before = std::fs::read_link("/proc/thread-self/ns/mnt").unwrap();
        let names = || {
            std::fs::create_dir("/made").unwrap();
            Ok(std::fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>())
        };
        assert_eq!(visit(namespace.as_fd(), names).unwrap(), ["made"]);
        assert_eq!(visit(namespace.as_fd(), || Ok(std::path::Path::new("/made").is_dir())), Ok(true));
        assert_eq!(std::fs::read_link("/proc/thread-self/ns/mnt").unwrap(), before);
        assert!(std::path::Path::new("/proc/self").exists());
        assert_eq!(visit(namespace.as_fd(), || Err::<(), _>(Errno::EBADMSG)), Err(Errno::EBADMSG));
    }
}
