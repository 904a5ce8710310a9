//! A file that is there whole or not at all.

use dhow_model::{Result, ResultExt};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file under a name of nobody else's, then renames it. Another process, or another thread of a program that
/// embeds the engine, never reads half of it; who comes last wins.
pub(super) fn install(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let directory = path.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(directory)?;
        file.write_all(content)?;
        file.persist(path)?;
        Ok(())
    };
    write().context(|| format!("write {}", path.display()))
}
