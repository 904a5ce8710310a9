//! `run`: a container from nothing to nothing in one call, with its output in the caller's hands.

use super::{WaitCondition, WantedStreams, body, container};
use crate::Engine;
use dhow_model::{Result, ResultExt};
use dhow_runtime::log::Stream;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes that are read of a stream at a time: what a pipe holds.
const PIECE: usize = 64 << 10;

/// How long a removal is waited for when something else has failed already.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct RunRequest<'a> {
    /// The container's name; `None` draws one.
    pub name: Option<&'a str>,
    /// The body of `POST /containers/create`.
    pub config: &'a str,
    /// Its whole standard input, if it gets one.
    pub stdin: Option<&'a [u8]>,
    /// Do not remove the container at its end.
    pub keep: bool,
    /// When that is over, the container is killed.
    pub timeout: Option<Duration>,
}

/// How it came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// By itself.
    Exited,
    /// Its time was over, and it was killed.
    TimedOut,
    /// The one who takes the output wanted no more, and it was killed.
    Stopped,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The container's id.
    pub id: String,
    /// Its exit code.
    pub exit_code: i32,
    /// How it ended.
    pub end: RunEnd,
}

/// Creates, starts, feeds, reads, waits for, and (unless it is to be kept) removes a container.
///
/// # Errors
/// As `create`, `start` and `wait`. Nothing is left behind then, unless it was to be kept.
pub fn run(
    engine: &Engine,
    request: RunRequest<'_>,
    mut output: impl FnMut(Stream, &[u8]) -> ControlFlow<()>,
) -> Result<Run> {
    let deadline = request.timeout.map(|t| Instant::now() + t);
    let config = prepare(body(request.config)?, request);
    let auto_remove = config.pointer("/HostConfig/AutoRemove") == Some(&Value::Bool(true));
    let id = container::create_value(engine, request.name, config)?.id;
    let mut guard = Guard { engine, id: &id, remove: auto_remove, armed: true };

    let wanted = WantedStreams { stdin: request.stdin.is_some(), stdout: true, stderr: true };
    let started = container::start(engine, &id, wanted)?;
    let mut pump = Pump {
        input: request.stdin.unwrap_or_default(),
        stdin: started.streams.stdin,
        outputs: [(Stream::Stdout, started.streams.stdout), (Stream::Stderr, started.streams.stderr)],
    };
    let mut end = RunEnd::Exited;
    let mut piece = vec![0; PIECE];
    while pump.is_open() {
        // Once it was killed there is nothing to wait for but the end, which the monitor sees to.
        let until = deadline.filter(|_| end == RunEnd::Exited);
        match pump.turn(until, &mut piece, &mut |stream, bytes| {
            if end == RunEnd::Stopped { ControlFlow::Break(()) } else { output(stream, bytes) }
        })? {
            Turn::Went => {}
            why @ (Turn::TimeOver | Turn::Unwanted) if end == RunEnd::Exited => {
                end = if why == Turn::TimeOver { RunEnd::TimedOut } else { RunEnd::Stopped };
                kill(engine, &id)?;
            }
            Turn::TimeOver | Turn::Unwanted => {}
        }
    }
    // A program that closed its outputs may live on; its time is still limited.
    let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
    let condition = if auto_remove { WaitCondition::Removed } else { WaitCondition::NotRunning };
    let waited = match container::wait(engine, &id, condition, left.filter(|_| end == RunEnd::Exited))? {
        Some(waited) => Some(waited),
        None => {
            end = RunEnd::TimedOut;
            kill(engine, &id)?;
            container::wait(engine, &id, condition, None)?
        }
    };
    guard.armed = false;
    let exit_code = waited.map_or(0, |waited| waited.exit_code);
    Ok(Run { id: id.clone(), exit_code, end })
}

/// The body with what `run` itself decides.
fn prepare(mut config: Value, request: RunRequest<'_>) -> Value {
    if let Value::Object(fields) = &mut config {
        if request.stdin.is_some() {
            // Its end is the input's end.
            fields.insert("OpenStdin".to_owned(), true.into());
            fields.insert("StdinOnce".to_owned(), true.into());
        }
        let host = fields.entry("HostConfig").or_insert_with(|| json!({}));
        if host.is_null() {
            *host = json!({});
        }
        if let Value::Object(host) = host {
            // Removed by its monitor, so that it goes even if we do not live to see its end.
            host.entry("AutoRemove").or_insert((!request.keep).into());
        }
    }
    config
}

