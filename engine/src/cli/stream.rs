//! A container's streams between the engine and the person's terminal, files or pipes.
//!
//! With a terminal the bytes are raw both ways. Without, output comes in Docker's frames
//! `{stream, 0, 0, 0, length as big-endian u32}` and is sorted to standard output and standard error.
//! The end of standard input closes our half of the connection; the end of the output is the end.

use crate::cli::detach::DetachKeys;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::{Sink, Writer};
use crate::cli::terminal::RawModeGuard;
use futures_util::future::Either;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

/// Large enough that a busy container costs few system calls.
const OUTPUT_BUFFER_BYTES: usize = 128 << 10;
/// What is read from standard input at once.
const INPUT_BUFFER_BYTES: usize = 64 << 10;
/// How long an engine may take to let go of us. One that does not know the keys never does.
const DETACH_PATIENCE: Duration = Duration::from_secs(2);
/// Length of a frame's header.
const HEADER_BYTES: usize = 8;

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The engine closed it: the process is gone, or somebody else detached us.
    Closed,
    /// The person typed the detach keys.
    Detached,
}

/// How `attach` and `exec` end after the detach keys, as with Docker; `run` and `start` just end.
pub(crate) fn detached() -> Failure {
    Failure::bare("read escape sequence")
}

/// What to connect.
#[derive(Debug)]
pub(crate) struct Wiring {
    /// Send our standard input.
    pub(crate) stdin: bool,
    /// The process has a terminal.
    pub(crate) tty: bool,
    /// The keys that leave it running.
    pub(crate) detach_keys: DetachKeys,
}

/// Connects the streams and then starts the process, so that the terminal is ready before the first key or
/// the first byte. A process that does not start ends the streams with its own failure.
pub(crate) async fn carry_from_start(
    connection: Upgraded,
    wiring: Wiring,
    start: impl Future<Output = Outcome<()>>,
) -> Outcome<Ended> {
    let carrying = std::pin::pin!(carry(connection, wiring));
    let start = std::pin::pin!(start);
    match futures_util::future::select(start, carrying).await {
        Either::Left((started, carrying)) => {
            started?;
            carrying.await
        }
        // Detached, or cut off, while it still starts: how the start ends comes first.
        Either::Right((ended, start)) => {
            start.await?;
            ended
        }
    }
}

/// Carries bytes both ways until the output ends or the person detaches.
pub(crate) async fn carry(connection: Upgraded, wiring: Wiring) -> Outcome<Ended> {
    let (from_engine, to_engine) = tokio::io::split(TokioIo::new(connection));
    let guard = if wiring.tty && wiring.stdin { RawModeGuard::enter()? } else { None };
    let raw = guard.is_some();
    let mut output = std::pin::pin!(copy_output(from_engine, wiring.tty));
    let keys = wiring.tty.then_some(wiring.detach_keys);
    let input = async {
        if !wiring.stdin {
            return std::future::pending().await;
        }
        match copy_input(tokio::io::stdin(), to_engine, keys).await {
            Ok(Ended::Detached) => Ok(Ended::Detached),
            // A process that stopped reading, or the end of our input: its output still comes.
            Ok(Ended::Closed) | Err(_) => std::future::pending().await,
        }
    };
    let killed = async { if raw { termination().await } else { std::future::pending().await } };
    let ended = tokio::select! {
        // What was printed before the person detached, or was killed, is shown first.
        biased;
        done = &mut output => done.map(|()| Ended::Closed),
        done = input => {
            // The engine ends the streams when it has found the keys too: what was typed before them has
            // arrived then. Our end would cut it off.
            let _ = tokio::time::timeout(DETACH_PATIENCE, output).await;
            done
        }
        number = killed => Err(Failure::silent(128 + number)),
    };
    drop(guard);
    ended
}

/// Waits for a signal that would end us while the terminal is raw, so that it is restored first.
async fn termination() -> i32 {
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()];
    let waits = kinds.into_iter().map(|kind| {
        Box::pin(async move {
            match signal(kind) {
                Ok(mut stream) => {
                    stream.recv().await;
                    kind.as_raw_value()
                }
                Err(_) => std::future::pending().await,
            }
        })
    });
    futures_util::future::select_all(waits).await.0
}

