//! Locks between processes. All of them end with the process that holds them, however it ends.
//!
//! | lock | kind | held by |
//! |---|---|---|
//! | a container's: one byte of `STATE/containers.lock` | OFD record lock | a verb, for its steps |
//! | `STATE/containers/ID/monitor.lock`, `STATE/execs/ID/monitor.lock` | flock | a monitor, for its whole life |
//! | `STATE/monitors` | a place on the roll (`dhow_sys::roll`) | a container's monitor, as long as its lock |
//!
//! The roll is an answer for many at once, and only ever says that a monitor lives; the lock decides.
//!
//! A container's own lock is not a file of its own. Such a file would have to be deleted with the container
//! while others wait for it, and they would then hold a lock that nobody else sees, or make the directory of
//! a deleted container again. One byte of one file, at an offset that the id gives, has neither problem:
//! it is the same for everyone, for ever, and costs nothing when nobody holds it.

use crate::db::{private_directory, private_file};
use dhow_model::{ContainerId, Layout, Result, ResultExt};
use dhow_sys::{fsat, roll};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Holds a lock until it is dropped. Not inherited by programs that this process executes.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard {
    _file: File,
}

/// Waits for the lock of one container. Whoever changes a container in several steps (start, remove) holds it
/// for these steps, and never while it waits for a container to end.
///
/// The lock belongs to the guard, not to the process: a thread that takes it twice waits for itself.
///
/// # Errors
/// What the kernel says.
pub fn lock_container(layout: &Layout, id: &ContainerId) -> Result<LockGuard> {
    let file = container_locks(layout)?;
    let range = byte_of(id);
    loop {
        match fcntl(&file, FcntlArg::F_OFD_SETLKW(&range)) {
            Ok(_) => return Ok(LockGuard { _file: file }),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context(|| format!("lock container {id}")),
        }
    }
}

/// Takes the lock of one container if it is free.
///
/// # Errors
/// What the kernel says.
pub fn try_lock_container(layout: &Layout, id: &ContainerId) -> Result<Option<LockGuard>> {
    let file = container_locks(layout)?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&byte_of(id))) {
        Ok(_) => Ok(Some(LockGuard { _file: file })),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno).context(|| format!("lock container {id}")),
    }
}

/// Takes the flock of a file if it is free; makes the file (0600) and its directories (0700) when missing.
///
/// # Errors
/// What the kernel says.
pub fn try_lock(path: &Path) -> Result<Option<LockGuard>> {
    if let Some(parent) = path.parent() {
        private_directory(parent)?;
    }
    let file = private_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(LockGuard { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context(|| format!("lock {}", path.display())),
    }
}

/// Whether the monitor of a container lives: whether it holds its lock.
///
/// The question is asked with a shared lock that is gone at once. A monitor that starts at that very moment
/// must therefore wait for its lock rather than try once.
///
/// # Errors
/// What the kernel says.
pub fn monitor_alive(layout: &Layout, id: &ContainerId) -> Result<bool> {
    is_locked(&layout.container_state(id).join("monitor.lock"))
}

/// Asks for many monitors in one go. Who is on the roll lives; who is not is asked for its lock, from the directory that
/// they all have in common: a path from `/` would be walked for each.
#[derive(Debug)]
pub struct Monitors<'a> {
    layout: &'a Layout,
    living: HashSet<[u8; roll::NAME_BYTES]>,
    /// `None` when no container was ever started.
    containers: Option<OwnedFd>,
}

impl<'a> Monitors<'a> {
    /// # Errors
    /// What the kernel says.
    pub fn of(layout: &'a Layout) -> Result<Self> {
        let path = layout.container_states();
        let containers = match fsat::open_directory(&path) {
            Ok(directory) => Some(directory),
            Err(error) if error.errno == Errno::ENOENT => None,
            Err(error) => return Err(error).context(|| format!("open {}", path.display())),
        };
        // The locks say as much, later.
        let living = living(layout).unwrap_or_default();
        Ok(Self { layout, living, containers })
    }

    /// As [`monitor_alive`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn alive(&self, id: &ContainerId) -> Result<bool> {
        if self.living.contains(id.as_str().as_bytes()) {
            return Ok(true);
        }
        let Some(containers) = &self.containers else { return Ok(false) };
        let name = Path::new(id.as_str()).join("monitor.lock");
        match fsat::open_at(containers.as_fd(), &name, libc::O_RDONLY, 0) {
            Ok(file) => try_shared(&File::from(file), || self.layout.container_states().join(&name)),
            Err(error) if error.errno == Errno::ENOENT => Ok(false),
            Err(error) => {
                Err(error).context(|| format!("open {}", self.layout.container_states().join(name).display()))
            }
        }
    }
}

