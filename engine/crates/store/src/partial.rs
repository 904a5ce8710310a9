//! Blobs on their way from a registry: what came is kept until the layer is installed, so that a pull that was cut,
//! or killed, goes on where it stopped.
//!
//! ```text
//!   ROOT/content/partial/HEX    the first bytes of a blob, as many as there are; locked (flock) by who fetches it
//! ```
//!
//! Nothing is verified here: the installer hashes every byte, those that were kept from before included.

use crate::db::private_directory;
use dhow_model::{Digest, Error, ErrorKind, Layout, Result, ResultExt};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

/// How often in a row a blob's transfer may break without a single byte, and how long to wait before each.
const BACK_OFF: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Bytes from an offset on; the second is the offset where they really start, which may be 0.
pub type Opened = (Box<dyn Read + Send>, u64);

/// Opens the blob at its origin. Called anew whenever the transfer broke.
pub type Fetch<'a> = Box<dyn FnMut(u64) -> Result<Opened> + 'a>;

/// The directory of partial blobs.
#[derive(Debug, Clone)]
pub struct Partials {
    directory: PathBuf,
}

impl Partials {
    /// Makes the directory when it is missing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(layout: &Layout) -> Result<Self> {
        let directory = layout.content().join("partial");
        private_directory(&directory)?;
        Ok(Self { directory })
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
        fetch: Fetch<'a>,
        heard: Box<dyn FnMut(u64) + 'a>,
    ) -> impl Read + 'a {
        PartialReader {
            name: digest.to_string(),
            path: self.path(digest),
            size,
            fetch,
            heard,
            state: State::Untouched,
            at: 0,
            failures: 0,
        }
    }

    /// How much of a blob is here.
    pub fn length(&self, digest: &Digest) -> u64 {
        self.path(digest).metadata().map_or(0, |metadata| metadata.len())
    }

    /// Takes away what is kept of a blob. Returns whether there was anything.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget(&self, digest: &Digest) -> Result<bool> {
        match std::fs::remove_file(self.path(digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context(|| format!("remove the partial blob {digest}")),
        }
    }

    /// The blobs that are kept in part, and how many bytes of each.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>> {
        let what = || format!("list {}", self.directory.display());
        let mut partial = Vec::new();
        for entry in std::fs::read_dir(&self.directory).context(what)? {
            let entry = entry.context(what)?;
            let digest = Digest::parse(&format!("sha256:{}", entry.file_name().to_string_lossy()));
            // One that is no longer there was fetched to its end.
            partial.extend(digest.ok().zip(entry.metadata().ok().map(|metadata| metadata.len())));
        }
        partial.sort();
        Ok(partial)
    }

    /// Takes away everything that nobody fetches now. Returns how many bytes that frees.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sweep(&self) -> Result<u64> {
        let what = || format!("sweep {}", self.directory.display());
        let mut freed = 0;
        for entry in std::fs::read_dir(&self.directory).context(what)? {
            let path = entry.context(what)?.path();
            let Ok(file) = File::open(&path) else { continue };
            let Ok(held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
            freed += held.metadata().map_or(0, |metadata| metadata.blocks() * 512);
            std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
        }
        Ok(freed)
    }
}

enum State {
    Untouched,
    /// What is here is read again.
    Kept(Kept, u64),
    /// The rest comes from its origin; `None` when the transfer has to be opened (again).
    Coming(Kept, Option<Box<dyn Read + Send>>),
}

/// The file that bytes are kept in; `None` when somebody else is fetching the same blob into it.
type Kept = Option<Flock<File>>;

struct PartialReader<'a> {
    name: String,
    path: PathBuf,
    size: u64,
    fetch: Fetch<'a>,
    heard: Box<dyn FnMut(u64) + 'a>,
    state: State,
    /// How many bytes were given.
    at: u64,
    failures: usize,
}

