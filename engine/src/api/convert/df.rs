//! The answer of `GET /system/df`, in the shape that the client's version knows.

use super::{artifact, image, signed, summary, volume};
use crate::Engine;
use crate::system::df::{DiskUsage, Usage, VolumeUsage};
use bollard_stubs::models as wire;
use dhow_model::Timestamp;
use serde_json::{Map, Value, json};

/// Up to API 1.51: lists of everything.
pub(in crate::api) fn lists(engine: &Engine, usage: &DiskUsage, now: Timestamp) -> serde_json::Result<Value> {
    Ok(json!({
        "LayersSize": usage.layers_bytes,
        "Images": images(usage)?,
        "Containers": containers(usage, now)?,
        "Volumes": volumes(engine, usage)?,
        "BuildCache": [],
        "BuilderSize": 0,
    }))
}

/// Since API 1.52: sums, and the lists when they are asked for.
pub(in crate::api) fn sums(
    engine: &Engine,
    usage: &DiskUsage,
    build_cache: bool,
    verbose: bool,
    now: Timestamp,
) -> serde_json::Result<Value> {
    let mut answer = Map::new();
    let mut add = |name: &str, sums: Option<Usage>, items: Value| {
        let Some(sums) = sums else { return };
        let mut kind = json!({
            "ActiveCount": sums.active,
            "TotalCount": sums.total,
            "Reclaimable": sums.reclaimable,
            "TotalSize": sums.bytes,
        });
        if verbose {
            kind["Items"] = items;
        }
        answer.insert(name.to_owned(), kind);
    };
    add("ImageUsage", usage.images.as_ref().map(|found| found.0), images(usage)?);
    add("ContainerUsage", usage.containers.as_ref().map(|found| found.0), containers(usage, now)?);
    add("VolumeUsage", usage.volumes.as_ref().map(|found| found.0), volumes(engine, usage)?);
    add("BuildCacheUsage", build_cache.then(Usage::default), json!([]));
    Ok(answer.into())
}

/// `null` for what was not asked for.
fn images(usage: &DiskUsage) -> serde_json::Result<Value> {
    let Some((_, images)) = &usage.images else { return Ok(Value::Null) };
    let rows = images
        .iter()
        .map(|(row, shared)| wire::ImageSummary { shared_size: signed(*shared), ..image::summary(row) });
    let artifacts = usage.artifacts.iter().map(artifact::summary);
    serde_json::to_value(rows.chain(artifacts).collect::<Vec<_>>())
}

fn containers(usage: &DiskUsage, now: Timestamp) -> serde_json::Result<Value> {
    let Some((_, containers)) = &usage.containers else { return Ok(Value::Null) };
    serde_json::to_value(containers.iter().map(|row| summary::show(row, now)).collect::<Vec<_>>())
}

fn volumes(engine: &Engine, usage: &DiskUsage) -> serde_json::Result<Value> {
    let Some((_, volumes)) = &usage.volumes else { return Ok(Value::Null) };
    let show = |usage: &VolumeUsage| wire::Volume {
        usage_data: Some(wire::VolumeUsageData { size: signed(usage.bytes), ref_count: signed(usage.users) }),
        ..volume::show(&usage.record, &crate::volume::mountpoint(engine, &usage.record.name))
    };
    serde_json::to_value(volumes.iter().map(show).collect::<Vec<_>>())
}
