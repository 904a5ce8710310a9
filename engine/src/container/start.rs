//! `start`: from a recorded container to a running process, by way of its monitor.
//!
//! ```text
//!   lock ─ Starting (commit) ─ plan ─ spawn monitor ──► prepare, clone, exec ─ Running (commit)
//!                                        ▲                                        │
//!                                        └────────── report: started / failed ◄───┘
//! ```
//! If this process dies on the way, the monitor carries on and records what became of it; if both die,
//! recovery finds `Starting` without a monitor.

use super::streams::{MonitorEnds, Started, WantedStreams};
use crate::network::carrier::Firewall;
use crate::{Engine, visible, volume};
use dhow_model::image::Image;
use dhow_model::mount::MountSource;
use dhow_model::network::Network;
use dhow_model::state::{Move, Status};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_runtime::monitor::{MonitorKind, MonitorSpec, Report, spawn_monitor};
use dhow_runtime::spec::{LaunchSpec, ResolvedMount, Rootfs};
use dhow_runtime::timeline::{self, Actor, Phase};
use dhow_store::db::ContainerRecord;
use dhow_store::lock;
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Starts a container.
///
/// # Errors
/// `NotFound`; `NotModified` when it runs; `CommandNotFound`, `CommandNotExecutable` or `StartFailed` with
/// the step that failed.
pub fn start(engine: &Engine, who: &str) -> Result<()> {
    start_with_streams(engine, who, WantedStreams::default()).map(|_| ())
}

/// Starts a container, and says where the time went: in this verb, in the monitor, in the new process.
///
/// # Errors
/// As [`start`].
pub fn start_timed(engine: &Engine, who: &str) -> Result<Vec<Phase>> {
    timeline::begin(Actor::Engine, None);
    let started = start(engine, who);
    let phases = timeline::take();
    started.map(|()| phases)
}

/// Starts a container, and hands out its process and its streams.
///
/// # Errors
/// As [`start`].
pub fn start_with_streams(engine: &Engine, who: &str, wanted: WantedStreams) -> Result<Started> {
    let found = super::find_settled(engine, who)?;
    let id = found.id;
    let _lock = lock::lock_container(engine.layout(), &id)?;
    let record = engine.db()?.write(|txn| {
        let mut record = txn.container(&id)?.ok_or_else(|| super::no_such(who))?;
        match record.state.status {
            Status::Running | Status::Restarting => {
                return Err(Error::new(
                    ErrorKind::NotModified,
                    format!("container {who} is already running"),
                ));
            }
            Status::Paused => {
                return Err(Error::conflict("cannot start a paused container, try unpause instead"));
            }
            Status::Removing | Status::Dead => {
                return Err(Error::conflict("container is marked for removal and cannot be started"));
            }
            status => record.state.status = status.after(Move::BeginStart)?,
        }
        record.state.stopped_by_user = false;
        record.state.restart_count = 0;
        record.state.error.clear();
        record.state.life.begin_run();
        txn.update_state(&id, &record.state)?;
        Ok(record)
    })?;
    timeline::mark("write the intent");
    let launched = super::streams::open(wanted, record.config.tty, record.config.open_stdin)
        .and_then(|(streams, ends)| Ok((launch(engine, &record, ends)?, streams)));
    match launched {
        Ok(((Report::Started { pid, timeline, .. }, pidfd), streams)) => {
            timeline::add(timeline);
            timeline::mark("spawn the monitor and wait for its report");
            Ok(Started { pid, pidfd, streams })
        }
        // Recorded by the monitor.
        Ok(((Report::Failed { kind, message, .. }, _), _)) => Err(Error::new(kind, message)),
        Err(error) => {
            settle_failed_start(engine, &record, &error)?;
            Err(error)
        }
    }
}

/// The monitor could not be spawned, or died before it could record anything.
fn settle_failed_start(engine: &Engine, record: &ContainerRecord, error: &Error) -> Result<()> {
    if lock::monitor_alive(engine.layout(), &record.id)? {
        return Ok(());
    }
    super::clear_cgroup(engine, record)?;
    let mut firewall = Firewall::default();
    let withdrawn =
        crate::network::start::disconnect(engine.layout(), &mut *engine.db()?, &record.id, &mut firewall)?;
    let removed = engine.db()?.write(|txn| {
        crate::network::start::release(txn, &record.id)?;
        let Some(mut now) = txn.container(&record.id)? else { return Ok(None) };
        if now.state.status != Status::Starting {
            return Ok(None);
        }
        now.state.status = now.state.status.after(Move::StartFailed)?;
        now.state.exit_code = START_FAILED;
        now.state.error = error.to_string();
        now.state.life.fail_start();
        let remove = now.config.host.auto_remove;
        if remove {
            now.state.status = now.state.status.after(Move::BeginRemove)?;
        }
        txn.update_state(&now.id, &now.state)?;
        Ok(remove.then_some(now))
    })?;
    drop(withdrawn);
    match removed {
        Some(record) => super::remove::delete(engine.layout(), &mut *engine.db()?, &record, true),
        None => Ok(()),
    }
}

/// Exit code of a container that could not be started for a reason of the engine's own.
pub(crate) const START_FAILED: i32 = 128;

