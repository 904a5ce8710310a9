//! The program behind `--init`: a static pid 1 of two kilobytes, written below the root once.

use super::whole_file;
use dhow_model::{Digest, Layout, Result, ResultExt};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Made by `build.rs` from `init/init.rs`. It is static because the container may hold no libc.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// The program as a file; named by its digest, so that an upgrade never changes it under a running container.
pub(crate) fn program(layout: &Layout) -> Result<PathBuf> {
    let directory = layout.init();
    let path = directory.join(Digest::from_sha256(Sha256::digest(PROGRAM).into()).hex());
    if path.exists() {
        return Ok(path);
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .context(|| format!("create {}", directory.display()))?;
    whole_file::install(&path, PROGRAM, 0o755)?;
    Ok(path)
}
