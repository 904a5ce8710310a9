//! Containers: from a body of `POST /containers/create` to a process with descriptors, and to its end.

use super::{
    LogPoller, LogsOptions, Started, WaitCondition, Waited, WantedStreams, body, filters, json, whole,
};
use crate::api::convert;
use crate::container::list::ListOptions;
use crate::container::remove::RemoveOptions;
use crate::structs::Kind;
use crate::{Engine, container};
use bollard_stubs::models as wire;
use dhow_model::signal::Signal;
use dhow_model::{Result, Timestamp};
use serde_json::Value;
use std::time::Duration;

/// Makes a container of the body of `POST /containers/create`. Returns `{"Id":…,"Warnings":[…]}`.
///
/// # Errors
/// As `container::create`, and `InvalidArgument` or `Unsupported` for the body.
pub fn create(engine: &Engine, name: Option<&str>, config: &str) -> Result<String> {
    json(&create_value(engine, name, body(config)?)?)
}

pub(super) fn create_value(
    engine: &Engine,
    name: Option<&str>,
    config: Value,
) -> Result<wire::ContainerCreateResponse> {
    let (spec, mut warnings) = convert::create::parse(config, &convert::machine::Machine::probe(engine)?)?;
    let created = container::create::create(engine, name, spec, None)?;
    warnings.extend(created.warnings);
    Ok(wire::ContainerCreateResponse { id: created.id.to_string(), warnings })
}

/// Starts a container.
///
/// # Errors
/// As `container::start`.
pub fn start(engine: &Engine, who: &str, wanted: WantedStreams) -> Result<Started> {
    container::start::start_with_streams(engine, who, wanted)
}

/// Waits on this thread; `None` when `timeout` is over.
///
/// # Errors
/// As `container::wait`.
pub fn wait(
    engine: &Engine,
    who: &str,
    condition: WaitCondition,
    timeout: Option<Duration>,
) -> Result<Option<Waited>> {
    container::wait::wait_blocking(engine, who, condition, timeout)
}

/// Sends a signal, `SIGTERM`, `TERM` or `15`, to the first process.
///
/// # Errors
/// As `container::kill`.
pub fn signal(engine: &Engine, who: &str, signal: &str) -> Result<()> {
    container::stop::kill(engine, who, Signal::parse(signal)?)
}

/// The stop signal, then KILL after so many seconds; `None`: as the container says.
///
/// # Errors
/// As `container::stop`.
pub fn stop(engine: &Engine, who: &str, timeout_seconds: Option<i64>) -> Result<()> {
    container::stop::stop(engine, who, None, timeout_seconds)
}

/// Sets the size of the terminal.
///
/// # Errors
/// As `container::resize`.
pub fn resize(engine: &Engine, who: &str, rows: u16, columns: u16) -> Result<()> {
    container::resize::resize(engine, who, rows, columns)
}

/// The body of `GET /containers/WHO/json`.
///
/// # Errors
/// As `container::inspect`.
pub fn inspect(engine: &Engine, who: &str) -> Result<String> {
    whole(&convert::inspect::show(&container::inspect::inspect(engine, who, false)?), Kind::Container)
}

/// The body of `GET /containers/json`.
///
/// # Errors
/// As `container::list`.
pub fn list(engine: &Engine, all: bool, filter: Option<&str>) -> Result<String> {
    let options = ListOptions { all, filters: filters(filter)?, ..ListOptions::default() };
    let now = crate::events::now();
    let rows = container::list::list(engine, &options)?;
    json(&rows.iter().map(|row| convert::summary::show(row, now)).collect::<Vec<_>>())
}

/// Removes a container.
///
/// # Errors
/// As `container::remove`.
pub fn remove(engine: &Engine, who: &str, force: bool, volumes: bool) -> Result<()> {
    container::remove::remove(engine, who, RemoveOptions { force, volumes })
}

/// Opens a log.
///
/// # Errors
/// As [`LogPoller::open`].
pub fn logs(engine: &Engine, who: &str, options: LogsOptions) -> Result<LogPoller> {
    LogPoller::open(engine, who, options)
}

/// A time as Docker's clients send it: seconds since 1970 with a fraction, or RFC 3339.
///
/// # Errors
/// `InvalidArgument`.
pub fn time(text: &str) -> Result<Timestamp> {
    Timestamp::parse(text)
}
