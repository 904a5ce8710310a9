//! `cp`: archives out of a container's files, and into them.
//!
//! Whatever is in a path is looked up below the container's root, by the kernel; a process of the container that
//! swaps names for links meanwhile only ever reaches its own files. Nothing of the container runs, and nothing is
//! loaded from it.

use super::files::{self, Files, Purpose};
use crate::{Engine, events};
use dhow_model::{Error, ErrorKind, Result, ResultExt, Timestamp};
use dhow_runtime::view;
use dhow_store::db::ContainerRecord;
use dhow_store::filetree::{self, Extraction, Owners, Packer};
use dhow_sys::Errno;
use dhow_sys::fsat::{self, Stat, resolve};
use nix::libc;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// A path as a client wrote it, cleaned as text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// Without a slash at the beginning or at the end; empty for the root.
    clean: String,
    /// A slash or `/.` at the end: a directory is meant, and a link is to be followed.
    is_directory: bool,
    /// `/.` at the end: the content of the directory.
    is_content: bool,
}

impl Asked {
    fn parse(path: &str) -> Result<Self> {
        if path.contains('\0') {
            return Err(Error::invalid("invalid path: contains a NUL byte"));
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                _ => parts.push(part),
            }
        }
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let is_content = last == ".";
        Ok(Self {
            clean: parts.join("/"),
            is_directory: is_content || path.ends_with('/') || parts.is_empty(),
            is_content,
        })
    }

    /// Go's `filepath.Base`: what archives and clients call it.
    fn base(&self) -> &str {
        match self.clean.rsplit('/').next() {
            _ if self.is_content => ".",
            Some("") | None => "/",
            Some(base) => base,
        }
    }

    fn open(&self, files: &Files) -> fsat::Result<OwnedFd> {
        let slash = if self.is_directory && !self.clean.is_empty() { "/" } else { "" };
        let path = format!("{}{slash}", self.clean);
        filetree::open_place(files.root(), path.as_bytes(), !self.is_directory, resolve::IN_ROOT)
    }
}

/// What a file in a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Type and permissions, as the kernel has them.
    pub mode: u32,
    /// When its data changed.
    pub mtime: Timestamp,
    /// Where a symbolic link leads when all links are followed, from the container's root. Empty for all else.
    pub link_target: String,
}

/// Tells what is at a path.
///
/// # Errors
/// `NotFound` for the container or the path.
pub fn stat(engine: &Engine, who: &str, path: &str) -> Result<PathStat> {
    let asked = Asked::parse(path)?;
    let (_, files) = files::open(engine, who, Purpose::Read)?;
    look(&files, &asked, path, who).map(|(_, stat)| stat)
}

fn look(files: &Files, asked: &Asked, path: &str, who: &str) -> Result<(OwnedFd, PathStat)> {
    let place = asked.open(files).map_err(|error| not_found(error, path, who))?;
    let stat = fsat::stat(place.as_fd()).context(|| format!("stat {path}"))?;
    let link_target = if stat.is_symlink() {
        let target = filetree::follow(files.root(), asked.clean.as_bytes())
            .map_err(|error| not_found(error, path, who))?;
        format!("/{}", String::from_utf8_lossy(&target))
    } else {
        String::new()
    };
    let shown = PathStat {
        name: asked.base().to_owned(),
        size: stat.size,
        mode: stat.mode,
        mtime: timestamp(&stat),
        link_target,
    };
    Ok((place, shown))
}

fn timestamp(stat: &Stat) -> Timestamp {
    let nanos = stat.mtime.seconds.saturating_mul(1_000_000_000);
    Timestamp(nanos.saturating_add(i64::from(stat.mtime.nanos)))
}

/// Docker's words for a path that is not there.
fn not_found(error: dhow_sys::Error, path: &str, who: &str) -> Error {
    match error.errno {
        Errno::ENOENT => Error::not_found(format!("Could not find the file {path} in container {who}")),
        Errno::ENOTDIR => Error::invalid(format!("{path}: not a directory")),
        Errno::ELOOP => Error::invalid(format!("{path}: too many levels of symbolic links")),
        Errno::ENAMETOOLONG => Error::invalid(format!("{path}: file name too long")),
        _ => Error::caused(ErrorKind::Internal, format!("open {path} in container {who}"), error),
    }
}

/// A file or directory of a container that was found.
pub struct Archive {
    record: ContainerRecord,
    files: Files,
    asked: Asked,
    place: OwnedFd,
    is_directory: bool,
}

/// Finds what is to be archived.
///
/// # Errors
/// `NotFound` for the container or the path.
pub fn archive(engine: &Engine, who: &str, path: &str) -> Result<(PathStat, Archive)> {
    let asked = Asked::parse(path)?;
    let (record, files) = files::open(engine, who, Purpose::Read)?;
    let (place, stat) = look(&files, &asked, path, who)?;
    let is_directory = stat.mode & libc::S_IFMT == libc::S_IFDIR;
    Ok((stat, Archive { record, files, asked, place, is_directory }))
}

