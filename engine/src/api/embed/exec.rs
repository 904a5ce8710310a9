//! Exec sessions: another process in a running container.

use super::{Started, WantedStreams, body, json};
use crate::api::convert;
use crate::container::exec;
use crate::{Engine, container};
use dhow_model::{Error, Result};
use std::time::Duration;

/// Runs the body of `POST /containers/WHO/exec`. Returns the session's id and its process.
///
/// # Errors
/// As `container::exec::create` and `start`, and `InvalidArgument` or `Unsupported` for the body.
pub fn start(engine: &Engine, who: &str, config: &str, wanted: WantedStreams) -> Result<(String, Started)> {
    let body = body(config)?;
    let size = serde_json::from_value::<Option<Vec<usize>>>(body["ConsoleSize"].clone())
        .map_err(|_| Error::invalid("invalid console size: want [rows, columns]"))?;
    let console_size = convert::exec::console_size(size.as_ref())?;
    // A stream that is asked for is attached, whatever the body says.
    let mut config = convert::exec::parse(body)?;
    config.attach_stdin |= wanted.stdin;
    config.attach_stdout |= wanted.stdout;
    config.attach_stderr |= wanted.stderr;
    let id = exec::create(engine, who, config)?.to_string();
    let started = exec::start_with_streams(engine, &id, wanted, console_size)?;
    Ok((id, started))
}

/// Waits on this thread for a session's exit code; `None` when `timeout` is over.
///
/// # Errors
/// As `container::exec::wait_blocking`.
pub fn wait(engine: &Engine, exec_id: &str, timeout: Option<Duration>) -> Result<Option<i32>> {
    exec::wait_blocking(engine, exec_id, timeout)
}

/// Sets the size of a session's terminal.
///
/// # Errors
/// As `container::resize_exec`.
pub fn resize(engine: &Engine, exec_id: &str, rows: u16, columns: u16) -> Result<()> {
    container::resize::resize_exec(engine, exec_id, rows, columns)
}

/// The body of `GET /exec/ID/json`.
///
/// # Errors
/// `NotFound`.
pub fn inspect(engine: &Engine, exec_id: &str) -> Result<String> {
    json(&convert::exec::show(&exec::inspect(engine, exec_id)?))
}
