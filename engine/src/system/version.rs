//! `version`: which engine, which kernel.

use crate::Engine;
use dhow_model::{Result, ResultExt};

/// The newest Engine API version that is served.
pub const API_VERSION: &str = "1.53";
/// The oldest.
pub const MIN_API_VERSION: &str = "1.24";

/// Versions of this engine and of what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Of dhow.
    pub version: String,
    /// Of the running kernel.
    pub kernel: String,
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
}

/// Tells the versions.
///
/// # Errors
/// When uname(2) fails.
pub fn version(_engine: &Engine) -> Result<Version> {
    let name = nix::sys::utsname::uname().context(|| "uname".to_owned())?;
    Ok(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: name.release().to_string_lossy().into_owned(),
        os: "linux".to_owned(),
        architecture: crate::image::embedded::ARCHITECTURE.to_owned(),
    })
}
