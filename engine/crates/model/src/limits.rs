//! What images, registries and clients may claim: one table. Whatever is above is refused with one error that says what
//! was claimed and what is taken; nothing is reserved for a claim before it was checked here.
//!
//! | limit | most | why |
//! |---|---|---|
//! | [`LAYER_BYTES`] | 1 TiB | what is missing of a layer is listed in pieces of 8 MiB: 130,000 of them |
//! | [`DOCUMENT_BYTES`] | 16 MiB | manifests and configurations are read whole; registries take 4 MiB (distribution-spec) |
//! | [`LAYERS`] | 500 | overlayfs takes no more (`OVL_MAX_STACK`, fs/overlayfs/params.c) |
//! | [`INDEX_ENTRIES`] | 65,536 | one of each is looked at for each platform |
//! | [`ANSWER_BYTES`] | 8 MiB | lists, tags and refusals of a registry are read whole |
//! | [`TOKEN_BYTES`] | 256 KiB | a token goes into a header, and servers take headers of some 16 KiB |
//! | [`REGISTRY_NAMES`] | 100,000 | a list of tags or repositories that does not end is an attack |
//! | [`REFERRERS`] | 100 | what refers to one image, kept beside it |
//! | [`REFERRER_BLOB_BYTES`] | 32 MiB | one signature or list of parts |
//! | [`REFERRERS_BYTES`] | 128 MiB | all of them together |
//! | [`ARCHIVE_MEMBERS`] | 1,048,576 | members of an archive of images; a hundred images of a hundred layers have 30,000 |
//! | [`LAYER_MEMBERS`] | 8,000,000 | members of a layer; some hundred bytes of memory each |
//! | [`PATH_BYTES`] | 4,095 | `PATH_MAX` with its end (limits.h), as dockerd, whose unpacking fails with ENAMETOOLONG |
//! | [`NAME_BYTES`] | 255 | `NAME_MAX` (limits.h) |
//! | [`LINK_TARGET_BYTES`] | 4,095 | `PATH_MAX` with its end: symlink(2) takes no more |
//! | [`LAYER_NAMES_BYTES`] | 512 MiB | whole names of a layer's files and directories, kept until it is unpacked: one member may imply 2,047 |
//! | [`ATTRIBUTE_NAMES_BYTES`] | 64 KiB | names of one file's extended attributes: `XATTR_LIST_MAX` (limits.h) |
//! | [`HEADER_BYTES`] | 1 MiB | one extended header of a tar; Go's reader takes as much (archive/tar, `maxSpecialFileSize`) |
//! | [`GLOBAL_RECORDS`] | 4,096 | records of a tar that hold for every later member, so they are read again for each |
//! | [`SPARSE_PIECES`] | 2,097,152 | pieces of one sparse file |
//! | [`BODY_BYTES`] | 8 MiB | a request's JSON; Docker's own client sends kilobytes |
//! | [`GROUPS`] | 65,536 | groups of a process: `NGROUPS_MAX` (limits.h) |
//!
//! What a process may be given (arguments, environment) the kernel limits itself, by the stack (execve(2)).

use crate::{Error, ErrorKind, Result};

/// The most of something that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    most: u64,
    unit: &'static str,
    kind: ErrorKind,
}

impl Limit {
    const fn of_image(most: u64, unit: &'static str) -> Self {
        Self { most, unit, kind: ErrorKind::Corrupt }
    }

    const fn of_client(most: u64, unit: &'static str) -> Self {
        Self { most, unit, kind: ErrorKind::InvalidArgument }
    }

    /// The greatest value that passes.
    pub const fn most(self) -> u64 {
        self.most
    }

