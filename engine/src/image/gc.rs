//! The lock between those who install images and those who collect garbage.
//!
//! An installer finds a layer on disk, relies on it, and only later commits the row that keeps it. A
//! collector in between would take it away. So installers hold `ROOT/gc.lock` shared, collectors exclusive.

use crate::Engine;
use dhow_model::{Result, ResultExt};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

/// Released on drop.
pub(crate) struct GcLock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

/// Held while images are installed.
pub(crate) fn installing(engine: &Engine) -> Result<GcLock> {
    lock(engine, FlockArg::LockShared)
}

/// Held while unreferenced content is removed.
pub(crate) fn collecting(engine: &Engine) -> Result<GcLock> {
    lock(engine, FlockArg::LockExclusive)
}

fn lock(engine: &Engine, how: FlockArg) -> Result<GcLock> {
    let path = engine.layout().root().join("gc.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .context(|| format!("open {}", path.display()))?;
    let mut file = file;
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(GcLock(lock)),
            Err((back, nix::errno::Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(errno).context(|| format!("lock {}", path.display())),
        }
    }
}
