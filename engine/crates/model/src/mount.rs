//! Mounts that a user asks for.

use crate::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute and normalised path in the container; never `/`.
    pub target: String,
    /// Whether it is mounted read-only.
    pub readonly: bool,
    /// What is mounted.
    pub source: MountSource,
    /// How it was written (`-v`, `--mount`, `--tmpfs`), so that `inspect` shows it in the same place.
    pub written_as: MountSyntax,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// A host path.
    Bind {
        /// Absolute host path.
        path: String,
        /// Make a directory when it is missing (`-v` does, `--mount` does not).
        create: bool,
        /// Whether mounts below the source come along (rbind).
        recursive: bool,
        /// How later mounts travel between the two sides.
        propagation: Propagation,
        /// What becomes of the mounts below when it is read-only.
        #[serde(default)]
        readonly_below: ReadonlyBelow,
    },
    /// A volume of the engine. An empty name becomes a random one at creation (an anonymous volume).
    Volume {
        /// Its name.
        name: String,
        /// Do not copy the image's content into an empty volume.
        nocopy: bool,
        /// Whether the engine named it.
        anonymous: bool,
        /// What `--mount` says beside that.
        #[serde(default)]
        details: VolumeDetails,
    },
    /// The files of an image, which cannot be changed.
    Image {
        /// As typed.
        name: String,
        /// Which one that was when the container was made.
        id: Option<Digest>,
        /// What of it is mounted; empty: all of it. Relative, without `..`.
        subpath: String,
    },
    /// A filesystem in memory.
    Tmpfs {
        /// `None`: half of the memory (the kernel's default).
        size_bytes: Option<u64>,
        /// `None`: 1777.
        mode: Option<u32>,
        /// Mount with `exec` (default is noexec).
        exec: bool,
        /// Further options as typed with `--tmpfs`, already validated (`uid=`, `gid=`, `nr_inodes=`).
        options: Vec<String>,
    },
}

/// What `--mount type=volume` can say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VolumeDetails {
    /// What of the volume is mounted; empty: all of it. Relative, without `..`.
    pub subpath: String,
    /// Labels of the volume, if it is made for this.
    pub labels: BTreeMap<String, String>,
    /// Options of its driver, if it is made for this.
    pub options: BTreeMap<String, String>,
}

/// Whether a read-only bind mount makes the mounts below it read-only, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadonlyBelow {
    /// As far as the kernel can: since 5.12, all of them.
    #[default]
    Possible,
    /// All of them, or the start fails.
    Forced,
    /// None.
    Never,
}

/// Where a mount was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSyntax {
    /// `-v`, wire field `HostConfig.Binds`.
    Volume,
    /// `--mount`, wire field `HostConfig.Mounts`.
    Mount,
    /// `--tmpfs`, wire field `HostConfig.Tmpfs`.
    Tmpfs,
    /// `VOLUME` of the image, or `Config.Volumes`.
    Image,
    /// `--volumes-from`, wire field `HostConfig.VolumesFrom`.
    VolumesFrom,
}

/// Mount propagation (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Nothing travels. Docker's default.
    #[default]
    Rprivate,
    /// This mount alone is private.
    Private,
    /// Both ways, for the tree.
    Rshared,
    /// Both ways, this mount.
    Shared,
    /// From the host only, for the tree.
    Rslave,
    /// From the host only, this mount.
    Slave,
}

/// Normalises a path inside a container: absolute, `.` and `..` resolved as text, no trailing slash.
///
/// # Errors
/// `InvalidArgument` when it is relative, holds a NUL, or is the root itself.
pub fn parse_target(text: &str) -> Result<String> {
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path {text:?}: must be absolute")));
    }
    if text.contains('\0') {
        return Err(Error::invalid(format!("invalid mount path {text:?}: contains a NUL byte")));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        return Err(Error::invalid(format!("invalid mount path {text:?}: destination can't be '/'")));
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(parse_target("/a//b/./c/../d/").unwrap(), "/a/b/d");
        for bad in ["a", "", "/", "/..", "/a/..", "/a\0b"] {
            assert!(parse_target(bad).is_err(), "{bad:?}");
        }
    }
}
