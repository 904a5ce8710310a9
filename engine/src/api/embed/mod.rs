//! The engine for a program that embeds it: blocking functions with Docker-shaped JSON in and out.
//!
//! ```text
//!   ffi (C, Go, …) ── embed ── convert/ ── a verb
//!                     text      (wire ↔
//!                     in, out    model)
//! ```
//!
//! What `routes/` is to HTTP, this is to a function call: the same bodies, checked by the same `convert/`, the
//! same verbs, the same answers. It differs where a program can have more than a connection: processes come with
//! a pidfd and bare descriptors, and what goes on over time (events, a followed log) is a descriptor to poll and
//! a call that never blocks.
//!
//! Nothing here needs or starts a runtime or a thread, changes a signal's handling, reaps a child that it did
//! not make, or writes to the standard streams.

pub mod container;
pub mod events;
pub mod exec;
mod helper;
pub mod image;
mod run;
pub mod trace;

pub use crate::container::logs::{LogPoller, LogsOptions};
pub use crate::container::streams::{Started, Streams, WantedStreams};
pub use crate::container::wait::{WaitCondition, Waited};
pub use dhow_runtime::log::{LogEntry, Next, Stream};
pub use run::{Run, RunEnd, RunRequest, run};

use crate::filters::Filters;
use crate::structs::Kind;
use crate::{Config, Engine};
use dhow_model::{Error, ErrorKind, Result};
use serde::Serialize;
use std::error::Error as _;

/// The version of this library, which its helper must have too.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Opens an engine whose helper is another program than the running one.
///
/// # Errors
/// As [`Engine::open`]; `Forbidden` where the caller lacks the permission; `NotFound` or `Unsupported` when the
/// helper is not there or is of another version.
pub fn open(config: Config) -> Result<Engine> {
    helper::check(&config.helper)?;
    Engine::open(config).map_err(|error| match (error.kind(), errno(&error)) {
        (ErrorKind::Internal, Some(nix::libc::EACCES | nix::libc::EPERM)) => {
            error.with_kind(ErrorKind::Forbidden)
        }
        _ => error,
    })
}

/// What the operating system said, if it is what failed: an errno.
pub fn errno(error: &Error) -> Option<i32> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let number = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error)
            .or_else(|| error.downcast_ref::<dhow_sys::Error>().map(|e| e.errno as i32))
            .or_else(|| error.downcast_ref::<dhow_sys::Errno>().map(|e| *e as i32));
        if number.is_some() {
            return number;
        }
        cause = error.source();
    }
    None
}

/// An answer as JSON.
fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("encode the answer: {error}")))
}

/// One of Docker's structs as JSON, with every field that Docker writes.
fn whole(value: &impl Serialize, kind: Kind) -> Result<String> {
    super::sorted::whole(value, kind).map_err(|error| Error::internal(format!("encode the answer: {error}")))
}

/// A body from its JSON.
fn body(text: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|error| Error::invalid(format!("invalid JSON: {error}")))
}

/// Docker's filters, as its clients send them: `{"status":["running"]}`.
fn filters(text: Option<&str>) -> Result<Filters> {
    text.filter(|t| !t.is_empty()).map_or_else(|| Ok(Filters::default()), super::params::parse_filters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_model::ResultExt;

    #[test]
    fn the_number_is_found_however_deep() {
        let low: Result<()> = Err(dhow_sys::Errno::ENOSPC).context(|| "write".to_owned());
        let high = low.context(|| "load".to_owned()).unwrap_err();
        assert_eq!(errno(&high), Some(28));
        let call = dhow_sys::Error { call: "openat2", object: "x".to_owned(), errno: dhow_sys::Errno::ELOOP };
        assert_eq!(errno(&Error::caused(ErrorKind::Internal, "open", call)), Some(40));
        assert_eq!(errno(&Error::invalid("no")), None);
    }
}
