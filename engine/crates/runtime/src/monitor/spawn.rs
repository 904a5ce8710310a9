//! The engine's side: starting a monitor and waiting for its report.

use super::spec::{BareStream, MonitorSpec, Report};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::spawn::Place;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Where the monitor finds its spec, its report socket and the first of its clients.
pub(super) const SPEC_FD: i32 = 3;
pub(super) const REPORT_FD: i32 = 4;
pub(super) const FIRST_CLIENT_FD: i32 = 5;

/// Clients that can come along.
pub(super) const CLIENTS_MAX: u32 = 32;
/// One of each kind.
pub(super) const STREAMS_MAX: usize = 3;

/// Starts a monitor. `exe` is the dhow executable; `clients` are the monitor's ends of socket pairs, as many
/// as the spec says, each with the client's hello already in it; `streams` are the monitor's ends of what the
/// spec calls its bare streams, in that order; `place` is where monitors live
/// ([`crate::cgroup::monitors::place`]).
///
/// The monitor is not a child of this process: it is adopted by pid 1 or the nearest subreaper, which reaps
/// it. It lives on whatever happens here, the loss of the handle included.
///
/// # Errors
/// When it cannot be started. Then there is no monitor, and nothing is recorded.
pub fn spawn_monitor(
    exe: &Path,
    spec: &MonitorSpec,
    clients: Vec<OwnedFd>,
    streams: Vec<(BareStream, OwnedFd)>,
    place: &Place,
) -> Result<MonitorHandle> {
    let what = || format!("start the monitor of {}", spec.id.short());
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
    if count != spec.clients || count > CLIENTS_MAX || streams.len() > STREAMS_MAX {
        return Err(Error::internal(format!(
            "{}: {count} clients come along, {} were announced, {CLIENTS_MAX} are possible",
            what(),
            spec.clients
        )));
    }
    if !streams.iter().map(|(stream, _)| stream).eq(&spec.streams) {
        return Err(Error::internal(format!("{}: other streams come along than were announced", what())));
    }
    let bytes = postcard::to_stdvec(spec).context(what)?;
    let source = dhow_sys::memfd::sealed(c"dhow-monitor", &bytes).context(what)?;
    let (ours, theirs) = UnixStream::pair().context(what)?;
    let mut fds: Vec<(OwnedFd, i32)> = vec![(source.into(), SPEC_FD), (theirs.into(), REPORT_FD)];
    fds.extend(clients.into_iter().chain(streams.into_iter().map(|(_, fd)| fd)).zip(FIRST_CLIENT_FD..));
    // The id is for whoever reads `ps`.
    let argv = ["dhow", "monitor", spec.id.short()];
    let environment: [&str; 0] = [];
    let spawned = dhow_sys::spawn::spawn_detached(exe, &argv, &environment, &fds, place).context(what)?;
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

    /// Waits for the report, and for a pidfd of the process if it was started. That is the monitor's own, so
    /// it is the right one however short the process's life was.
    ///
    /// # Errors
    /// `StartFailed` when the monitor ended without one. A failed start that the monitor reports is
    /// [`Report::Failed`], not an error here.
    pub fn wait_started(self) -> Result<(Report, Option<OwnedFd>)> {
        let what = || "read the monitor's report".to_owned();
        let (mut bytes, mut pidfd) = (Vec::new(), None);
        let mut piece = [0; 1024];
        loop {
            match dhow_sys::socket::receive_with_fds(self.report.as_fd(), &mut piece) {
                Ok((0, _)) => break,
                Ok((count, fds)) => {
                    bytes.extend_from_slice(&piece[..count]);
                    pidfd = fds.into_iter().next().or(pidfd);
                }
                Err(dhow_sys::Errno::EINTR) => {}
                // It ended with something of ours unread: then it has not reported.
                Err(dhow_sys::Errno::ECONNRESET) => break,
                Err(errno) => return Err(errno).context(what),
            }
        }
        if bytes.is_empty() {
            return Err(Error::new(ErrorKind::StartFailed, "the monitor ended before it reported"));
        }
        Ok((postcard::from_bytes(&bytes).context(what)?, pidfd))
    }
}

/// Readable when [`MonitorHandle::wait_started`] will not block (but for a moment).
impl AsFd for MonitorHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}
