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
use dhow_model::{ContainerId, Error, ErrorKind, Result, ResultExt};
use dhow_runtime::IdMaps;
use dhow_runtime::spec::Rootfs;
use dhow_runtime::view::{self, Access, Seen};
use dhow_store::db::ContainerRecord;
use dhow_store::lock::{self, LockGuard};
use dhow_sys::file_ids::FileIds;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// What the files are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be read, with all that is mounted.
    Read,
    /// To be written, with all that is mounted.
    Write,
    /// To be read, the root filesystem alone.
    RootOnly,
}

/// A container's root directory.
pub(crate) struct Files {
    root: OwnedFd,
    owners: Translation,
    /// Held while files of a container that does not run are written: a start waits.
    _lock: Option<LockGuard>,
}

impl Files {
    /// `/`.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// How its owners are to be read and written.
    pub(crate) fn owners(&self) -> Translation {
        self.owners.clone()
    }
}

/// Owners as the container knows them, and as the host does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Translation(Option<IdMaps>);

impl Translation {
    /// Of what a container wrote.
    pub(crate) fn of(record: &ContainerRecord) -> Self {
        Self(super::userns::maps(&record.config.host))
    }

    /// The container's ids of a file.
    pub(crate) fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        self.0.as_ref().map_or((uid, gid), |maps| maps.inside(uid, gid))
    }

    /// While it lives, this thread makes files as the container's root: a volume that is mapped takes no others.
    pub(crate) fn make_as_root(&self) -> Result<Option<FileIds>> {
        let Some(maps) = &self.0 else { return Ok(None) };
        let ids = FileIds::of(maps.host_uid(0)?, maps.host_gid(0)?);
        ids.map(Some).context(|| "make files as the container's root".to_owned())
    }

    /// The host's ids for a file; what the container has no name for becomes its root's.
    pub(crate) fn outside(&self, uid: u32, gid: u32) -> (u32, u32) {
        self.0.as_ref().map_or((uid, gid), |maps| {
            let or_root = |id: Result<u32>, root: Result<u32>| id.or(root).unwrap_or(NOBODY);
            (or_root(maps.host_uid(uid), maps.host_uid(0)), or_root(maps.host_gid(gid), maps.host_gid(0)))
        })
    }
}

/// The kernel's overflow id.
const NOBODY: u32 = 65534;

/// Opens a container's files.
///
/// # Errors
/// `NotFound`; `Conflict` when it is being removed, or ends or starts at this very moment.
pub(crate) fn open(engine: &Engine, who: &str, purpose: Purpose) -> Result<(ContainerRecord, Files)> {
    let begin = Instant::now();
    loop {
        match open_now(engine, who, purpose) {
            // Its process has ended, and its monitor is about to say so.
            Err(error) if error.kind() == ErrorKind::Unavailable && begin.elapsed() < PATIENCE => {
                std::thread::sleep(LOOK_AGAIN);
            }
            other => return other,
        }
    }
}

/// How long a monitor has to record the end of a process.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

fn open_now(engine: &Engine, who: &str, purpose: Purpose) -> Result<(ContainerRecord, Files)> {
    let record = super::find_settled(engine, who)?;
    if let Some((root, owners)) = running(&record, purpose)? {
        return Ok((record, Files { root, owners, _lock: None }));
    }
    if purpose != Purpose::Write
        && let Some(root) = stopped(engine, &record, purpose, Access::Read)?
    {
        let owners = Translation::of(&record);
        return Ok((record, Files { root, owners, _lock: None }));
    }
    let lock = lock::lock_container(engine.layout(), &record.id)?;
    let record = again(engine, &record.id, who)?;
    // Whoever held the lock may have started it.
    if let Some((root, owners)) = running(&record, purpose)? {
        return Ok((record, Files { root, owners, _lock: None }));
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
    let owners = Translation::of(&record);
    Ok((record, Files { root, owners, _lock: Some(lock) }))
}

fn again(engine: &Engine, id: &ContainerId, who: &str) -> Result<ContainerRecord> {
    engine.db()?.read(|txn| txn.container(id))?.ok_or_else(|| super::no_such(who))
}

fn running(record: &ContainerRecord, purpose: Purpose) -> Result<Option<(OwnedFd, Translation)>> {
    let state = &record.state;
    match state.status {
        Status::Running | Status::Paused if state.pid > 0 => {
            let seen = if purpose == Purpose::RootOnly { Seen::Root } else { Seen::Everything };
            let (root, maps) = view::of_running(state.pid, state.pid_start_ticks, seen)?;
            Ok(Some((root, Translation(maps))))
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
        volatile: record.config.host.auto_remove,
    };
    let volumes = match purpose {
        Purpose::RootOnly => Vec::new(),
        _ => super::start::resolve_mounts(engine, record)?,
    };
    let ids = super::userns::maps(&record.config.host);
    view::of_stopped(&rootfs, &volumes, access, ids.as_ref(), &engine.layout().containers())
        .context(|| format!("open the files of container {}", record.id.short()))
}

/// The image that a container was made of.
pub(crate) fn image_of(engine: &Engine, record: &ContainerRecord) -> Result<Image> {
    engine
        .db()?
        .read(|txn| txn.image(&record.config.image_id))?
        .ok_or_else(|| Error::not_found(format!("No such image: {}", record.config.image_id)))
}
