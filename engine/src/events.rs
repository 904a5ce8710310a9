//! Durable events: making them, and following them from any process.
//!
//! A reader holds a cursor (the sequence number that it has seen) and listens to a bell, which rings when any
//! process has committed events. It listens first, then reads everything after its cursor, then waits: so
//! nothing is missed.

mod reader;

pub use reader::EventReader;
pub(crate) use reader::Rows;

use crate::Engine;
use crate::filters::Filters;
use dhow_model::event::{Event, EventType, NewEvent};
use dhow_model::mount::MountSource;
use dhow_model::network::Network;
use dhow_model::{ContainerId, Digest, Error, Layout, Result, ResultExt, Timestamp};
use dhow_store::db::ContainerRecord;
use dhow_store::watch::EventWatch;
use futures_util::Stream;
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Now.
pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// An event about a container: its image, name and labels, and `extra`.
pub(crate) fn container<const N: usize>(
    action: impl Into<String>,
    record: &ContainerRecord,
    extra: [(&str, String); N],
) -> NewEvent {
    let mut attributes: BTreeMap<String, String> = record.config.labels.clone();
    attributes.insert("image".to_owned(), record.config.image.clone());
    attributes.insert("name".to_owned(), record.name.clone());
    attributes.extend(extra.into_iter().map(|(k, v)| (k.to_owned(), v)));
    NewEvent { kind: EventType::Container, action: action.into(), actor: record.id.to_string(), attributes }
}

/// An event about an image.
pub(crate) fn image(action: &str, id: &Digest, name: &str) -> NewEvent {
    let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    NewEvent { kind: EventType::Image, action: action.to_owned(), actor: id.to_string(), attributes }
}

/// An event about a volume.
pub(crate) fn volume(action: &str, name: &str) -> NewEvent {
    let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
    NewEvent { kind: EventType::Volume, action: action.to_owned(), actor: name.to_owned(), attributes }
}

/// A container that comes to a network, or leaves it.
pub(crate) fn network_member(action: &str, network: &Network, container: &ContainerId) -> NewEvent {
    let mut event = self::network(action, network);
    event.attributes.insert("container".to_owned(), container.to_string());
    event
}

/// An event about a network.
pub(crate) fn network(action: &str, network: &Network) -> NewEvent {
    let attributes = BTreeMap::from([
        ("name".to_owned(), network.name.clone()),
        ("type".to_owned(), network.config.driver.as_str().to_owned()),
    ]);
    NewEvent {
        kind: EventType::Network,
        action: action.to_owned(),
        actor: network.id.to_string(),
        attributes,
    }
}

/// Mounts of a container's volumes, or their end, as it starts or has ended.
pub(crate) fn volume_mounts(action: &str, record: &ContainerRecord) -> Vec<NewEvent> {
    let mounts = record.config.host.mounts.iter();
    mounts
        .filter_map(|mount| {
            let MountSource::Volume { name, .. } = &mount.source else { return None };
            let mut event = volume(action, name);
            event.attributes.insert("container".to_owned(), record.id.to_string());
            if action == "mount" {
                let writable = if mount.readonly { "false" } else { "true" };
                event.attributes.insert("destination".to_owned(), mount.target.clone());
                event.attributes.insert("propagation".to_owned(), String::new());
                event.attributes.insert("read/write".to_owned(), writable.to_owned());
            }
            Some(event)
        })
        .collect()
}

/// Records what a prune gave back.
pub(crate) fn record_prune(engine: &Engine, kind: EventType, reclaimed_bytes: u64) -> Result<()> {
    let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed_bytes.to_string())]);
    let event = NewEvent { kind, action: "prune".to_owned(), actor: String::new(), attributes };
    engine.db()?.write(|txn| txn.append_event(&event, now()))?;
    Ok(())
}

/// A descriptor that tells of news by becoming readable, inside a tokio runtime.
#[expect(deprecated, reason = "its successor is unsafe; the descriptors here belong to what is handed over")]
pub(crate) fn readable<T: AsRawFd>(watch: T) -> Result<AsyncFd<T>> {
    AsyncFd::with_interest(watch, Interest::READABLE).context(|| "watch a descriptor".to_owned())
}

