//! A volume as an archive, an archive into a volume, and a volume as a copy of another.
//!
//! Containers may be at work in the volume meanwhile: as with a backup of any filesystem that is in use, what comes
//! of it is as consistent as they are.

use super::data::Draft;
use super::local;
use crate::{Engine, events};
use dhow_model::{Error, Result, ResultExt, name};
use dhow_runtime::view;
use dhow_store::db::VolumeRecord;
use dhow_store::filetree::{self, Extraction, Owners, Packer};
use dhow_sys::fsat::{self, resolve};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A volume whose files are at hand.
pub struct Export(OwnedFd);

/// Finds a volume and its files.
///
/// # Errors
/// `NotFound`, in Docker's words.
pub fn export(engine: &Engine, name: &str) -> Result<Export> {
    let record = super::inspect(engine, name)?;
    files(engine, &record).map(Export)
}

impl Export {
    /// Writes the archive: everything in the volume, and the volume's directory as `./`.
    ///
    /// # Errors
    /// When a file cannot be read, or the output fails.
    pub fn write(self, out: &mut dyn Write) -> Result<()> {
        let flags = nix::libc::O_PATH | nix::libc::O_DIRECTORY;
        let top = fsat::open_at(self.0.as_fd(), Path::new("."), flags, 0)
            .context(|| "open the volume".to_owned())?;
        let mut packer = Packer::new(out);
        packer.tree(top.as_fd(), b"./")?;
        packer.finish()
    }
}

/// Extracts an archive, plain or compressed, into a volume. What is there and not in the archive stays.
///
/// # Errors
/// `NotFound`; `InvalidArgument` for a member that leads out of the volume.
pub fn import(engine: &Engine, name: &str, input: &mut dyn Read) -> Result<()> {
    let record = super::inspect(engine, name)?;
    let root = files(engine, &record)?;
    let extraction = Extraction {
        root: root.as_fd(),
        base: Vec::new(),
        resolve: resolve::IN_ROOT,
        owners: Owners::Archived(Box::new(|uid, gid| (uid, gid))),
        keep_kinds: false,
        with_base: true,
        rename: &<[u8]>::to_vec,
    };
    filetree::extract(input, extraction).context(|| format!("import into volume {name}"))
}

/// Makes a volume that has all that another has now, with shared extents where the filesystem can. It is a plain one,
/// whatever the other is, with the other's labels.
///
/// # Errors
/// `NotFound`; `Conflict` when the new name is taken; `InvalidArgument` when it is none.
pub fn snapshot(engine: &Engine, from: &str, to: &str) -> Result<VolumeRecord> {
    let source = super::inspect(engine, from)?;
    let mut labels = source.labels.clone();
    labels.remove(super::ANONYMOUS);
    let record = VolumeRecord {
        name: name::parse_volume_name(to)?,
        created: events::now(),
        labels,
        anonymous: false,
        options: std::collections::BTreeMap::new(),
    };
    let taken = || Error::conflict(format!("volume {:?} already exists", record.name));
    if engine.db()?.read(|txn| txn.volume(&record.name))?.is_some() {
        return Err(taken());
    }
    let files = files(engine, &source)?;
    let draft = Draft::new(engine.layout())?;
    dhow_runtime::copy_tree(files.as_fd(), &draft.data())
        .context(|| format!("copy volume {from} to {to}"))?;
    engine.db()?.write_durable(|txn| {
        if txn.volume(&record.name)?.is_some() {
            return Err(taken());
        }
        super::insert(txn, &record)?;
        draft.settle(engine.layout(), &record.name)
    })?;
    Ok(record)
}

fn files(engine: &Engine, record: &VolumeRecord) -> Result<OwnedFd> {
    let place = engine.layout().volume_data(&record.name);
    super::make(engine, record)?;
    let filesystem = local::filesystem(engine.layout(), record)?;
    view::of_volume(&place, filesystem.as_ref())
}
