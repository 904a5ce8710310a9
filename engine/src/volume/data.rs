//! Volumes' directories: made, put aside, deleted.
//!
//! ```text
//!   volumes/NAME/_data     a volume's files
//!   volumes/.new-RANDOM    a copy that is being made; locked by who makes it
//!   volumes/.gone-RANDOM   removed: deleted by whoever comes by
//! ```
//! A name is put aside within the transaction that takes its row away: so nobody deletes what another has just made,
//! however many create and remove one name at the same time.

use crate::visible;
use dhow_model::{Layout, Result, ResultExt};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// Makes a volume's data directory; an existing one is fine.
pub(crate) fn make(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .context(|| format!("create {}", parent.display()))?;
    // The data directory is what containers see: open to their users, as in Docker.
    visible::make_directory(path).context(|| format!("create {}", path.display()))
}

/// Puts what lies in a volume's place aside, if there is something.
pub(crate) fn retire(layout: &Layout, name: &str) -> Result<()> {
    let (from, to) = (layout.volumes().join(name), beside(layout, GONE)?);
    match fs::rename(&from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("remove {}", from.display())),
    }
}

fn beside(layout: &Layout, prefix: &str) -> Result<PathBuf> {
    Ok(layout.volumes().join(format!("{prefix}{}", crate::random::id()?.short())))
}

/// Deletes what was put aside, and copies whose maker is gone. What cannot be deleted now is left to the next.
pub(crate) fn sweep(layout: &Layout) {
    for entry in fs::read_dir(layout.volumes()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let free = || Draft::lock(&entry.path()).is_ok();
        if name.starts_with(GONE) || (name.starts_with(NEW) && free()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A volume's directory before it has a name. It goes when nobody takes it.
pub(super) struct Draft {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Draft {
    pub(super) fn new(layout: &Layout) -> Result<Self> {
        let path = beside(layout, NEW)?;
        make(&path.join("_data"))?;
        let lock = Self::lock(&path).context(|| format!("lock {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    fn lock(path: &Path) -> std::io::Result<Flock<File>> {
        Flock::lock(File::open(path)?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
    }

    /// Where its files go.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("_data")
    }

    /// Gives it its name, which is free.
    pub(super) fn settle(&self, layout: &Layout, name: &str) -> Result<()> {
        let to = layout.volumes().join(name);
        fs::rename(&self.path, &to).context(|| format!("create {}", to.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there any more under this name, if it was settled.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_goes_and_what_is_being_made_stays() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("r"), dir.path().join("s"));
        make(&layout.volume_data("one")).unwrap();
        fs::write(layout.volume_data("one").join("file"), "x").unwrap();
        retire(&layout, "one").unwrap();
        retire(&layout, "one").unwrap();
        let draft = Draft::new(&layout).unwrap();
        let dead = Draft::new(&layout).unwrap();
        fs::rename(&dead.path, layout.volumes().join(".new-dead")).unwrap();
        drop(dead);
        sweep(&layout);
        let listed = || fs::read_dir(layout.volumes()).unwrap().count();
        assert_eq!(listed(), 1, "the draft alone");
        draft.settle(&layout, "two").unwrap();
        drop(draft);
        assert!(layout.volume_data("two").is_dir());
        assert_eq!(listed(), 1);
    }
}
