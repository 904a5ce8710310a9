//! Owner, mode, extended attributes and times of one file.
//!
//! The order matters: writing clears setuid and capabilities, a change of owner clears both too. What a fresh
//! file already has (mostly: root, and a mode that the umask let through) is not set again.

use super::{Unpacker, path, time, unpacking};
use crate::tarball::Entry;
use dhow_model::{Result, ResultExt};
use dhow_sys::fsat::{self, Stat};
use dhow_sys::{Errno, xattr};
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

/// More warnings than this say nothing new.
const WARNINGS_MAX: usize = 20;

/// What could not be kept, each with the place of its member in the tar.
#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<(u64, String)>);

impl Warnings {
    /// An attribute that this filesystem has no place for is a warning, as with Docker; everything else fails.
    fn judge(&mut self, entry: &Entry, name: &[u8], result: fsat::Result<()>) -> Result<()> {
        match result {
            Err(error) if error.errno == Errno::EOPNOTSUPP => {
                if self.0.len() < WARNINGS_MAX {
                    let name = String::from_utf8_lossy(name);
                    let text = format!("{:?}: this filesystem has no attribute {name:?}", entry.display());
                    self.0.push((entry.header_at, text));
                }
                Ok(())
            }
            other => other.context(unpacking),
        }
    }

    /// Adds those of others, who each saw members of their own in the order of the tar: so the first of all are among
    /// the first of each.
    pub(super) fn merge(&mut self, others: Vec<Self>) {
        self.0.extend(others.into_iter().flat_map(|other| other.0));
        self.0.sort_by_key(|(place, _)| *place);
        self.0.truncate(WARNINGS_MAX);
    }

    pub(super) fn into_texts(self) -> Vec<String> {
        self.0.into_iter().map(|(_, text)| text).collect()
    }
}

/// Of an open file that was just written. `stat`: what it was when it was made.
pub(super) fn set_of(
    file: BorrowedFd<'_>,
    stat: &Stat,
    entry: &Entry,
    warnings: &mut Warnings,
) -> Result<()> {
    let owned = (stat.uid, stat.gid) == (entry.uid, entry.gid);
    if !owned {
        fsat::chown(file, entry.uid, entry.gid).context(unpacking)?;
    }
    if stat.mode & 0o7777 != entry.mode || (!owned && entry.mode & 0o6000 != 0) {
        fsat::chmod(file, entry.mode).context(unpacking)?;
    }
    for (name, value) in wanted(entry) {
        warnings.judge(entry, name, xattr::set(file, OsStr::from_bytes(name), value))?;
    }
    fsat::set_times(file, time(entry.mtime), time(entry.mtime)).context(unpacking)
}

impl Unpacker {
    /// Of a file by name: links, devices, pipes.
    pub(super) fn attributes_at(&mut self, dir: BorrowedFd<'_>, last: &[u8], entry: &Entry) -> Result<()> {
        self.attributes_at_known(dir, last, entry)?;
        fsat::set_times_at(dir, path(last), time(entry.mtime), time(entry.mtime)).context(unpacking)
    }

    /// The same without the times; gives what the file was before. An empty name means `dir` itself.
    pub(super) fn attributes_at_known(
        &mut self,
        dir: BorrowedFd<'_>,
        last: &[u8],
        entry: &Entry,
    ) -> Result<Stat> {
        let file = path(last);
        let stat = fsat::stat_at(dir, file).context(unpacking)?;
        let owned = (stat.uid, stat.gid) == (entry.uid, entry.gid);
        if !owned {
            fsat::chown_at(dir, file, entry.uid, entry.gid).context(unpacking)?;
        }
        let other_mode = stat.mode & 0o7777 != entry.mode || (!owned && entry.mode & 0o6000 != 0);
        if other_mode && !stat.is_symlink() {
            let file = if last.is_empty() { path(b".") } else { file };
            fsat::chmod_at(dir, file, entry.mode).context(unpacking)?;
        }
        for (name, value) in wanted(entry) {
            self.warnings.judge(entry, name, xattr::set_at(dir, file, OsStr::from_bytes(name), value))?;
        }
        Ok(stat)
    }
}

fn wanted(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let all = entry.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    all.filter(|(name, _)| !name.starts_with(b"trusted.overlay."))
}
