//! The client of image registries: OCI distribution 1.1, which Docker's registry API v2 became.
//!
//! ```text
//!   Repository ── one image name at one registry
//!      │   manifests, blobs by range, uploads, tags; referrers.rs: what refers to a manifest
//!      ▼
//!   transport.rs   which scheme and which certificates; retries; errors in words
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

/// Proves that a registry takes these credentials.
///
/// # Errors
/// `Unauthorized` when it does not; `Unavailable` when it cannot be asked.
pub fn login(domain: &str, credentials: Credentials, settings: &Settings) -> Result<()> {
    transport::Transport::new(domain, credentials, settings)?.check_credentials()
}