/// How many rows are read at a time.
const BATCH: usize = 256;

/// How long a wake-up may be late if the process that committed was killed before it could wake us.
const SAFETY_PERIOD: Duration = Duration::from_secs(1);

/// One thread per engine that sleeps until events were committed, and tells all followers. Started with the
/// first follower; ends when the engine is gone.
#[derive(Default)]
pub(crate) struct Bell(Mutex<Option<watch::Receiver<()>>>);

impl Bell {
    fn listen(&self, layout: &Layout) -> Result<watch::Receiver<()>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = slot.as_ref().filter(|receiver| receiver.has_changed().is_ok()) {
            return Ok(receiver.clone());
        }
        let events = EventWatch::new(layout)?;
        let (sender, receiver) = watch::channel(());
        std::thread::Builder::new()
            .name("dhow-events".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                // An error of the futex would repeat: the followers see the closed channel, and begin anew.
                while !sender.is_closed() && events.wait(Some(SAFETY_PERIOD)).is_ok() {
                    events.drain();
                    sender.send_replace(());
                }
            })
            .context(|| "start the thread that waits for events".to_owned())?;
        *slot = Some(receiver.clone());
        Ok(receiver)
    }
}

/// Follows events from a cursor on.
pub(crate) struct Follower {
    bell: watch::Receiver<()>,
    rows: Rows,
}

impl Follower {
    /// Starts after `cursor`, or after the newest event.
    pub(crate) fn new(engine: &Engine, cursor: Option<i64>) -> Result<Self> {
        let bell = engine.bell().listen(engine.layout())?;
        Ok(Self { bell, rows: Rows::after(engine, cursor)? })
    }

    /// The next event; waits for as long as it takes.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        loop {
            // Before the rows are read: a commit after this rings again.
            self.bell.mark_unchanged();
            if let Some(event) = self.rows.next()? {
                return Ok(event);
            }
            if self.bell.changed().await.is_err() {
                let engine = self.rows.engine();
                self.bell = engine.bell().listen(engine.layout())?;
            }
        }
    }
}

/// What an `events` client asks for.
#[derive(Debug, Clone, Default)]
pub struct Subscription {
    /// Replay recorded events from this time on.
    pub since: Option<Timestamp>,
    /// End at this time.
    pub until: Option<Timestamp>,
    /// Resume after this sequence number; replaces `since`.
    pub cursor: Option<i64>,
    /// Docker's filters.
    pub filters: Filters,
}

/// The keys that `events` filters by.
const FILTERS: [&str; 11] = [
    "container",
    "event",
    "image",
    "label",
    "type",
    "volume",
    "network",
    "daemon",
    "scope",
    "node",
    "plugin",
];

/// A stream of events: the recorded ones that were asked for, then those to come, until `until`.
///
/// # Errors
/// `InvalidArgument` for an unknown filter, or when the database cannot be read. Must be called inside a
/// tokio runtime.
pub fn subscribe(
    engine: &Engine,
    subscription: Subscription,
) -> Result<impl Stream<Item = Result<Event>> + Send + use<>> {
    subscription.filters.only(&FILTERS)?;
    let start = match (subscription.cursor, subscription.since) {
        (Some(cursor), _) => Some(cursor),
        (None, Some(_)) => Some(0),
        (None, None) => None,
    };
    if let Some(cursor) = subscription.cursor {
        check_cursor(engine, cursor)?;
    }
    let follower = Follower::new(engine, start)?;
    Ok(futures_util::stream::unfold(
        (follower, subscription, false),
        |(mut follower, asked, ended)| async move {
            if ended {
                return None;
            }
            loop {
                let before = follower.rows.cursor();
                let next = match asked.until {
                    None => follower.next().await,
                    Some(until) => match tokio::time::timeout(until.since(now()), follower.next()).await {
                        Ok(next) => next,
                        Err(_elapsed) => return None,
                    },
                };
                match next {
                    // Whoever resumes was promised all of them; dropped while it was slow to read.
                    Ok(event) if asked.cursor.is_some() && event.seq > before + 1 => {
                        let error = lost(before + 1, event.seq - 1);
                        return Some((Err(error), (follower, asked, true)));
                    }
                    Err(error) => return Some((Err(error), (follower, asked, true))),
                    Ok(event) if asked.until.is_some_and(|until| event.time > until) => return None,
                    Ok(event) if asked.since.is_some_and(|since| event.time < since) => {}
                    Ok(event) if !matches(&event.event, &asked.filters) => {}
                    Ok(event) => return Some((Ok(event), (follower, asked, false))),
                }
            }
        },
    ))
}

