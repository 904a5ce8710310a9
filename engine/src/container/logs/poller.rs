//! A log as a descriptor that polls: for programs with an event loop of their own. No runtime, no thread.

use super::{LogsOptions, goes_on, open_reader, readable_record};
use crate::Engine;
use crate::events::Rows;
use dhow_model::{ContainerId, Result, ResultExt};
use dhow_runtime::log::{LogReader, Next};
use dhow_store::watch::EventDescriptor;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, BorrowedFd};

/// An open log. [`LogPoller::next`] never blocks.
pub struct LogPoller {
    reader: LogReader,
    follow: Option<Follow>,
    tty: bool,
}

/// What a following reader waits for: the log's directory, events (the end of the container is one), and the
/// end of the time that was asked for.
struct Follow {
    poll: Epoll,
    events: EventDescriptor,
    rows: Rows,
    id: ContainerId,
    _until: Option<TimerFd>,
}

impl LogPoller {
    /// Opens a container's log.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` when its log driver keeps nothing; or when it cannot be watched.
    pub fn open(engine: &Engine, who: &str, options: LogsOptions) -> Result<Self> {
        let record = readable_record(engine, who)?;
        if !options.follow {
            let reader = open_reader(engine, &record, options)?;
            return Ok(Self { reader, follow: None, tty: record.config.tty });
        }
        // Watch and cursor are older than the status that is read below, so that no end is missed.
        let events = EventDescriptor::new(engine.layout())?;
        let rows = Rows::after(engine, None)?;
        let mut reader = open_reader(engine, &record, options)?;
        if !goes_on(engine, &record.id)? {
            reader.finish();
        }
        let what = || format!("watch the log of {}", record.id.short());
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context(what)?;
        let readable = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
        poll.add(&events, readable()).context(what)?;
        if let Some(watch) = reader.watch_fd() {
            poll.add(watch, readable()).context(what)?;
        }
        let until = match reader.time_left() {
            None => None,
            Some(left) => {
                let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
                let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).context(what)?;
                // Zero would mean never.
                let left = TimeSpec::from_duration(left.max(std::time::Duration::from_nanos(1)));
                timer.set(Expiration::OneShot(left), TimerSetTimeFlags::empty()).context(what)?;
                poll.add(&timer, readable()).context(what)?;
                Some(timer)
            }
        };
        let follow = Follow { poll, events, rows, id: record.id.clone(), _until: until };
        Ok(Self { reader, follow: Some(follow), tty: record.config.tty })
    }

    /// Whether the container has a terminal: then all output is one raw stream.
    pub fn tty(&self) -> bool {
        self.tty
    }

    /// The next entry. `Pending`, only when following: poll the descriptor, then ask again.
    ///
    /// # Errors
    /// When log or events cannot be read.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not fail; this one may, and go on")]
    pub fn next(&mut self) -> Result<Next> {
        loop {
            match self.reader.poll_next()? {
                Next::Pending => {}
                other => return Ok(other),
            }
            let Some(follow) = &mut self.follow else { return Ok(Next::End) };
            follow.events.drain()?;
            let mut ended = false;
            while let Some(event) = follow.rows.next()? {
                let event = event.event;
                ended |=
                    event.actor == follow.id.as_str() && matches!(event.action.as_str(), "die" | "destroy");
            }
            if !ended || goes_on(follow.rows.engine(), &follow.id)? {
                return Ok(Next::Pending);
            }
            self.reader.finish();
        }
    }

    /// Becomes readable when it is worth asking again; `None` unless following.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.follow.as_ref().map(|follow| follow.poll.0.as_fd())
    }
}
