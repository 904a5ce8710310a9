//! Installing, finding and removing layers of both forms: [`Layers`].

use super::indexed::{self, Kept};
use super::probe::{self, Mounter};
use super::split::{SplitReader, SplitWriter};
use super::stage::Stage;
use super::stream::read_hashed;
use super::unpack::{How, Unpacked, WorkersPlan};
use super::{
    Expected, InstalledLayer, LayerInfo, LayerProgress, LayerSource, LayerState, LayerStore, Progress, below,
    export, unpack,
};
use crate::content::verify;
use crate::db::private_directory;
use crate::output::Output;
use dhow_model::{Digest, Error, Layout, LowerLayer, Result, ResultExt};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{File, Permissions};
use std::io::BufRead;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What must have happened before a layer becomes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// All of it is on the disk: a power failure leaves either the whole layer or none.
    #[default]
    Disk,
    /// All of it is written: for scratch roots, that nobody keeps.
    Memory,
}

/// In which form layers are installed. What is installed stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerForm {
    /// Indexed where a small one could be mounted, unpacked elsewhere.
    #[default]
    Auto,
    /// As the tar that came, with an index over it; unpacked when an index cannot say what is in it.
    Indexed,
    /// As files in directories.
    Unpacked,
}

/// Layers below one root.
#[derive(Clone)]
pub struct Layers {
    layout: Layout,
    durability: Durability,
    form: LayerForm,
    mounter: Option<Arc<dyn Mounter>>,
    works: Arc<OnceLock<bool>>,
    workers: WorkersPlan,
}

