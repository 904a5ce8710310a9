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

use crate::db::private_file;
use dhow_model::{Layout, Result, ResultExt};
use dhow_sys::futex::SharedCounter;
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
        let path = layout.notify();
        if !path.exists() {
            crate::db::private_directory(layout.root())?;
        }
        let file = private_file(&path)?;
        let counter = SharedCounter::map(&file).context(|| format!("map {}", path.display()))?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