/// A cursor that the engine never gave out, or after which events are lost, is an error: a client that resumes
/// must know.
fn check_cursor(engine: &Engine, cursor: i64) -> Result<()> {
    let (first, last) = engine.db()?.read(|txn| Ok((txn.first_seq()?, txn.last_seq()?)))?;
    if cursor < 0 || cursor > last {
        return Err(Error::invalid(format!("invalid cursor {cursor}: the newest event is {last}")));
    }
    if cursor + 1 < first {
        return Err(lost(cursor + 1, first - 1));
    }
    Ok(())
}

/// What a reader is told that was too slow, or came too late.
fn lost(from: i64, to: i64) -> Error {
    Error::not_found(format!("events {from} to {to} are no longer kept"))
}

/// Whether an event passes Docker's filters. Pure.
fn matches(event: &NewEvent, filters: &Filters) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map_or("", String::as_str);
    let actor_or_name = |kind: EventType, key: &str| {
        filters.any(key, |want| {
            event.kind == kind
                && (attribute("name") == want || (!want.is_empty() && event.actor.starts_with(want)))
        })
    };
    filters.any("type", |want| want == event.kind.as_str())
        && filters.any("event", |want| {
            // `exec_start: ls` is matched by `exec_start`.
            event.action == want || event.action.split(':').next() == Some(want)
        })
        && actor_or_name(EventType::Container, "container")
        && actor_or_name(EventType::Volume, "volume")
        && actor_or_name(EventType::Network, "network")
        && filters.any("image", |want| {
            let named = match event.kind {
                EventType::Image => attribute("name"),
                _ => attribute("image"),
            };
            named == want
                || named.split(':').next() == Some(want)
                || (event.kind == EventType::Image && event.actor == want)
        })
        && filters.any("scope", |want| want == "local")
        && filters.any("daemon", |_| event.kind == EventType::Daemon)
        && filters.any("node", |_| false)
        && filters.any("plugin", |_| false)
        && filters.labels_match(&event.attributes)
}

/// A cursor for a client that wants to resume later.
///
/// # Errors
/// When the database cannot be read.
pub fn cursor(engine: &Engine) -> Result<i64, Error> {
    engine.db()?.read(|txn| txn.last_seq())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_follow_docker() {
        let event = NewEvent {
            kind: EventType::Container,
            action: "exec_start: ls -l".to_owned(),
            actor: "abcdef".to_owned(),
            attributes: BTreeMap::from([
                ("name".to_owned(), "web".to_owned()),
                ("image".to_owned(), "debian:12".to_owned()),
            ]),
        };
        let filter =
            |key: &str, value: &str| Filters(BTreeMap::from([(key.to_owned(), vec![value.to_owned()])]));
        for (key, value) in [
            ("type", "container"),
            ("event", "exec_start"),
            ("container", "web"),
            ("container", "abc"),
            ("image", "debian"),
            ("image", "debian:12"),
        ] {
            assert!(matches(&event, &filter(key, value)), "{key}={value}");
        }
        for (key, value) in
            [("type", "image"), ("event", "start"), ("container", "we"), ("label", "x"), ("volume", "web")]
        {
            assert!(!matches(&event, &filter(key, value)), "{key}={value}");
        }
    }
}
