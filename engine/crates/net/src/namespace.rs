//! Network namespaces: entering one, and coming back.
//!
//! A namespace belongs to a thread. The monitor has one thread, which goes and returns; a program with many uses a
//! thread that ends at once, so that none of its own ever is where it does not belong.

use dhow_model::{ErrorKind, Result, ResultExt};
use dhow_sys::clone::NEWNET;
use dhow_sys::{OnErrno, process};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The namespace of the calling thread.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn own() -> Result<OwnedFd> {
    let path = "/proc/thread-self/ns/net";
    File::open(path).map(Into::into).context(|| format!("open {path}"))
}

/// The namespace of a process.
///
/// # Errors
/// `NotFound` when there is no such process.
pub fn of_process(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/net");
    File::open(&path).map(Into::into).context_kind(ErrorKind::NotFound, || format!("open {path}"))
}

/// Runs `f` in a namespace and returns to `own`. For a process with one thread.
///
/// # Errors
/// What `f` says, or `setns`.
pub fn within<T>(namespace: BorrowedFd<'_>, own: BorrowedFd<'_>, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let _back = enter(namespace, own)?;
    f()
}

/// Runs `f` in a namespace, on a thread that ends with it.
///
/// # Errors
/// What `f` says, or `setns`.
pub fn on_thread_within<T: Send>(
    namespace: BorrowedFd<'_>,
    f: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let run = || {
            process::setns(namespace, NEWNET)
                .on("setns", "a network namespace")
                .context(|| "enter a container's network".to_owned())?;
            f()
        };
        let thread = std::thread::Builder::new()
            .name("dhow-network".to_owned())
            .spawn_scoped(scope, run)
            .context(|| "start a thread".to_owned())?;
        thread.join().unwrap_or_else(|_| Err(dhow_model::Error::internal("a thread panicked")))
    })
}

/// Goes back when dropped.
struct Back<'a>(BorrowedFd<'a>);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        // One's own namespace always takes one back.
        let _ = process::setns(self.0.as_fd(), NEWNET);
    }
}

fn enter<'a>(namespace: BorrowedFd<'_>, own: BorrowedFd<'a>) -> Result<Back<'a>> {
    process::setns(namespace, NEWNET)
        .on("setns", "a network namespace")
        .context(|| "enter a container's network".to_owned())?;
    Ok(Back(own))
}
