//! The Engine API: HTTP in front of the verbs.
//!
//! ```text
//!   bytes ── server.rs ── router.rs ── routes/<noun>.rs ── convert/ ── a verb
//!            (hyper)      (version,    (parse, call,       (wire ↔
//!                          headers)     reply)              model)
//! ```
//!
//! Nothing is decided here that a verb could decide: a route reads its parameters, turns wire types of
//! `bollard-stubs` into validated ones of `dhow-model`, calls one verb on a blocking thread, and turns what it
//! gets back into JSON. Streams that take the connection over are in `hijack.rs`.

mod body;
mod convert;
mod detach;
pub mod embed;
mod fetch;
mod hijack;
mod params;
mod place;
mod router;
mod routes;
mod server;
mod sorted;
mod status;
mod takeover;

pub use router::router;
pub(crate) use server::serve_unix;
pub use server::{serve_router, serve_stream};

/// Checks detach keys as a client or a configuration file names them.
pub(crate) fn check_detach_keys(text: &str) -> dhow_model::Result<()> {
    detach::parse_keys(Some(text)).map(drop)
}

/// Checks a limit as a configuration file names it.
pub(crate) fn check_ulimit(
    name: &str,
    soft: i64,
    hard: i64,
) -> dhow_model::Result<dhow_model::resources::Ulimit> {
    convert::check_ulimit(name, soft, hard)
}

/// The newest API version that is spoken.
const API_VERSION: Version = Version { major: 1, minor: 53 };
/// The oldest one. Docker 29 dropped more; clients of the last eight years work with this.
const MIN_API_VERSION: Version = Version { major: 1, minor: 24 };

/// A version of the API, as in `/v1.44/containers/json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    /// Always 1 so far.
    major: u32,
    /// Counts up.
    minor: u32,
}

impl Version {
    /// Parses `1.44`.
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Runs a blocking verb away from the threads that drive connections.
///
/// # Errors
/// The verb's own, or `Internal` when it panicked.
async fn blocking<T, F>(verb: F) -> dhow_model::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> dhow_model::Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(verb).await {
        Ok(result) => result,
        Err(error) => Err(dhow_model::Error::internal(format!("the operation broke off: {error}"))),
    }
}
