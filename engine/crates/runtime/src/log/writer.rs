//! Writes a container's output as json-file lines and rotates the files.

use super::clock::Clock;
use super::escape::{escape_line, trim_to_character};
use super::{Stream, chain};
use dhow_model::container::LogConfig;
use dhow_model::{Result, ResultExt, Timestamp};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of text in one entry at most: Docker's `defaultBufSize` (`daemon/logger/copier.go`).
pub const ENTRY_TEXT_MAX: usize = 16 << 10;

/// Buffers larger than this are given back between bursts.
const IDLE_BUFFER_MAX: usize = 4 << 10;

/// The writing end of a container's log.
#[derive(Debug)]
pub struct JsonFileWriter {
    path: PathBuf,
    file: File,
    /// Bytes in `file`, all of them whole lines.
    size: u64,
    max_size: u64,
    max_files: u32,
    compress: bool,
    /// What every entry carries, as it is written: `,"attrs":{…}`; empty when nothing.
    attributes: Vec<u8>,
    /// Whole lines that are not in the file yet. Empty between calls.
    buffer: Vec<u8>,
    stdout: Unfinished,
    stderr: Unfinished,
    clock: Clock,
}

/// The line of a stream whose end has not come yet.
#[derive(Debug, Default)]
struct Unfinished {
    /// Its text so far, without what was already written as a piece. Shorter than [`ENTRY_TEXT_MAX`].
    text: Vec<u8>,
    /// The time of its first piece, if one was written: the other pieces carry it too.
    since: Option<Timestamp>,
}

