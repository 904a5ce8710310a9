//! The program behind `--init`: a static pid 1 of two kilobytes, written below the root once.

use dhow_model::{Digest, Layout, Result, ResultExt};
use sha2::{Digest as _, Sha256};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
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
    // A temporary name and a rename: another process never mounts half a program.
    let temporary = path.with_extension(std::process::id().to_string());
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(&temporary)
        .and_then(|mut file| file.write_all(PROGRAM))
        .and_then(|()| std::fs::rename(&temporary, &path))
        .context(|| format!("write {}", path.display()))?;
    Ok(path)
}
