//! Writing a tar to a file while somebody reads it.

use crate::layer::room;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::{Errno, fsat};
use std::fs::File;
use std::io::{BufRead, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How much is written at a time: a source in memory is one piece.
const WINDOW: usize = 1 << 20;
/// What was written begins its way to the disk while the rest is still coming.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// Passes a stream on, and writes what passes: in the pieces in which it comes, before anybody looks at them.
pub(super) struct Keeper<'a> {
    input: &'a mut dyn BufRead,
    file: File,
    written: u64,
    /// How many bytes at the front of the input's buffer are written already.
    ahead: usize,
    checked: u64,
    started: u64,
    early_writeback: bool,
}

impl<'a> Keeper<'a> {
    pub(super) fn create(input: &'a mut dyn BufRead, path: &Path, early_writeback: bool) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(path)
            .context(|| format!("make {}", path.display()))?;
        let this = Self { input, file, written: 0, ahead: 0, checked: 0, started: 0, early_writeback };
        room::check(this.file.as_fd(), 0)?;
        Ok(this)
    }

    /// How many bytes there are; the file itself ends with a whole block.
    pub(super) fn finish(self) -> Result<u64> {
        let whole = self.written.next_multiple_of(super::erofs::BLOCK);
        fsat::set_len(self.file.as_fd(), whole).context(keeping)?;
        Ok(self.written)
    }

    /// Writes what is new at the front of the input's buffer, and gives how much of it was.
    fn keep(&mut self) -> std::io::Result<usize> {
        let bytes = self.input.fill_buf()?;
        let length = bytes.len().min(self.ahead.max(WINDOW));
        if let Some(fresh) = bytes.get(self.ahead..length).filter(|fresh| !fresh.is_empty()) {
            fsat::write_all(self.file.as_fd(), fresh).map_err(|error| {
                let kind = match error.errno {
                    Errno::ENOSPC | Errno::EDQUOT => ErrorKind::Unavailable,
                    _ => ErrorKind::Internal,
                };
                std::io::Error::other(Error::caused(kind, keeping(), error))
            })?;
            self.written += fresh.len() as u64;
            if self.written - self.checked >= room::CHECK_BYTES {
                self.checked = self.written;
                room::check(self.file.as_fd(), 0).map_err(std::io::Error::other)?;
            }
            if self.early_writeback && self.written - self.started >= WRITEBACK_BYTES {
                self.started = self.written;
                // Only to be early: the sync at the end finds less to do.
                let _ = fsat::start_writeback(self.file.as_fd());
            }
        }
        self.ahead = length;
        Ok(length)
    }
}

impl BufRead for Keeper<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        let length = self.keep()?;
        Ok(&self.input.fill_buf()?[..length])
    }

    fn consume(&mut self, amount: usize) {
        self.ahead = self.ahead.saturating_sub(amount);
        self.input.consume(amount);
    }
}

impl Read for Keeper<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(out.len());
        out[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

fn keeping() -> String {
    "write a layer's tar".to_owned()
}