    /// The same, to count or to reserve by.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "each of the table fits 32 bits where it counts memory"
    )]
    pub const fn most_here(self) -> usize {
        assert!(self.most <= u32::MAX as u64);
        self.most as usize
    }

    /// Lets a claim pass, or says what is too much.
    ///
    /// # Errors
    /// `Corrupt` for what an image or a registry claims, `InvalidArgument` for a client.
    pub fn check(self, what: impl FnOnce() -> String, claimed: u64) -> Result<()> {
        if claimed <= self.most {
            return Ok(());
        }
        let Self { most, unit, kind } = self;
        Err(Error::new(kind, format!("{} has {claimed} {unit}; at most {most} are taken", what())))
    }

    /// The same for a number of things in memory.
    ///
    /// # Errors
    /// As [`Limit::check`].
    pub fn check_count(self, what: impl FnOnce() -> String, claimed: usize) -> Result<()> {
        self.check(what, claimed as u64)
    }
}

/// A layer, or a blob of an artifact, as it comes.
pub const LAYER_BYTES: Limit = Limit::of_image(1 << 40, "bytes");
/// A manifest, an index, a configuration.
pub const DOCUMENT_BYTES: Limit = Limit::of_image(16 << 20, "bytes");
/// Layers of an image.
pub const LAYERS: Limit = Limit::of_image(500, "layers");
/// Manifests that an index names.
pub const INDEX_ENTRIES: Limit = Limit::of_image(1 << 16, "manifests");
/// An answer of a registry that is read whole.
pub const ANSWER_BYTES: Limit = Limit::of_image(8 << 20, "bytes");
/// What a token server answers.
pub const TOKEN_BYTES: Limit = Limit::of_image(256 << 10, "bytes");
/// Tags of a repository, repositories of a registry.
pub const REGISTRY_NAMES: Limit = Limit::of_image(100_000, "names");
/// What refers to one image.
pub const REFERRERS: Limit = Limit::of_image(100, "referrers");
/// A blob of what refers to an image.
pub const REFERRER_BLOB_BYTES: Limit = Limit::of_image(32 << 20, "bytes");
/// All that refers to one image.
pub const REFERRERS_BYTES: Limit = Limit::of_image(128 << 20, "bytes");
/// Members of an archive of images.
pub const ARCHIVE_MEMBERS: Limit = Limit::of_image(1 << 20, "members");
/// Members of a layer.
pub const LAYER_MEMBERS: Limit = Limit::of_image(8_000_000, "members");
/// A member's whole name.
pub const PATH_BYTES: Limit = Limit::of_image(4095, "bytes");
/// One component of it.
pub const NAME_BYTES: Limit = Limit::of_image(255, "bytes");
/// What a symbolic link says.
pub const LINK_TARGET_BYTES: Limit = Limit::of_image(4095, "bytes");
/// Whole names of a layer's files and directories, all together.
pub const LAYER_NAMES_BYTES: Limit = Limit::of_image(512 << 20, "bytes");
/// Names of one file's extended attributes, each with its end.
pub const ATTRIBUTE_NAMES_BYTES: Limit = Limit::of_image(64 << 10, "bytes");
/// An extended header of a tar.
pub const HEADER_BYTES: Limit = Limit::of_image(1 << 20, "bytes");
/// Records of a tar that hold for every later member.
pub const GLOBAL_RECORDS: Limit = Limit::of_image(1 << 12, "global records");
/// Pieces of a sparse file.
pub const SPARSE_PIECES: Limit = Limit::of_image(1 << 21, "pieces");
/// A request's JSON.
pub const BODY_BYTES: Limit = Limit::of_client(8 << 20, "bytes");
/// Groups of a process.
pub const GROUPS: Limit = Limit::of_client(1 << 16, "groups");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_passes_and_one_more_does_not() {
        for limit in [LAYER_BYTES, DOCUMENT_BYTES, LAYERS, PATH_BYTES, BODY_BYTES, GROUPS] {
            assert!(limit.check(|| "it".into(), limit.most()).is_ok());
            assert!(limit.check(|| "it".into(), limit.most() + 1).is_err());
            assert!(limit.check(|| "it".into(), u64::MAX).is_err());
        }
        let error = LAYERS.check_count(|| "manifest x".into(), 501).unwrap_err();
        assert_eq!(error.to_string(), "manifest x has 501 layers; at most 500 are taken");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(BODY_BYTES.check(String::new, u64::MAX).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
