//! Blobs by digest: manifests and configurations, whole and verified. Layers do not live here (see `layer`).
//!
//! ```text
//!   ROOT/content/sha256/HEX   0600, read-only by agreement: a name never gets other bytes
//!   ROOT/content/tmp/…        being written; each is locked (flock) by its writer, so that recovery can tell
//!                             the half-written blobs of the dead from those of the living
//! ```
//!
//! A blob is hashed while it streams into `tmp`, synced, and renamed: what has a name is whole. Two writers of
//! one blob write the same bytes, so whoever renames last changes nothing.

use crate::db::private_directory;
use dhow_model::{Digest, Error, ErrorKind, Layout, Result, ResultExt};
use sha2::Digest as _;
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read, Write};
use std::path::PathBuf;

/// Manifests and configurations are kept small by those who write them; the distribution protocol's own limit
/// for manifests is 4 MiB, configurations with long histories have been seen at 1 MiB. 16 MiB bounds memory.
pub const SMALL_MAX: u64 = dhow_model::limits::DOCUMENT_BYTES.most();

/// The blobs below one root.
#[derive(Debug, Clone)]
pub struct Content {
    layout: Layout,
}

/// The SHA-256 of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    finish(sha2::Sha256::new_with_prefix(bytes))
}

/// The digest of a hasher's input.
pub(crate) fn finish(hasher: sha2::Sha256) -> Digest {
    Digest::from_sha256(hasher.finalize().into())
}

impl Content {
    /// The blobs of `layout`; makes the directories when they are missing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(layout: &Layout) -> Result<Self> {
        for name in ["sha256", "tmp"] {
            private_directory(&layout.content().join(name))?;
        }
        Ok(Self { layout: layout.clone() })
    }

    /// Stores what `reader` brings, and gives its digest.
    ///
    /// # Errors
    /// `Corrupt` when the digest is not the `expected` one: nothing is stored then.
    pub fn put(&self, reader: &mut dyn Read, expected: Option<&Digest>) -> Result<Digest> {
        let mut spool = tempfile::Builder::new()
            .prefix("blob-")
            .tempfile_in(self.layout.content().join("tmp"))
            .context(|| "make a temporary blob".to_owned())?;
        spool.as_file().lock().context(|| "lock a temporary blob".to_owned())?;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    hasher.update(&buffer[..length]);
                    spool.write_all(&buffer[..length]).context(|| "write a blob".to_owned())?;
                }
                Err(error) if error.kind() == IoKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "read a blob's source".to_owned()),
            }
        }
        let digest = finish(hasher);
        verify("blob", expected, &digest)?;
        let target = self.layout.blob(&digest);
        if target.exists() {
            return Ok(digest);
        }
        spool.as_file().sync_all().context(|| format!("sync blob {digest}"))?;
        spool.persist(&target).map_err(|e| e.error).context(|| format!("put blob {digest} in place"))?;
        self.sync_directory()?;
        Ok(digest)
    }

    /// Stores some bytes.
    ///
    /// # Errors
    /// As [`Content::put`].
    pub fn put_bytes(&self, mut bytes: &[u8], expected: Option<&Digest>) -> Result<Digest> {
        self.put(&mut bytes, expected)
    }

    /// A file without a name, on the filesystem of the blobs: gone when it is closed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn scratch_file(&self) -> Result<File> {
        tempfile::tempfile_in(self.layout.content().join("tmp")).context(|| "make a scratch file".to_owned())
    }

    /// Whether there is such a blob.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.layout.blob(digest).exists()
    }

    /// How many bytes a blob has; `None` when there is none.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        std::fs::metadata(self.layout.blob(digest)).ok().map(|metadata| metadata.len())
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        File::open(self.layout.blob(digest)).map_err(|error| match error.kind() {
            IoKind::NotFound => Error::not_found(format!("no such blob: {digest}")),
            _ => Error::caused(ErrorKind::Internal, format!("open blob {digest}"), error),
        })
    }

    /// Reads a whole blob and verifies it once more: disks do fail.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when the bytes are not those of the name, or more than [`SMALL_MAX`].
    pub fn read_small(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let blob = self.open_blob(digest)?;
        blob.take(SMALL_MAX + 1).read_to_end(&mut bytes).context(|| format!("read blob {digest}"))?;
        if bytes.len() as u64 > SMALL_MAX {
            return Err(Error::corrupt(format!("blob {digest} has more than {SMALL_MAX} bytes")));
        }
        verify("blob", Some(digest), &digest_of(&bytes))?;
        Ok(bytes)
    }

    /// Removes a blob. Nothing happens if there is none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn delete(&self, digest: &Digest) -> Result<()> {
        match std::fs::remove_file(self.layout.blob(digest)) {
            Err(error) if error.kind() != IoKind::NotFound => {
                Err(error).context(|| format!("remove blob {digest}"))
            }
            _ => Ok(()),
        }
    }

    /// Hashes a blob again.
    ///
    /// # Errors
    /// `Corrupt` when its bytes have another digest; `NotFound`.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let mut file = self.open_blob(digest)?;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).context(|| format!("read blob {digest}"))? {
                0 => break,
                length => hasher.update(&buffer[..length]),
            }
        }
        verify(&format!("blob {digest}"), Some(digest), &finish(hasher))
    }

    /// All blobs, with their sizes in bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let directory = self.layout.content().join("sha256");
        let reading = || format!("list {}", directory.display());
        let mut blobs = Vec::new();
        for entry in std::fs::read_dir(&directory).context(reading)? {
            let entry = entry.context(reading)?;
            let name = entry.file_name();
            if let Ok(digest) = Digest::parse(&format!("sha256:{}", name.to_string_lossy())) {
                // Removed since it was listed: not there.
                if let Ok(metadata) = entry.metadata() {
                    blobs.push((digest, metadata.len()));
                }
            }
        }
        blobs.sort();
        Ok(blobs)
    }

    /// Removes what writers that are dead have left half-written.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn recover(&self) -> Result<()> {
        let directory = self.layout.content().join("tmp");
        let reading = || format!("clean {}", directory.display());
        for entry in std::fs::read_dir(&directory).context(reading)? {
            let path = entry.context(reading)?.path();
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock().is_ok() {
                remove_if_there(path)?;
            }
        }
        Ok(())
    }

    fn sync_directory(&self) -> Result<()> {
        let directory = self.layout.content().join("sha256");
        File::open(&directory).and_then(|d| d.sync_all()).context(|| format!("sync {}", directory.display()))
    }
}

