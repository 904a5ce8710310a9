//! `--storage-opt size=`: how much a container's writable layer may hold, by a project quota (see `dhow_sys::quota`) on
//! its upper and work directories. Both are of one project: a file that overlayfs makes in the one and renames into
//! the other stays in it, which the kernel asks for.

use crate::Engine;
use dhow_model::container::HostConfig;
use dhow_model::units::parse_bytes;
use dhow_model::{Error, ErrorKind, Layout, Result, ResultExt};
use dhow_store::db::{ContainerRecord, Txn};
use dhow_sys::{fsat, quota};
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// The first project of a container's; volumes have those before it.
const FIRST_PROJECT: u32 = 0x6470_0000;

/// Refuses what is no option of a writable layer.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn check(options: &BTreeMap<String, String>) -> Result<()> {
    if let Some(unknown) = options.keys().find(|key| key.as_str() != "size") {
        return Err(Error::invalid(format!("--storage-opt: unknown option {unknown}")));
    }
    limit(options).map(drop)
}

/// In bytes; `None`: as much as there is room for.
fn limit(options: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let Some(text) = options.get("size") else { return Ok(None) };
    match parse_bytes(text).map_err(|error| Error::caused(error.kind(), "--storage-opt size", error))? {
        0 => Err(Error::invalid(format!("--storage-opt size: invalid size: '{text}'"))),
        bytes => Ok(Some(bytes)),
    }
}

/// Gives a container that has a limit a project of its own, within the transaction that adds it.
///
/// # Errors
/// `Unsupported` when the filesystem of the engine's root has no project quotas.
pub(super) fn allot(engine: &Engine, txn: &Txn<'_>, host: &mut HostConfig) -> Result<()> {
    if limit(&host.storage)?.is_none() {
        return Ok(());
    }
    let root = engine.layout().root();
    let directory = fsat::open_directory(root).context(|| format!("open {}", root.display()))?;
    // Every filesystem with such quotas knows what the first project has, which may be nothing.
    quota::limit(directory.as_fd(), FIRST_PROJECT).map_err(|error| unsupported(engine.layout(), error))?;
    let last = txn.containers()?.into_iter().map(|record| record.config.host.storage_project).max();
    host.storage_project = last.map_or(0, |last| last.saturating_add(1)).max(FIRST_PROJECT);
    Ok(())
}

/// Puts the limit in force, if there is one: before anything is in the directories.
///
/// # Errors
/// `Unsupported` as above.
pub(super) fn enforce(layout: &Layout, record: &ContainerRecord) -> Result<()> {
    let host = &record.config.host;
    let Some(bytes) = limit(&host.storage)? else { return Ok(()) };
    for name in ["upper", "work"] {
        let path = layout.container(&record.id).join(name);
        let directory = fsat::open_directory(&path).context(|| format!("open {}", path.display()))?;
        quota::set_project(directory.as_fd(), host.storage_project)
            .and_then(|()| quota::set_limit(directory.as_fd(), host.storage_project, bytes))
            .map_err(|error| unsupported(layout, error))?;
    }
    Ok(())
}

fn unsupported(layout: &Layout, error: dhow_sys::Error) -> Error {
    let what = format!(
        "--storage-opt is supported only where the filesystem of {} has project quotas (XFS with pquota, ext4 with \
         prjquota)",
        layout.root().display()
    );
    Error::caused(ErrorKind::Unsupported, what, error)
}
