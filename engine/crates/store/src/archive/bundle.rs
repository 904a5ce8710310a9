//! The members of an archive, or the files of a directory, by name.

use crate::content::{Content, SMALL_MAX};
use crate::install::{BlobSource, Place};
use crate::layer::LayerSource;
use crate::layer::stream::{Compression, decoder, read_start, source_error};
use crate::tarball::{Kind, Reader};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::Errno;
use dhow_sys::fsat::{self, Mapping, resolve};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// More members than any image archive has: a hundred images of a hundred layers have thirty thousand.
const MEMBERS_MAX: usize = 1 << 20;
/// Old docker-archives name shared layers by symbolic links; nobody chains them.
const LINKS_MAX: usize = 8;

/// Where image archives are read from.
pub(super) enum Bundle {
    Archive { bytes: Mapping, members: HashMap<String, Member> },
    Directory(OwnedFd),
}

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    File { start: usize, length: usize },
    Link(String),
    Directory,
}

impl Bundle {
    /// Indexes an archive; decompresses it first when it must be.
    pub(super) fn of_archive(mut archive: File, content: &Content) -> Result<Self> {
        let is_file = archive.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file {
            archive.seek(SeekFrom::Start(0)).context(reading)?;
        }
        let start = read_start(&mut archive)?;
        if start.is_empty() {
            return Err(Error::corrupt("the archive is empty"));
        }
        let how = Compression::detect(&start)?;
        if how != Compression::Plain || !is_file {
            let whole = BufReader::with_capacity(128 << 10, std::io::Cursor::new(start).chain(archive));
            archive = spool(&mut decoder(whole, how)?, how, content)?;
        }
        let bytes = Mapping::of_file(&archive).context(reading)?;
        let members = index(&bytes)?;
        Ok(Self::Archive { bytes, members })
    }

    /// Opens a directory.
    pub(super) fn of_directory(path: &Path) -> Result<Self> {
        let kind = |error: &dhow_sys::Error| match error.errno {
            Errno::ENOENT => ErrorKind::NotFound,
            Errno::ENOTDIR => ErrorKind::InvalidArgument,
            _ => ErrorKind::Internal,
        };
        fsat::open_directory(path).map(Self::Directory).map_err(|error| {
            Error::caused(kind(&error), format!("open OCI layout {}", path.display()), error)
        })
    }

    /// A whole small file; `None` when it is missing.
    pub(super) fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let too_large =
            |size: u64| Error::corrupt(format!("{name} has {size} bytes; at most {SMALL_MAX} are taken"));
        match self {
            Bundle::Archive { .. } => match self.slice(name)? {
                Some(bytes) if bytes.len() as u64 > SMALL_MAX => Err(too_large(bytes.len() as u64)),
                bytes => Ok(bytes.map(<[u8]>::to_vec)),
            },
            Bundle::Directory(directory) => {
                let Some((file, size)) = open_file(directory, name)? else { return Ok(None) };
                let mut bytes = Vec::new();
                file.take(SMALL_MAX + 1).read_to_end(&mut bytes).context(|| format!("read {name}"))?;
                if bytes.len() as u64 > SMALL_MAX {
                    return Err(too_large(size));
                }
                Ok(Some(bytes))
            }
        }
    }

    /// A member's bytes in the archive.
    fn slice(&self, name: &str) -> Result<Option<&[u8]>> {
        let Bundle::Archive { bytes, members } = self else { return Ok(None) };
        let mut name = name.to_owned();
        for _ in 0..LINKS_MAX {
            match members.get(&name) {
                None => return Ok(None),
                Some(Member::Directory) => {
                    return Err(Error::corrupt(format!("the archive's {name:?} is a directory")));
                }
                Some(Member::Link(target)) => name.clone_from(target),
                Some(&Member::File { start, length }) => {
                    let end = start.checked_add(length);
                    return Ok(end.and_then(|end| bytes.get(start..end)));
                }
            }
        }
        Err(Error::corrupt(format!("too many links to the archive's {name:?}")))
    }
}

impl BlobSource for Bundle {
    fn open_layer(&self, place: &Place) -> Result<Option<LayerSource<'_>>> {
        match self {
            Bundle::Archive { .. } => Ok(self.slice(&place.path)?.map(LayerSource::Bytes)),
            // Somebody else's file may be truncated while it is read: it is not mapped.
            Bundle::Directory(directory) => Ok(open_file(directory, &place.path)?
                .map(|(file, size)| LayerSource::Reader { reader: Box::new(file), size: Some(size) })),
        }
    }
}

