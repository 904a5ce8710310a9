//! Tracing: what the processes of containers do, as the kernel sees it.
//!
//! ```text
//!   kernel ── ring ──► hub.rs, one thread for all clients ──► queue.rs ──► TraceSession ──► api/routes/trace.rs
//!                        │  cgroup id → container                            one per client     embedders
//!                        └─ wishes of all clients → what the probes record
//! ```
//!
//! The probes are in `dhow-ebpf`. An engine loads them with its first client, shares them between all, and
//! detaches them with the last; a loaded program that is not attached costs nothing.
//!
//! An embedder polls the descriptor of its session and takes what waits:
//!
//! ```no_run
//! # fn main() -> dhow::Result<()> {
//! use std::os::fd::AsFd;
//! let engine = dhow::Engine::open(dhow::Config::default())?;
//! let options = dhow::trace::TraceOptions { containers: vec!["web".to_owned()], ..Default::default() };
//! let mut session = dhow::trace::open(&engine, options)?;
//! while !session.is_ended() {
//!     # fn poll(_: std::os::fd::BorrowedFd<'_>) {}
//!     poll(session.as_fd()); // readable when events wait, and after the end
//!     while let Some(event) = session.next()? {
//!         println!("{event:?}"); // a `serde::Serialize`, too
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod event;
mod hub;
mod queue;

pub use dhow_ebpf::{Kind, Kinds, ProgramReport};
pub use event::{ContainerName, Process, TraceEvent};

use crate::Engine;
use dhow_model::{Error, Result};
pub(crate) use hub::Hub;
use queue::Queue;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

/// What a client wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceOptions {
    /// Containers by id, name or prefix of an id; none means all of the engine, those to come included.
    pub containers: Vec<String>,
    /// Kinds of events. [`Kind::Open`] slows every system call of the machine while it is wanted.
    pub kinds: Kinds,
    /// End when each of the containers has ended once; else go on over restarts, until all are removed.
    pub until_exit: bool,
    /// The size of the ring between kernel and engine; a power of two. The clients of one engine share it, so
    /// that only the first one of them can choose.
    pub buffer_bytes: Option<u32>,
}

impl Default for TraceOptions {
    /// The life of the processes of all containers, for ever.
    fn default() -> Self {
        Self { containers: Vec::new(), kinds: Kinds::LIFECYCLE, until_exit: false, buffer_bytes: None }
    }
}

/// Starts a trace. When this returns, the probes are attached and the filter is in place: whatever starts now
/// is told from its beginning.
///
/// # Errors
/// `NotFound` for an unknown container; `InvalidArgument` for options that contradict each other; `Conflict` when
/// other clients use another buffer; `Forbidden` without the privilege; `Unsupported` when the kernel lacks
/// something, naming it.
pub fn open(engine: &Engine, options: TraceOptions) -> Result<TraceSession> {
    if options.kinds.is_empty() {
        return Err(Error::invalid("a trace wants at least one kind of event"));
    }
    if options.until_exit && options.containers.is_empty() {
        return Err(Error::invalid("a trace until the exit wants a container"));
    }
    if engine.facts()?.cgroup.unified.is_none() {
        return Err(Error::unsupported(
            "tracing tells containers apart by their cgroup in the version 2 hierarchy, and none is mounted",
        ));
    }
    let (number, queue) = engine.trace_hub().subscribe(engine, &options)?;
    Ok(TraceSession { engine: engine.clone(), number, queue })
}

/// Loads each probe by itself, for a moment: what this kernel offers, and why not.
///
/// # Errors
/// `Forbidden` without the privilege, `Unsupported` when nothing can work here.
pub fn probe() -> Result<Vec<ProgramReport>> {
    dhow_ebpf::probe()
}

/// A running trace. Dropping it ends it.
pub struct TraceSession {
    engine: Engine,
    number: u64,
    queue: Arc<Queue>,
}

impl TraceSession {
    /// The next event, if one waits; never blocks. Losses are told by [`TraceEvent::Lost`].
    ///
    /// # Errors
    /// When the trace broke off; it is ended then.
    #[expect(clippy::should_implement_trait, reason = "the end of an iterator would be its pause here")]
    pub fn next(&mut self) -> Result<Option<TraceEvent>> {
        Ok(self.next_shared()?.map(Arc::unwrap_or_clone))
    }

    /// The same without a copy when several clients get the event.
    pub(crate) fn next_shared(&mut self) -> Result<Option<Arc<TraceEvent>>> {
        self.queue.pop()
    }

    /// Whether all was read and nothing will come.
    pub fn is_ended(&self) -> bool {
        self.queue.is_ended()
    }
}

/// Readable when events wait and when the trace has ended; only for waiting, not for reading.
impl AsFd for TraceSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_ref().as_fd()
    }
}

impl AsRawFd for TraceSession {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for TraceSession {
    fn drop(&mut self) {
        self.engine.trace_hub().unsubscribe(&self.engine, self.number);
    }
}
