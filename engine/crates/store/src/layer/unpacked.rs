//! Layers as directories: [`UnpackedLayers`].

use super::split::{SplitReader, SplitWriter};
use super::stage::Stage;
use super::stream::read_hashed;
use super::{
    Expected, InstalledLayer, LayerInfo, LayerProgress, LayerSource, LayerState, LayerStore, Progress, below,
    export, unpack,
};
use crate::content::verify;
use crate::db::private_directory;
use dhow_model::{Digest, Error, Layout, Result, ResultExt};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// What must have happened before a layer becomes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// All of it is on the disk: a power failure leaves either the whole layer or none.
    #[default]
    Disk,
    /// All of it is written: for scratch roots, that nobody keeps.
    Memory,
}

/// Layers as directories below one root.
#[derive(Debug, Clone)]
pub struct UnpackedLayers {
    layout: Layout,
    durability: Durability,
}

impl UnpackedLayers {
    /// The layers of `layout`; makes the directories when they are missing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(layout: &Layout) -> Result<Self> {
        private_directory(&layout.layers().join("tmp"))?;
        Ok(Self { layout: layout.clone(), durability: Durability::Disk })
    }

    /// The same with another promise.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Removes the layers that `is_used` does not know, and gives them. The caller sees to it that nobody installs
    /// meanwhile: a layer that is installed but not yet in the database would be taken away.
    ///
    /// # Errors
    /// What the kernel or `is_used` says.
    pub fn sweep(&self, mut is_used: impl FnMut(&Digest) -> Result<bool>) -> Result<Vec<Digest>> {
        let mut removed = Vec::new();
        for diff_id in self.list()? {
            if !is_used(&diff_id)? {
                self.remove(&diff_id)?;
                removed.push(diff_id);
            }
        }
        Ok(removed)
    }

    /// Removes what processes that are dead have left half-made or half-removed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn recover(&self) -> Result<()> {
        Stage::recover(&self.layout)
    }

    fn lock_file(&self) -> Result<File> {
        let path = self.layout.layers().join("lock");
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .context(|| format!("open {}", path.display()))
    }

    /// Waits until nobody else installs or removes that layer: a byte of the lock file at an offset that the
    /// diff id gives. Two layers that share one merely take turns.
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's own constants, as C has them")]
    fn lock_layer(&self, diff_id: &Digest) -> Result<File> {
        let file = self.lock_file()?;
        let range = nix::libc::flock {
            l_type: nix::libc::F_WRLCK as nix::libc::c_short,
            l_whence: nix::libc::SEEK_SET as nix::libc::c_short,
            // 15 digits are 60 bits, and always parse.
            l_start: i64::from_str_radix(&diff_id.hex()[..15], 16).unwrap_or(0),
            l_len: 1,
            // OFD locks require 0 (fcntl_locking(2)).
            l_pid: 0,
        };
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLKW(&range)) {
                Ok(_) => return Ok(file),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| format!("lock layer {diff_id}")),
            }
        }
    }

    fn present(&self, diff_id: &Digest, report: &dyn Fn(LayerState, u64)) -> Result<InstalledLayer> {
        let info = self.info(diff_id)?;
        report(LayerState::AlreadyPresent, 0);
        Ok(InstalledLayer {
            diff_id: diff_id.clone(),
            size_bytes: info.size_bytes,
            was_present: true,
            warnings: Vec::new(),
        })
    }
}

impl LayerStore for UnpackedLayers {
    fn install(
        &self,
        source: LayerSource<'_>,
        expected: Expected<'_>,
        progress: &dyn Progress,
    ) -> Result<InstalledLayer> {
        let total = source.size();
        let report = |state, bytes| {
            progress.layer(&LayerProgress { diff_id: expected.diff_id, state, bytes, total });
        };
        let mut lock = None;
        if let Some(diff_id) = expected.diff_id {
            lock = Some(self.lock_layer(diff_id)?);
            if self.contains(diff_id) {
                return self.present(diff_id, &report);
            }
        }

        let stage = Stage::create(&self.layout)?;
        let diff = stage.path().join("diff");
        // 0755 whatever the umask; nobody gets here through `layers`, which is 0700.
        std::fs::create_dir(&diff)
            .and_then(|()| std::fs::set_permissions(&diff, Permissions::from_mode(0o755)))
            .context(|| "make the layer's directory".to_owned())?;
        let split = SplitWriter::create(&stage.path().join("split"))?;
        let read = AtomicU64::new(0);
        let count = |bytes| {
            read.store(bytes, Ordering::Relaxed);
            report(LayerState::Unpacking, bytes);
        };
        let how = unpack::How {
            need_end_marker: expected.diff_id.is_none(),
            early_writeback: self.durability == Durability::Disk,
        };
        let ((unpacked, split), digests) = read_hashed(source, expected.blob.is_some(), &count, |input| {
            unpack::unpack(input, stage.path(), split, how)
        })?;
        if let Some(got) = &digests.blob {
            verify("the layer blob", expected.blob, got)?;
        }
        verify("the uncompressed layer", expected.diff_id, &digests.diff_id)?;

        split.finish(&unpacked.info, &unpacked.payloads)?;
        below::write_notes(stage.path(), &unpacked)?;
        let read = read.into_inner();
        if self.durability == Durability::Disk {
            report(LayerState::Syncing, read);
            stage.sync()?;
        }
        if lock.is_none() {
            lock = Some(self.lock_layer(&digests.diff_id)?);
        }
        if !stage.publish(&self.layout.layer(&digests.diff_id))? {
            return self.present(&digests.diff_id, &report);
        }
        drop(lock);
        report(LayerState::Done, read);
        Ok(unpacked.installed(digests.diff_id))
    }

    fn contains(&self, diff_id: &Digest) -> bool {
        self.layout.layer(diff_id).exists()
    }

    fn info(&self, diff_id: &Digest) -> Result<LayerInfo> {
        if !self.contains(diff_id) {
            return Err(Error::not_found(format!("no such layer: {diff_id}")));
        }
        SplitReader::info(&self.layout.layer(diff_id).join("split"))
    }

    fn lower_dir(&self, diff_id: &Digest) -> PathBuf {
        self.layout.layer(diff_id).join("diff")
    }

    fn lower_dirs(&self, layers: &[Digest]) -> Result<Vec<PathBuf>> {
        below::lower_dirs(&self.layout, layers)
    }

    fn export_tar(&self, diff_id: &Digest, out: &mut dyn Write) -> Result<()> {
        if !self.contains(diff_id) {
            return Err(Error::not_found(format!("no such layer: {diff_id}")));
        }
        export::export(&self.layout.layer(diff_id), diff_id, out)
    }

    fn remove(&self, diff_id: &Digest) -> Result<()> {
        let lock = self.lock_layer(diff_id)?;
        let stage = Stage::create(&self.layout)?;
        stage.swallow(&self.layout.layer(diff_id))?;
        // Out of sight: who installs it anew need not wait until it is gone.
        drop(lock);
        stage.remove()
    }

    fn list(&self) -> Result<Vec<Digest>> {
        let directory = self.layout.layers();
        let reading = || format!("list {}", directory.display());
        let mut layers = Vec::new();
        for entry in std::fs::read_dir(&directory).context(reading)? {
            let name = entry.context(reading)?.file_name();
            layers.extend(Digest::parse(&format!("sha256:{}", name.to_string_lossy())));
        }
        layers.sort();
        Ok(layers)
    }
}
