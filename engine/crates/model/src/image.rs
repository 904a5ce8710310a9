//! An image's own configuration: the part of the OCI image configuration (image-spec, config.md) and of
//! Docker's additions to it that the engine acts on. Unknown fields are kept by the stored blob, not here.

use crate::health::HealthCheck;
use crate::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What an image says about the containers made of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `user[:group]`; empty: root.
    pub user: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// What comes before the command.
    pub entrypoint: Vec<String>,
    /// The default command.
    pub cmd: Vec<String>,
    /// Absolute, or empty for `/`.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Paths that get an anonymous volume.
    pub volumes: BTreeSet<String>,
    /// `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// As written: `SIGQUIT`, `3`; empty: none.
    pub stop_signal: String,
    /// How its containers are checked.
    #[serde(default)]
    pub healthcheck: Option<HealthCheck>,
    /// What runs shell forms; empty: `/bin/sh -c`.
    #[serde(default)]
    pub shell: Vec<String>,
    /// Instructions for builds on top of it.
    #[serde(default)]
    pub on_build: Vec<String>,
}

/// One image that is installed: a configuration and its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the configuration blob: the image id.
    pub id: Digest,
    /// Digest of the manifest it came with; `None` for docker-archives and imports.
    pub manifest: Option<Digest>,
    /// `linux`.
    pub os: String,
    /// `amd64`, ….
    pub architecture: String,
    /// `v8`; may be empty.
    pub variant: String,
    /// When it was made, by its own word.
    pub created: Option<Timestamp>,
    /// By whom; may be empty.
    pub author: String,
    /// The default container configuration.
    pub config: ImageConfig,
    /// The layers from the base upwards.
    pub layers: Vec<Digest>,
    /// How it was made, from the base upwards.
    pub history: Vec<History>,
    /// Bytes of all layers, uncompressed, as files: what `images` shows.
    pub size_bytes: u64,
    /// When this engine installed it.
    pub installed: Timestamp,
}

/// One step of an image's making.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// When.
    pub created: Option<Timestamp>,
    /// The command.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// Whether the step made no layer.
    pub empty_layer: bool,
    /// Bytes of its layer; 0 when empty.
    pub size_bytes: u64,
}