fn launch(
    engine: &Engine,
    record: &ContainerRecord,
    streams: MonitorEnds,
) -> Result<(Report, Option<OwnedFd>)> {
    make_directories(engine, record)?;
    let image = engine
        .db()?
        .read(|txn| txn.image(&record.config.image_id))?
        .ok_or_else(|| Error::not_found(format!("No such image: {}", record.config.image_id)))?;
    let spec = launch_spec(engine, record, &image)?;
    let plan = dhow_runtime::plan_launch(&spec, engine.facts()?)?;
    timeline::mark("plan the launch");
    let clients: Vec<OwnedFd> =
        engine.take_early_clients(&record.id).into_iter().map(OwnedFd::from).collect();
    let layout = engine.layout();
    let state_dir = layout.container_state(&record.id);
    let config = &record.config;
    let log = super::log::target(engine, record, &image)?;
    let monitor = MonitorSpec {
        layout: layout.clone(),
        id: record.id.clone(),
        kind: MonitorKind::Container,
        plan,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        console_size: config.host.console_size,
        log,
        attach_socket: state_dir.join("attach.sock"),
        lock_file: state_dir.join("monitor.lock"),
        clients: u32::try_from(clients.len()).unwrap_or(u32::MAX),
        timeline_since: timeline::is_kept().then(timeline::now),
        streams: streams.iter().map(|(stream, _)| *stream).collect(),
        probe: super::health::plan(engine, record)?,
        external: super::oci::external(engine, record)?,
    };
    let place = dhow_runtime::cgroup::monitors::place(&engine.facts()?.cgroup)?;
    spawn_monitor(engine.helper(), &monitor, clients, streams, &place)?.wait_started()
}

fn launch_spec(engine: &Engine, record: &ContainerRecord, image: &Image) -> Result<LaunchSpec> {
    let directory = engine.layout().container(&record.id);
    let mut config = record.config.clone();
    let (donors, (hostname_file, hosts_file, resolv_conf_file)) = {
        let mut db = engine.db()?;
        let (resolves, gateway) = db.read(|txn| {
            let linked = crate::network::start::link_variables(txn, record)?;
            config.env = super::create::merge_env(&linked, &config.env);
            let networks = crate::network::of_config(txn, &config.host)?;
            Ok((
                networks.iter().any(Network::resolves_names),
                crate::network::host_gateway(txn, &config.host)?,
            ))
        })?;
        let files =
            super::etc::write(&engine.layout().container_state(&record.id), &config, resolves, gateway)
                .context(|| format!("prepare container {}", record.id.short()))?;
        let donors = super::join::donors(&mut db, &config.host)?;
        (donors, super::join::share_names(&mut db, engine.layout(), &mut config, files)?)
    };
    let security = &record.config.host.security;
    let seccomp = if security.privileged {
        None
    } else {
        super::seccomp::compiled(engine, &security.seccomp, security.capability_mask())?
    };
    Ok(LaunchSpec {
        id: record.id.clone(),
        config,
        rootfs: Rootfs::Overlay {
            lower: engine.layers().lower_dirs(&image.layers)?,
            upper: directory.join("upper"),
            work: directory.join("work"),
            // It goes with its end, and with the machine's.
            volatile: record.config.host.auto_remove,
        },
        hostname_file,
        hosts_file,
        resolv_conf_file,
        volumes: resolve_mounts(engine, record)?,
        cgroup_parent: super::cgroup_parent(record).to_owned(),
        init_binary: if record.config.host.init {
            Some(super::init::program(engine.layout())?)
        } else {
            None
        },
        donors,
        seccomp,
        id_maps: super::userns::maps(&record.config.host),
    })
}

/// Every mount with its host path; what a start would make on the host for it is made.
pub(crate) fn resolve_mounts(engine: &Engine, record: &ContainerRecord) -> Result<Vec<ResolvedMount>> {
    record
        .config
        .host
        .mounts
        .iter()
        .map(|mount| {
            let host_path = volume::host_path(engine.layout(), mount);
            let (mut copy_up, mut filesystem, mut layers) = (false, None, Vec::new());
            match (&mount.source, &host_path) {
                (MountSource::Volume { name, nocopy, details, .. }, Some(_)) => {
                    // A part of a volume is there already, or the start fails.
                    copy_up = !nocopy && details.subpath.is_empty();
                    let known = engine.db()?.read(|txn| txn.find_volume(name))?;
                    volume::make(engine, &known)?;
                    filesystem = volume::local::filesystem(engine.layout(), &known)?;
                }
                (MountSource::Bind { create, .. }, Some(path)) => check_bind(path, *create)?,
                (MountSource::Image { name, id: Some(id), .. }, _) => {
                    let image = engine.db()?.read(|txn| txn.image(id))?;
                    let image = image.ok_or_else(|| Error::not_found(format!("No such image: {name}")))?;
                    layers = engine.layers().lower_dirs(&image.layers)?;
                }
                _ => {}
            }
            Ok(ResolvedMount { mount: mount.clone(), host_path, copy_up, filesystem, layers })
        })
        .collect()
}

/// `-v` makes a missing source directory, `--mount` refuses it: Docker's rule and words.
fn check_bind(path: &Path, create: bool) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    if !create {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            path.display()
        )));
    }
    visible::make_directories(path).context(|| format!("create bind source {}", path.display()))
}

/// Makes the container's own directories; existing ones are fine.
pub(crate) fn make_directories(engine: &Engine, record: &ContainerRecord) -> Result<()> {
    let directory = engine.layout().container(&record.id);
    let state = engine.layout().container_state(&record.id);
    let private = |path: PathBuf| {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .context(|| format!("create {}", path.display()))
    };
    private(state)?;
    private(directory.clone())?;
    private(directory.join("work"))?;
    // The upper directory is the container's `/` once mounted: its mode is what processes inside see.
    visible::make_directory(&directory.join("upper"))
        .context(|| format!("create {}", directory.join("upper").display()))?;
    super::storage::enforce(engine.layout(), record)
}
