//! The client of image registries: OCI distribution 1.1, which Docker's registry API v2 became.
//!
//! ```text
//!   Repository ── one image name at one registry
//!      │   manifests, blobs by range, uploads, tags; referrers.rs: what refers to a manifest
//!      ▼
//!   transport.rs   which scheme; who is told what; retries; errors in words
//!      ├─ connections.rs  which certificates, for which host
//!      ├─ redirect.rs  where an answer leads, and whom a URL belongs to
//!      ├─ auth.rs  what a 401 asks for: basic, or a token of somebody else's
//!      └─ proxies.rs  which proxy a host is reached by, if any
//! ```
//!
//! Everything blocks: a pull is a handful of threads that read, inflate and write, and a thread that waits for the
//! network is no different. Nothing here knows what an image is, and nothing is kept on disk.
//!
//! Sources: the distribution specification 1.1 (spec.md), and for tokens the distribution project's
//! `docs/spec/auth/token.md`.

#![forbid(unsafe_code)]

mod auth;
mod certificates;
mod connections;
mod forward;
mod proxies;
mod redirect;
mod referrers;
mod repository;
mod search;
mod settings;
mod transport;

pub use auth::Credentials;
pub use referrers::lists_referrers;
pub use repository::{Blob, Fetched, Repository, Upload};
pub use search::{Found, search};
pub use settings::Settings;

use dhow_model::Result;

/// Hears lines for people who look for a fault.
static DEBUG: std::sync::OnceLock<fn(&str)> = std::sync::OnceLock::new();

/// Which token services are asked is told to `hear` from now on, without any secret. The first caller in a process
/// is heard.
pub fn tell_debug(hear: fn(&str)) {
    // A second caller changes nothing, which its doc says.
    let _ = DEBUG.set(hear);
}

pub(crate) fn debug(line: &str) {
    if let Some(hear) = DEBUG.get() {
        hear(line);
    }
}

/// Proves that a registry takes these credentials.
///
/// # Errors
/// `Unauthorized` when it does not; `Unavailable` when it cannot be asked.
pub fn login(domain: &str, credentials: Credentials, settings: &Settings) -> Result<()> {
    transport::Transport::new(domain, credentials, settings)?.check_credentials()
}
