//! `system df`: what takes space, and how much of it nothing uses.

use super::disk::tree_bytes;
use crate::Engine;
use crate::container::list::{ListOptions, Summary};
use crate::filters::Filters;
use crate::image::artifacts::{self, ArtifactSummary};
use crate::image::list::ImageSummary;
use crate::image::referrers::{self, is_about};
use crate::{container, image, volume};
use dhow_model::state::Status;
use dhow_model::{Digest, Result};
use dhow_store::db::{Referrer, VolumeRecord};
use std::collections::{BTreeMap, BTreeSet};

/// What is measured; each kind costs a walk of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    /// Images and layers: one query.
    pub images: bool,
    /// Containers: a walk over each writable layer.
    pub containers: bool,
    /// Volumes: a walk over each.
    pub volumes: bool,
}

/// Sums of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many there are.
    pub total: u64,
    /// How many are in use.
    pub active: u64,
    /// Bytes of all.
    pub bytes: u64,
    /// Bytes of those that are not in use.
    pub reclaimable: u64,
}

/// An image and the bytes of its layers that others have, too.
pub type SharedImage = (ImageSummary, u64);

/// A volume, its bytes, and how many containers use it.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    /// The volume.
    pub record: VolumeRecord,
    /// Bytes of its files.
    pub bytes: u64,
    /// Containers that use it, running or not.
    pub users: u64,
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    /// Bytes of all layers, each counted once, of artifacts, and of what refers to images.
    pub layers_bytes: u64,
    /// All images.
    pub images: Option<(Usage, Vec<SharedImage>)>,
    /// What is no image, listed with them: their sums count it.
    pub artifacts: Vec<ArtifactSummary>,
    /// All containers, with their sizes.
    pub containers: Option<(Usage, Vec<Summary>)>,
    /// All volumes.
    pub volumes: Option<(Usage, Vec<VolumeUsage>)>,
}

/// Measures.
///
/// # Errors
/// When the database or a directory cannot be read.
pub fn usage(engine: &Engine, kinds: Kinds) -> Result<DiskUsage> {
    let mut found = DiskUsage::default();
    if kinds.images {
        let Images { layers_bytes, rows, used_referrers_bytes } = images(engine)?;
        found.layers_bytes = layers_bytes;
        found.artifacts = artifacts::list(engine, &Filters::default())?;
        let mut sums = sum_images(layers_bytes, used_referrers_bytes, &rows);
        sums.total += found.artifacts.len() as u64;
        found.images = Some((sums, rows));
    }
    if kinds.containers {
        let all = ListOptions { all: true, size: true, ..ListOptions::default() };
        let containers = container::list::list(engine, &all)?;
        found.containers = Some((sum_containers(&containers), containers));
    }
    if kinds.volumes {
        let volumes = volumes(engine)?;
        found.volumes = Some((sum_volumes(&volumes), volumes));
    }
    Ok(found)
}

/// Images as they are measured.
struct Images {
    layers_bytes: u64,
    rows: Vec<SharedImage>,
    /// Bytes of what refers to those that are in use.
    used_referrers_bytes: u64,
}

fn images(engine: &Engine) -> Result<Images> {
    let images = image::list::list(engine, &Filters::default())?;
    let (layers, referrers, artifacts) =
        engine.db()?.read(|txn| Ok((txn.layers()?, txn.referrers()?, txn.artifacts()?)))?;
    let sizes: BTreeMap<&Digest, u64> =
        layers.iter().map(|layer| (&layer.diff_id, layer.size_bytes)).collect();
    let mut owners: BTreeMap<Digest, u64> = BTreeMap::new();
    for row in &images {
        let own: BTreeSet<&Digest> = row.image.layers.iter().collect();
        for layer in own {
            *owners.entry(layer.clone()).or_default() += 1;
        }
    }
    let shared = |row: &ImageSummary| {
        let others =
            row.image.layers.iter().filter(|layer| owners.get(layer).is_some_and(|count| *count > 1));
        others.filter_map(|layer| sizes.get(layer)).sum()
    };
    let images: Vec<SharedImage> =
        images.into_iter().map(|row| (shared(&row), row)).map(|(bytes, row)| (row, bytes)).collect();
    let all: u64 = sizes.values().sum();
    let mut blobs: BTreeMap<&Digest, u64> = BTreeMap::new();
    let of_artifacts = artifacts.iter().flat_map(|(artifact, _)| artifact.parts().into_values());
    for blob in of_artifacts.chain(referrers.iter().flat_map(Referrer::parts)) {
        blobs.insert(&blob.digest, blob.size_bytes);
    }
    let kept: u64 = blobs.values().sum();
    let is_used = |referrer: &&Referrer| {
        let mut used = images.iter().map(|(row, _)| row).filter(|row| row.containers > 0);
        used.any(|row| is_about(referrer, &row.image, &row.references))
    };
    Ok(Images {
        layers_bytes: all + kept,
        used_referrers_bytes: referrers::bytes(referrers.iter().filter(is_used)),
        rows: images,
    })
}

fn sum_images(layers_bytes: u64, used_referrers_bytes: u64, images: &[SharedImage]) -> Usage {
    let active = || images.iter().filter(|(row, _)| row.containers > 0);
    // What only images in use have. A layer that two of those share counts as reclaimable, as it does for Docker.
    let used: u64 = active().map(|(row, shared)| row.image.size_bytes.saturating_sub(*shared)).sum();
    Usage {
        total: images.len() as u64,
        active: active().count() as u64,
        bytes: layers_bytes,
        reclaimable: layers_bytes.saturating_sub(used + used_referrers_bytes),
    }
}

fn sum_containers(containers: &[Summary]) -> Usage {
    let bytes = |row: &Summary| row.size.map_or(0, |(rw, _)| rw);
    let is_active = |row: &Summary| {
        matches!(row.container.state.status, Status::Running | Status::Paused | Status::Restarting)
    };
    Usage {
        total: containers.len() as u64,
        active: containers.iter().filter(|row| is_active(row)).count() as u64,
        bytes: containers.iter().map(bytes).sum(),
        reclaimable: containers.iter().filter(|row| !is_active(row)).map(bytes).sum(),
    }
}

fn volumes(engine: &Engine) -> Result<Vec<VolumeUsage>> {
    let records = engine.db()?.read(|txn| {
        let with_users = |record: VolumeRecord| {
            let users = txn.containers_using_volume(&record.name)?.len() as u64;
            Ok((record, users))
        };
        txn.volumes()?.into_iter().map(with_users).collect::<Result<Vec<_>>>()
    })?;
    let measure = |(record, users): (VolumeRecord, u64)| {
        let bytes = tree_bytes(&volume::mountpoint(engine, &record.name))?;
        Ok(VolumeUsage { record, bytes, users })
    };
    records.into_iter().map(measure).collect()
}

fn sum_volumes(volumes: &[VolumeUsage]) -> Usage {
    let unused = || volumes.iter().filter(|volume| volume.users == 0);
    Usage {
        total: volumes.len() as u64,
        active: (volumes.len() - unused().count()) as u64,
        bytes: volumes.iter().map(|volume| volume.bytes).sum(),
        reclaimable: unused().map(|volume| volume.bytes).sum(),
    }
}
