//! One log, whatever the driver: what the monitor writes to.

use super::journald::{self, JournalEncoder};
use super::lines::Lines;
use super::remote::{Peer, Remote};
use super::syslog::SyslogEncoder;
use super::{JsonFileWriter, Stream};
use dhow_model::log::{LogConfig, LogDriver, SyslogAddress, SyslogConfig};
use dhow_model::{Error, ErrorKind, Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a log tells of its container, beside the lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogAbout {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image, as typed.
    pub image: String,
    /// How it is called in the log; empty: not at all.
    pub tag: String,
    /// The host's name.
    pub hostname: String,
    /// Labels and variables that every entry carries.
    pub attributes: BTreeMap<String, String>,
}

/// An open log.
#[derive(Debug)]
pub enum LogSink {
    /// Files.
    Files(Box<JsonFileWriter>),
    /// A daemon.
    Daemon(Box<Daemon>),
}

/// A log that goes to a daemon.
#[derive(Debug)]
pub struct Daemon {
    remote: Remote,
    /// What `logs` reads: the daemon's own log is not ours to read.
    cache: Option<JsonFileWriter>,
    lines: Lines,
    encoder: Encoder,
    /// Looked up once an hour at most: summer begins.
    offset: (i64, i64),
}

#[derive(Debug)]
enum Encoder {
    Syslog(SyslogEncoder),
    Journal(JournalEncoder),
}

/// Seconds for which an offset of local time is good.
const OFFSET_GOOD_FOR: i64 = 900;

impl LogSink {
    /// Opens the log that `config` describes; files are at `path`.
    ///
    /// # Errors
    /// When a file cannot be made, or nobody listens.
    pub fn open(path: &Path, config: &LogConfig, about: &LogAbout) -> Result<Self> {
        let failed = |why: String| {
            Error::new(ErrorKind::StartFailed, format!("failed to initialize logging driver: {why}"))
        };
        let (peer, encoder) = match (config.driver, &config.syslog) {
            (LogDriver::Syslog, Some(syslog)) => {
                let encoder = SyslogEncoder::new(syslog, &about.tag, &about.hostname);
                (syslog_peer(syslog).map_err(failed)?, Encoder::Syslog(encoder))
            }
            (LogDriver::Journald, _) => {
                let short: String = about.id.chars().take(12).collect();
                let fields = [
                    ("CONTAINER_ID", short.as_str()),
                    ("CONTAINER_ID_FULL", &about.id),
                    ("CONTAINER_NAME", &about.name),
                    ("CONTAINER_TAG", &about.tag),
                    ("IMAGE_NAME", &about.image),
                    ("SYSLOG_IDENTIFIER", &about.tag),
                ];
                let encoder = JournalEncoder::new(&fields, &about.attributes);
                (Peer::Datagram(PathBuf::from(journald::SOCKET)), Encoder::Journal(encoder))
            }
            _ => {
                let mut attributes = about.attributes.clone();
                if !config.tag.is_empty() {
                    attributes.insert("tag".to_owned(), about.tag.clone());
                }
                return JsonFileWriter::open(path, config, &attributes)
                    .map(|files| Self::Files(Box::new(files)));
            }
        };
        let remote = Remote::open(peer, config.non_blocking).map_err(|errno| match config.driver {
            LogDriver::Journald => failed("journald is not enabled on this host".to_owned()),
            _ => failed(format!("syslog: {}", std::io::Error::from(errno))),
        })?;
        let files = config.cache.is_some().then(|| config.files());
        let cache = files.map(|files| JsonFileWriter::open(path, &files, &BTreeMap::new())).transpose()?;
        let lines = Lines::default();
        Ok(Self::Daemon(Box::new(Daemon { remote, cache, lines, encoder, offset: (i64::MIN, 0) })))
    }

    /// Takes what was read from the container.
    ///
    /// # Errors
    /// When a file cannot be written. A daemon's failures cost messages, which are counted.
    pub fn write(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Files(files) => files.write(stream, time, bytes),
            Self::Daemon(daemon) => {
                let offset = daemon.local_offset(time);
                let Daemon { remote, lines, encoder, cache, .. } = &mut **daemon;
                lines.take(stream, bytes, |line, partial| {
                    remote.push(encoder.encode(stream, time, offset, line, partial));
                });
                remote.flush();
                cache.as_mut().map_or(Ok(()), |cache| cache.write(stream, time, bytes))
            }
        }
    }

    /// The stream ended: its last line is written although it has no newline.
    ///
    /// # Errors
    /// As [`LogSink::write`].
    pub fn end(&mut self, stream: Stream, time: Timestamp) -> Result<()> {
        match self {
            Self::Files(files) => files.end(stream, time),
            Self::Daemon(daemon) => {
                let offset = daemon.local_offset(time);
                let Daemon { remote, lines, encoder, cache, .. } = &mut **daemon;
                lines.end(stream, |line| remote.push(encoder.encode(stream, time, offset, line, false)));
                remote.flush();
                cache.as_mut().map_or(Ok(()), |cache| cache.end(stream, time))
            }
        }
    }

    /// Gives back memory that only bursts need.
    pub fn shrink(&mut self) {
        match self {
            Self::Files(files) => files.shrink(),
            Self::Daemon(daemon) => {
                daemon.lines.shrink();
                if let Some(cache) = &mut daemon.cache {
                    cache.shrink();
                }
            }
        }
    }

    fn remote(&self) -> Option<&Remote> {
        match self {
            Self::Files(_) => None,
            Self::Daemon(daemon) => Some(&daemon.remote),
        }
    }

    /// Sends what waits and is taken now.
    pub fn flush(&mut self) {
        if let Self::Daemon(daemon) = self {
            daemon.remote.flush();
        }
    }

    /// Whether no more output should be read until the daemon has taken some.
    pub fn holds_up(&self) -> bool {
        self.remote().is_some_and(Remote::holds_up)
    }

    /// Whether messages wait for the daemon.
    pub fn waits(&self) -> bool {
        self.remote().is_some_and(Remote::waits)
    }

    /// The descriptor that must become writable before [`LogSink::flush`] is of use, with a number that tells it
    /// from those before it.
    pub fn waits_for(&self) -> Option<(u64, BorrowedFd<'_>)> {
        self.remote().and_then(Remote::waits_for)
    }

    /// The descriptor of the daemon's socket, while there is one.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.remote().and_then(Remote::descriptor)
    }

    /// When [`LogSink::flush`] is of use without that.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.remote().and_then(Remote::wakes_at)
    }

    /// Entries that were lost.
    pub fn lost(&self) -> u64 {
        self.remote().map_or(0, Remote::lost)
    }

    /// Counts what still waits as lost.
    pub fn give_up(&mut self) {
        if let Self::Daemon(daemon) = self {
            daemon.remote.give_up();
        }
    }
}

