//! Writing a tar to a file while somebody reads it.

use crate::layer::room;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::{Errno, fsat};
use std::fs::File;
use std::io::{BufRead, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// How much is written at a time: a source in memory is one piece.
const WINDOW: usize = 1 << 20;
/// What was written goes to the disk while the rest is still coming, this much at a time: a disk behind a cache (a
/// file, a network) begins its own work only when it is asked to finish. A smaller layer is not worth a thread.
const SYNC_BYTES: u64 = 32 << 20;

/// Passes a stream on, and writes what passes: in the pieces in which it comes, before anybody looks at them.
pub(super) struct Keeper<'a> {
    input: &'a mut dyn BufRead,
    file: File,
    written: u64,
    /// How many bytes at the front of the input's buffer are written already.
    ahead: usize,
    checked: u64,
    /// How much there was when the disk was last asked for.
    asked: u64,
    early_sync: bool,
    disk: Option<Disk>,
}

/// A thread that brings a file to the disk whenever it is asked and has nothing else to do.
pub(super) struct Disk {
    ask: SyncSender<()>,
    thread: JoinHandle<fsat::Result<()>>,
}

impl Disk {
    fn of(file: &File) -> Result<Self> {
        let file = file.try_clone().context(keeping)?;
        let (ask, asked) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("layer-sync".to_owned())
            .spawn(move || asked.iter().try_for_each(|()| fsat::sync_data(file.as_fd())))
            .context(|| "start a thread".to_owned())?;
        Ok(Self { ask, thread })
    }

    /// The kernel tells of a failed write once: whoever was told must not lose it.
    pub(super) fn finish(self) -> Result<()> {
        drop(self.ask);
        let ended =
            self.thread.join().map_err(|_| Error::internal("the thread that syncs a layer panicked"))?;
        ended.map_err(failed)
    }
}

impl<'a> Keeper<'a> {
    pub(super) fn create(input: &'a mut dyn BufRead, path: &Path, early_sync: bool) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(path)
            .context(|| format!("make {}", path.display()))?;
        let this = Self { input, file, written: 0, ahead: 0, checked: 0, asked: 0, early_sync, disk: None };
        room::check(this.file.as_fd(), 0)?;
        Ok(this)
    }

    /// How many bytes there are; the file itself ends with a whole block. Who brings the last of it to the disk is to
    /// be waited for.
    pub(super) fn finish(self) -> Result<(u64, Option<Disk>)> {
        let whole = self.written.next_multiple_of(super::erofs::BLOCK);
        fsat::set_len(self.file.as_fd(), whole).context(keeping)?;
        if let Some(disk) = &self.disk {
            // Full: it will begin once more, and that is after all was written. Ended: it says so.
            let _ = disk.ask.try_send(());
        }
        Ok((self.written, self.disk))
    }

    /// Writes what is new at the front of the input's buffer, and gives how much of it was.
    fn keep(&mut self) -> std::io::Result<usize> {
        let bytes = self.input.fill_buf()?;
        let length = bytes.len().min(self.ahead.max(WINDOW));
        if let Some(fresh) = bytes.get(self.ahead..length).filter(|fresh| !fresh.is_empty()) {
            fsat::write_all(self.file.as_fd(), fresh)
                .map_err(|error| std::io::Error::other(failed(error)))?;
            self.written += fresh.len() as u64;
            if self.written - self.checked >= room::CHECK_BYTES {
                self.checked = self.written;
                room::check(self.file.as_fd(), 0).map_err(std::io::Error::other)?;
            }
            if self.early_sync && self.written - self.asked >= SYNC_BYTES {
                self.asked = self.written;
                let disk = match &mut self.disk {
                    Some(disk) => disk,
                    none => none.insert(Disk::of(&self.file).map_err(std::io::Error::other)?),
                };
                // Full: it is asked already. Ended: it has failed, and says so in the end.
                let _ = disk.ask.try_send(());
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

fn failed(error: dhow_sys::Error) -> Error {
    let kind = match error.errno {
        Errno::ENOSPC | Errno::EDQUOT => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    Error::caused(kind, keeping(), error)
}

fn keeping() -> String {
    "write a layer's tar".to_owned()
}
