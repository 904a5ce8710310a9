//! Directories in `layers/tmp`: where things are made before they are visible, and removed after they were.
//!
//! Each is locked by flock for as long as its process works on it. Recovery removes those whose lock is free:
//! their processes are dead.

use crate::db::private_directory;
use dhow_model::{Error, Layout, Result, ResultExt};
use dhow_sys::fsat;
use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A locked directory; removed with all its content when it is dropped.
pub(super) struct Stage {
    path: PathBuf,
    /// Holds the lock.
    directory: File,
    keep: bool,
}

impl Stage {
    /// An empty one.
    pub(super) fn create(layout: &Layout) -> Result<Self> {
        let tmp = layout.layers().join("tmp");
        private_directory(&tmp)?;
        loop {
            let made = tempfile::Builder::new()
                .prefix("layer-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(&tmp)
                .context(|| format!("make a directory in {}", tmp.display()))?;
            let Ok(directory) = File::open(made.path()) else { continue };
            directory.lock().context(|| format!("lock {}", made.path().display()))?;
            // Between making and locking, a recovery may have taken it for a dead one's.
            if directory.metadata().is_ok_and(|now| now.nlink() > 0) && made.path().exists() {
                return Ok(Self { path: made.keep(), directory, keep: false });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes out everything on the filesystem.
    pub(super) fn sync(&self) -> Result<()> {
        fsat::sync_filesystem(self.directory.as_fd()).context(|| "write a layer to the disk".to_owned())
    }

    /// Gives the directory its place; `false`, and removes it, when the place is taken.
    pub(super) fn publish(mut self, target: &Path) -> Result<bool> {
        match fsat::rename_new(&self.path, target) {
            Ok(()) => {
                self.keep = true;
                sync_parent(target)?;
                Ok(true)
            }
            Err(error) if error.errno == dhow_sys::Errno::EEXIST => Ok(false),
            Err(error) => Err(error).context(|| format!("put {} in place", target.display())),
        }
    }

    /// Takes something that is visible out of sight, to remove it. `false` when it is not there.
    pub(super) fn swallow(&self, target: &Path) -> Result<bool> {
        match std::fs::rename(target, self.path.join("removed")) {
            Ok(()) => sync_parent(target).map(|()| true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context(|| format!("remove {}", target.display())),
        }
    }

    /// Removes it now, and says so when that fails.
    pub(super) fn remove(mut self) -> Result<()> {
        self.keep = true;
        remove(&self.path)
    }

    /// Removes what dead processes have left in `layers/tmp`.
    pub(super) fn recover(layout: &Layout) -> Result<()> {
        let tmp = layout.layers().join("tmp");
        private_directory(&tmp)?;
        let reading = || format!("clean {}", tmp.display());
        for entry in std::fs::read_dir(&tmp).context(reading)? {
            let path = entry.context(reading)?.path();
            // Gone meanwhile: its process has finished.
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock().is_ok() {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.keep {
            // Nobody to tell; recovery tries again.
            let _ = remove(&self.path);
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::internal(format!("{} is not a directory of ours", path.display())));
    };
    let parent = fsat::open_directory(parent).context(|| "open layers/tmp".to_owned())?;
    fsat::remove_tree(parent.as_fd(), Path::new(name)).context(|| format!("remove {}", path.display()))
}

fn sync_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|d| d.sync_all()).context(|| format!("sync {}", parent.display()))
}
