//! Everything one can do with a container: one verb, one file.
//!
//! A verb looks the container up, checks the move against `dhow_model::state`, writes its intent, acts
//! through `dhow_runtime`, and lets the monitor record what became of it. Who writes what:
//!
//! | writer | status |
//! |---|---|
//! | the engine, under the container's lock | `Created`, `Starting`, `Paused` and back, `Removing`, `stopped_by_user` |
//! | the monitor (`recorder.rs`) | `Running`, `Restarting`, `Exited` |
//! | recovery, when the monitor is gone | `Exited`, or the end of a removal |

pub mod attach;
pub mod commit;
pub mod copy;
pub mod create;
pub mod diff;
pub(crate) mod etc;
pub mod exec;
pub mod export;
pub(crate) mod files;
mod health;
mod init;
pub mod inspect;
mod join;
pub mod list;
mod log;
pub mod logs;
mod oci;
pub mod pause;
pub mod prune;
mod recorder;
pub mod remove;
pub mod rename;
pub mod resize;
mod seccomp;
pub mod start;
pub mod stats;
pub mod stop;
pub(crate) mod storage;
pub mod streams;
pub mod top;
pub mod unlink;
pub mod update;
mod userns;
mod volumes_from;
pub mod wait;
mod whole_file;

pub use recorder::monitor_main;

use crate::{Engine, recover};
use dhow_model::{Error, Layout, Result, ResultExt};
use dhow_runtime::cgroup::Cgroup;
use dhow_store::db::ContainerRecord;
use dhow_store::lock;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The cgroup below which containers are made when none is asked for.
pub(crate) const DEFAULT_CGROUP_PARENT: &str = "dhow";

/// Docker's words for an unknown container.
pub(crate) fn no_such(who: &str) -> Error {
    Error::not_found(format!("No such container: {who}"))
}

/// Finds a container by id, name or prefix, and settles it first if its monitor died.
pub(crate) fn find_settled(engine: &Engine, who: &str) -> Result<ContainerRecord> {
    let record = engine.db()?.read(|txn| txn.find_container(who))?;
    if recover::settle(engine, &record)? {
        return engine.db()?.read(|txn| txn.container(&record.id))?.ok_or_else(|| no_such(who));
    }
    Ok(record)
}

/// The cgroup of a container, as the configuration places it.
pub(crate) fn cgroup(engine: &Engine, record: &ContainerRecord) -> Result<Cgroup> {
    Ok(dhow_runtime::cgroup::open_for(&record.id, cgroup_parent(record), engine.facts()?))
}

/// The parent cgroup of a container.
pub(crate) fn cgroup_parent(record: &ContainerRecord) -> &str {
    match record.config.host.resources.cgroup_parent.as_str() {
        "" => DEFAULT_CGROUP_PARENT,
        parent => parent,
    }
}

/// Kills whatever is left in a container's cgroup, and removes it.
pub(crate) fn clear_cgroup(engine: &Engine, record: &ContainerRecord) -> Result<()> {
    let cgroup = cgroup(engine, record)?;
    cgroup.kill_all();
    cgroup.remove()
}

/// How often a monitor without a known pid is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits until no monitor holds the container any more: true if that was so within `patience`.
///
/// The monitor's lock says whether it lives; its pid only gives something to sleep on.
pub(crate) fn monitor_gone_within(
    layout: &Layout,
    record: &ContainerRecord,
    patience: Duration,
) -> Result<bool> {
    let begin = Instant::now();
    let pidfd = match record.state.monitor_pid {
        0 => None,
        pid => dhow_sys::process::pidfd_open(pid).ok(),
    };
    // Checked after the pidfd was opened: if it lives now, the pidfd is its own.
    while lock::monitor_alive(layout, &record.id)? {
        let left = patience.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        match &pidfd {
            Some(pidfd) => {
                let left = left.min(Duration::from_secs(60));
                let timeout =
                    PollTimeout::try_from(left.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
                let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                match nix::poll::poll(&mut fds, timeout) {
                    Err(nix::errno::Errno::EINTR) => {}
                    other => {
                        let ready =
                            other.context(|| format!("wait for monitor {}", record.state.monitor_pid))?;
                        // The process is gone but the lock is held: another monitor took over.
                        if ready > 0 && lock::monitor_alive(layout, &record.id)? {
                            std::thread::sleep(LOOK_AGAIN);
                        }
                    }
                }
            }
            None => std::thread::sleep(LOOK_AGAIN),
        }
    }
    Ok(true)
}
