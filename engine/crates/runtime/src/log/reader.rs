//! Reads a log: all of it or its tail, over rotated files, and goes on as it grows.
//!
//! A reader holds every file that it still has to read open, so that rotation takes nothing away from it.
//! It only uses whole lines and always knows the offset of the first byte that it did not use. At the end
//! of the newest file it looks whether `path` is another file now; if so, the old one will never grow
//! again (the writer renames before it creates), and whatever came between the last read and the look is
//! read before it moves on. So nothing is lost, doubled or torn, however often the log rotates, unless
//! files are deleted (by `max_files`) before a slow reader has opened them.
//!
//! Following needs no thread: [`LogReader::poll_next`] never blocks, and [`LogReader`]'s descriptor (an
//! inotify instance on the log's directory) becomes readable when it is worth asking again.

use super::line::parse_line;
use super::{LogEntry, Stream, chain};
use dhow_model::{Error, Result, ResultExt, Timestamp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::VecDeque;
use std::fs::File;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Bytes per read: some hundred usual lines.
const BLOCK: usize = 64 << 10;

/// A longer line is none of ours (16 KiB of text are at most 96 KiB escaped) and is skipped.
const LINE_MAX: usize = 1 << 20;

/// Which entries of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Only the last so many entries that exist when the log is opened; counted, as in Docker, before the
    /// other conditions.
    pub tail: Option<u64>,
    /// Only entries of that time or later.
    pub since: Option<Timestamp>,
    /// Only entries of that time or earlier; the first later one ends the reading.
    pub until: Option<Timestamp>,
    /// Entries of standard output.
    pub stdout: bool,
    /// Entries of standard error.
    pub stderr: bool,
    /// Go on at the end, until [`LogReader::finish`].
    pub follow: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { tail: None, since: None, until: None, stdout: true, stderr: true, follow: false }
    }
}

/// What a reader has just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// An entry.
    Entry(LogEntry),
    /// Nothing yet: wait for the descriptor. Only when following.
    Pending,
    /// Nothing any more.
    End,
}

/// The reading end of a container's log.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    options: ReadOptions,
    /// Files to read, oldest first; the first is being read.
    files: VecDeque<chain::LogFile>,
    /// Where in the first file `buffer` begins.
    offset: u64,
    /// Bytes read and not used yet.
    buffer: Vec<u8>,
    /// How many of them were used.
    used: usize,
    /// Inside a line longer than [`LINE_MAX`].
    skipping: bool,
    /// The newest file is known to be complete.
    complete: bool,
    watch: Option<Inotify>,
    finished: bool,
    ended: bool,
}

impl LogReader {
    /// Opens the log at `path`. A log that does not exist (yet) is an empty one.
    ///
    /// # Errors
    /// When a file exists and cannot be read, or, to follow, the directory cannot be watched.
    pub fn open(path: &Path, options: ReadOptions) -> Result<Self> {
        let what = || format!("read log {}", path.display());
        // Before anything is read, so that no change goes unnoticed.
        let watch = if options.follow { Some(watch_directory(path)?) } else { None };
        let mut files: VecDeque<_> = chain::open(path, None).context(what)?.into();
        let mut offset = 0;
        if let Some(wanted) = options.tail {
            offset = skip_to_tail(&mut files, wanted).context(what)?;
        }
        Ok(Self {
            path: path.to_owned(),
            options,
            files,
            offset,
            buffer: Vec::new(),
            used: 0,
            skipping: false,
            complete: false,
            watch,
            finished: false,
            ended: false,
        })
    }