impl Archive {
    /// Writes the archive. Its members begin with the last part of the path; with `./` for a path that ends so.
    ///
    /// # Errors
    /// When a file cannot be read, or the output fails.
    pub fn write(self, engine: &Engine, out: &mut dyn Write) -> Result<()> {
        let owners = self.files.owners();
        let mut packer = Packer::new(out).with_owners(move |uid, gid| owners.inside(uid, gid));
        let base = self.asked.base();
        if self.is_directory {
            let prefix = if base == "/" { "/".to_owned() } else { format!("{base}/") };
            packer.tree(self.place.as_fd(), prefix.as_bytes())?;
        } else {
            let name = self.asked.clean.as_bytes();
            let (dir, last) = filetree::open_parent(self.files.root(), name, resolve::IN_ROOT)
                .context(|| format!("open /{}", self.asked.clean))?;
            packer.file(dir.as_fd(), last, base.as_bytes())?;
        }
        packer.finish()?;
        note(engine, &self.record, "archive-path")
    }
}

/// How to extract.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtractOptions {
    /// A directory may not replace anything else, nor be replaced.
    pub keep_kinds: bool,
    /// What is extracted belongs to the container's user.
    pub as_user: bool,
}

/// Extracts an archive, plain or compressed, into a directory of a container.
///
/// # Errors
/// `NotFound` for the container or the path; `InvalidArgument` when the path is no directory or read-only, or a
/// member would leave it or change a kind that is to be kept.
pub fn extract(
    engine: &Engine,
    who: &str,
    path: &str,
    options: ExtractOptions,
    input: &mut dyn Read,
) -> Result<()> {
    let asked = Asked::parse(path)?;
    let (record, files) = files::open(engine, who, Purpose::Write)?;
    let place = filetree::open_place(files.root(), asked.clean.as_bytes(), false, resolve::IN_ROOT)
        .map_err(|error| not_found(error, path, who))?;
    let at = fsat::stat(place.as_fd()).context(|| format!("stat {path}"))?;
    if !at.is_dir() {
        return Err(Error::invalid("extraction point is not a directory"));
    }
    check_writable(&files, &place, &at)?;
    let owners = if options.as_user && !record.config.user.is_empty() {
        let (uid, gid) = view::user_in(files.root(), &record.config.user)?;
        let (uid, gid) = files.owners().outside(uid, gid);
        Owners::Fixed(uid, gid)
    } else {
        let owners = files.owners();
        Owners::Archived(Box::new(move |uid, gid| owners.outside(uid, gid)))
    };
    let translation = files.owners();
    let _ids = translation.make_as_root()?;
    let extraction = Extraction {
        root: files.root(),
        base: asked.clean.into_bytes(),
        resolve: resolve::IN_ROOT,
        owners,
        keep_kinds: options.keep_kinds,
        with_base: false,
        rename: &<[u8]>::to_vec,
    };
    filetree::extract(input, extraction)?;
    note(engine, &record, "extract-to-dir")
}

/// Docker's words for what is mounted read-only.
fn check_writable(files: &Files, place: &OwnedFd, at: &Stat) -> Result<()> {
    if !fsat::is_readonly(place.as_fd()).context(|| "look at the mount".to_owned())? {
        return Ok(());
    }
    let root = fsat::stat(files.root()).context(|| "stat /".to_owned())?;
    Err(Error::invalid(if root.device == at.device {
        "container rootfs is marked read-only"
    } else {
        "mounted volume is marked read-only"
    }))
}

fn note(engine: &Engine, record: &ContainerRecord, action: &str) -> Result<()> {
    engine
        .db()?
        .write(|txn| txn.append_event(&events::container(action, record, []), events::now()).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_docker_reads_them() {
        for (path, clean, base, is_directory) in [
            ("/a/b", "a/b", "b", false),
            ("a//b/", "a/b", "b", true),
            ("/a/b/.", "a/b", ".", true),
            ("/a/b/./", "a/b", ".", true),
            ("/a/./b/../c", "a/c", "c", false),
            ("../../x", "x", "x", false),
            ("/", "", "/", true),
            ("", "", "/", true),
            ("/.", "", ".", true),
            (".", "", ".", true),
            ("/a/..", "", "/", true),
            ("/a.", "a.", "a.", false),
        ] {
            let asked = Asked::parse(path).unwrap();
            assert_eq!(
                (&*asked.clean, asked.base(), asked.is_directory),
                (clean, base, is_directory),
                "{path}"
            );
        }
        assert!(Asked::parse("/a\0b").is_err());
    }
}
