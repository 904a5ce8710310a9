//! What becomes of a container's output: [`sink`] chooses by log driver between files, syslog and the journal.
//!
//! Files are in Docker's json-file format: one writer (the monitor), any number of readers.
//!
//! ```text
//! ID-json.log        {"log":"a line\n","stream":"stdout","time":"2026-11-21T09:12:40.0125Z"}   appended to
//! ID-json.log.1      the file before, and so on up to max_files - 1; the oldest is deleted
//! ```
//!
//! - A line longer than 16 KiB is written as several entries of which only the last ends in `\n`, so
//!   concatenating the `log` fields of a stream always gives back its text. Bytes that are not UTF-8
//!   become U+FFFD, each byte one, as in Docker.
//! - All complete lines of one read from the container become one `write(2)`. Rotation happens between
//!   lines, by renaming; a file that was renamed is never written to again. That is what makes
//!   following across rotations lossless: see [`reader`].
//! - Rotated files may be compressed. A reader knows a file again that it had begun before.
//! - There is no lock. The writer is alone because the monitor holds its container's lock.

mod chain;
mod clock;
mod escape;
mod journald;
mod line;
mod lines;
pub mod reader;
mod remote;
pub mod sink;
mod syslog;
pub mod writer;

pub use reader::{LogReader, Next, ReadOptions};
pub use sink::{LogAbout, LogSink};
pub use writer::JsonFileWriter;

use dhow_model::Timestamp;
use std::collections::BTreeMap;

/// Which of a process's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output; with a tty, everything.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it was written.
    pub stream: Stream,
    /// When the monitor read it.
    pub time: Timestamp,
    /// The text with its `\n`, which only a piece of a long or unfinished line lacks.
    pub line: Vec<u8>,
    /// Labels, variables and a tag that it carries (`--log-opt labels`, …).
    pub attributes: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests;
