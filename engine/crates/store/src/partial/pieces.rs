//! The files that a partial blob is kept in: what is there, and where.

use dhow_model::{Result, ResultExt};
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The bytes of a blob that are here: where each piece starts, and where it ends.
pub(super) type Spans = BTreeMap<u64, u64>;

/// The span that an offset is in.
pub(super) fn covering(spans: &Spans, at: u64) -> Option<(u64, u64)> {
    let (start, end) = spans.range(..=at).next_back()?;
    (at < *end).then_some((*start, *end))
}

/// What of a blob is missing, in pieces of at most that many bytes.
pub(super) fn gaps(spans: &Spans, size: u64, piece: u64) -> Spans {
    let mut gaps = Spans::new();
    let mut at = 0;
    for (start, end) in spans.iter().map(|(start, end)| (*start, *end)).chain([(size, size)]) {
        while at < start {
            let end = start.min(at + piece);
            gaps.insert(at, end);
            at = end;
        }
        at = at.max(end);
    }
    gaps
}

pub(super) fn total(spans: &Spans) -> u64 {
    spans.iter().map(|(start, end)| end - start).sum()
}

/// The files of a directory, by the blob that they are of.
pub(super) fn files(directory: &Path) -> std::io::Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let hex = name.split('.').next().unwrap_or_default().to_owned();
        files.entry(hex).or_default().push(entry.path());
    }
    Ok(files)
}

/// The files of one blob, which nobody else writes to while this is there.
#[derive(Debug)]
pub(super) struct Pieces {
    first: PathBuf,
    #[expect(dead_code, reason = "held for its drop")]
    lock: Flock<File>,
}

impl Pieces {
    /// What is here of a blob of that size; `None` when somebody else is fetching it.
    pub(super) fn open(first: &Path, size: u64) -> Result<Option<(Self, Spans)>> {
        let what = || format!("open the partial blob {}", first.display());
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
        let Ok(lock) = Flock::lock(options.open(first).context(what)?, FlockArg::LockExclusiveNonblock)
        else {
            return Ok(None);
        };
        // Whoever had it before may have finished, and taken its name away.
        if lock.metadata().context(what)?.nlink() == 0 {
            return Ok(None);
        }
        let pieces = Self { first: first.to_owned(), lock };
        let spans = pieces.spans(size).context(what)?;
        Ok(Some((pieces, spans)))
    }

    /// Takes away what cannot be: more than the blob has, or the same bytes twice.
    fn spans(&self, size: u64) -> std::io::Result<Spans> {
        let directory = self.first.parent().unwrap_or(Path::new("."));
        let hex = self.first.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut found = BTreeMap::new();
        for path in files(directory)?.remove(&hex).unwrap_or_default() {
            let start = match path.extension().map(|start| start.to_string_lossy().parse::<u64>()) {
                None => 0,
                Some(Ok(start)) if path == self.path(start) => start,
                Some(_) => {
                    std::fs::remove_file(&path)?;
                    continue;
                }
            };
            found.insert(start, path.metadata()?.len());
        }
        let mut spans = Spans::new();
        let mut before = 0;
        for (start, length) in found {
            let end = start.saturating_add(length);
            if length == 0 || start < before || end > size {
                self.discard(start)?;
                continue;
            }
            spans.insert(start, end);
            before = end;
        }
        Ok(spans)
    }

    fn discard(&self, start: u64) -> std::io::Result<()> {
        // The first file is the lock.
        if start == 0 {
            return OpenOptions::new().write(true).open(&self.first)?.set_len(0);
        }
        std::fs::remove_file(self.path(start))
    }

    fn path(&self, start: u64) -> PathBuf {
        if start == 0 { self.first.clone() } else { self.first.with_extension(start.to_string()) }
    }

    /// The file of the piece that starts there, to append to; made when there is none.
    pub(super) fn append_to(&self, start: u64) -> std::io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(self.path(start))
    }
}

/// Reads pieces, one after the other.
#[derive(Debug, Default)]
pub(super) struct PieceReader {
    /// Where the piece starts that is read, and where its file is read next.
    current: Option<(u64, u64, File)>,
}

impl PieceReader {
    /// Bytes at an offset of the blob, from the piece that starts at `start`. At least one, or an error.
    pub(super) fn read(
        &mut self,
        pieces: &Pieces,
        start: u64,
        at: u64,
        out: &mut [u8],
    ) -> std::io::Result<usize> {
        let mut current = match self.current.take() {
            Some((known, next, file)) if known == start && next == at => (start, at, file),
            _ => {
                let mut file = File::open(pieces.path(start))?;
                file.seek(SeekFrom::Start(at - start))?;
                (start, at, file)
            }
        };
        let read = current.2.read(out)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        current.1 += read as u64;
        self.current = Some(current);
        Ok(read)
    }
}
