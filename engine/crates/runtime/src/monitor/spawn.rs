//! The engine's side: starting a monitor and waiting for its report.

use super::spec::{MonitorSpec, Report};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Where the monitor finds its spec, its report socket and the first of its clients.
pub(super) const SPEC_FD: i32 = 3;
pub(super) const REPORT_FD: i32 = 4;
pub(super) const FIRST_CLIENT_FD: i32 = 5;

/// Clients that can come along.
pub(super) const CLIENTS_MAX: u32 = 32;

/// Starts a monitor. `exe` is the dhow executable; `clients` are the monitor's ends of socket pairs, as many
/// as the spec says, each with the client's hello already in it.
///
/// The monitor is not a child of this process: it is adopted by pid 1 or the nearest subreaper, which reaps
/// it. It lives on whatever happens here, the loss of the handle included.
///
/// # Errors
/// When it cannot be started. Then there is no monitor, and nothing is recorded.
pub fn spawn_monitor(exe: &Path, spec: &MonitorSpec, clients: Vec<OwnedFd>) -> Result<MonitorHandle> {
    let what = || format!("start the monitor of {}", spec.id.short());
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
    if count != spec.clients || count > CLIENTS_MAX {
        return Err(Error::internal(format!(
            "{}: {count} clients come along, {} were announced, {CLIENTS_MAX} are possible",
            what(),
            spec.clients
        )));
    }
    let bytes = postcard::to_stdvec(spec).context(what)?;
    let source = dhow_sys::memfd::sealed(c"dhow-monitor", &bytes).context(what)?;
    let (ours, theirs) = UnixStream::pair().context(what)?;
    let mut fds: Vec<(OwnedFd, i32)> = vec![(source.into(), SPEC_FD), (theirs.into(), REPORT_FD)];
    fds.extend(clients.into_iter().zip(FIRST_CLIENT_FD..));
    // The id is for whoever reads `ps`.
    let argv = ["dhow", "monitor", spec.id.short()];
    let environment: [&str; 0] = [];
    let spawned = dhow_sys::spawn::spawn_detached(exe, &argv, &environment, &fds).context(what)?;
    Ok(MonitorHandle { pid: spawned.pid, report: ours })
}

/// A monitor that has not reported yet.
#[derive(Debug)]
pub struct MonitorHandle {
    pid: i32,
    report: UnixStream,
}

impl MonitorHandle {
    /// The monitor's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the report.
    ///
    /// # Errors
    /// `StartFailed` when the monitor ended without one. A failed start that the monitor reports is
    /// [`Report::Failed`], not an error here.
    pub fn wait_started(mut self) -> Result<Report> {
        let mut bytes = Vec::new();
        self.report.read_to_end(&mut bytes).context(|| "read the monitor's report".to_owned())?;
        if bytes.is_empty() {
            return Err(Error::new(ErrorKind::StartFailed, "the monitor ended before it reported"));
        }
        postcard::from_bytes(&bytes).context(|| "read the monitor's report".to_owned())
    }
}

/// Readable when [`MonitorHandle::wait_started`] will not block (but for a moment).
impl AsFd for MonitorHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}
