//! Images: list rows, everything about one, its history, and what a removal did.

use super::signed;
use crate::image::inspect::InspectedImage;
use crate::image::list::ImageSummary;
use crate::image::remove::Removed;
use bollard_stubs::models as wire;
use dhow_model::image::{History, Image, ImageConfig};
use dhow_model::{Digest, LowerLayer, Reference};
use dhow_store::db::Referrer;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

pub(super) fn tags(references: &[Reference]) -> Vec<String> {
    references.iter().filter(|r| r.tag().is_some()).map(Reference::familiar).collect()
}

/// The digests that it was pulled or pushed by: `debian@sha256:…`.
pub(super) fn digests(references: &[Reference]) -> Vec<String> {
    references.iter().filter(|r| r.digest().is_some()).map(Reference::familiar).collect()
}

fn list<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

/// One row of `images`.
pub(in crate::api) fn summary(row: &ImageSummary) -> wire::ImageSummary {
    wire::ImageSummary {
        id: row.image.id.to_string(),
        repo_tags: tags(&row.references),
        repo_digests: digests(&row.references),
        created: row.image.created.map_or(0, dhow_model::Timestamp::seconds),
        size: signed(row.image.size_bytes),
        // Not computed: it costs a walk over all images.
        shared_size: -1,
        labels: super::unsorted(&row.image.config.labels),
        containers: signed(row.containers),
        ..wire::ImageSummary::default()
    }
}

/// The same with its manifests.
pub(in crate::api) fn summary_with_manifests(
    row: &ImageSummary,
    found: &InspectedImage,
) -> wire::ImageSummary {
    wire::ImageSummary { manifests: Some(manifests(found)), ..summary(row) }
}

/// The generated answer, and what it lacks.
#[derive(Serialize)]
pub(in crate::api) struct ImageInspect {
    #[serde(flatten)]
    known: wire::ImageInspect,
    #[serde(rename = "Parent")]
    parent: &'static str,
    #[serde(rename = "DockerVersion")]
    docker_version: String,
    /// Before API 1.44 clients read this one.
    #[serde(rename = "VirtualSize", skip_serializing_if = "Option::is_none")]
    virtual_size: Option<i64>,
    /// Signatures, attestations and the like: Docker has a place for the attestations of an index alone.
    #[serde(rename = "Referrers", skip_serializing_if = "Vec::is_empty")]
    referrers: Vec<Value>,
}

/// Everything about one image.
pub(in crate::api) fn inspect(
    found: &InspectedImage,
    with_virtual_size: bool,
    with_manifests: bool,
) -> ImageInspect {
    let image = &found.image;
    // The stored configuration knows fields that the engine has no use for, and users still ask about.
    let raw: Value = serde_json::from_slice(&found.raw_config).unwrap_or_default();
    let text = |field: &str| raw.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let comment = match text("comment") {
        empty if empty.is_empty() => image.history.last().map(|h| h.comment.clone()).unwrap_or_default(),
        comment => comment,
    };
    let size = signed(image.size_bytes);
    ImageInspect {
        known: wire::ImageInspect {
            id: Some(image.id.to_string()),
            repo_tags: Some(tags(&found.references)),
            repo_digests: Some(digests(&found.references)),
            comment: Some(comment),
            created: image.created.map(|t| t.to_string()),
            author: Some(image.author.clone()),
            config: Some(config(image, &raw["config"])),
            architecture: Some(image.architecture.clone()),
            variant: Some(image.variant.clone()).filter(|v| !v.is_empty()),
            os: Some(image.os.clone()),
            os_version: Some(text("os.version")).filter(|v| !v.is_empty()),
            size: Some(size),
            graph_driver: Some(graph_driver(&found.lower, None)),
            root_fs: Some(wire::ImageInspectRootFs {
                typ: "layers".to_owned(),
                layers: Some(image.layers.iter().map(Digest::to_string).collect()),
            }),
            metadata: Some(wire::ImageInspectMetadata {
                last_tag_time: Some(super::inspect::NEVER.to_owned()),
            }),
            manifests: with_manifests.then(|| manifests(found)),
            ..wire::ImageInspect::default()
        },
        parent: "",
        docker_version: text("docker_version"),
        virtual_size: with_virtual_size.then_some(size),
        referrers: found.referrers.iter().map(referrer).collect(),
    }
}

