//! The lock between those who install images and those who collect garbage.
//!
//! An installer finds a layer on disk, relies on it, and only later commits the row that keeps it. A
//! collector in between would take it away. So installers hold `ROOT/gc.lock` shared, collectors exclusive.

use crate::Engine;
use dhow_model::{Result, ResultExt};
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

/// Released on drop.
pub(crate) struct GcLock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

/// Held while images are installed.
fn installing(engine: &Engine) -> Result<GcLock> {
    lock(engine, FlockArg::LockShared)
}

/// Held while unreferenced content is removed.
pub(crate) fn collecting(engine: &Engine) -> Result<GcLock> {
    lock(engine, FlockArg::LockExclusive)
}

/// Removes what no image refers to: what a failed installation has left.
pub(crate) fn sweep(engine: &Engine) -> Result<()> {
    let _lock = collecting(engine)?;
    let mut db = engine.db()?;
    engine.unpacked().sweep(|diff_id| db.read(|txn| txn.layer_installed(diff_id)))?;
    let mut kept = BTreeSet::new();
    for (image, references) in db.read(|txn| txn.images())? {
        kept.insert(image.id);
        kept.extend(image.manifest);
        // An index that it was pulled by.
        kept.extend(references.iter().filter_map(|reference| reference.digest().cloned()));
    }
    for (digest, _bytes) in engine.content().list()? {
        if !kept.contains(&digest) {
            engine.content().delete(&digest)?;
        }
    }
    Ok(())
}

/// Runs an installation under the installers' lock, and sweeps after one that failed.
pub(crate) fn install<T>(engine: &Engine, installation: impl FnOnce() -> Result<T>) -> Result<T> {
    let installed = {
        let _lock = installing(engine)?;
        installation()
    };
    if installed.is_err() {
        // The first error is the one to show; what a sweep cannot remove now, the next one will.
        let _ = sweep(engine);
    }
    installed
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
