//! The events of one client on their way from the reader of the ring to the client, and the descriptor that
//! says that there are some.

use super::event::{ContainerName, TraceEvent, losses};
use dhow_ebpf::Kind;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A client that lets more than this wait loses events, counted. About 30 MB at the worst.
const LIMIT: usize = 1 << 17;

/// An event, and whose it is if it may be counted as lost.
pub(super) struct Entry {
    pub(super) event: Arc<TraceEvent>,
    pub(super) counts_as: Option<(Arc<ContainerName>, Kind)>,
}

/// A bounded queue with a bell.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Readable while events wait, and for ever after the end.
    bell: EventFd,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Arc<TraceEvent>>,
    /// What found no room since the last event that found some.
    dropped: Vec<(Arc<ContainerName>, [u64; Kind::ALL.len()])>,
    delivered: u64,
    lost: u64,
    ended: bool,
    failure: Option<(ErrorKind, String)>,
}

impl Queue {
    pub(super) fn new() -> Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .context(|| "make an eventfd for a trace".to_owned())?;
        Ok(Self { inner: Mutex::default(), bell })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whole after every statement: a panic elsewhere does no harm here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds events in their order and rings once.
    pub(super) fn push(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut inner = self.lock();
        let before = inner.waiting.len();
        for entry in entries {
            inner.add(entry);
        }
        if inner.waiting.len() > before {
            self.ring();
        }
    }

    /// Says the totals; nothing comes after.
    pub(super) fn end(&self, failure: Option<&Error>) {
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        inner.tell_dropped();
        match failure {
            Some(error) => inner.failure = Some((error.kind(), error.to_string())),
            None => {
                let (events, lost) = (inner.delivered, inner.lost);
                let end = TraceEvent::End { time: crate::events::now(), events, lost };
                inner.waiting.push_back(Arc::new(end));
            }
        }
        inner.ended = true;
        self.ring();
    }

    fn ring(&self) {
        // Full only if nobody has read it four billion times: then it is readable anyway.
        let _ = self.bell.write(1);
    }

    /// The next event, if one waits.
    pub(super) fn pop(&self) -> Result<Option<Arc<TraceEvent>>> {
        let mut inner = self.lock();
        if let Some(event) = inner.waiting.pop_front() {
            return Ok(Some(event));
        }
        if let Some((kind, message)) = inner.failure.take() {
            return Err(Error::new(kind, message));
        }
        if !inner.ended {
            // Under the lock, so that no event comes between.
            let _ = self.bell.read();
        }
        Ok(None)
    }

    /// Whether everything was read and nothing will come.
    pub(super) fn is_ended(&self) -> bool {
        let inner = self.lock();
        inner.ended && inner.waiting.is_empty() && inner.failure.is_none()
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Inner {
    fn add(&mut self, entry: Entry) {
        let Some((container, kind)) = entry.counts_as else {
            if let TraceEvent::Lost { lost, .. } = entry.event.as_ref() {
                self.lost += lost.values().sum::<u64>();
            }
            self.waiting.push_back(entry.event);
            return;
        };
        if self.waiting.len() >= LIMIT {
            return self.drop_one(container, kind);
        }
        self.tell_dropped();
        self.waiting.push_back(entry.event);
        self.delivered += 1;
    }

    fn drop_one(&mut self, container: Arc<ContainerName>, kind: Kind) {
        let at = match self.dropped.iter().position(|(known, _)| *known == container) {
            Some(at) => at,
            None => {
                self.dropped.push((container, Default::default()));
                self.dropped.len() - 1
            }
        };
        if let Some(count) = self.dropped[at].1.get_mut(kind as usize) {
            *count += 1;
        }
    }

    /// One event for each container that lost some.
    fn tell_dropped(&mut self) {
        for (container, counts) in std::mem::take(&mut self.dropped) {
            self.lost += counts.iter().sum::<u64>();
            self.waiting.push_back(Arc::new(TraceEvent::Lost {
                time: crate::events::now(),
                container: Some(container),
                lost: losses(Kind::ALL.into_iter().zip(counts)),
                place: "queue",
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_model::Timestamp;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn entry(container: &Arc<ContainerName>) -> Entry {
        Entry {
            event: Arc::new(TraceEvent::End { time: Timestamp(0), events: 0, lost: 0 }),
            counts_as: Some((Arc::clone(container), Kind::Exec)),
        }
    }

    fn readable(queue: &Queue) -> bool {
        let mut fds = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn what_does_not_fit_is_counted_exactly() {
        let container = Arc::new(ContainerName { container: "ab".to_owned(), name: "web".to_owned() });
        let queue = Queue::new().unwrap();
        assert!(!readable(&queue));
        queue.push((0..LIMIT + 7).map(|_| entry(&container)));
        assert!(readable(&queue));
        for _ in 0..10 {
            queue.pop().unwrap().unwrap();
        }
        queue.push([entry(&container)]);
        queue.end(None);
        let mut told = 0;
        let mut last = None;
        while let Some(event) = queue.pop().unwrap() {
            if let TraceEvent::Lost { lost, place, .. } = event.as_ref() {
                assert_eq!(*place, "queue");
                told += lost["exec"];
            }
            last = Some(event);
        }
        assert_eq!(told, 7);
        let events = u64::try_from(LIMIT).unwrap() + 1;
        assert!(
            matches!(last.as_deref(), Some(TraceEvent::End { events: e, lost: 7, .. }) if *e == events),
            "{last:?}"
        );
        assert!(queue.is_ended() && readable(&queue));
    }

    #[test]
    fn the_bell_is_silent_when_nothing_waits() {
        let container = Arc::new(ContainerName { container: "ab".to_owned(), name: "web".to_owned() });
        let queue = Queue::new().unwrap();
        queue.push([entry(&container)]);
        assert!(queue.pop().unwrap().is_some());
        assert!(queue.pop().unwrap().is_none());
        assert!(!readable(&queue));
        queue.end(Some(&Error::internal("the ring broke")));
        assert!(readable(&queue) && !queue.is_ended());
        assert_eq!(queue.pop().unwrap_err().to_string(), "the ring broke");
        assert!(queue.pop().unwrap().is_none() && queue.is_ended());
    }
}
