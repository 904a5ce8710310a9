//! Blobs on their way from a registry: what came is kept until the layer is installed, so that a pull that was cut,
//! or killed, goes on where it stopped.
//!
//! ```text
//!   ROOT/content/partial/HEX         the first bytes of a blob, as many as there are; locked (flock) by who fetches it
//!   ROOT/content/partial/HEX.START   bytes from START on, which came before those in front of them did
//!
//!   reader.rs   one stream, from the front: what is here is read, what is missing is fetched
//!   ranges.rs   the pieces of a large blob over several connections at once, for that same stream
//!   pieces.rs   the files
//! ```
//!
//! How long a file is says what is there: nothing else is recorded, so nothing can contradict it when a process is
//! killed. Nothing is verified here: the installer hashes every byte, those that were kept from before included.

mod pieces;
mod ranges;
mod reader;

use crate::db::private_directory;
use dhow_model::{Digest, Error, Layout, Result, ResultExt};
use nix::fcntl::{Flock, FlockArg};
use reader::PartialReader;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// From this size on a blob may come over several connections.
const RANGED_FROM: u64 = 32 << 20;
/// What one connection is asked for at a time then. The front of the blob is wanted first, so pieces are small; each
/// costs a request, so they are not smaller.
const PIECE: u64 = 8 << 20;

/// Bytes of a blob as its origin gives them.
pub struct Opened {
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
    /// Where they really start: 0 when the origin does not do ranges.
    pub start: u64,
    /// Whether they are the range that was asked for, and not all of the blob.
    pub is_range: bool,
}

/// Opens the blob at its origin, from an offset on, up to another one or its end. Called anew whenever a transfer
/// broke, and by several threads.
pub type Fetch = Arc<dyn Fn(u64, Option<u64>) -> Result<Opened> + Send + Sync>;

/// The connections that one pull may have at once, for all its blobs.
#[derive(Debug)]
struct Connections {
    most: usize,
    busy: AtomicUsize,
    ranged_from: u64,
    piece: u64,
}

impl Connections {
    /// One more, however many there are: whoever fetches a blob needs one.
    fn take(self: &Arc<Self>) -> Connection {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(self))
    }

    /// One more, if there is one to spare.
    fn try_take(self: &Arc<Self>) -> Option<Connection> {
        let more = |busy| (busy < self.most).then_some(busy + 1);
        self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Connection(Arc::clone(self)))
    }

    fn has_spare(&self) -> bool {
        self.busy.load(Ordering::Relaxed) < self.most
    }

    /// Whether other blobs have begun since, and want theirs.
    fn are_too_many(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > self.most
    }
}

/// Given back on drop.
#[derive(Debug)]
struct Connection(Arc<Connections>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A blob that is wanted.
struct Blob {
    /// Its digest.
    name: String,
    /// The first of its files.
    path: PathBuf,
    size: u64,
    fetch: Fetch,
    connections: Arc<Connections>,
}

/// The directory of partial blobs.
#[derive(Debug, Clone)]
pub struct Partials {
    directory: PathBuf,
    connections: Arc<Connections>,
}

impl Partials {
    /// Makes the directory when it is missing. Each blob comes over one connection.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(layout: &Layout) -> Result<Self> {
        let directory = layout.content().join("partial");
        private_directory(&directory)?;
        Ok(Self { directory, connections: Self::connections(1, RANGED_FROM, PIECE) })
    }

    /// The same, with so many connections for all blobs together: those that no blob needs for itself fetch pieces of
    /// the large ones.
    #[must_use]
    pub fn with_connections(self, most: usize) -> Self {
        Self { connections: Self::connections(most, RANGED_FROM, PIECE), ..self }
    }

    fn connections(most: usize, ranged_from: u64, piece: u64) -> Arc<Connections> {
        Arc::new(Connections { most, busy: AtomicUsize::new(0), ranged_from, piece })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// A blob of `size` bytes as one stream: first what is here, then what `fetch` brings, which is kept. `heard` is
    /// told how many bytes there are so far. Nothing is asked before the first read.
    pub fn reader<'a>(
        &self,
        digest: &Digest,
        size: u64,
        fetch: Fetch,
        heard: Box<dyn FnMut(u64) + 'a>,
    ) -> impl Read + 'a {
        let connections = Arc::clone(&self.connections);
        let blob = Blob { name: digest.to_string(), path: self.path(digest), size, fetch, connections };
        PartialReader::new(blob, heard)
    }

    /// How much of a blob is here.
    pub fn length(&self, digest: &Digest) -> u64 {
        let all = self.list().unwrap_or_default();
        all.iter().find(|(known, _)| known == digest).map_or(0, |(_, bytes)| *bytes)
    }

    /// Takes away what is kept of a blob. Returns whether there was anything.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget(&self, digest: &Digest) -> Result<bool> {
        let context = || format!("remove the partial blob {digest}");
        let files = pieces::files(&self.directory).context(context)?.remove(digest.hex());
        let mut found = false;
        for path in files.unwrap_or_default() {
            match std::fs::remove_file(path) {
                Ok(()) => found = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context(context),
            }
        }
        Ok(found)
    }

    /// The blobs that are kept in part, and how many bytes of each.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let mut partial: BTreeMap<Digest, u64> = BTreeMap::new();
        for (hex, files) in self.files()? {
            let Ok(digest) = Digest::parse(&format!("sha256:{hex}")) else { continue };
            // Files that are no longer there were of a blob that was fetched to its end.
            let lengths: Vec<u64> = files.iter().filter_map(|f| Some(f.metadata().ok()?.len())).collect();
            if !lengths.is_empty() {
                partial.insert(digest, lengths.iter().sum());
            }
        }
        Ok(partial.into_iter().collect())
    }

    /// Takes away everything that nobody fetches now. Returns how many bytes that frees.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sweep(&self) -> Result<u64> {
        let mut freed = 0;
        for (hex, files) in self.files()? {
            // Made, when only pieces are left: it is the lock.
            let lock = self.directory.join(&hex);
            let what = || format!("open {}", lock.display());
            let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
            let file = options.open(&lock).context(what)?;
            let Ok(_held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
            // The lock goes last: who finds a piece finds it, too.
            for path in files.iter().filter(|path| **path != lock).chain([&lock]) {
                freed += path.metadata().map_or(0, |metadata| metadata.blocks() * 512);
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error).context(|| format!("remove {}", path.display()));
                    }
                    _ => {}
                }
            }
        }
        Ok(freed)
    }

    fn files(&self) -> Result<BTreeMap<String, Vec<PathBuf>>> {
        pieces::files(&self.directory).context(|| format!("list {}", self.directory.display()))
    }
}

fn broke(blob: &Blob, at: u64, cause: Option<std::io::Error>) -> Error {
    let kind = dhow_model::ErrorKind::Unavailable;
    let what = format!("blob {}: the transfer broke after {at} of {} bytes", blob.name, blob.size);
    match cause {
        Some(cause) => Error::caused(kind, what, cause),
        None => Error::new(kind, what),
    }
}

#[cfg(test)]
mod tests;
