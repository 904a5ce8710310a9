//! Volumes of the `local` kind: a directory each below `ROOT/volumes`, made on first use.
//!
//! A directory goes within the transaction that takes its row, so that nobody deletes what another has just made.

pub(crate) mod data;
pub(crate) mod local;
pub mod transfer;

use crate::Engine;
use crate::filters::Filters;
use dhow_model::mount::{Mount, MountSource};
use dhow_model::{Error, ErrorKind, Layout, Result, name};
use dhow_store::db::{ContainerRecord, Txn, VolumeRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Where a mount's content lies on the host; `None` for a tmpfs.
pub(crate) fn host_path(layout: &Layout, mount: &Mount) -> Option<PathBuf> {
    match &mount.source {
        MountSource::Bind { path, .. } => Some(PathBuf::from(path)),
        MountSource::Volume { name, .. } => Some(layout.volume_data(name)),
        MountSource::Image { .. } | MountSource::Tmpfs { .. } => None,
    }
}

/// The anonymous volumes that nobody but this container uses.
pub(crate) fn anonymous_of(txn: &Txn<'_>, record: &ContainerRecord) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for mount in &record.config.host.mounts {
        if let MountSource::Volume { name, anonymous: true, .. } = &mount.source
            && txn.containers_using_volume(name)?.iter().all(|user| *user == record.id)
            && txn.volume(name)?.is_some()
        {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// Lists volumes by name.
///
/// # Errors
/// When the database cannot be read.
pub fn list(engine: &Engine) -> Result<Vec<VolumeRecord>> {
    engine.db()?.read(|txn| txn.volumes())
}

/// Lists the volumes that containers use, or that none uses, by name.
///
/// # Errors
/// When the database cannot be read.
pub fn list_by_use(engine: &Engine, used: bool) -> Result<Vec<VolumeRecord>> {
    engine.db()?.read(|txn| {
        let unused = txn.unused_volumes()?;
        if !used {
            return Ok(unused);
        }
        let unused: BTreeSet<&str> = unused.iter().map(|volume| volume.name.as_str()).collect();
        Ok(txn.volumes()?.into_iter().filter(|volume| !unused.contains(volume.name.as_str())).collect())
    })
}

/// Looks a volume up.
///
/// # Errors
/// `NotFound`, in Docker's words.
pub fn inspect(engine: &Engine, name: &str) -> Result<VolumeRecord> {
    engine
        .db()?
        .read(|txn| txn.volume(name))?
        .ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
}

/// Where a volume's data lies on the host.
pub fn mountpoint(engine: &Engine, name: &str) -> PathBuf {
    engine.layout().volume_data(name)
}

/// A volume as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct VolumeRequest {
    /// `None` draws one.
    pub name: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, as typed.
    pub options: BTreeMap<String, String>,
}

/// Docker's label of a volume that nobody gave a name, by which scripts find it.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume's labels.
pub(crate) fn labels(mut given: BTreeMap<String, String>, anonymous: bool) -> BTreeMap<String, String> {
    if anonymous {
        given.insert(ANONYMOUS.to_owned(), String::new());
    }
    given
}

/// Makes a volume; an existing one of the name is returned as it is.
///
/// # Errors
/// `InvalidArgument` for a bad name or bad options.
pub fn create(engine: &Engine, request: VolumeRequest) -> Result<VolumeRecord> {
    let (name, anonymous) = match request.name.filter(|n| !n.is_empty()) {
        Some(name) => (name::parse_volume_name(&name)?, false),
        None => (crate::random::id()?.to_string(), true),
    };
    local::check(&name, &request.options)?;
    let record = VolumeRecord {
        name,
        created: crate::events::now(),
        labels: labels(request.labels, anonymous),
        anonymous,
        options: request.options,
    };
    let record = engine.db()?.write(|txn| {
        if let Some(existing) = txn.volume(&record.name)? {
            return Ok(existing);
        }
        insert(txn, &record)?;
        let place = engine.layout().volume_data(&record.name);
        let was_there = place.exists();
        // Within the transaction: a removal of a volume of that name has ended before, or comes after.
        data::make(&place)?;
        local::enforce(txn, engine.layout(), &record).inspect_err(|_| {
            // The first error is the one to show.
            if !was_there && data::retire(engine.layout(), &record.name).is_ok() {
                data::sweep(engine.layout());
            }
        })?;
        Ok(record)
    })?;
    Ok(record)
}

/// Makes a volume's directory, within its limits.
pub(crate) fn make(engine: &Engine, record: &VolumeRecord) -> Result<()> {
    data::make(&engine.layout().volume_data(&record.name))?;
    if local::is_unbounded(engine.layout(), record) {
        engine.db()?.write(|txn| local::enforce(txn, engine.layout(), record))?;
    }
    Ok(())
}

/// Adds a volume that is not there. Data that lies in its place, as of a database that was lost, is its data.
pub(crate) fn insert(txn: &Txn<'_>, record: &VolumeRecord) -> Result<()> {
    txn.insert_volume(record)?;
    txn.append_event(&crate::events::volume("create", &record.name), record.created)?;
    Ok(())
}

/// Removes a volume that no container uses.
///
/// # Errors
/// `NotFound` unless `force`; `Conflict` when a container uses it.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<()> {
    let found = engine.db()?.write(|txn| {
        if txn.volume(name)?.is_none() {
            return if force {
                Ok(false)
            } else {
                Err(Error::not_found(format!("get {name}: no such volume")))
            };
        }
        txn.delete_volume(name)?;
        txn.append_event(&crate::events::volume("destroy", name), crate::events::now())?;
        data::retire(engine.layout(), name)?;
        Ok(true)
    })?;
    if found {
        data::sweep(engine.layout());
    }
    Ok(())
}

/// What a prune removed.
#[derive(Debug, Clone, Default)]
pub struct PrunedVolumes {
    /// Names.
    pub removed: Vec<String>,
    /// Bytes of their files.
    pub reclaimed_bytes: u64,
}

/// Removes volumes that no container uses: those that the engine named, with `all` the others too, as far as they
/// pass the filters (`all`, `label`, `label!`).
///
/// # Errors
/// `InvalidArgument` for an unknown filter.
pub fn prune(engine: &Engine, filters: &Filters) -> Result<PrunedVolumes> {
    filters.only(&["all", "label", "label!"])?;
    let all = filters.flag("all")?.unwrap_or(false);
    let unused = engine.db()?.read(|txn| txn.unused_volumes())?;
    let mut pruned = PrunedVolumes::default();
    for record in unused {
        if !(all || record.anonymous) || !filters.labels_match(&record.labels) {
            continue;
        }
        let bytes = crate::system::disk::tree_bytes(&engine.layout().volume_data(&record.name))?;
        match remove(engine, &record.name, false) {
            Ok(()) => {
                pruned.reclaimed_bytes += bytes;
                pruned.removed.push(record.name);
            }
            // A container uses it now, or someone removed it.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    data::sweep(engine.layout());
    crate::events::record_prune(engine, dhow_model::event::EventType::Volume, pruned.reclaimed_bytes)?;
    Ok(pruned)
}