/// Ends the container; that it has ended already is what was wanted.
fn kill(engine: &Engine, id: &str) -> Result<()> {
    use dhow_model::ErrorKind;
    match container::signal(engine, id, "KILL") {
        Err(error) if !matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Err(error),
        _ => Ok(()),
    }
}

/// Removes what an error leaves.
struct Guard<'a> {
    engine: &'a Engine,
    id: &'a str,
    remove: bool,
    armed: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        // The first error is the one that is told.
        if self.remove {
            let _ = container::remove(self.engine, self.id, true, true);
            // After a failed start its monitor is at it already, and has yet to finish.
            let _ = container::wait(self.engine, self.id, WaitCondition::Removed, Some(REMOVAL_PATIENCE));
        } else {
            let _ = kill(self.engine, self.id);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Went,
    TimeOver,
    Unwanted,
}

/// The three streams of a running container.
struct Pump<'a> {
    input: &'a [u8],
    stdin: Option<OwnedFd>,
    outputs: [(Stream, Option<OwnedFd>); 2],
}

impl Pump<'_> {
    fn is_open(&self) -> bool {
        self.outputs.iter().any(|(_, fd)| fd.is_some())
    }

    /// Waits for one of them, and moves bytes.
    fn turn(
        &mut self,
        deadline: Option<Instant>,
        piece: &mut [u8],
        output: &mut impl FnMut(Stream, &[u8]) -> ControlFlow<()>,
    ) -> Result<Turn> {
        if self.input.is_empty() {
            self.stdin = None;
        }
        let timeout = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            Some(Duration::ZERO) => return Ok(Turn::TimeOver),
            // Rounded up: to wake too early would mean to spin.
            Some(left) => {
                let milliseconds = left.as_micros().div_ceil(1000);
                PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = Vec::with_capacity(3);
        for (_, fd) in &self.outputs {
            fds.extend(fd.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        }
        fds.extend(self.stdin.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLOUT)));
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Turn::Went),
            other => other.context(|| "wait for the container's output".to_owned())?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut ready = ready.into_iter();
        let mut turn = Turn::Went;
        for (stream, slot) in &mut self.outputs {
            let Some(fd) = slot else { continue };
            if ready.next() != Some(true) {
                continue;
            }
            match nix::unistd::read(&*fd, piece) {
                Ok(0) => *slot = None,
                Ok(count) => {
                    if output(*stream, &piece[..count]).is_break() {
                        turn = Turn::Unwanted;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| "read the container's output".to_owned()),
            }
        }
        if ready.next() == Some(true) {
            self.feed();
        }
        Ok(turn)
    }

    /// Writes input as far as it is taken. A program that reads no more is no error.
    fn feed(&mut self) {
        let Some(fd) = &self.stdin else { return };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(fd.as_raw_fd(), self.input, flags) {
            Ok(count) => self.input = &self.input[count..],
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.stdin = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: RunRequest<'static> =
        RunRequest { name: None, config: "", stdin: None, keep: false, timeout: None };

    #[test]
    fn what_the_body_says_wins() {
        let removed = |config: Value, keep| {
            prepare(config, RunRequest { keep, ..PLAIN })["HostConfig"]["AutoRemove"].clone()
        };
        assert_eq!(removed(json!({}), false), true);
        assert_eq!(removed(json!({"HostConfig": null}), false), true);
        assert_eq!(removed(json!({}), true), false);
        assert_eq!(removed(json!({"HostConfig": {"AutoRemove": false}}), false), false);
    }

    #[test]
    fn input_has_an_end() {
        let fed = prepare(json!({"OpenStdin": false}), RunRequest { stdin: Some(b"x"), ..PLAIN });
        assert_eq!((&fed["OpenStdin"], &fed["StdinOnce"]), (&Value::Bool(true), &Value::Bool(true)));
        assert_eq!(prepare(json!([]), PLAIN), json!([]), "refused later, in words");
    }
}
