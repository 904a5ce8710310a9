//! The monitor: the one small process that outlives a command, one for each running container or exec session.
//!
//! ```text
//! engine: spawn_monitor ──► dhow monitor: run()          reads its MonitorSpec (fd 3), builds its Recorder
//!    ▲                          │ door.rs                takes the lock, listens on attach.sock
//!    │                          ▼
//!    │              ┌──────► launch ── fails ──► recorder.start_failed ─┐ Report::Failed
//!    │ Report       │           │                                       │
//!    └── Started ◄──┼── recorder.started                                │
//!                   │           ▼                                       │
//!                   │       running: output → log, clients; clients → stdin
//!                   │           │ pidfd                                 │
//!                   │       draining: what the pipes still hold         │
//!                   │           ▼                                       │
//!                   │       settled: recorder.exited, then Exit frames  │
//!                   │           │                                       │
//!                   │           ▼                                       ▼
//!                   └── waiting (Restart{delay}) ◄──────────────── AfterExit ──► Stay, Remove: leave
//! ```
//!
//! What must stay true:
//! - **One thread, no tokio, one epoll.** The monitor clones the container's first process, so it must have
//!   no other thread; and it should cost about a megabyte, so after a second without work every buffer is
//!   given back.
//! - **The record comes first.** A start or an exit is in the database before anyone is told of it.
//! - **Whoever holds the lock is in charge.** From before the launch until the exit is recorded and the
//!   socket is gone, `monitor.lock` is held; a later monitor of the same container waits for it. What comes
//!   after, flushing the last output to slow clients, touches nothing that is shared.
//! - **Signals are blocked**, all that can be: nobody ends a monitor but by SIGKILL or by ending its
//!   container. A SIGTERM to everything at shutdown ends the container's processes, and the monitor with
//!   them. If the monitor is killed, the engine finds its lock free and settles the container.
//! - **It reaps one process only**, the one that it launched. It is no subreaper: orphans go to pid 1 of the
//!   container's pid namespace, or, in the host's, to the host's pid 1, and both of them reap.
//!
//! A client's stream ends when the container exits, restarted or not, as in Docker.

mod client;
mod clients;
mod confine;
mod door;
mod entry;
mod event_loop;
mod input;
mod launcher;
mod output;
mod poller;
mod probe;
pub mod recorder;
pub mod restart;
mod spawn;
pub mod spec;

pub use entry::run;
pub use recorder::{AfterExit, AfterProbe, Exit, NextRun, Probed, Recorder};
pub use restart::Backoff;
pub use spawn::{MonitorHandle, spawn_monitor};
pub use spec::{BareStream, ExternalSpec, LogTarget, MonitorKind, MonitorSpec, ProbeSpec, Report};

#[cfg(test)]
mod tests;