/// Walks the archive once.
fn index(bytes: &[u8]) -> Result<HashMap<String, Member>> {
    let mut members: HashMap<String, Member> = HashMap::new();
    let mut reader = Reader::new(bytes);
    while let Some(entry) = reader.next_entry()? {
        let bad = |why: &str| Error::corrupt(format!("the archive's member {:?} {why}", entry.display()));
        let text = std::str::from_utf8(&entry.path).map_err(|_| bad("has a name that is not UTF-8"))?;
        let Some(name) = clean("", text) else { return Err(bad("lies outside of the archive")) };
        let member = match entry.kind {
            Kind::File if entry.is_sparse() => return Err(bad("is sparse")),
            Kind::File => {
                let place = (usize::try_from(entry.data_at), usize::try_from(entry.size));
                let (Ok(start), Ok(length)) = place else { return Err(bad("is too large")) };
                Member::File { start, length }
            }
            Kind::Directory => Member::Directory,
            Kind::Symlink | Kind::HardLink => {
                let parent = match entry.kind {
                    Kind::Symlink => name.rsplit_once('/').map_or("", |(parent, _)| parent),
                    _ => "",
                };
                let target = std::str::from_utf8(&entry.link).ok().and_then(|target| clean(parent, target));
                Member::Link(target.ok_or_else(|| bad("is a link that leads out of the archive"))?)
            }
            _ => return Err(bad("is not a file, link or directory")),
        };
        if members.len() >= MEMBERS_MAX {
            return Err(Error::corrupt(format!("the archive has more than {MEMBERS_MAX} members")));
        }
        let same = |old: &Member| match (old, &member) {
            (Member::File { start: a, length: m }, Member::File { start: b, length: n }) => {
                m == n && bytes.get(*a..a + m) == bytes.get(*b..b + n)
            }
            (old, new) => old == new,
        };
        if members.get(&name).is_some_and(|old| !same(old)) {
            return Err(bad("is there twice, with different content"));
        }
        members.insert(name, member);
    }
    Ok(members)
}

/// A name without `.`, `..` and empty components; `None` when it leads out.
fn clean(parent: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    if name.starts_with('/') {
        return None;
    }
    for part in parent.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Copies a stream to a nameless file of ours.
fn spool(input: &mut dyn Read, how: Compression, content: &Content) -> Result<File> {
    let mut spool = content.scratch_file()?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(spool),
            Ok(length) => spool
                .write_all(&buffer[..length])
                .context_kind(ErrorKind::Unavailable, || "write the decompressed archive".to_owned())?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(source_error(error, how)),
        }
    }
}

/// Opens a file in a layout; never outside of it, never a device or a pipe.
fn open_file(directory: &OwnedFd, name: &str) -> Result<Option<(File, u64)>> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK;
    let fd = match fsat::open_resolved(directory.as_fd(), Path::new(name), flags, 0, resolve::BENEATH) {
        Ok(fd) => fd,
        Err(error) if error.errno == Errno::ENOENT => return Ok(None),
        Err(error) => return Err(error).context(|| format!("open {name} of the OCI layout")),
    };
    let stat = fsat::stat(fd.as_fd()).context(|| format!("look at {name}"))?;
    if !stat.is_file() {
        return Err(Error::corrupt(format!("{name} is not a regular file")));
    }
    Ok(Some((File::from(fd), stat.size)))
}

fn reading() -> String {
    "read the archive".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::Writer;

    #[test]
    fn names_are_cleaned() {
        assert_eq!(clean("", "./a//b").as_deref(), Some("a/b"));
        assert_eq!(clean("a/b", "../c/layer.tar").as_deref(), Some("a/c/layer.tar"));
        assert_eq!(clean("a", "../../c"), None);
        assert_eq!(clean("", "/a"), None);
    }

    #[test]
    fn two_members_of_one_name_are_refused_unless_equal() {
        let tar = |second: &[u8]| {
            let mut tar = Vec::new();
            let mut writer = Writer::new(&mut tar);
            writer.file("manifest.json", 0, b"[]").unwrap();
            writer.file("./manifest.json", 0, second).unwrap();
            writer.finish().unwrap();
            tar
        };
        assert!(index(&tar(b"[]")).is_ok());
        assert!(index(&tar(b"[{")).unwrap_err().to_string().contains("is there twice"));
    }
}
