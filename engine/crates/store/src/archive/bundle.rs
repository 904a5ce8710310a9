//! The members of an archive, or the files of a directory, by name.
//!
//! Files are read, never mapped: somebody else may write to them, or cut them short, and would end this process. What
//! is read twice (the list of members, then a member) need not be the same both times: every digest is checked over
//! the very bytes that are used.

use crate::content::{Content, SMALL_MAX};
use crate::install::{BlobSource, Place};
use crate::layer::LayerSource;
use crate::layer::stream::{Compression, decoder, read_start, source_error};
use crate::tarball::{Kind, Reader};
use dhow_model::{Error, ErrorKind, Result, ResultExt, limits};
use dhow_sys::Errno;
use dhow_sys::fsat::{self, resolve};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Old docker-archives name shared layers by symbolic links; nobody chains them.
const LINKS_MAX: usize = 8;

/// Where image archives are read from.
pub(super) enum Bundle {
    Archive { file: File, members: HashMap<String, Member> },
    Directory(OwnedFd),
}

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    File { start: u64, length: u64 },
    Link(String),
    Directory,
}

/// A part of a file: readers of several do not disturb each other.
struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Section<'_> {
    fn length(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }
}

impl Read for Section<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let wanted = usize::try_from(self.length()).map_or(out.len(), |left| left.min(out.len()));
        let count = self.file.read_at(&mut out[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(far) => self.at.checked_add_signed(far),
            SeekFrom::End(far) => self.end.checked_add_signed(far),
        };
        self.at = at.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Bundle {
    /// Indexes an archive, from where it stands; makes a copy first when it must be decompressed, or is no file.
    pub(super) fn of_archive(mut archive: File, content: &Content) -> Result<Self> {
        let is_file = archive.metadata().is_ok_and(|metadata| metadata.is_file());
        let whole = is_file && archive.stream_position().is_ok_and(|position| position == 0);
        let start = read_start(&mut archive)?;
        if start.is_empty() {
            return Err(Error::corrupt("the archive is empty"));
        }
        let how = Compression::detect(&start)?;
        if how != Compression::Plain || !whole {
            let bytes = BufReader::with_capacity(128 << 10, std::io::Cursor::new(start).chain(archive));
            archive = spool(&mut decoder(bytes, how)?, how, content)?;
        }
        let members = index(&archive)?;
        // As whoever reads a file leaves it.
        archive.seek(SeekFrom::End(0)).context(reading)?;
        Ok(Self::Archive { file: archive, members })
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
            Bundle::Archive { .. } => {
                let Some(mut section) = self.section(name)? else { return Ok(None) };
                if section.length() > SMALL_MAX {
                    return Err(too_large(section.length()));
                }
                let mut bytes = Vec::new();
                section.read_to_end(&mut bytes).context(|| format!("read {name}"))?;
                Ok(Some(bytes))
            }
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
    fn section(&self, name: &str) -> Result<Option<Section<'_>>> {
        let Bundle::Archive { file, members } = self else { return Ok(None) };
        let mut name = name.to_owned();
        for _ in 0..LINKS_MAX {
            match members.get(&name) {
                None => return Ok(None),
                Some(Member::Directory) => {
                    return Err(Error::corrupt(format!("the archive's {name:?} is a directory")));
                }
                Some(Member::Link(target)) => name.clone_from(target),
                Some(&Member::File { start, length }) => {
                    return Ok(Some(Section { file, at: start, end: start.saturating_add(length) }));
                }
            }
        }
        Err(Error::corrupt(format!("too many links to the archive's {name:?}")))
    }
}

impl BlobSource for Bundle {
    fn open_layer(&self, place: &Place) -> Result<Option<LayerSource<'_>>> {
        match self {
            Bundle::Archive { .. } => Ok(self.section(&place.path)?.map(|section| {
                let size = Some(section.length());
                LayerSource::Reader { reader: Box::new(section), size }
            })),
            Bundle::Directory(directory) => Ok(open_file(directory, &place.path)?
                .map(|(file, size)| LayerSource::Reader { reader: Box::new(file), size: Some(size) })),
        }
    }
}

/// Walks the archive once, from header to header.
fn index(archive: &File) -> Result<HashMap<String, Member>> {
    let length = archive.metadata().context(reading)?.len();
    let section =
        |start: u64, length: u64| Section { file: archive, at: start, end: start.saturating_add(length) };
    let mut members: HashMap<String, Member> = HashMap::new();
    // A header, and the small members that archives of images are full of: what is read beyond is thrown away.
    let mut reader = Reader::new(BufReader::with_capacity(8 << 10, section(0, length)));
    while let Some(entry) = reader.next_entry()? {
        let bad = |why: &str| Error::corrupt(format!("the archive's member {:?} {why}", entry.display()));
        let text = std::str::from_utf8(&entry.path).map_err(|_| bad("has a name that is not UTF-8"))?;
        let Some(name) = clean("", text) else { return Err(bad("lies outside of the archive")) };
        let member = match entry.kind {
            Kind::File if entry.is_sparse() => return Err(bad("is sparse")),
            Kind::File => {
                if entry.data_at.checked_add(entry.size).is_none_or(|end| end > length) {
                    return Err(bad("goes on where the archive ends"));
                }
                Member::File { start: entry.data_at, length: entry.size }
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
        limits::ARCHIVE_MEMBERS.check_count(|| "the archive".to_owned(), members.len() + 1)?;
        if let Some(old) = members.get(&name) {
            let same = match (old, &member) {
                (&Member::File { start: a, length: m }, &Member::File { start: b, length: n }) => {
                    m == n && equal(section(a, m), section(b, n)).context(reading)?
                }
                (old, new) => old == new,
            };
            if !same {
                return Err(bad("is there twice, with different content"));
            }
        }
        reader.skip_data()?;
        members.insert(name, member);
    }
    Ok(members)
}

/// Whether two parts of a file, as long as each other, have the same bytes.
fn equal(mut a: Section<'_>, mut b: Section<'_>) -> std::io::Result<bool> {
    let mut pieces = [vec![0; 128 << 10], vec![0; 128 << 10]];
    while a.length() > 0 {
        let [left, right] = &mut pieces;
        let wanted = usize::try_from(a.length()).map_or(left.len(), |length| length.min(left.len()));
        a.read_exact(&mut left[..wanted])?;
        b.read_exact(&mut right[..wanted])?;
        if left[..wanted] != right[..wanted] {
            return Ok(false);
        }
    }
    Ok(true)
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
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&tar).unwrap();
            file
        };
        assert!(index(&tar(b"[]")).is_ok());
        assert!(index(&tar(b"[{")).unwrap_err().to_string().contains("is there twice"));
    }

    #[test]
    fn a_file_that_somebody_cuts_short_meanwhile_is_short_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let layout = dhow_model::Layout::new(directory.path(), directory.path());
        let content = Content::open(&layout).unwrap();
        let mut tar = Vec::new();
        let mut writer = Writer::new(&mut tar);
        writer.file("index.json", 0, &[b' '; 100_000]).unwrap();
        writer.finish().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&tar).unwrap();
        file.rewind().unwrap();
        let bundle = Bundle::of_archive(file.try_clone().unwrap(), &content).unwrap();
        assert_eq!(bundle.read_small("index.json").unwrap().unwrap().len(), 100_000);
        file.set_len(512 + 50_000).unwrap();
        assert_eq!(bundle.read_small("index.json").unwrap().unwrap().len(), 50_000);
        file.rewind().unwrap();
        let again = Bundle::of_archive(file, &content).err().unwrap();
        assert!(again.to_string().contains("goes on where the archive ends"), "{again}");
    }
}