/// One thing that refers to an image: a descriptor, as the distribution specification lists them, and what it is about.
pub(super) fn referrer(referrer: &Referrer) -> Value {
    let manifest = &referrer.manifest;
    json!({
        "Subject": referrer.subject.as_str(),
        "Descriptor": {
            "mediaType": manifest.media_type,
            "digest": manifest.digest.as_str(),
            "size": manifest.size_bytes,
            "artifactType": referrer.artifact_type,
            "annotations": referrer.annotations,
        },
        "Kind": if referrer.reference_type.is_some() { "attestation" } else { "referrer" },
        "Size": referrer.parts().map(|blob| blob.size_bytes).sum::<u64>(),
        "Repository": referrer.repository,
    })
}

/// What points at a manifest.
pub(super) fn descriptor(
    digest: &Digest,
    media_type: Option<&str>,
    bytes: Option<u64>,
) -> wire::OciDescriptor {
    wire::OciDescriptor {
        media_type: media_type.map(str::to_owned),
        digest: Some(digest.to_string()),
        size: bytes.map(signed),
        ..wire::OciDescriptor::default()
    }
}

/// What an image consists of, where a client asks for it (`manifests=1`): its manifest, and the attestations of it.
fn manifests(found: &InspectedImage) -> Vec<wire::ImageManifestSummary> {
    let image = &found.image;
    let media_type = found.manifest.as_ref().map(|(media_type, _)| media_type.as_str());
    let bytes = found.manifest.as_ref().map(|(_, bytes)| *bytes);
    let of_image = image.manifest.iter().map(|digest| wire::ImageManifestSummary {
        id: digest.to_string(),
        descriptor: descriptor(digest, media_type, bytes),
        available: true,
        size: wire::ImageManifestSummarySize {
            total: signed(image.size_bytes) + signed(bytes.unwrap_or(0)),
            content: signed(bytes.unwrap_or(0)),
        },
        kind: Some(wire::ImageManifestSummaryKindEnum::IMAGE),
        image_data: Some(wire::ImageManifestSummaryImageData {
            platform: wire::OciPlatform {
                architecture: Some(image.architecture.clone()),
                os: Some(image.os.clone()),
                variant: Some(image.variant.clone()).filter(|variant| !variant.is_empty()),
                ..wire::OciPlatform::default()
            },
            containers: found.containers.iter().map(ToString::to_string).collect(),
            size: wire::ImageManifestSummaryImageDataSize { unpacked: signed(image.size_bytes) },
        }),
        attestation_data: None,
    });
    let attestations = found.referrers.iter().filter(|referrer| referrer.reference_type.is_some());
    let attestations = attestations.map(|referrer| {
        let manifest = &referrer.manifest;
        let bytes = signed(referrer.parts().map(|blob| blob.size_bytes).sum());
        wire::ImageManifestSummary {
            id: manifest.digest.to_string(),
            descriptor: descriptor(&manifest.digest, Some(&manifest.media_type), Some(manifest.size_bytes)),
            available: true,
            size: wire::ImageManifestSummarySize { total: bytes, content: bytes },
            kind: Some(wire::ImageManifestSummaryKindEnum::ATTESTATION),
            image_data: None,
            attestation_data: Some(wire::ImageManifestSummaryAttestationData {
                _for: referrer.subject.to_string(),
            }),
        }
    });
    of_image.chain(attestations).collect()
}

/// The configuration that containers of the image start from.
fn config(image: &Image, raw: &Value) -> wire::ImageConfig {
    let ImageConfig {
        user,
        env,
        entrypoint,
        cmd,
        working_dir,
        labels,
        volumes,
        exposed_ports,
        stop_signal,
        healthcheck: _,
        shell: _,
        on_build: _,
    } = &image.config;
    let raw_as = |field: &str| raw.get(field).cloned().unwrap_or_default();
    wire::ImageConfig {
        user: Some(user.clone()),
        exposed_ports: Some(exposed_ports.iter().cloned().collect()),
        env: list(env),
        cmd: list(cmd),
        healthcheck: serde_json::from_value(raw_as("Healthcheck")).unwrap_or_default(),
        args_escaped: serde_json::from_value(raw_as("ArgsEscaped")).unwrap_or_default(),
        volumes: Some(volumes.iter().cloned().collect()),
        working_dir: Some(working_dir.clone()),
        entrypoint: list(entrypoint),
        on_build: serde_json::from_value(raw_as("OnBuild")).unwrap_or_default(),
        labels: Some(super::unsorted(labels)),
        stop_signal: Some(stop_signal.clone()).filter(|s| !s.is_empty()),
        shell: serde_json::from_value(raw_as("Shell")).unwrap_or_default(),
    }
}

