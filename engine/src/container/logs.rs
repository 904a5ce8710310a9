//! `logs`: what a container has written, and what it goes on to write.
//!
//! The monitor writes files; a reader follows them by inotify and never asks the monitor. It ends when the
//! container neither runs nor waits for its restart.

mod poller;

pub use poller::LogPoller;

use crate::Engine;
use crate::events::{Follower, readable};
use dhow_model::state::Status;
use dhow_model::{ContainerId, Error, Result, ResultExt, Timestamp};
use dhow_runtime::log::{LogEntry, LogReader, Next, ReadOptions};
use dhow_store::db::ContainerRecord;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// What to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogsOptions {
    /// Go on until the container stops.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Only entries of that time or later.
    pub since: Option<Timestamp>,
    /// Only entries of that time or earlier.
    pub until: Option<Timestamp>,
    /// Only the last so many.
    pub tail: Option<u64>,
}

/// An open log.
pub struct LogsStream {
    /// Whether the container has a terminal: then all output is one raw stream.
    pub tty: bool,
    /// The entries, oldest first.
    pub stream: BoxStream<'static, Result<LogEntry>>,
}

/// Opens a container's log. To follow, must be called inside a tokio runtime.
///
/// # Errors
/// `NotFound`; `Unsupported` when its log driver keeps nothing.
pub fn logs(engine: &Engine, who: &str, options: LogsOptions) -> Result<LogsStream> {
    let record = readable_record(engine, who)?;
    // The follower's cursor is older than the status below, so that no end is missed.
    let follower = if options.follow { Some(Follower::new(engine, None)?) } else { None };
    let mut reader = open_reader(engine, &record, options)?;
    let mut follow = None;
    if let Some(events) = follower {
        let watch = reader.watch_fd().map(|fd| fd.try_clone_to_owned()).transpose();
        let watch = watch.context(|| "duplicate the log's watch".to_owned())?;
        match watch {
            Some(watch) if goes_on(engine, &record.id)? => {
                let watch = readable(watch)?;
                follow = Some(Follow { engine: engine.clone(), id: record.id, events, watch });
            }
            _ => reader.finish(),
        }
    }
    let reading = Reading { reader, follow, since_pause: 0, failed: false };
    Ok(LogsStream { tty: record.config.tty, stream: unfold(reading, Reading::next).boxed() })
}

/// The container, if its log can be read back.
fn readable_record(engine: &Engine, who: &str) -> Result<ContainerRecord> {
    let record = super::find_settled(engine, who)?;
    if !record.config.host.log.keeps() {
        return Err(Error::unsupported("configured logging driver does not support reading"));
    }
    Ok(record)
}

fn open_reader(engine: &Engine, record: &ContainerRecord, options: LogsOptions) -> Result<LogReader> {
    let LogsOptions { follow, stdout, stderr, since, until, tail } = options;
    let path = super::log::path(engine, record).unwrap_or_default();
    LogReader::open(&path, ReadOptions { tail, since, until, stdout, stderr, follow })
}

/// Whether more may be written.
fn goes_on(engine: &Engine, id: &ContainerId) -> Result<bool> {
    let record = engine.db()?.read(|txn| txn.container(id))?;
    Ok(record.is_some_and(|r| {
        matches!(r.state.status, Status::Running | Status::Paused | Status::Restarting | Status::Starting)
    }))
}

/// Entries handed out in one go before other tasks of the thread get their turn.
const ENTRIES_PER_TURN: u32 = 256;

struct Reading {
    reader: LogReader,
    follow: Option<Follow>,
    since_pause: u32,
    failed: bool,
}

struct Follow {
    engine: Engine,
    id: ContainerId,
    events: Follower,
    watch: AsyncFd<OwnedFd>,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<LogEntry>, Self)> {
        if self.failed {
            return None;
        }
        match self.entry().await {
            Ok(entry) => entry.map(|entry| (Ok(entry), self)),
            Err(error) => {
                self.failed = true;
                Some((Err(error), self))
            }
        }
    }

    async fn entry(&mut self) -> Result<Option<LogEntry>> {
        self.since_pause += 1;
        if self.since_pause >= ENTRIES_PER_TURN {
            self.since_pause = 0;
            tokio::task::yield_now().await;
        }
        loop {
            match self.reader.poll_next()? {
                Next::Entry(entry) => return Ok(Some(entry)),
                Next::End => return Ok(None),
                Next::Pending => {}
            }
            let Some(follow) = &mut self.follow else { return Ok(None) };
            let time_left = self.reader.time_left();
            let deadline = async {
                match time_left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = follow.watch.readable() => {
                    let mut ready = ready.context(|| "wait for the log".to_owned())?;
                    self.reader.drain_watch()?;
                    ready.clear_ready();
                }
                event = follow.events.next() => {
                    let event = event?.event;
                    let ended = event.actor == follow.id.as_str() && matches!(event.action.as_str(), "die" | "destroy");
                    if ended && !goes_on(&follow.engine, &follow.id)? {
                        self.reader.finish();
                    }
                }
                () = deadline => {}
            }
        }
    }
}