impl PartialReader<'_> {
    fn open(&self) -> Result<(Kept, u64)> {
        let what = || format!("open the partial blob {}", self.path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
            .context(what)?;
        let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok((None, 0)) };
        // Whoever had it before may have finished, and taken its name away.
        let metadata = file.metadata().context(what)?;
        if metadata.nlink() == 0 {
            return Ok((None, 0));
        }
        if metadata.len() > self.size {
            file.set_len(0).context(what)?;
            return Ok((Some(file), 0));
        }
        Ok((Some(file), metadata.len()))
    }

    /// One read. `Ok(None)` when the transfer broke, and is to be opened again.
    fn step(&mut self, out: &mut [u8]) -> Result<Option<usize>> {
        match &mut self.state {
            State::Untouched => {
                let (kept, length) = self.open()?;
                (self.heard)(length);
                self.state = if length > 0 { State::Kept(kept, length) } else { State::Coming(kept, None) };
                Ok(None)
            }
            State::Kept(kept, length) => {
                let left = usize::try_from(*length - self.at).unwrap_or(usize::MAX).min(out.len());
                let read = match kept {
                    Some(file) if left > 0 => {
                        file.read(&mut out[..left]).context(|| format!("read {}", self.path.display()))?
                    }
                    _ => 0,
                };
                if read > 0 {
                    self.at += read as u64;
                    return Ok(Some(read));
                }
                self.state = State::Coming(kept.take(), None);
                Ok(None)
            }
            State::Coming(..) if self.at == self.size => Ok(Some(0)),
            State::Coming(_, source @ None) => {
                let (reader, start) = (self.fetch)(self.at)?;
                *source = Some(skipping(reader, start, self.at)?);
                Ok(None)
            }
            State::Coming(kept, source @ Some(_)) => {
                let Some(reader) = source else { return Ok(None) };
                let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX).min(out.len());
                match reader.read(&mut out[..left]) {
                    Ok(0) => Err(cut(&self.name, self.at, self.size, None)),
                    Err(error) => Err(cut(&self.name, self.at, self.size, Some(error))),
                    Ok(read) => {
                        if let Some(file) = kept
                            && file.write_all(&out[..read]).is_err()
                        {
                            // No room to keep it is no reason not to install it; but what is kept must have no hole.
                            *kept = None;
                        }
                        self.at += read as u64;
                        self.failures = 0;
                        (self.heard)(self.at);
                        Ok(Some(read))
                    }
                }
            }
        }
    }
}

impl Read for PartialReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.step(out) {
                Ok(Some(read)) => return Ok(read),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Unavailable && self.failures < BACK_OFF.len() => {
                    std::thread::sleep(BACK_OFF[self.failures]);
                    self.failures += 1;
                    if let State::Coming(_, source) = &mut self.state {
                        *source = None;
                    }
                }
                Err(error) => return Err(std::io::Error::other(error)),
            }
        }
    }
}

/// An origin that does not do ranges starts anew: what is here already is thrown away.
fn skipping(mut reader: Box<dyn Read + Send>, start: u64, wanted: u64) -> Result<Box<dyn Read + Send>> {
    let before = wanted.checked_sub(start);
    let before = before
        .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the origin starts behind what was asked"))?;
    let skipped = std::io::copy(&mut reader.by_ref().take(before), &mut std::io::sink())
        .context_kind(ErrorKind::Unavailable, || "skip what is here already".to_owned())?;
    if skipped < before {
        return Err(Error::new(ErrorKind::Unavailable, "the transfer ended before where it was to go on"));
    }
    Ok(reader)
}

