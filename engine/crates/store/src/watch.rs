//! Waking up when events were committed, by whichever process.
//!
//! Every commit that adds events is followed by a write to `ROOT/notify`; an [`EventWatch`] is a descriptor
//! that becomes readable then. It carries no data: the events are rows, and a cursor says which are new.
//! Nothing is lost if the watch is made *before* the cursor is taken, and drained *before* each read:
//!
//! ```text
//!   let watch = EventWatch::new(layout)?;
//!   let mut cursor = db.read(|t| t.last_seq())?;
//!   loop {
//!       watch.drain()?;                                             // (1)
//!       for event in db.read(|t| t.events_after(cursor, 100))? {    // (2)
//!           cursor = event.seq; …
//!       }
//!       watch.wait(None)?;        // returns at once if anything was committed after (1)
//!   }
//! ```
//!
//! The kernel gives each user 128 inotify instances by default (`fs.inotify.max_user_instances`). When they
//! are used up, a watch becomes a timer that fires every [`FALLBACK_PERIOD`]: later, but as reliable.

use crate::db::private_file;
use dhow_model::{Layout, Result, ResultExt};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// How late the news may be without inotify.
pub const FALLBACK_PERIOD: Duration = Duration::from_millis(25);

/// A descriptor that is readable when events may have been added. Use it with `poll`, or with tokio's `AsyncFd`.
pub struct EventWatch {
    source: Source,
}

enum Source {
    Inotify(Inotify),
    Timer(TimerFd),
}

impl EventWatch {
    /// Begins to watch the events of an engine root, which need not exist yet in full.
    ///
    /// # Errors
    /// When the file cannot be made, or the process is out of descriptors.
    pub fn new(layout: &Layout) -> Result<Self> {
        let path = layout.notify();
        if !path.exists() {
            crate::db::private_directory(layout.root())?;
            private_file(&path)?;
        }
        match watch_file(&path) {
            Ok(inotify) => Ok(Self { source: Source::Inotify(inotify) }),
            // EMFILE and ENOSPC: the user's instances, or watches, are used up (inotify(7)).
            Err(Errno::EMFILE | Errno::ENOSPC) => {
                let timer = periodic_timer().context(|| format!("watch {} by a timer", path.display()))?;
                Ok(Self { source: Source::Timer(timer) })
            }
            Err(errno) => Err(errno).context(|| format!("watch {}", path.display())),
        }
    }

    /// Forgets all wake-ups so far, so that the next one is about something new. Never blocks.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn drain(&self) -> Result<()> {
        let mut buffer = [0u8; 4096];
        loop {
            match nix::unistd::read(self.as_fd(), &mut buffer) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| "read from an event watch".to_owned()),
            }
        }
    }

    /// Blocks until there may be something new; `false` after `timeout`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.map(|t| Instant::now() + t);
        loop {
            let left = match deadline {
                None => PollTimeout::NONE,
                // Rounded up, so that the last millisecond is not spent spinning.
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    PollTimeout::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
                }
            };
            match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], left) {
                Ok(0) if deadline.is_some_and(|d| Instant::now() < d) => {}
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| "wait for events".to_owned()),
            }
        }
    }
}

/// For event loops that want the number (tokio's `AsyncFd`).
impl AsRawFd for EventWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for EventWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Inotify(inotify) => inotify.as_fd(),
            Source::Timer(timer) => timer.as_fd(),
        }
    }
}

fn watch_file(path: &std::path::Path) -> nix::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
    Ok(inotify)
}

fn periodic_timer() -> nix::Result<TimerFd> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
    timer.set(Expiration::Interval(TimeSpec::from_duration(FALLBACK_PERIOD)), TimerSetTimeFlags::empty())?;
    Ok(timer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_stands_in() {
        let watch = EventWatch { source: Source::Timer(periodic_timer().unwrap()) };
        for _ in 0..3 {
            watch.drain().unwrap();
            assert!(watch.wait(Some(Duration::from_secs(5))).unwrap());
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
