//! The lock between those who install images and those who collect garbage.
//!
//! An installer finds a layer on disk, relies on it, and only later commits the row that keeps it. A
//! collector in between would take it away. So installers hold `ROOT/gc.lock` shared, collectors exclusive.

use crate::Engine;
use dhow_model::{Digest, Result, ResultExt};
use dhow_store::db::Txn;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Released on drop.
pub(crate) struct GcLock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

/// Held while images are installed, or read as a whole.
pub(crate) fn installing(engine: &Engine) -> Result<GcLock> {
    lock(engine, FlockArg::LockShared)
}

/// Held while unreferenced content is removed: `None` when images are being installed just now. A collector does not
/// wait for that, which may take as long as a download: it leaves a note, and the last installer does its work.
pub(crate) fn try_collecting(engine: &Engine) -> Result<Option<GcLock>> {
    if let Some(lock) = try_lock(engine)? {
        return Ok(Some(lock));
    }
    let note = note(engine);
    private_file(&note)?;
    // The last installer may have looked for the note before it was there.
    try_lock(engine)
}

/// Says that there is something to sweep: whoever installs does it at its end.
pub(crate) fn want_sweep(engine: &Engine) -> Result<()> {
    private_file(&note(engine)).map(|_| ())
}

/// Held for as long as it takes, without anybody installing or collecting.
pub(crate) fn alone(engine: &Engine) -> Result<GcLock> {
    lock(engine, FlockArg::LockExclusive)
}

/// What a sweep has removed.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Layers that no image had.
    pub(crate) layers: Vec<Digest>,
    /// Blobs that no image had.
    pub(crate) blobs: Vec<Digest>,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Removes what no image refers to: what failed and killed verbs have left. The lock says that nobody else is at it.
pub(crate) fn sweep(engine: &Engine, _lock: &GcLock) -> Result<Swept> {
    // The note goes first: what is left from here on is left by somebody who writes a new one.
    match std::fs::remove_file(note(engine)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).context(|| format!("remove {}", note(engine).display()));
        }
        _ => {}
    }
    let (rows, kept) = engine.db()?.write(|txn| {
        for diff_id in txn.unreferenced_layers()? {
            txn.delete_layer(&diff_id)?;
        }
        txn.forget_orphaned_referrers()?;
        let rows: BTreeSet<Digest> = txn.layers()?.into_iter().map(|layer| layer.diff_id).collect();
        Ok((rows, referenced_blobs(txn)?))
    })?;
    let mut swept = Swept::default();
    for diff_id in engine.layers().list()? {
        if !rows.contains(&diff_id) {
            swept.bytes += engine.layers().info(&diff_id).map_or(0, |info| info.size_bytes);
            engine.layers().remove(&diff_id)?;
            swept.layers.push(diff_id);
        }
    }
    for (digest, bytes) in engine.content().list()? {
        if !kept.contains(&digest) {
            engine.content().delete(&digest)?;
            swept.bytes += bytes;
            swept.blobs.push(digest);
        }
    }
    Ok(swept)
}

/// The blobs that images need: configurations, manifests, the indexes that they were pulled by, and what refers to
/// them; and all of artifacts.
pub(crate) fn referenced_blobs(txn: &Txn<'_>) -> Result<BTreeSet<Digest>> {
    let mut kept = BTreeSet::new();
    for (image, references) in txn.images()? {
        kept.insert(image.id);
        kept.extend(image.manifest);
        kept.extend(references.iter().filter_map(|reference| reference.digest().cloned()));
    }
    for (artifact, references) in txn.artifacts()? {
        kept.extend(artifact.parts().into_keys().cloned());
        kept.extend(references.iter().filter_map(|reference| reference.digest().cloned()));
    }
    for referrer in txn.referrers()? {
        kept.extend(referrer.parts().map(|blob| blob.digest.clone()));
    }
    Ok(kept)
}

/// Runs an installation under the installers' lock, and sweeps after one that failed, or for a collector that met it.
pub(crate) fn install<T>(engine: &Engine, installation: impl FnOnce() -> Result<T>) -> Result<T> {
    let installed = {
        let _lock = installing(engine)?;
        installation()
    };
    if installed.is_err() || note(engine).exists() {
        // The first error is the one to show; what a sweep cannot remove now, the next one will.
        let _ = try_collecting(engine).and_then(|lock| lock.map(|lock| sweep(engine, &lock)).transpose());
    }
    installed
}

/// The file that says that there is something to sweep.
fn note(engine: &Engine) -> PathBuf {
    engine.layout().root().join("gc.wanted")
}

fn private_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .context(|| format!("open {}", path.display()))
}

fn try_lock(engine: &Engine) -> Result<Option<GcLock>> {
    let path = engine.layout().root().join("gc.lock");
    match Flock::lock(private_file(&path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(GcLock(lock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).context(|| format!("lock {}", path.display())),
    }
}

fn lock(engine: &Engine, how: FlockArg) -> Result<GcLock> {
    let path = engine.layout().root().join("gc.lock");
    let mut file = private_file(&path)?;
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(GcLock(lock)),
            Err((back, Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(errno).context(|| format!("lock {}", path.display())),
        }
    }
}
