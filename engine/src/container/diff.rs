//! `diff`: what a container changed in its file system.

use super::files;
use crate::Engine;
use dhow_model::{Result, ResultExt};
use dhow_runtime::view;
use dhow_store::db::ContainerRecord;
use dhow_store::filetree::{self, Change};
use dhow_sys::{Errno, fsat};
use std::os::fd::{AsFd, OwnedFd};

/// What a container changed, in the order of the paths, directories before their content.
///
/// # Errors
/// `NotFound`.
pub fn diff(engine: &Engine, who: &str) -> Result<Vec<Change>> {
    let record = super::find_settled(engine, who)?;
    Ok(changes(engine, &record)?.map(|(_, changes)| changes).unwrap_or_default())
}

/// The writable layer, and what is in it; `None` for a container that never started.
pub(crate) fn changes(engine: &Engine, record: &ContainerRecord) -> Result<Option<(OwnedFd, Vec<Change>)>> {
    let upper = match fsat::open_directory(&engine.layout().container(&record.id).join("upper")) {
        Err(error) if error.errno == Errno::ENOENT => return Ok(None),
        other => other.context(|| "open the writable layer".to_owned())?,
    };
    let layers = engine.layers().lower_dirs(&files::image_of(engine, record)?.layers)?;
    let ids = super::userns::maps(&record.config.host);
    let lower = view::of_image(&layers, ids.as_ref(), &engine.layout().containers())?;
    let changes = filetree::changes(upper.as_fd(), lower.as_ref().map(AsFd::as_fd))?;
    Ok(Some((upper, changes)))
}
