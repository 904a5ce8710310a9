//! The files of one log: `path` (written to), `path.1` (the one before), `path.2`, …, or `path.1.gz` and so on
//! where rotated files are compressed.
//!
//! The writer renames them under the readers' feet, from the oldest to the newest, so that at any moment
//! at most one number is missing. Readers tell files apart by inode and time of birth; a compressed file tells
//! those of the file that it was, in its header, so that a reader knows it again.

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{BufReader, ErrorKind, Result, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Attempts at a consistent view before giving up: each failure means that the log was rotated meanwhile.
const ATTEMPTS: u32 = 1000;

/// Which file it is: device, inode, nanoseconds of birth (0 where the filesystem does not tell).
type Identity = (u64, u64, u128);

fn identity(about: &Metadata) -> Identity {
    let born = about.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    (about.dev(), about.ino(), born.map_or(0, |born| born.as_nanos()))
}

/// A file of the chain, open for reading.
#[derive(Debug)]
pub(super) struct LogFile {
    raw: File,
    /// Of the file that is open.
    identity: Identity,
    /// Of the file that it was before it was compressed.
    origin: Option<Identity>,
    /// What the compressed file holds, in memory once somebody wants it.
    text: Option<File>,
}

impl LogFile {
    fn open(path: &Path) -> Result<Option<Self>> {
        let raw = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let identity = identity(&raw.metadata()?);
        let origin = match path.extension().is_some_and(|extension| extension == "gz") {
            false => None,
            true => Some(origin_of(&raw)?.unwrap_or(identity)),
        };
        Ok(Some(Self { raw, identity, origin, text: None }))
    }

    /// The lines. A compressed file is unpacked now.
    pub(super) fn text(&mut self) -> Result<&File> {
        if self.origin.is_none() {
            return Ok(&self.raw);
        }
        if self.text.is_none() {
            let unpacked = dhow_sys::memfd::plain(c"dhow-log").map_err(std::io::Error::other)?;
            (&self.raw).rewind()?;
            std::io::copy(&mut GzDecoder::new(BufReader::new(&self.raw)), &mut &unpacked)?;
            self.text = Some(unpacked);
        }
        Ok(self.text.as_ref().unwrap_or(&self.raw))
    }

    /// Whether both hold the same lines.
    fn is(&self, other: &LogFile) -> bool {
        self.origin.unwrap_or(self.identity) == other.origin.unwrap_or(other.identity)
    }

    /// Whether `path` is this file now.
    pub(super) fn is_at(&self, path: &Path) -> Result<bool> {
        match std::fs::metadata(path) {
            Ok(about) => Ok(self.identity == identity(&about)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What the header of a compressed file tells of the file that it was.
fn origin_of(raw: &File) -> Result<Option<Identity>> {
    let decoder = GzDecoder::new(BufReader::new(raw));
    let comment = decoder.header().and_then(|header| header.comment());
    let Some(text) = comment.and_then(|bytes| std::str::from_utf8(bytes).ok()) else { return Ok(None) };
    let mut numbers = text.split(' ').map(str::parse::<u128>);
    let mut next = || numbers.next().and_then(std::result::Result::ok);
    let (Some(device), Some(inode), Some(born)) = (next(), next(), next()) else { return Ok(None) };
    Ok(u64::try_from(device).ok().zip(u64::try_from(inode).ok()).map(|(d, i)| (d, i, born)))
}

/// The name of the `number`th file; 0 is the one written to.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    with_suffix(path, &format!(".{number}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn packed(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &format!(".{number}.gz"))
}

/// Compresses the newest of the rotated files. If it fails, it stays as it was, which is as good for readers.
pub(super) fn compress_newest(path: &Path) -> Result<()> {
    let plain = numbered(path, 1);
    let half = with_suffix(path, ".gz.tmp");
    let from = File::open(&plain)?;
    let (device, inode, born) = identity(&from.metadata()?);
    let to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&half)?;
    // Fast rather than small: the container's output waits meanwhile.
    let header = GzBuilder::new().comment(format!("{device} {inode} {born}"));
    let mut encoder = header.write(to, Compression::fast());
    let packed_up = std::io::copy(&mut &from, &mut encoder).and_then(|_| encoder.finish().map(|_| ()));
    if let Err(error) = packed_up {
        let _ = std::fs::remove_file(&half);
        return Err(error);
    }
    // In this order, a reader always finds one of the two.
    std::fs::rename(&half, packed(path, 1))?;
    std::fs::remove_file(&plain)
}

/// Opens all files, oldest first; with `after`, only those that are newer than it.
pub(super) fn open(path: &Path, after: Option<&LogFile>) -> Result<Vec<LogFile>> {
    for _ in 0..ATTEMPTS {
        if let Some(files) = try_open(path, after)? {
            return Ok(files);
        }
        std::thread::yield_now();
    }
    Err(std::io::Error::new(ErrorKind::ResourceBusy, "the log is rotated faster than it can be opened"))
}

fn try_open(path: &Path, after: Option<&LogFile>) -> Result<Option<Vec<LogFile>>> {
    let mut found: Vec<(PathBuf, LogFile)> = Vec::new();
    let mut missing = 0;
    for number in 0.. {
        let name = numbered(path, number);
        let opened = match LogFile::open(&name)? {
            None if number > 0 => {
                let name = packed(path, number);
                LogFile::open(&name)?.map(|file| (name, file))
            }
            other => other.map(|file| (name, file)),
        };
        match opened {
            None => missing += 1,
            Some((_, file)) if after.is_some_and(|a| a.is(&file)) => break,
            Some(found_here) => found.push(found_here),
        }
        // Two: the gap of a rotation under way, and the end.
        if missing == 2 {
            break;
        }
    }
    for (name, file) in &found {
        if !file.is_at(name)? {
            return Ok(None);
        }
    }
    Ok(Some(found.into_iter().rev().map(|(_, file)| file).collect()))
}

/// Makes room for a new file at `path`: every file gets the next number, and the one whose number would
/// be `max_files` goes.
pub(super) fn shift(path: &Path, max_files: u32) -> Result<()> {
    let gone = |result: Result<()>| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let last = max_files.max(1) - 1;
    if last == 0 {
        return gone(std::fs::remove_file(path));
    }
    // Up to the first number that is free: the end, or where a crash interrupted this.
    let is_free = |number: &u32| !numbered(path, *number).exists() && !packed(path, *number).exists();
    let free = (1..last).find(is_free).unwrap_or(last);
    // Whatever form it has; the one that is replaced may have the other.
    if free == last {
        gone(std::fs::remove_file(numbered(path, last)))?;
        gone(std::fs::remove_file(packed(path, last)))?;
    }
    for number in (0..free).rev() {
        gone(std::fs::rename(numbered(path, number), numbered(path, number + 1)))?;
        if number > 0 {
            gone(std::fs::rename(packed(path, number), packed(path, number + 1)))?;
        }
    }
    Ok(())
}
