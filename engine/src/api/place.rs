//! Places: how many verbs may wait for their clients at once.
//!
//! A verb that sends an archive, or reads one, blocks a thread while its client neither reads nor sends. The threads
//! are shared by all requests, and each such verb holds files and buffers, so there are few places. A request takes its
//! place before it opens anything.
//!
//! ```text
//!   take ── one is free ──────────────────────────────► Place ── dropped ──► free
//!     └──── none is: waits, and each second ends the one whose client has
//!           done nothing for the longest time, if that is STALLED or more
//! ```
//!
//! While nobody waits for a place, a client may be as slow as it likes: a pager on `docker export` is no attack.

use crate::tidy;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Far below the number of threads that block (tokio's 512), so that other requests find one. A place whose client
/// does not read holds half a MiB.
const PLACES: usize = 64;

/// A client that does nothing for so long loses its place when another one waits for it.
const STALLED: Duration = Duration::from_secs(10);

/// How often who waits looks for a stalled one.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// For the whole process, as its threads are.
static FREE: Semaphore = Semaphore::const_new(PLACES);
static HOLDERS: Mutex<Vec<Weak<Holder>>> = Mutex::new(Vec::new());

/// The right to wait for a client.
pub(super) struct Place {
    holder: Arc<Holder>,
    _permit: SemaphorePermit<'static>,
}

#[derive(Default)]
struct Holder {
    /// Since when it waits for its client; `None` while it works.
    waits_since: Mutex<Option<Instant>>,
    is_ended: AtomicBool,
    ended: Notify,
}

impl Place {
    /// Takes a place, or waits for one.
    pub(super) async fn take() -> Self {
        let mut free = std::pin::pin!(FREE.acquire());
        let permit = loop {
            tokio::select! {
                biased;
                Ok(permit) = &mut free => break permit,
                () = tokio::time::sleep(LOOK_PAUSE) => end_stalled(),
            }
        };
        let holder = Arc::new(Holder::default());
        locked(&HOLDERS).push(Arc::downgrade(&holder));
        Self { holder, _permit: permit }
    }

    /// Waits for what a client does, on a thread that may block. `None`, from then on: the place was needed.
    pub(super) fn wait_for_client<T>(&self, doing: impl Future<Output = T>) -> Option<T> {
        if self.holder.is_ended.load(Ordering::Relaxed) {
            return None;
        }
        *locked(&self.holder.waits_since) = Some(Instant::now());
        let done = tokio::runtime::Handle::current().block_on(async {
            tokio::select! {
                biased;
                done = doing => Some(done),
                () = self.holder.ended.notified() => None,
            }
        });
        *locked(&self.holder.waits_since) = None;
        done
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&HOLDERS).retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(&self.holder)));
        tidy::request();
    }
}

/// Ends the verb whose client has done nothing for the longest time.
fn end_stalled() {
    let holders: Vec<Arc<Holder>> = locked(&HOLDERS).iter().filter_map(Weak::upgrade).collect();
    let waiting =
        holders.iter().filter_map(|holder| Some((locked(&holder.waits_since).as_ref()?.elapsed(), holder)));
    if let Some((_, holder)) = waiting.filter(|(time, _)| *time >= STALLED).max_by_key(|(time, _)| *time) {
        holder.is_ended.store(true, Ordering::Relaxed);
        holder.ended.notify_one();
    }
}

/// What the locks hold is whole after every statement.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