fn cut(name: &str, at: u64, size: u64, cause: Option<std::io::Error>) -> Error {
    let what = format!("blob {name}: the transfer broke after {at} of {size} bytes");
    match cause {
        Some(cause) => Error::caused(ErrorKind::Unavailable, what, cause),
        None => Error::new(ErrorKind::Unavailable, what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::digest_of;
    use std::sync::Mutex;

    struct Origin {
        blob: Vec<u8>,
        asked: Mutex<Vec<u64>>,
        /// Bytes after which each transfer breaks.
        cut: usize,
        ranges: bool,
    }

    impl Origin {
        fn fetch(&self) -> Fetch<'_> {
            Box::new(move |from| {
                self.asked.lock().unwrap().push(from);
                let start = if self.ranges { from } else { 0 };
                let from = usize::try_from(start).unwrap();
                let piece: Vec<u8> = self.blob[from..].iter().copied().take(self.cut).collect();
                Ok((Box::new(std::io::Cursor::new(piece)), start))
            })
        }
    }

    fn read(partials: &Partials, origin: &Origin, limit: usize) -> std::io::Result<Vec<u8>> {
        let digest = digest_of(&origin.blob);
        let reader = partials.reader(&digest, origin.blob.len() as u64, origin.fetch(), Box::new(|_| {}));
        let mut out = Vec::new();
        reader.take(limit as u64).read_to_end(&mut out)?;
        Ok(out)
    }

    fn fixture(cut: usize, ranges: bool) -> (tempfile::TempDir, Partials, Origin) {
        let directory = tempfile::tempdir().unwrap();
        let partials = Partials::open(&Layout::new(directory.path(), directory.path().join("s"))).unwrap();
        let blob: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        (directory, partials, Origin { blob, asked: Mutex::default(), cut, ranges })
    }

    #[test]
    fn a_transfer_that_breaks_goes_on_where_it_stopped() {
        let (_directory, partials, origin) = fixture(150_000, true);
        assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
        assert_eq!(*origin.asked.lock().unwrap(), [0, 150_000, 300_000]);
    }

    #[test]
    fn another_process_goes_on_where_the_first_one_died() {
        let (_directory, partials, origin) = fixture(usize::MAX, true);
        assert_eq!(read(&partials, &origin, 70_000).unwrap(), origin.blob[..70_000]);
        let kept = partials.length(&digest_of(&origin.blob));
        assert!(kept >= 70_000, "{kept}");
        assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
        assert_eq!(*origin.asked.lock().unwrap(), [0, kept]);
        // All of it is here: nobody is asked.
        assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
        assert_eq!(origin.asked.lock().unwrap().len(), 2);
        assert!(partials.sweep().unwrap() > 0);
        assert_eq!(partials.length(&digest_of(&origin.blob)), 0);
    }

    #[test]
    fn an_origin_without_ranges_is_read_from_its_start() {
        let (_directory, partials, origin) = fixture(usize::MAX, false);
        read(&partials, &origin, 70_000).unwrap();
        assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    }

    #[test]
    fn an_origin_that_gives_nothing_is_an_error_and_more_than_was_said_is_not_taken() {
        let (_directory, partials, mut origin) = fixture(0, true);
        let error = read(&partials, &origin, usize::MAX).unwrap_err().to_string();
        assert!(error.contains("broke after 0 of 400000 bytes"), "{error}");
        origin.cut = usize::MAX;
        let digest = digest_of(b"x");
        let mut out = Vec::new();
        partials.reader(&digest, 1000, origin.fetch(), Box::new(|_| {})).read_to_end(&mut out).unwrap();
        assert_eq!(out.len(), 1000);
    }

    #[test]
    fn two_at_once_do_not_write_into_each_others_file() {
        let (_directory, partials, origin) = fixture(usize::MAX, true);
        let digest = digest_of(&origin.blob);
        let size = origin.blob.len() as u64;
        let mut first = partials.reader(&digest, size, origin.fetch(), Box::new(|_| {}));
        let mut byte = [0];
        first.read_exact(&mut byte).unwrap();
        assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
        let mut rest = Vec::new();
        first.read_to_end(&mut rest).unwrap();
        assert!(rest == origin.blob[1..]);
    }
}
