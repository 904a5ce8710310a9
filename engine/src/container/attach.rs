//! `attach`: a client's socket to a monitor.
//!
//! To a running container it is a connection to the monitor's socket. Before the start it is one end of a
//! socket pair whose other end `start` hands to the monitor, so that the first byte of output is not missed.
//! Either way the client speaks the protocol of `dhow_runtime::attach`, and has said hello.

use crate::Engine;
use dhow_model::state::Status;
use dhow_model::{Error, Result, ResultExt};
use dhow_runtime::attach::{self as protocol, Hello};
use std::io::Write;
use std::os::unix::net::UnixStream as StdStream;
use tokio::net::UnixStream;

/// What a client wants of a container's streams.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttachOptions {
    /// The live streams; without it only the log is replayed.
    pub stream: bool,
    /// Feed standard input.
    pub stdin: bool,
    /// Receive standard output.
    pub stdout: bool,
    /// Receive standard error.
    pub stderr: bool,
    /// Replay the log first.
    pub logs: bool,
}

/// An attached client.
pub struct Attached {
    /// Whether the process has a terminal: then all output is one raw stream.
    pub tty: bool,
    /// The connection to the monitor; `None` when only the log was asked for.
    pub stream: Option<UnixStream>,
    /// The log up to now, when it was asked for.
    pub replay: Option<super::logs::LogsStream>,
}

/// Attaches to a container. Must be called inside a tokio runtime.
///
/// # Errors
/// `NotFound`; `Conflict` when it is paused, restarting or being removed.
pub fn attach(engine: &Engine, who: &str, options: AttachOptions) -> Result<Attached> {
    let record = super::find_settled(engine, who)?;
    match record.state.status {
        Status::Paused => {
            return Err(Error::conflict(format!(
                "container {who} is paused, unpause the container before attach"
            )));
        }
        Status::Restarting => {
            return Err(Error::conflict(format!(
                "container {who} is restarting, wait until the container is running"
            )));
        }
        Status::Removing | Status::Dead => {
            return Err(Error::conflict(format!("container {who} is marked for removal")));
        }
        _ => {}
    }
    let replay = if options.logs {
        let wanted =
            super::logs::LogsOptions { stdout: options.stdout, stderr: options.stderr, ..Default::default() };
        Some(super::logs::logs(engine, record.id.as_str(), wanted)?)
    } else {
        None
    };
    let stream = if options.stream {
        let stream = if record.state.status.has_process() {
            connect(engine, &record)?
        } else {
            let (client, monitor) = StdStream::pair().context(|| "make a socket pair".to_owned())?;
            engine.add_early_client(&record.id, monitor);
            client
        };
        Some(say_hello(stream, options)?)
    } else {
        None
    };
    let event = crate::events::container("attach", &record, []);
    engine.db()?.write(|txn| txn.append_event(&event, crate::events::now()))?;
    Ok(Attached { tty: record.config.tty, stream, replay })
}

/// Tells that a client left by its detach keys. It has left: there is nobody to tell of a failure.
pub(crate) fn detached(engine: &Engine, who: &str) {
    let _ = engine.db().and_then(|mut db| {
        db.write(|txn| {
            let record = txn.find_container(who)?;
            txn.append_event(&crate::events::container("detach", &record, []), crate::events::now())
        })
    });
}

fn connect(engine: &Engine, record: &dhow_store::db::ContainerRecord) -> Result<StdStream> {
    let socket = engine.layout().container_state(&record.id).join("attach.sock");
    protocol::connect(&socket).context(|| format!("attach to container {}", record.id.short()))
}

/// Sends the hello and makes the stream ready for tokio.
pub(super) fn say_hello(mut stream: StdStream, options: AttachOptions) -> Result<UnixStream> {
    let AttachOptions { stdin, stdout, stderr, .. } = options;
    stream
        .write_all(&Hello { stdin, stdout, stderr, control_only: false }.encode())
        .and_then(|()| stream.set_nonblocking(true))
        .and_then(|()| UnixStream::from_std(stream))
        .context(|| "greet the monitor".to_owned())
}