/// Where the layers lie, in the words of Docker's overlay2 driver.
pub(super) fn graph_driver(lower: &[LowerLayer], writable: Option<(&Path, &Path)>) -> wire::DriverData {
    let mut data = HashMap::new();
    let text = |path: &Path| path.display().to_string();
    let (upper, below) = match writable {
        Some((upper, work)) => {
            data.insert("WorkDir".to_owned(), text(work));
            (Some(upper), lower)
        }
        None => (lower.first().map(LowerLayer::path), lower.get(1..).unwrap_or_default()),
    };
    if let Some(upper) = upper {
        data.insert("UpperDir".to_owned(), text(upper));
    }
    if !below.is_empty() {
        data.insert(
            "LowerDir".to_owned(),
            below.iter().map(|layer| text(layer.path())).collect::<Vec<_>>().join(":"),
        );
    }
    wire::DriverData { name: "overlay2".to_owned(), data }
}

/// How an image was made, the newest step first.
pub(in crate::api) fn history(
    id: &Digest,
    references: &[Reference],
    steps: &[History],
) -> Vec<wire::ImageHistoryResponseItem> {
    steps
        .iter()
        .enumerate()
        .map(|(place, step)| wire::ImageHistoryResponseItem {
            // Only the finished image has an id; the steps below it never were images.
            id: if place == 0 { id.to_string() } else { "<missing>".to_owned() },
            created: step.created.map_or(0, dhow_model::Timestamp::seconds),
            created_by: step.created_by.clone(),
            tags: if place == 0 { tags(references) } else { Vec::new() },
            size: signed(step.size_bytes),
            comment: step.comment.clone(),
        })
        .collect()
}

/// What a removal did, line by line.
pub(in crate::api) fn removed(removed: &[Removed]) -> Vec<wire::ImageDeleteResponseItem> {
    removed
        .iter()
        .map(|step| match step {
            Removed::Untagged(reference) => {
                wire::ImageDeleteResponseItem { untagged: Some(reference.familiar()), deleted: None }
            }
            Removed::Deleted(digest) => {
                wire::ImageDeleteResponseItem { untagged: None, deleted: Some(digest.to_string()) }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_model::Timestamp;

    fn image() -> Image {
        Image {
            id: Digest::from_sha256([1; 32]),
            manifest: None,
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: String::new(),
            created: Some(Timestamp::from_seconds(1_700_000_000)),
            author: String::new(),
            config: ImageConfig { cmd: vec!["sh".into()], ..ImageConfig::default() },
            layers: vec![Digest::from_sha256([2; 32])],
            history: vec![History { comment: "made".into(), ..History::default() }],
            size_bytes: 5,
            installed: Timestamp(0),
        }
    }

    #[test]
    fn fields_that_the_engine_does_not_use_come_from_the_stored_configuration() {
        let found = InspectedImage {
            image: image(),
            references: vec![Reference::parse("debian:12").unwrap()],
            lower: vec!["/l/2".into(), "/l/1".into()],
            raw_config:
                br#"{"docker_version":"9","config":{"Healthcheck":{"Test":["NONE"]},"OnBuild":["RUN x"]}}"#
                    .to_vec(),
            referrers: Vec::new(),
            manifest: None,
            containers: Vec::new(),
        };
        let shown = serde_json::to_value(inspect(&found, true, false)).unwrap();
        assert_eq!(shown["RepoTags"], json!(["debian:12"]));
        assert_eq!(shown["Config"]["OnBuild"], json!(["RUN x"]));
        assert_eq!(shown["Config"]["Healthcheck"]["Test"], json!(["NONE"]));
        assert_eq!(shown["Config"]["Cmd"], json!(["sh"]));
        assert_eq!(shown["DockerVersion"], "9");
        assert_eq!(shown["Comment"], "made");
        assert_eq!(shown["VirtualSize"], 5);
        assert_eq!(shown["GraphDriver"]["Data"], json!({"UpperDir": "/l/2", "LowerDir": "/l/1"}));
    }

    #[test]
    fn only_the_first_step_has_an_id() {
        let steps = [History::default(), History::default()];
        let rows = history(&Digest::from_sha256([1; 32]), &[], &steps);
        assert!(rows[0].id.starts_with("sha256:0101"));
        assert_eq!(rows[1].id, "<missing>");
    }
}
