//! Volumes: the body that makes one, and what is told of one.

use super::{sorted, unsorted, unsupported, volume_driver};
use crate::volume::VolumeRequest;
use bollard_stubs::models as wire;
use dhow_model::Result;
use dhow_store::db::VolumeRecord;
use std::path::Path;

/// Validates a request for a volume: its name, if it has one, its labels, and the options of its driver.
pub(in crate::api) fn parse(body: &wire::VolumeCreateRequest) -> Result<VolumeRequest> {
    volume_driver(body.driver.as_deref())?;
    if body.cluster_volume_spec.is_some() {
        return unsupported("cluster volumes (ClusterVolumeSpec)");
    }
    Ok(VolumeRequest {
        name: body.name.clone().filter(|n| !n.is_empty()),
        labels: sorted(&body.labels),
        options: sorted(&body.driver_opts),
    })
}

/// What is known of a volume.
pub(in crate::api) fn show(volume: &VolumeRecord, mountpoint: &Path) -> wire::Volume {
    wire::Volume {
        name: volume.name.clone(),
        driver: "local".to_owned(),
        mountpoint: mountpoint.display().to_string(),
        created_at: Some(volume.created.to_string()),
        labels: unsorted(&volume.labels),
        scope: Some(wire::VolumeScopeEnum::LOCAL),
        options: unsorted(&volume.options),
        ..wire::Volume::default()
    }
}
