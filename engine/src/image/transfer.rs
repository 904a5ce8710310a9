//! What pulling and pushing have in common: who asks, and how it is told that things move.

use crate::Engine;
use dhow_model::Result;
use dhow_registry::{Credentials, Settings};

/// Who asks registries, and which are asked how.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    /// Who asks.
    pub credentials: Credentials,
    /// What the administrator says.
    pub settings: Settings,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The layer that it is about; empty: the whole.
    pub id: String,
    /// `Downloading`, `Pull complete`, ….
    pub status: String,
    /// Bytes that are done, and all of them.
    pub progress: Option<(u64, u64)>,
}

impl Message {
    /// About the whole.
    pub fn status(status: impl Into<String>) -> Self {
        Self { status: status.into(), ..Self::default() }
    }
}

/// Hears how a transfer goes, from several threads.
pub trait Announce: Sync {
    /// One more message.
    fn say(&self, message: &Message);

    /// Whether nobody listens any more: a pull then ends, and keeps what it has for the next one.
    fn is_gone(&self) -> bool {
        false
    }
}

/// Proves that a registry takes these credentials.
///
/// # Errors
/// `Unauthorized` when it does not; `Unavailable` when it cannot be asked.
pub fn login(engine: &Engine, domain: &str, credentials: Credentials) -> Result<()> {
    dhow_registry::login(domain, credentials, &engine.registry_settings())
}