fn remove_if_there(path: PathBuf) -> Result<()> {
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != IoKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Compares digests: `Corrupt` that says both.
pub(crate) fn verify(what: &str, wanted: Option<&Digest>, got: &Digest) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != got => {
            Err(Error::corrupt(format!("{what} is corrupt: wanted digest {wanted}, got {got}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn content() -> (tempfile::TempDir, Layout, Content) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        let content = Content::open(&layout).unwrap();
        (dir, layout, content)
    }

    #[test]
    fn blobs_come_back_and_go() {
        let (_dir, layout, content) = content();
        let digest = content.put_bytes(b"hello", None).unwrap();
        assert_eq!(
            digest.as_str(),
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        assert_eq!(content.put_bytes(b"hello", Some(&digest)).unwrap(), digest);
        assert_eq!(content.read_small(&digest).unwrap(), b"hello");
        assert_eq!(content.list().unwrap(), [(digest.clone(), 5)]);
        let mode = std::fs::metadata(layout.blob(&digest)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        content.delete(&digest).unwrap();
        content.delete(&digest).unwrap();
        assert_eq!(content.read_small(&digest).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_wrong_digest_is_refused_and_leaves_nothing() {
        let (_dir, layout, content) = content();
        let wanted = digest_of(b"other");
        let error = content.put_bytes(b"hello", Some(&wanted)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.to_string().contains(wanted.as_str()) && error.to_string().contains("2cf24dba"),
            "{error}"
        );
        assert!(content.list().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(layout.content().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn damage_is_noticed_and_the_dead_are_cleaned_up() {
        let (_dir, layout, content) = content();
        let digest = content.put_bytes(b"hello", None).unwrap();
        std::fs::write(layout.blob(&digest), b"hellO").unwrap();
        assert_eq!(content.read_small(&digest).unwrap_err().kind(), ErrorKind::Corrupt);

        let tmp = layout.content().join("tmp");
        std::fs::write(tmp.join("dead"), b"x").unwrap();
        let living = File::create(tmp.join("living")).unwrap();
        living.lock().unwrap();
        content.recover().unwrap();
        assert!(!tmp.join("dead").exists() && tmp.join("living").exists());
    }
}
