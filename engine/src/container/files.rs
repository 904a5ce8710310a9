//! The way to a container's files for the verbs that look into it: `cp`, `export`, `diff`, `commit`.
//!
//! | the container | is seen through | with |
//! |---|---|---|
//! | runs, is paused | its mount namespace | everything that its processes see |
//! | does not run, to be read | its writable layer and the image's, merged | its volumes and binds |
//! | does not run, to be written | the overlay that a start would mount | the same, under the container's lock |
//!
//! A tmpfs of a container that does not run has nothing in it, and is not there.

use crate::Engine;
use dhow_model::image::Image;
use dhow_model::state::Status;
use dhow_model::{ContainerId, Error, Result, ResultExt};
use dhow_runtime::spec::Rootfs;
use dhow_runtime::view::{self, Access, Seen};
use dhow_store::db::ContainerRecord;
use dhow_store::lock::{self, LockGuard};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the files are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be read, with all that is mounted.
    #[expect(dead_code, reason = "for cp")]
    Read,
    /// To be written, with all that is mounted.
    Write,
    /// To be read, the root filesystem alone.
    RootOnly,
}

/// A container's root directory.
pub(crate) struct Files {
    root: OwnedFd,
    /// Held while files of a container that does not run are written: a start waits.
    _lock: Option<LockGuard>,
}

impl Files {
    /// `/`.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Opens a container's files.
///
/// # Errors
/// `NotFound`; `Conflict` when it is being removed, or ends or starts at this very moment.
pub(crate) fn open(engine: &Engine, who: &str, purpose: Purpose) -> Result<(ContainerRecord, Files)> {
    let record = super::find_settled(engine, who)?;
    if let Some(root) = running(&record, purpose)? {
        return Ok((record, Files { root, _lock: None }));
    }
    if purpose != Purpose::Write
        && let Some(root) = stopped(engine, &record, purpose, Access::Read)?
    {
        return Ok((record, Files { root, _lock: None }));
    }
    let lock = lock::lock_container(engine.layout(), &record.id)?;
    let record = again(engine, &record.id, who)?;
    // Whoever held the lock may have started it.
    if let Some(root) = running(&record, purpose)? {
        return Ok((record, Files { root, _lock: None }));
    }
    if record.state.status == Status::Restarting {
        return Err(Error::conflict(format!(
            "Container {} is restarting, wait until the container is running",
            record.id
        )));
    }
    super::start::make_directories(engine, &record)?;
    let readonly_root = record.config.host.readonly_rootfs;
    let root = stopped(engine, &record, purpose, Access::Write { readonly_root })?
        .ok_or_else(|| Error::internal("the root filesystem cannot be assembled"))?;
    Ok((record, Files { root, _lock: Some(lock) }))
}

fn again(engine: &Engine, id: &ContainerId, who: &str) -> Result<ContainerRecord> {
    engine.db()?.read(|txn| txn.container(id))?.ok_or_else(|| super::no_such(who))
}

fn running(record: &ContainerRecord, purpose: Purpose) -> Result<Option<OwnedFd>> {
    let state = &record.state;
    match state.status {
        Status::Running | Status::Paused if state.pid > 0 => {
            let seen = if purpose == Purpose::RootOnly { Seen::Root } else { Seen::Everything };
            view::of_running(state.pid, state.pid_start_ticks, seen).map(Some)
        }
        Status::Removing | Status::Dead => {
            Err(Error::conflict("container is marked for removal and its files cannot be used"))
        }
        _ => Ok(None),
    }
}

fn stopped(
    engine: &Engine,
    record: &ContainerRecord,
    purpose: Purpose,
    access: Access,
) -> Result<Option<OwnedFd>> {
    let directory = engine.layout().container(&record.id);
    let rootfs = Rootfs::Overlay {
        lower: engine.layers().lower_dirs(&image_of(engine, record)?.layers)?,
        upper: directory.join("upper"),
        work: directory.join("work"),
    };
    let volumes = match purpose {
        Purpose::RootOnly => Vec::new(),
        _ => super::start::resolve_mounts(engine, record)?,
    };
    view::of_stopped(&rootfs, &volumes, access, &engine.layout().containers())
        .context(|| format!("open the files of container {}", record.id.short()))
}

/// The image that a container was made of.
pub(crate) fn image_of(engine: &Engine, record: &ContainerRecord) -> Result<Image> {
    engine
        .db()?
        .read(|txn| txn.image(&record.config.image_id))?
        .ok_or_else(|| Error::not_found(format!("No such image: {}", record.config.image_id)))
}
