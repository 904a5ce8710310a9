//! `export`: a container's root filesystem as an archive.

use super::files::{self, Files, Purpose};
use crate::{Engine, events};
use dhow_model::{Result, ResultExt};
use dhow_store::db::ContainerRecord;
use dhow_store::filetree::Packer;
use dhow_sys::fsat;
use std::io::Write;
use std::os::fd::AsFd;

/// A container whose files are at hand.
pub struct Export {
    record: ContainerRecord,
    files: Files,
}

/// Finds the container and its files.
///
/// # Errors
/// `NotFound`; `Conflict` when it is being removed.
pub fn prepare(engine: &Engine, who: &str) -> Result<Export> {
    let (record, files) = files::open(engine, who, Purpose::RootOnly)?;
    Ok(Export { record, files })
}

impl Export {
    /// Writes the archive: what is mounted in the container is not in it, only the places.
    ///
    /// # Errors
    /// When a file cannot be read, or the output fails.
    pub fn write(self, engine: &Engine, out: &mut dyn Write) -> Result<()> {
        let top = fsat::open_at(
            self.files.root(),
            std::path::Path::new("."),
            nix::libc::O_PATH | nix::libc::O_DIRECTORY,
            0,
        )
        .context(|| "open the root filesystem".to_owned())?;
        let owners = self.files.owners();
        let mut packer = Packer::new(out).with_owners(move |uid, gid| owners.inside(uid, gid));
        packer.tree(top.as_fd(), b"")?;
        packer.finish()?;
        engine.db()?.write(|txn| {
            txn.append_event(&events::container("export", &self.record, []), events::now()).map(drop)
        })
    }
}
