//! One filling of a volume at a time, and none that stays half done.
//!
//! Beside the volume's directory lies, while it is being filled, a file with the names that will be at its top. Who
//! finds that file while nobody holds the lock knows that the filling was cut short, and takes those names away
//! again; what a container without a copy may have written beside them stays.

use dhow_model::{Error, ErrorKind, Result, ResultExt};
use nix::fcntl::{Flock, FlockArg};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The right to fill a volume.
pub(super) struct Journal {
    volume: PathBuf,
    file: PathBuf,
    _lock: Flock<File>,
}

impl Journal {
    /// Waits for whoever fills the volume just now, and takes away what one that was killed has left.
    ///
    /// # Errors
    /// When the directory that the volume lies in cannot be used.
    pub(super) fn open(volume: &Path) -> Result<Self> {
        let what = || format!("fill volume: lock {}", volume.display());
        let parent = volume.parent().unwrap_or(volume);
        let lock = Flock::lock(File::open(parent).context(what)?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::caused(ErrorKind::Internal, what(), errno))?;
        let mut name = volume.file_name().unwrap_or_default().to_owned();
        name.push(".filling");
        let journal = Self { volume: volume.to_owned(), file: parent.join(name), _lock: lock };
        match fs::read(&journal.file) {
            Ok(names) => journal.undo(&names)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(what),
        }
        Ok(journal)
    }

    /// Fills it: with all of these names, or with none.
    ///
    /// # Errors
    /// Of `fill`, after what it made is gone; when the journal cannot be kept.
    pub(super) fn keep(self, names: &[OsString], fill: impl FnOnce() -> Result<()>) -> Result<()> {
        let what = || format!("fill volume: write {}", self.file.display());
        let text = names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>().join(&0);
        let mut file = File::create(&self.file).context(what)?;
        file.write_all(&text).and_then(|()| file.sync_all()).context(what)?;
        match fill() {
            Ok(()) => fs::remove_file(&self.file).context(what),
            Err(error) => {
                // The first error is the one to show; the journal stays if it cannot be undone.
                let _ = self.undo(&text);
                Err(error)
            }
        }
    }

    fn undo(&self, names: &[u8]) -> Result<()> {
        let what = || format!("empty volume {} that was not filled to its end", self.volume.display());
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            // A name alone: it cannot lead out of the volume.
            let Some(name) = Path::new(OsStr::from_bytes(name)).file_name() else { continue };
            match remove(&self.volume.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.context(what)?,
            }
        }
        fs::remove_file(&self.file).context(what)
    }
}

/// Whatever it is. No link is followed: containers may be at work in the volume.
fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filling_is_whole_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("_data");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("other"), "stays").unwrap();
        let names = ["a", "b"].map(OsString::from);
        let failed = Journal::open(&volume).unwrap().keep(&names, || {
            fs::create_dir_all(volume.join("a/deep")).unwrap();
            Err(Error::internal("no more room"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more room");
        let listed = || fs::read_dir(&volume).unwrap().count();
        assert_eq!((listed(), fs::read_dir(dir.path()).unwrap().count()), (1, 1));

        // One that was killed: whoever comes next clears up, and follows no link.
        fs::write(dir.path().join("_data.filling"), b"a\0b\0../_data/other").unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), volume.join("a")).unwrap();
        fs::write(volume.join("b"), "half").unwrap();
        fs::rename(volume.join("other"), volume.join("kept")).unwrap();
        Journal::open(&volume)
            .unwrap()
            .keep(&names, || fs::write(volume.join("b"), "whole").context(String::new))
            .unwrap();
        assert_eq!(fs::read_to_string(volume.join("b")).unwrap(), "whole");
        assert!(!volume.join("a").exists() && dir.path().join("outside").is_dir());
        assert!(volume.join("kept").exists() && !dir.path().join("_data.filling").exists());
    }
}