impl Daemon {
    fn local_offset(&mut self, time: Timestamp) -> i64 {
        let now = time.seconds();
        if now.saturating_sub(self.offset.0) > OFFSET_GOOD_FOR {
            self.offset = (now, dhow_sys::clock::local_offset_seconds(now));
        }
        self.offset.1
    }
}

impl Encoder {
    fn encode(&self, stream: Stream, time: Timestamp, offset: i64, line: &[u8], partial: bool) -> Vec<u8> {
        match self {
            Self::Syslog(syslog) => syslog.encode(stream, time, offset, line),
            Self::Journal(journal) => journal.encode(stream, line, partial),
        }
    }
}

fn syslog_peer(config: &SyslogConfig) -> Result<Peer, String> {
    let resolve = |address: &String| -> Result<SocketAddr, String> {
        let found = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?.next();
        found.ok_or_else(|| format!("{address}: no such host"))
    };
    Ok(match &config.address {
        SyslogAddress::Unix { path, datagram: false } => Peer::Unix(PathBuf::from(path)),
        SyslogAddress::Unix { path, datagram: true } => Peer::Datagram(PathBuf::from(path)),
        SyslogAddress::Udp(address) => Peer::Udp(resolve(address)?),
        SyslogAddress::Tcp(address) => Peer::Tcp(resolve(address)?),
    })
}
