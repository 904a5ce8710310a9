//! A partial blob as one stream, from its first byte to its last.
//!
//! ```text
//!   Untouched ──► Ranged ──► Coming     a large blob, of which much is missing; ranges did not work out
//!       └─────────────────────▲         all others
//! ```

use super::pieces::{PieceReader, Pieces, Spans, covering, total};
use super::ranges::{Got, Left, Ranges};
use super::{Blob, Connection, broke};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// How often in a row a blob's transfer may break without a single byte, and how long to wait before each.
const BACK_OFF: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

pub(super) struct PartialReader<'a> {
    blob: Arc<Blob>,
    heard: Box<dyn FnMut(u64) + 'a>,
    state: State,
    /// How many bytes were given.
    at: u64,
    failures: usize,
}

enum State {
    Untouched,
    Ranged(Ranges),
    Coming(Coming),
}

impl<'a> PartialReader<'a> {
    pub(super) fn new(blob: Blob, heard: Box<dyn FnMut(u64) + 'a>) -> Self {
        Self { blob: Arc::new(blob), heard: on_change(heard), state: State::Untouched, at: 0, failures: 0 }
    }

    fn begin(&self) -> Result<State> {
        let blob = &self.blob;
        let (pieces, here) = Pieces::open(&blob.path, blob.size)?.unzip();
        let here = here.unwrap_or_default();
        Ok(match pieces {
            Some(pieces) if Ranges::suits(blob, &here) => {
                State::Ranged(Ranges::new(Arc::clone(blob), pieces, here))
            }
            pieces => {
                let left = Left { pieces: pieces.map(Arc::new), here, whole: None };
                State::Coming(Coming::new(left, blob.connections.take()))
            }
        })
    }

    /// One read. `Ok(None)` when something has to be tried (again).
    fn step(&mut self, out: &mut [u8]) -> Result<Option<usize>> {
        let read = match &mut self.state {
            State::Untouched => {
                self.state = self.begin()?;
                return Ok(None);
            }
            _ if self.at == self.blob.size => return Ok(Some(0)),
            State::Ranged(ranges) => match ranges.read(self.at, out, &mut self.heard) {
                Got::Bytes(read) => read,
                Got::Over => {
                    let left = ranges.give_up();
                    self.state = State::Coming(Coming::new(left, self.blob.connections.take()));
                    return Ok(None);
                }
            },
            State::Coming(coming) => {
                let Some(read) = coming.read(&self.blob, self.at, out)? else { return Ok(None) };
                (self.heard)(coming.received);
                read
            }
        };
        self.at += read as u64;
        self.failures = 0;
        Ok(Some(read))
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
                    if let State::Coming(coming) = &mut self.state {
                        coming.source = None;
                    }
                }
                Err(error) => return Err(std::io::Error::other(error)),
            }
        }
    }
}

/// What is here is read, what is missing comes over one connection.
struct Coming {
    /// The files; `None` when somebody else is fetching the same blob into them.
    pieces: Option<Arc<Pieces>>,
    here: Spans,
    reader: PieceReader,
    /// The file that is written, and where its piece starts.
    writing: Option<(u64, File)>,
    /// There is no room to keep more.
    is_full: bool,
    /// `None` when the transfer has to be opened (again).
    source: Option<Box<dyn Read + Send>>,
    /// How many bytes there are.
    received: u64,
    /// `None` when all of it came.
    connection: Option<Connection>,
}

impl Coming {
    fn new(left: Left, connection: Connection) -> Self {
        Self {
            received: total(&left.here),
            pieces: left.pieces,
            here: left.here,
            reader: PieceReader::default(),
            writing: None,
            is_full: false,
            source: left.whole,
            connection: Some(connection),
        }
    }

    /// One read at `at`. `Ok(None)` when something has to be tried (again).
    fn read(&mut self, blob: &Blob, at: u64, out: &mut [u8]) -> Result<Option<usize>> {
        if let Some(read) = self.read_kept(at, out) {
            return Ok(Some(read));
        }
        let end = self.here.range(at..).next().map_or(blob.size, |(start, _)| *start);
        let Some(source) = &mut self.source else {
            let opened = (blob.fetch)(at, Some(end).filter(|end| *end < blob.size))?;
            self.source = Some(skipping(opened.reader, opened.start, at)?);
            return Ok(None);
        };
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(out.len());
        let read = match source.read(&mut out[..most]) {
            Ok(0) => return Err(broke(blob, at, None)),
            Err(error) => return Err(broke(blob, at, Some(error))),
            Ok(read) => read,
        };
        self.received += read as u64;
        self.keep(at, &out[..read]);
        if at + read as u64 == end {
            self.source = None;
        }
        if at + read as u64 == blob.size {
            self.connection = None;
        }
        Ok(Some(read))
    }

    /// Bytes that are here already; `None` when they are not.
    fn read_kept(&mut self, at: u64, out: &mut [u8]) -> Option<usize> {
        let (start, end) = covering(&self.here, at)?;
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(out.len());
        let read = self.pieces.as_deref().map(|pieces| self.reader.read(pieces, start, at, &mut out[..most]));
        if let Some(Ok(read)) = read {
            return Some(read);
        }
        // Somebody took the files away: all that was not read yet comes anew.
        self.pieces = None;
        self.here.clear();
        self.received = at;
        None
    }

    /// Appends to the piece that ends there, or begins one.
    fn keep(&mut self, at: u64, bytes: &[u8]) {
        let Some(pieces) = self.pieces.as_deref().filter(|_| !self.is_full) else { return };
        let before = self.here.range(..at).next_back().filter(|(_, end)| **end == at);
        let start = before.map_or(at, |(start, _)| *start);
        let file = match self.writing.take() {
            Some((known, file)) if known == start => Ok(file),
            // Of a write that failed in the middle there may be more than is known.
            _ => pieces.append_to(start).and_then(|file| file.set_len(at - start).map(|()| file)),
        };
        match file.and_then(|mut file| file.write_all(bytes).map(|()| file)) {
            Ok(file) => {
                self.here.insert(start, at + bytes.len() as u64);
                self.writing = Some((start, file));
            }
            // No room to keep it is no reason not to install it.
            Err(_) => self.is_full = true,
        }
    }
}

/// Tells each number once.
fn on_change<'a>(mut heard: Box<dyn FnMut(u64) + 'a>) -> Box<dyn FnMut(u64) + 'a> {
    let mut last = None;
    Box::new(move |bytes| {
        if last.replace(bytes) != Some(bytes) {
            heard(bytes);
        }
    })
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