/// Who is on the roll.
fn living(layout: &Layout) -> Result<HashSet<[u8; roll::NAME_BYTES]>> {
    let path = layout.monitors();
    let what = || format!("read {}", path.display());
    let file = File::open(&path).context(what)?;
    roll::living(&file, &roll::boot_id().context(what)?).context(what)
}

/// Whether the monitor of an exec session lives.
///
/// # Errors
/// What the kernel says.
pub fn exec_monitor_alive(layout: &Layout, id: &ContainerId) -> Result<bool> {
    is_locked(&layout.exec_state(id).join("monitor.lock"))
}

/// Makes nothing: a file that is missing is not locked.
fn is_locked(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).context(|| format!("open {}", path.display())),
    };
    try_shared(&file, || path.to_owned())
}

/// Whether somebody else holds a lock.
fn try_shared(file: &File, path: impl Fn() -> PathBuf) -> Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).context(|| format!("test the lock {}", path().display()))
        }
    }
}

fn container_locks(layout: &Layout) -> Result<File> {
    let path = layout.state().join("containers.lock");
    private_file(&path).or_else(|_| {
        private_directory(layout.state())?;
        private_file(&path)
    })
}

/// The byte at the offset that the first 60 bits of the id say: two of a million containers share one with a
/// probability of one in two million, and would then merely take turns.
#[allow(
    clippy::cast_possible_truncation,
    reason = "both constants are below 8; the libc crate has them wider"
)]
fn byte_of(id: &ContainerId) -> libc::flock {
    // 15 digits are 60 bits, and always parse.
    let offset = i64::from_str_radix(&id.as_str()[..15], 16).unwrap_or(0);
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset,
        l_len: 1,
        // OFD locks require 0 (fcntl_locking(2)).
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        (dir, layout)
    }

    #[test]
    fn a_container_lock_is_exclusive_between_guards_and_free_after() {
        let (_dir, layout) = layout();
        let (a, b) = (ContainerId::from_random([1; 32]), ContainerId::from_random([2; 32]));
        let held = lock_container(&layout, &a).unwrap();
        assert!(try_lock_container(&layout, &a).unwrap().is_none());
        assert!(try_lock_container(&layout, &b).unwrap().is_some());
        drop(held);
        assert!(try_lock_container(&layout, &a).unwrap().is_some());
        // Nothing is made per container.
        assert_eq!(std::fs::read_dir(layout.state()).unwrap().count(), 1);
    }

    #[test]
    fn waiting_threads_take_turns() {
        let (_dir, layout) = layout();
        let id = ContainerId::from_random([3; 32]);
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _guard = lock_container(&layout, &id).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn a_monitor_lives_while_it_holds_its_lock() {
        let (_dir, layout) = layout();
        let id = ContainerId::from_random([4; 32]);
        assert!(!monitor_alive(&layout, &id).unwrap());
        assert!(!Monitors::of(&layout).unwrap().alive(&id).unwrap());
        assert!(!layout.container_state(&id).exists(), "asking makes nothing");
        let path = layout.container_state(&id).join("monitor.lock");
        let held = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        assert!(monitor_alive(&layout, &id).unwrap());
        let all = Monitors::of(&layout).unwrap();
        assert!(all.alive(&id).unwrap() && !all.alive(&ContainerId::from_random([5; 32])).unwrap());
        drop(held);
        assert!(!monitor_alive(&layout, &id).unwrap() && !all.alive(&id).unwrap());
        assert!(!exec_monitor_alive(&layout, &id).unwrap());
    }

    #[test]
    fn who_is_on_the_roll_lives_without_a_look_at_its_lock() {
        let (_dir, layout) = layout();
        private_directory(&layout.container_states()).unwrap();
        let (id, other) = (ContainerId::from_random([6; 32]), ContainerId::from_random([7; 32]));
        let file = private_file(&layout.monitors()).unwrap();
        let name = id.as_str().as_bytes().try_into().unwrap();
        let place = roll::Place::take(&file, &roll::boot_id().unwrap(), name).unwrap().unwrap();
        let monitors = Monitors::of(&layout).unwrap();
        assert!(monitors.alive(&id).unwrap() && !monitors.alive(&other).unwrap());
        drop(place);
        assert!(!Monitors::of(&layout).unwrap().alive(&id).unwrap());
        // A roll that makes no sense says nothing.
        std::fs::write(layout.monitors(), vec![0xff; 5000]).unwrap();
        assert!(!Monitors::of(&layout).unwrap().alive(&id).unwrap());
    }
}