impl JsonFileWriter {
    /// Opens or creates the log at `path`. A line that a crash left torn at its end is cut off.
    ///
    /// # Errors
    /// When the file cannot be created, read or repaired.
    pub fn open(path: &Path, config: &LogConfig, attributes: &BTreeMap<String, String>) -> Result<Self> {
        let what = || format!("open log {}", path.display());
        let file = create(path).context(what)?;
        let size = repair(&file).context(what)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            // 0: no limit.
            max_size: if config.max_size_bytes == 0 { u64::MAX } else { config.max_size_bytes },
            max_files: config.max_files.max(1),
            compress: config.compress,
            attributes: encode_attributes(attributes)?,
            buffer: Vec::new(),
            stdout: Unfinished::default(),
            stderr: Unfinished::default(),
            clock: Clock::default(),
        })
    }

    /// Takes what was read from the container. Whole lines are in the file when this returns, with one
    /// `write(2)` unless the file is rotated; the rest waits for its newline.
    ///
    /// # Errors
    /// When the file cannot be written. The lines concerned are lost, the file stays well-formed, and the
    /// writer can be used further.
    pub fn write(&mut self, stream: Stream, time: Timestamp, mut bytes: &[u8]) -> Result<()> {
        let mut unfinished = std::mem::take(self.unfinished(stream));
        let mut outcome = Ok(());
        if !unfinished.text.is_empty() {
            bytes = self.finish_line(stream, time, bytes, &mut unfinished, &mut outcome);
        }
        while !bytes.is_empty() {
            // Cheaper to cut first and look for the newline while escaping than to look for it twice.
            let window = if bytes.len() >= ENTRY_TEXT_MAX {
                trim_to_character(&bytes[..ENTRY_TEXT_MAX])
            } else {
                bytes
            };
            let line_start = self.buffer.len();
            let (used, ended) = self.encode(stream, unfinished.since.unwrap_or(time), window);
            if !ended && bytes.len() < ENTRY_TEXT_MAX {
                self.buffer.truncate(line_start);
                unfinished.text.extend_from_slice(bytes);
                break;
            }
            unfinished.since = if ended { None } else { Some(unfinished.since.unwrap_or(time)) };
            keep_first(&mut outcome, self.fit(line_start));
            bytes = &bytes[used..];
        }
        *self.unfinished(stream) = unfinished;
        keep_first(&mut outcome, self.flush());
        outcome
    }

    /// The stream ended: its last line is written although it has no newline.
    ///
    /// # Errors
    /// As [`JsonFileWriter::write`].
    pub fn end(&mut self, stream: Stream, time: Timestamp) -> Result<()> {
        let unfinished = std::mem::take(self.unfinished(stream));
        if unfinished.text.is_empty() {
            return Ok(());
        }
        let line_start = self.buffer.len();
        self.encode(stream, unfinished.since.unwrap_or(time), &unfinished.text);
        let fitted = self.fit(line_start);
        fitted.and(self.flush())
    }

    /// Gives back memory that only bursts need.
    pub fn shrink(&mut self) {
        if self.buffer.capacity() > IDLE_BUFFER_MAX {
            self.buffer = Vec::new();
        }
        for unfinished in [&mut self.stdout, &mut self.stderr] {
            unfinished.text.shrink_to_fit();
        }
    }

    fn unfinished(&mut self, stream: Stream) -> &mut Unfinished {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Completes the waiting line from `bytes`, as far as they go, and returns the rest of them.
    fn finish_line<'a>(
        &mut self,
        stream: Stream,
        time: Timestamp,
        mut bytes: &'a [u8],
        unfinished: &mut Unfinished,
        outcome: &mut Result<()>,
    ) -> &'a [u8] {
        while !unfinished.text.is_empty() && !bytes.is_empty() {
            let room = ENTRY_TEXT_MAX.saturating_sub(unfinished.text.len()).min(bytes.len());
            let mut here = &bytes[..room];
            let take = here.skip_until(b'\n').unwrap_or(room);
            unfinished.text.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            let ended = unfinished.text.last() == Some(&b'\n');
            if !ended && unfinished.text.len() < ENTRY_TEXT_MAX {
                break;
            }
            let piece = if ended { &unfinished.text[..] } else { trim_to_character(&unfinished.text) };
            let length = piece.len();
            let since = unfinished.since.unwrap_or(time);
            let line_start = self.buffer.len();
            self.encode(stream, since, piece);
            unfinished.since = if ended { None } else { Some(since) };
            unfinished.text.drain(..length);
            keep_first(outcome, self.fit(line_start));
        }
        bytes
    }

    /// Appends one entry to the buffer; returns as [`escape_line`].
    fn encode(&mut self, stream: Stream, time: Timestamp, text: &[u8]) -> (usize, bool) {
        self.buffer.extend_from_slice(b"{\"log\":\"");
        let outcome = escape_line(text, &mut self.buffer);
        self.buffer.extend_from_slice(b"\",\"stream\":\"");
        self.buffer.extend_from_slice(stream.as_str().as_bytes());
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(&self.attributes);
        self.buffer.extend_from_slice(b",\"time\":\"");
        self.clock.append(time, &mut self.buffer);
        self.buffer.extend_from_slice(b"\"}\n");
        outcome
    }

    /// Rotates if the buffer's last line, which begins at `line_start`, would make the file too large.
    fn fit(&mut self, line_start: usize) -> Result<()> {
        if self.size.saturating_add(self.buffer.len() as u64) <= self.max_size
            || self.size + line_start as u64 == 0
        {
            return Ok(());
        }
        let last = self.buffer.split_off(line_start);
        let flushed = self.flush();
        let rotated = self.rotate();
        self.buffer = last;
        flushed.and(rotated)
    }

    /// Writes the buffer out. It is empty afterwards, whatever happened.
    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.buffer);
        let length = self.buffer.len() as u64;
        self.buffer.clear();
        match written {
            Ok(()) => self.size += length,
            Err(_) => {
                // No space, most likely, in the middle of a line: readers must not see half of one.
                let cut = self.file.set_len(self.size);
                return written.and(cut).context(|| format!("write log {}", self.path.display()));
            }
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let what = || format!("rotate log {}", self.path.display());
        chain::shift(&self.path, self.max_files).context(what)?;
        self.file = create(&self.path).context(what)?;
        self.size = 0;
        if self.compress && self.max_files > 1 {
            chain::compress_newest(&self.path).context(what)?;
        }
        Ok(())
    }
}

fn encode_attributes(attributes: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    if attributes.is_empty() {
        return Ok(Vec::new());
    }
    let mut text = b",\"attrs\":".to_vec();
    serde_json::to_writer(&mut text, attributes).context(|| "write the attributes of a log".to_owned())?;
    Ok(text)
}

fn keep_first(outcome: &mut Result<()>, next: Result<()>) {
    if outcome.is_ok() {
        *outcome = next;
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    // Docker's mode for log files.
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

/// Cuts off what follows the last newline, and returns the file's size.
fn repair(file: &File) -> std::io::Result<u64> {
    let size = file.metadata()?.len();
    let mut block = [0; 4096];
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let here = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(here, start)?;
        if let Some(newline) = here.iter().rposition(|b| *b == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if end < size {
        file.set_len(end)?;
    }
    Ok(end)
}
