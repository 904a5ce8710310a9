//! Waking up when events were committed, by whichever process.
//!
//! `ROOT/notify` holds a counter that every process maps. Each commit that adds events advances it and wakes
//! who sleeps on it (a shared futex). It carries no data: the events are rows, and a cursor says which are new.
//! Nothing is lost if the watch is made *before* the cursor is taken, and drained *before* each read:
//!
//! ```text
//!   let watch = EventWatch::new(layout)?;
//!   let mut cursor = db.read(|t| t.last_seq())?;
//!   loop {
//!       watch.drain();                                              // (1)
//!       for event in db.read(|t| t.events_after(cursor, 100))? {    // (2)
//!           cursor = event.seq; …
//!       }
//!       watch.wait(None)?;        // returns at once if anything was committed after (1)
//!   }
//! ```
//!
//! Not inotify: closing an inotify descriptor waits for a grace period of the kernel (some 10 ms), which every
//! `run` would pay at its end, and a user has 128 of them.
//!
//! But a program that embeds the engine has an event loop of its own, and a futex is no descriptor. For it there
//! is [`EventDescriptor`]: an inotify watch for *reads* of the file, which nobody does but `ring`, after each
//! commit. Reading one byte costs the committer a third of a microsecond and dirties nothing, where a write
//! would change the file's time and with it the journal of the filesystem.

use crate::db::private_file;
use dhow_model::{Layout, Result, ResultExt};
use dhow_sys::futex::SharedCounter;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Sleeps until events may have been added. Blocks a thread: async callers give it one.
pub struct EventWatch {
    counter: SharedCounter,
    seen: AtomicU32,
}

impl EventWatch {
    /// Begins to watch the events of an engine root, which need not exist yet in full.
    ///
    /// # Errors
    /// When the file cannot be made or mapped.
    pub fn new(layout: &Layout) -> Result<Self> {
        let (counter, _) = open(layout)?;
        let seen = AtomicU32::new(counter.load());
        Ok(Self { counter, seen })
    }

    /// Forgets all wake-ups so far, so that the next one is about something new.
    pub fn drain(&self) {
        self.seen.store(self.counter.load(), Ordering::Relaxed);
    }

    /// Blocks until there may be something new; `false` after `timeout`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.map(|t| Instant::now() + t);
        let seen = self.seen.load(Ordering::Relaxed);
        while self.counter.load() == seen {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            self.counter.wait(seen, left).context(|| "wait for events".to_owned())?;
        }
        Ok(true)
    }
}

fn open(layout: &Layout) -> Result<(SharedCounter, File)> {
    let path = layout.notify();
    if !path.exists() {
        crate::db::private_directory(layout.root())?;
    }
    let file = private_file(&path)?;
    let counter = SharedCounter::map(&file).context(|| format!("map {}", path.display()))?;
    Ok((counter, file))
}

/// Wakes whoever polls an [`EventDescriptor`] of this file.
pub(crate) fn ring(file: &File) {
    // A read that fails has read nothing, and the futex was woken already: followers that sleep see it, and
    // those that poll see it with the next event.
    let _ = file.read_at(&mut [0], 0);
}

/// As [`EventWatch`], but a descriptor that becomes readable. The same rule holds: made before the cursor is
/// taken, drained before each read of the rows.
///
/// If a process is killed in the microseconds between its commit and its ring, the descriptor stays silent
/// until the next event.
#[derive(Debug)]
pub struct EventDescriptor(Inotify);

impl EventDescriptor {
    /// Begins to watch the events of an engine root.
    ///
    /// # Errors
    /// When the file cannot be made or watched: a user has 128 such watches
    /// (`/proc/sys/fs/inotify/max_user_instances`).
    pub fn new(layout: &Layout) -> Result<Self> {
        // The file must have a byte to read: mapping it sees to that.
        drop(open(layout)?);
        let what = || format!("watch {}", layout.notify().display());
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context(what)?;
        inotify.add_watch(&layout.notify(), AddWatchFlags::IN_ACCESS).context(what)?;
        Ok(Self(inotify))
    }

    /// Forgets all wake-ups so far.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn drain(&self) -> Result<()> {
        loop {
            match self.0.read_events() {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno).context(|| "read what was noticed of events".to_owned()),
            }
        }
    }
}

impl AsFd for EventDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_model::Timestamp;
    use dhow_model::event::{EventType, NewEvent};
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable(watch: &EventDescriptor) -> bool {
        poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn a_commit_with_an_event_makes_the_descriptor_readable() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        let watch = EventDescriptor::new(&layout).unwrap();
        let mut db = crate::db::StateDb::open(&layout).unwrap();
        assert!(!readable(&watch), "making the database is no event");
        let event = NewEvent {
            kind: EventType::Image,
            action: "tag".to_owned(),
            actor: "x".to_owned(),
            attributes: std::collections::BTreeMap::new(),
        };
        for _ in 0..3 {
            db.write(|txn| txn.append_event(&event, Timestamp(1))).unwrap();
            assert!(readable(&watch));
            watch.drain().unwrap();
            assert!(!readable(&watch));
            db.read(|txn| txn.last_seq()).unwrap();
            db.write(|txn| txn.last_seq()).unwrap();
            assert!(!readable(&watch), "nothing was added");
        }
    }

    #[test]
    fn it_may_come_before_everything_else() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        let watch = EventWatch::new(&layout).unwrap();
        assert!(!watch.wait(Some(Duration::from_millis(5))).unwrap());
        crate::db::StateDb::open(&layout).unwrap();
        assert!(!watch.wait(Some(Duration::ZERO)).unwrap(), "making the database is no event");
    }
}
