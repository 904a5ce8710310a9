//! The files of one log: `path` (written to), `path.1` (the one before), `path.2`, ….
//!
//! The writer renames them under the readers' feet, from the oldest to the newest, so that at any moment
//! at most one number is missing. Readers tell files apart by inode, which cannot be reused while they
//! hold the file open.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Attempts at a consistent view before giving up: each failure means that the log was rotated meanwhile.
const ATTEMPTS: u32 = 1000;

/// A file of the chain, open for reading.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) file: File,
    inode: (u64, u64),
}

impl LogFile {
    fn open(path: &Path) -> Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let about = file.metadata()?;
                Ok(Some(Self { file, inode: (about.dev(), about.ino()) }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `path` is this file now.
    pub(super) fn is_at(&self, path: &Path) -> Result<bool> {
        match std::fs::metadata(path) {
            Ok(about) => Ok(self.inode == (about.dev(), about.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The name of the `number`th file; 0 is the one written to.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
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
        match LogFile::open(&name)? {
            None => missing += 1,
            Some(file) if after.is_some_and(|a| a.inode == file.inode) => break,
            Some(file) => found.push((name, file)),
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
    let free = (1..last).find(|number| !numbered(path, *number).exists()).unwrap_or(last);
    for number in (0..free).rev() {
        gone(std::fs::rename(numbered(path, number), numbered(path, number + 1)))?;
    }
    Ok(())
}