    /// The next entry that was asked for, if it is there.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn poll_next(&mut self) -> Result<Next> {
        while !self.ended {
            let Some(entry) = self.next_line()? else {
                if !self.options.follow || self.finished || self.time_is_up() {
                    self.ended = true;
                    break;
                }
                // Waiting may take long: it should not keep a read buffer.
                self.offset += self.used as u64;
                (self.buffer, self.used) = (Vec::new(), 0);
                return Ok(Next::Pending);
            };
            if self.options.until.is_some_and(|until| entry.time > until) {
                self.ended = true;
                break;
            }
            let wanted = match entry.stream {
                Stream::Stdout => self.options.stdout,
                Stream::Stderr => self.options.stderr,
            };
            if wanted && self.options.since.is_none_or(|since| entry.time >= since) {
                return Ok(Next::Entry(entry));
            }
        }
        Ok(Next::End)
    }

    /// As [`LogReader::poll_next`], but waits for something to happen, at most as long as `timeout` says.
    /// `Pending` means that the time is over.
    ///
    /// # Errors
    /// As [`LogReader::poll_next`].
    pub fn next_blocking(&mut self, timeout: Option<Duration>) -> Result<Next> {
        let deadline = timeout.map(|t| Instant::now() + t);
        loop {
            let next = self.poll_next()?;
            let left = [deadline.map(|d| d.saturating_duration_since(Instant::now())), self.time_left()]
                .into_iter()
                .flatten()
                .min();
            let over = deadline.is_some_and(|d| d <= Instant::now());
            match (&next, &self.watch) {
                (Next::Pending, Some(watch)) if !over => wait_readable(watch.as_fd(), left)?,
                _ => return Ok(next),
            }
        }
    }

    /// Empties the descriptor after it became readable. An async caller does this before it asks
    /// [`LogReader::poll_next`] again, which does it too when it finds nothing new.
    ///
    /// # Errors
    /// When the watch cannot be read.
    pub fn drain_watch(&mut self) -> Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        loop {
            match watch.read_events() {
                // The directory is gone: the container was removed, nothing will come.
                Ok(events) if events.iter().any(|e| e.mask.contains(AddWatchFlags::IN_IGNORED)) => {
                    self.finished = true;
                }
                Ok(_) => {}
                Err(nix::errno::Errno::EAGAIN) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error).context(|| format!("watch log {}", self.path.display())),
            }
        }
    }

    /// The writer is done (the container does not run): what is there is still read, then comes the end.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The descriptor to wait for when there is nothing; `None` unless following.
    pub fn watch_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// How long until a following reader with `until` ends by itself: a caller that waits for the
    /// descriptor should not wait longer.
    pub fn time_left(&self) -> Option<Duration> {
        self.options.until.map(|until| until.since(SystemTime::now().into()))
    }

    fn time_is_up(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }

    /// The next line that is an entry. `None`: at the end of what is there.
    fn next_line(&mut self) -> Result<Option<LogEntry>> {
        let mut drained = false;
        loop {
            while let Some(length) = line_length(&self.buffer[self.used..]) {
                let line = &self.buffer[self.used..self.used + length];
                let entry = if self.skipping { None } else { parse_line(line) };
                self.skipping = false;
                self.used += length;
                if entry.is_some() {
                    return Ok(entry);
                }
            }
            if self.read_block()? {
                continue;
            }
            if !self.next_file()? {
                if drained || self.watch.is_none() {
                    return Ok(None);
                }
                // First empty the watch, then look once more: in the other order, a change between the
                // two would be forgotten.
                drained = true;
                self.drain_watch()?;
            }
        }
    }

    /// Reads on in the first file; false at its end.
    fn read_block(&mut self) -> Result<bool> {
        let what = || format!("read log {}", self.path.display());
        let Some(current) = self.files.front_mut() else { return Ok(false) };
        let text = current.text().context(what)?;
        self.buffer.drain(..self.used);
        self.offset += self.used as u64;
        self.used = 0;
        if self.buffer.len() > LINE_MAX {
            self.skipping = true;
            self.offset += self.buffer.len() as u64;
            self.buffer.clear();
        }
        let have = self.buffer.len();
        self.buffer.resize(have + BLOCK, 0);
        let read = loop {
            match text.read_at(&mut self.buffer[have..], self.offset + have as u64) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        match read.context(what)? {
            0 => {
                // Half a line at the end of the newest file may be rewritten by a monitor that comes
                // after one that was killed: it is read again from its beginning.
                self.buffer.clear();
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// At the end of the first file: goes on to the next. False when there is none, or not yet.
    fn next_file(&mut self) -> Result<bool> {
        let what = || format!("read log {}", self.path.display());
        if self.files.len() <= 1 {
            if !self.options.follow {
                return Ok(false);
            }
            if let Some(current) = self.files.front()
                && !self.complete
            {
                if current.is_at(&self.path).context(what)? {
                    return Ok(false);
                }
                // It was renamed: read it to its end once more, now for good.
                self.complete = true;
                return Ok(true);
            }
            let newer = chain::open(&self.path, self.files.front()).context(what)?;
            self.files.extend(newer);
            if self.files.len() <= 1 && (self.complete || self.files.is_empty()) {
                return Ok(false);
            }
            if !self.complete {
                // The very first file appeared.
                return Ok(true);
            }
        }
        self.files.pop_front();
        (self.offset, self.used, self.complete, self.skipping) = (0, 0, false, false);
        self.buffer.clear();
        Ok(true)
    }
}

/// The entries that were asked for. While following, ends where [`LogReader::poll_next`] says `Pending`.
impl Iterator for LogReader {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.poll_next() {
            Ok(Next::Entry(entry)) => Some(Ok(entry)),
            Ok(Next::Pending | Next::End) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// The length of the first line with its newline, if all of it is there.
fn line_length(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let length = rest.skip_until(b'\n').ok()?;
    (length > 0 && bytes[length - 1] == b'\n').then_some(length)
}

/// Drops the files before the last `wanted` lines; returns where these begin in the first file left.
fn skip_to_tail(files: &mut VecDeque<chain::LogFile>, wanted: u64) -> std::io::Result<u64> {
    let mut left = wanted;
    for index in (0..files.len()).rev() {
        if let Some(offset) = start_of_last_lines(files[index].text()?, &mut left)? {
            files.drain(..index);
            return Ok(offset);
        }
    }
    Ok(0)
}

/// Where the last `left` lines of a file begin; `None`, and `left` is less, when it has fewer.
fn start_of_last_lines(file: &File, left: &mut u64) -> std::io::Result<Option<u64>> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BLOCK.min(usize::try_from(end).unwrap_or(BLOCK))];
    let mut lines_from_here = 0;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let here = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(here, start)?;
        let mut upto = here.len();
        while let Some(newline) = here[..upto].iter().rposition(|b| *b == b'\n') {
            // A newline ends a line and, unless it is the file's last one, begins the one after it.
            if lines_from_here == *left {
                return Ok(Some(start + newline as u64 + 1));
            }
            lines_from_here += 1;
            upto = newline;
        }
        end = start;
    }
    if lines_from_here == *left {
        return Ok(Some(0));
    }
    *left -= lines_from_here;
    Ok(None)
}

fn watch_directory(path: &Path) -> Result<Inotify> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let what = || format!("watch {}", directory.display());
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).context(what)?;
    let changes = AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    watch.add_watch(directory, changes).context(what)?;
    Ok(watch)
}

fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<()> {
    // Rounded up: a wait that ends too early would be repeated in a busy loop.
    let timeout = timeout.map_or(PollTimeout::NONE, |t| {
        PollTimeout::try_from(t + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(Error::caused(dhow_model::ErrorKind::Internal, "wait for a log to grow", error)),
    }
}
