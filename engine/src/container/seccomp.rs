//! Compiled seccomp filters, cached by the digest of what they were compiled from.

use super::whole_file;
use crate::Engine;
use dhow_model::security::SeccompProfile;
use dhow_model::{Digest, Result, ResultExt};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::MetadataExt;

/// Names the built-in policy: what it holds changes with the executable only.
const DEFAULT: &str = "default";

/// The program for a profile and a capability set; `None` for an unconfined container.
pub(crate) fn compiled(
    engine: &Engine,
    profile: &SeccompProfile,
    capability_mask: u64,
) -> Result<Option<Vec<u8>>> {
    let source = match profile {
        SeccompProfile::Unconfined => return Ok(None),
        SeccompProfile::Default => DEFAULT,
        SeccompProfile::Custom(text) => text.as_str(),
    };
    let mut hash = Sha256::new();
    // Another build of the executable may hold another policy or another compiler.
    let built =
        std::fs::metadata(engine.helper()).context(|| format!("stat {}", engine.helper().display()))?;
    hash.update(built.ino().to_le_bytes());
    hash.update(built.mtime().to_le_bytes());
    hash.update(built.mtime_nsec().to_le_bytes());
    hash.update(capability_mask.to_le_bytes());
    hash.update(source);
    let key = Digest::from_sha256(hash.finalize().into());
    let directory = engine.layout().seccomp();
    let path = directory.join(key.hex());
    if let Ok(program) = std::fs::read(&path) {
        return Ok(Some(program));
    }
    let Some(program) = dhow_runtime::seccomp::compile(profile, capability_mask, engine.facts()?.kernel)?
    else {
        return Ok(None);
    };
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    whole_file::install(&path, &program, 0o600)?;
    Ok(Some(program))
}
