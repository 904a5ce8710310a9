//! What is no image, among images: what both have in common, and what it consists of.

use super::image::{descriptor, digests, referrer, tags};
use super::signed;
use crate::image::artifacts::{ArtifactSummary, InspectedArtifact};
use bollard_stubs::models as wire;
use dhow_store::db::{Artifact, KeptBlob};
use serde_json::{Value, json};

/// One row of `images`.
pub(super) fn summary(row: &ArtifactSummary) -> wire::ImageSummary {
    wire::ImageSummary {
        id: row.artifact.id().to_string(),
        repo_tags: tags(&row.references),
        repo_digests: digests(&row.references),
        created: row.created().seconds(),
        size: signed(row.artifact.size_bytes()),
        shared_size: -1,
        descriptor: Some(described(&row.artifact)),
        ..wire::ImageSummary::default()
    }
}

/// All rows of `images`, the newest first.
pub(in crate::api) fn among(
    images: Vec<wire::ImageSummary>,
    artifacts: &[ArtifactSummary],
) -> Vec<wire::ImageSummary> {
    let mut rows = images;
    rows.extend(artifacts.iter().map(summary));
    if !artifacts.is_empty() {
        // Those of one moment stay in their order.
        rows.sort_by_key(|row| std::cmp::Reverse(row.created));
    }
    rows
}

fn described(artifact: &Artifact) -> wire::OciDescriptor {
    let manifest = &artifact.manifest;
    wire::OciDescriptor {
        artifact_type: Some(artifact.artifact_type.clone()),
        annotations: (!artifact.annotations.is_empty()).then(|| super::unsorted(&artifact.annotations)),
        ..descriptor(&manifest.digest, Some(&manifest.media_type), Some(manifest.size_bytes))
    }
}

/// Everything about one.
pub(in crate::api) fn inspect(found: &InspectedArtifact, with_manifests: bool) -> Value {
    let InspectedArtifact { summary, referrers } = found;
    let artifact = &summary.artifact;
    let blob = |blob: &KeptBlob| json!({ "mediaType": blob.media_type, "digest": blob.digest.as_str(), "size": blob.size_bytes });
    let size = signed(artifact.size_bytes());
    let mut shown = json!({
        "Id": artifact.id().as_str(),
        "RepoTags": tags(&summary.references),
        "RepoDigests": digests(&summary.references),
        "Created": summary.created().to_string(),
        "Size": size,
        "Descriptor": described(artifact),
        "Artifact": {
            "Type": artifact.artifact_type,
            "Config": blob(&artifact.config),
            "Layers": artifact.layers.iter().map(blob).collect::<Vec<_>>(),
        },
    });
    if !referrers.is_empty() {
        shown["Referrers"] = referrers.iter().map(referrer).collect();
    }
    if with_manifests {
        let manifest = wire::ImageManifestSummary {
            id: artifact.id().to_string(),
            descriptor: described(artifact),
            available: true,
            size: wire::ImageManifestSummarySize { total: size, content: size },
            kind: Some(wire::ImageManifestSummaryKindEnum::UNKNOWN),
            image_data: None,
            attestation_data: None,
        };
        shown["Manifests"] = json!([manifest]);
    }
    shown
}