impl Layers {
    /// The layers of `layout`; makes the directories when they are missing. Nobody mounts, so new ones are unpacked.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(layout: &Layout) -> Result<Self> {
        private_directory(&layout.layers().join("tmp"))?;
        Ok(Self {
            layout: layout.clone(),
            durability: Durability::Disk,
            form: LayerForm::Unpacked,
            mounter: None,
            works: Arc::default(),
            workers: WorkersPlan::default(),
        })
    }

    /// The same with another promise.
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// The same, with who mounts indexed layers, and the form of new ones.
    #[must_use]
    pub fn with_form(self, form: LayerForm, mounter: Arc<dyn Mounter>) -> Self {
        Self { form, mounter: Some(mounter), ..self }
    }

    /// The same, with others who write the files of unpacked layers.
    #[must_use]
    pub fn with_workers(self, workers: WorkersPlan) -> Self {
        Self { workers, ..self }
    }

    /// Whether the next layer is to be indexed. If that is for the machine to say, it is tried, once.
    pub fn indexes(&self) -> bool {
        match (self.form, &self.mounter) {
            (LayerForm::Unpacked, _) | (_, None) => false,
            (LayerForm::Indexed, _) => true,
            (LayerForm::Auto, Some(mounter)) => {
                *self.works.get_or_init(|| probe::works(&self.layout, &**mounter).unwrap_or(false))
            }
        }
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

/// A layer on its way, verified or not.
enum Made {
    Unpacked(Unpacked, SplitWriter),
    Kept(Kept),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Unpacked,
    Indexed,
}

impl Made {
    /// Everything that belongs to the layer is in `layer` afterwards. Its bytes are verified by now.
    fn finish(self, layer: &Path, how: How) -> Result<(LayerInfo, Vec<String>, Form)> {
        let (unpacked, split) = match self {
            Made::Unpacked(unpacked, split) => (unpacked, split),
            Made::Kept(mut kept) => {
                if let Ok(info) = kept.write_index(layer)? {
                    return Ok((info, Vec::new(), Form::Indexed));
                }
                let tar = indexed::mapped_tar(layer)?;
                let length = usize::try_from(kept.tar_bytes).unwrap_or(tar.len()).min(tar.len());
                let unpacked = unpack_into(layer, &mut &tar[..length], how)?;
                std::fs::remove_file(layer.join("tar")).context(|| "remove the kept tar".to_owned())?;
                unpacked
            }
        };
        split.finish(&unpacked.info, &unpacked.payloads)?;
        below::write_notes(layer, &unpacked.implied, unpacked.opaque_root)?;
        Ok((unpacked.info, unpacked.warnings, Form::Unpacked))
    }
}

fn unpack_into(layer: &Path, input: &mut dyn BufRead, how: How) -> Result<(Unpacked, SplitWriter)> {
    let diff = layer.join("diff");
    // 0755 whatever the umask; nobody gets here through `layers`, which is 0700.
    std::fs::create_dir(&diff)
        .and_then(|()| std::fs::set_permissions(&diff, Permissions::from_mode(0o755)))
        .context(|| "make the layer's directory".to_owned())?;
    let split = SplitWriter::create(&layer.join("split"))?;
    unpack::unpack(input, layer, split, how)
}

impl LayerStore for Layers {
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
        let read = AtomicU64::new(0);
        let count = |bytes| {
            read.store(bytes, Ordering::Relaxed);
            report(LayerState::Unpacking, bytes);
        };
        let how = How {
            need_end_marker: expected.diff_id.is_none(),
            early_sync: self.durability == Durability::Disk,
            workers: self.workers,
        };
        let indexes = self.indexes();
        let (made, digests) = read_hashed(source, expected.blob.is_some(), &count, |input| {
            if indexes {
                indexed::keep(input, stage.path(), how).map(Made::Kept)
            } else {
                unpack_into(stage.path(), input, how).map(|(unpacked, split)| Made::Unpacked(unpacked, split))
            }
        })?;
        if let Some(got) = &digests.blob {
            verify("the layer blob", expected.blob, got)?;
        }
        verify("the uncompressed layer", expected.diff_id, &digests.diff_id)?;

        let (info, warnings, form) = made.finish(stage.path(), how)?;
        let read = read.into_inner();
        if self.durability == Durability::Disk {
            report(LayerState::Syncing, read);
            match form {
                // Thousands of files, with their directories.
                Form::Unpacked => stage.sync()?,
                Form::Indexed => indexed::sync(stage.path())?,
            }
        }
        if lock.is_none() {
            lock = Some(self.lock_layer(&digests.diff_id)?);
        }
        if !stage.publish(&self.layout.layer(&digests.diff_id))? {
            return self.present(&digests.diff_id, &report);
        }
        drop(lock);
        report(LayerState::Done, read);
        Ok(InstalledLayer {
            diff_id: digests.diff_id,
            size_bytes: info.size_bytes,
            was_present: false,
            warnings,
        })
    }

    fn contains(&self, diff_id: &Digest) -> bool {
        self.layout.layer(diff_id).exists()
    }

    fn info(&self, diff_id: &Digest) -> Result<LayerInfo> {
        if !self.contains(diff_id) {
            return Err(Error::not_found(format!("no such layer: {diff_id}")));
        }
        if indexed::is_indexed(&self.layout, diff_id) {
            return indexed::info(&self.layout, diff_id);
        }
        SplitReader::info(&self.layout.layer(diff_id).join("split"))
    }

    fn lower_dir(&self, diff_id: &Digest) -> PathBuf {
        self.layout.layer(diff_id).join("diff")
    }

    fn lower_dirs(&self, layers: &[Digest]) -> Result<Vec<LowerLayer>> {
        below::lower_dirs(&self.layout, layers)
    }

    fn export_tar(&self, diff_id: &Digest, out: &mut dyn Output) -> Result<()> {
        if !self.contains(diff_id) {
            return Err(Error::not_found(format!("no such layer: {diff_id}")));
        }
        if indexed::is_indexed(&self.layout, diff_id) {
            return indexed::export(&self.layout, diff_id, out);
        }
        export::export(&self.layout.layer(diff_id), diff_id, out)
    }

    fn remove(&self, diff_id: &Digest) -> Result<()> {
        let lock = self.lock_layer(diff_id)?;
        if let Some(mounter) = &self.mounter {
            // Also of a layer whose files are damaged, or gone.
            mounter.release(&below::indexed_layer(&self.layout, diff_id))?;
        }
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
