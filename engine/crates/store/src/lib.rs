//! What dhow keeps on disk: the state database, verified content, installed layers, image archives.
//!
//! ```text
//!   db/            state.db: containers, images, events, …: the truth that all processes share
//!   watch.rs       waking up when another process committed events
//!   lock.rs        locks between processes
//!   content.rs     blobs by digest: manifests, configurations, and what referrers say
//!   layer/         layers as overlayfs wants them
//!   filetree/      a container's files: packing, extracting, comparing
//!   tarball/       reading and writing tar, exactly
//!   install.rs     layers and blobs of images, wherever they come from
//!   archive/       load, save, import: docker-archive and OCI
//!   partial.rs     blobs that are on their way from a registry
//!   manifest.rs    manifests and indexes
//!   referrers.rs   what may be kept of things that refer to images
//!   image_config   the OCI image configuration
//! ```
//!
//! Nothing here starts a process, and nothing here knows what a mount or a cgroup is. The crate does not
//! commit on behalf of its parts: `content`, `layer` and `archive` put files in place, and the verb that
//! called them makes the result visible in one transaction of `db`.

#![forbid(unsafe_code)]

pub mod archive;
pub mod content;
pub mod db;
pub mod filetree;
pub mod image_config;
pub mod install;
pub mod layer;
pub mod lock;
pub mod manifest;
pub mod output;
pub mod partial;
pub mod referrers;
pub mod tarball;
pub mod trust;
pub mod watch;
