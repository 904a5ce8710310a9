//! `inspect`: everything that is known of one container.

use crate::Engine;
use crate::network::Joined;
use dhow_model::health::ProbeResult;
use dhow_model::image::Image;
use dhow_model::log::LogDriver;
use dhow_model::network::Published;
use dhow_model::{ContainerId, LowerLayer, Result};
use dhow_store::db::ContainerRecord;
use std::path::PathBuf;

/// What is known of a container.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// Its record.
    pub record: ContainerRecord,
    /// Its image, if it still exists.
    pub image: Option<Image>,
    /// The json-file log; `None` when nothing is kept.
    pub log_path: Option<PathBuf>,
    /// What is mounted on `/etc/hostname`.
    pub hostname_path: PathBuf,
    /// What is mounted on `/etc/hosts`.
    pub hosts_path: PathBuf,
    /// What is mounted on `/etc/resolv.conf`.
    pub resolv_conf_path: PathBuf,
    /// The last results of its health check, the oldest first.
    pub health_log: Vec<ProbeResult>,
    /// Running exec sessions.
    pub exec_ids: Vec<ContainerId>,
    /// The writable layer.
    pub upper: PathBuf,
    /// Overlayfs' work directory.
    pub work: PathBuf,
    /// The image's layers, top first.
    pub lower: Vec<LowerLayer>,
    /// Where each mount comes from on the host: targets to paths.
    pub volume_paths: Vec<(String, PathBuf)>,
    /// Bytes of the writable layer, and of that and the image together.
    pub size: Option<(u64, u64)>,
    /// Its networks, and its addresses on them while it runs.
    pub joined: Vec<Joined>,
    /// The ports that it publishes now.
    pub published: Vec<Published>,
}

/// Looks a container up.
///
/// # Errors
/// `NotFound`, or `InvalidArgument` for an ambiguous prefix.
pub fn inspect(engine: &Engine, who: &str, size: bool) -> Result<Inspected> {
    let record = super::find_settled(engine, who)?;
    let (image, execs, health_log, joined, published) = engine.db()?.read(|txn| {
        let log = if record.state.life.health.is_some() { txn.health_log(&record.id)? } else { Vec::new() };
        let joined = Joined::of(txn, &record.id, &record.name, &record.config.host)?;
        let published = txn.published_by(&record.id)?;
        Ok((txn.image(&record.config.image_id)?, txn.execs_of(&record.id)?, log, joined, published))
    })?;
    let layout = engine.layout();
    let directory = layout.container(&record.id);
    let state = layout.container_state(&record.id);
    let size = if size {
        let rw = super::list::writable_bytes(engine, &record.id)?;
        Some((rw, rw + image.as_ref().map_or(0, |i| i.size_bytes)))
    } else {
        None
    };
    let lower = match &image {
        Some(image) => engine.layers().lower_dirs(&image.layers)?,
        None => Vec::new(),
    };
    let volume_paths = record
        .config
        .host
        .mounts
        .iter()
        .filter_map(|mount| crate::volume::host_path(layout, mount).map(|path| (mount.target.clone(), path)))
        .collect();
    Ok(Inspected {
        // As in Docker, where the files of `local` are its own affair.
        log_path: super::log::path(engine, &record)
            .filter(|_| record.config.host.log.driver == LogDriver::JsonFile),
        hostname_path: state.join("hostname"),
        hosts_path: state.join("hosts"),
        resolv_conf_path: state.join("resolv.conf"),
        health_log,
        exec_ids: execs.into_iter().filter(|e| e.running).map(|e| e.id).collect(),
        upper: directory.join("upper"),
        work: directory.join("work"),
        lower,
        volume_paths,
        size,
        joined,
        published,
        image,
        record,
    })
}