/// Copies our input to the engine; `keys` looks for the detach sequence.
async fn copy_input(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut keys: Option<DetachKeys>,
) -> std::io::Result<Ended> {
    let mut buffer = vec![0; INPUT_BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(Ended::Closed);
        }
        match &mut keys {
            None => to.write_all(&buffer[..count]).await?,
            Some(keys) => {
                let typed = keys.take(&buffer[..count]);
                to.write_all(&typed.forward).await?;
                if typed.detached {
                    to.write_all(keys.sequence()).await?;
                    to.flush().await?;
                    return Ok(Ended::Detached);
                }
            }
        }
        to.flush().await?;
    }
}

/// Copies an engine's stream to our output until it ends.
pub(crate) async fn copy_output(mut from: impl AsyncRead + Unpin, tty: bool) -> Outcome<()> {
    let stdout = Writer::new(Sink::Stdout);
    let stderr = Writer::new(Sink::Stderr);
    let mut frames = Frames::default();
    let mut buffer = vec![0; OUTPUT_BUFFER_BYTES];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) => return frames.finish(),
            Ok(count) => count,
            Err(error) => return Err(Failure::new(format!("read the container's output: {error}"))),
        };
        if tty {
            stdout.write(buffer[..count].to_vec()).await?;
            continue;
        }
        for (sink, bytes) in frames.take(&buffer[..count])? {
            match sink {
                Sink::Stdout => stdout.write(bytes).await?,
                Sink::Stderr => stderr.write(bytes).await?,
            }
        }
    }
}

/// Sorts a byte stream of frames, in whatever pieces it comes.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; HEADER_BYTES],
    header_length: usize,
    remaining: usize,
    /// Text of a frame that carries the engine's own error.
    error: Option<Vec<u8>>,
}

impl Frames {
    /// The payloads in these bytes; neighbours of one stream come as one.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Outcome<Vec<(Sink, Vec<u8>)>> {
        let mut pieces: Vec<(Sink, Vec<u8>)> = Vec::new();
        while !bytes.is_empty() {
            if self.remaining == 0 {
                let count = bytes.len().min(HEADER_BYTES - self.header_length);
                self.header[self.header_length..self.header_length + count].copy_from_slice(&bytes[..count]);
                self.header_length += count;
                bytes = &bytes[count..];
                if self.header_length == HEADER_BYTES {
                    self.header_length = 0;
                    let [_, _, _, _, a, b, c, d] = self.header;
                    self.remaining = u32::from_be_bytes([a, b, c, d]) as usize;
                }
                continue;
            }
            let (payload, rest) = bytes.split_at(bytes.len().min(self.remaining));
            bytes = rest;
            self.remaining -= payload.len();
            let sink = match self.header[0] {
                // Docker writes stream 0 to standard output too.
                0 | 1 => Sink::Stdout,
                2 => Sink::Stderr,
                3 => {
                    self.error.get_or_insert_default().extend_from_slice(payload);
                    continue;
                }
                other => return Err(Failure::new(format!("Unrecognized input header: {other}"))),
            };
            match pieces.last_mut() {
                Some((last, text)) if *last == sink => text.extend_from_slice(payload),
                _ => pieces.push((sink, payload.to_vec())),
            }
        }
        Ok(pieces)
    }

    /// The stream ended.
    pub(crate) fn finish(self) -> Outcome<()> {
        match self.error {
            Some(text) => Err(Failure::new(String::from_utf8_lossy(&text).into_owned())),
            // A connection cut within a frame: the rest cannot be shown, what came has been.
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(text);
        frame
    }

    #[test]
    fn frames_in_any_pieces() {
        let whole =
            [frame(1, b"one "), frame(1, b"two\n"), frame(2, b"err\n"), frame(1, b""), frame(1, b"three")]
                .concat();
        let mut at_once = Frames::default();
        let pieces = at_once.take(&whole).unwrap();
        assert_eq!(
            pieces,
            [
                (Sink::Stdout, b"one two\n".to_vec()),
                (Sink::Stderr, b"err\n".to_vec()),
                (Sink::Stdout, b"three".to_vec())
            ]
        );
        for size in 1..12 {
            let mut frames = Frames::default();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for chunk in whole.chunks(size) {
                for (sink, bytes) in frames.take(chunk).unwrap() {
                    if sink == Sink::Stdout { out.extend(bytes) } else { err.extend(bytes) }
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"one two\nthree"[..], &b"err\n"[..]), "{size}");
        }
    }

    #[test]
    fn an_error_frame_is_a_failure() {
        let mut frames = Frames::default();
        assert!(frames.take(&frame(3, b"it broke")).unwrap().is_empty());
        assert_eq!(frames.finish().unwrap_err().message, "it broke");
        assert!(Frames::default().take(&frame(9, b"x")).is_err());
    }
}
