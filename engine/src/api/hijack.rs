//! Attached streams: a client's connection is taken over and joined to a monitor's.
//!
//! ```text
//!   client ── raw stdin ──► DetachScanner ──► stdin frames ──► monitor
//!   client ◄─ raw bytes (tty) or Docker's frames ◄─ output frames ◄─ monitor
//! ```
//!
//! A client that asks for an upgrade gets `101`, another one `200`; either gets the connection itself
//! (`takeover.rs`). Everything that the monitor sent is written before the stream is closed, and the end of the
//! client's input is not the end of the output.

mod websocket;

use super::Version;
use super::detach::DetachScanner;
use super::server::Peer;
use super::status::ApiResult;
use super::takeover::{self, ClientReader, ClientWriter, Takeover};
use crate::container::attach::Attached;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use dhow_model::{Error, Result};
use dhow_runtime::attach::{self as protocol, ServerDecoder, ServerFrame};
use dhow_runtime::log::{LogEntry, Stream};
use futures_util::StreamExt;
use http::{HeaderMap, header};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, join as join_halves};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Both streams of a process as one, or one with a terminal.
const RAW: &str = "application/vnd.docker.raw-stream";
/// Frames that tell the streams apart.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// Since this version the header says which of the two it is; before, it always said raw.
const MULTIPLEXED_SINCE: Version = Version { major: 1, minor: 42 };

/// One read from a socket or a client: 64 KiB, a pipe's capacity.
const BUFFER_BYTES: usize = 64 << 10;

/// The header that says how a stream is framed.
pub(super) fn content_type(tty: bool, version: Version) -> &'static str {
    if tty || version < MULTIPLEXED_SINCE { RAW } else { MULTIPLEXED }
}

/// What an attached client may do with standard input.
pub(super) struct Input {
    /// Whether the client's bytes are passed on.
    pub(super) given: bool,
    /// What the end of the client's input means: the end of the process's, or of the attachment.
    pub(super) closes: bool,
    /// The sequence that detaches; empty when there is none.
    pub(super) detach_keys: Vec<u8>,
    /// Called when it was typed, before the client is told that it is detached.
    pub(super) detached: Box<dyn FnOnce() + Send>,
}

/// Answers a request with an attached stream, which `open` opens after the head of the answer was sent; the start of a
/// process belongs there. A failure of it is told in the stream. Returns only what prevents that.
pub(super) async fn attached<F, O>(request: Request, version: Version, tty: bool, open: F) -> ApiResult
where
    F: FnOnce() -> O + Send + 'static,
    O: Future<Output = Result<(Attached, Input)>> + Send + 'static,
{
    let upgrade = wants_upgrade(request.headers());
    let protocol = upgrade.then(|| request.headers().get(header::UPGRADE).cloned()).flatten();
    let head = takeover::head(content_type(tty, version), protocol.as_ref());
    let (takeover, peer) = parties(&request)?;
    let watched = peer.clone();
    let never = takeover
        .begin(head, peer, move |reader, writer| async move {
            match open().await {
                Ok((attached, input)) => stream(attached, input, tty, watched, reader, writer).await,
                Err(error) => tell(&error, tty, writer).await,
            }
        })
        .await;
    match never {}
}

/// The same over a WebSocket: binary messages of raw bytes both ways, as Docker has it since API 1.28.
pub(super) async fn attached_websocket<F, O>(request: Request, open: F) -> ApiResult
where
    F: FnOnce() -> O + Send + 'static,
    O: Future<Output = Result<(Attached, Input)>> + Send + 'static,
{
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let Some(key) = key.filter(|_| wants_upgrade(request.headers())) else {
        return Err(Error::invalid("not a WebSocket handshake: no Sec-WebSocket-Key, or no Upgrade").into());
    };
    let head = takeover::websocket_head(&derive_accept_key(key.as_bytes()));
    let (takeover, peer) = parties(&request)?;
    let watched = peer.clone();
    let never = takeover
        .begin(head, peer, move |reader, writer| async move {
            let socket =
                WebSocketStream::from_raw_socket(join_halves(reader, writer), Role::Server, None).await;
            let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
            let messages = websocket::pump(socket, theirs);
            let (reader, writer) = tokio::io::split(ours);
            let (reader, writer): (ClientReader, ClientWriter) = (Box::new(reader), Box::new(writer));
            let streaming = async move {
                match open().await {
                    Ok((attached, input)) => stream(attached, input, true, watched, reader, writer).await,
                    Err(error) => tell(&error, true, writer).await,
                }
            };
            tokio::join!(messages, streaming);
        })
        .await;
    match never {}
}

fn parties(request: &Request) -> Result<(Takeover, Option<Peer>)> {
    let extensions = request.extensions();
    let takeover = extensions.get::<Takeover>().cloned();
    let takeover = takeover.ok_or_else(|| Error::internal("this connection cannot be taken over"))?;
    Ok((takeover, extensions.get::<Peer>().cloned()))
}

/// Joins a client to its stream until either ends.
async fn stream(
    mut attached: Attached,
    input: Input,
    tty: bool,
    peer: Option<Peer>,
    mut reader: ClientReader,
    mut writer: ClientWriter,
) {
    // Frames are as the client expects them, which it said when it asked; the process may have a terminal or not.
    attached.tty = tty;
    let Input { given, closes, detach_keys: keys, detached: told } = input;
    let input = KeyedInput { given, closes, keys };
    let gone = async {
        match peer {
            Some(peer) => peer.gone().await,
            None => std::future::pending().await,
        }
    };
    // The client going away is an end like any other; and so is its failing.
    let mut by_keys = false;
    tokio::select! {
        _ = join(attached, input, &mut by_keys, &mut reader, &mut writer) => {}
        () = gone => {}
    }
    if by_keys {
        // A panic of what is called is its own affair: the client is detached all the same.
        let _ = tokio::task::spawn_blocking(told).await;
    }
    let _ = writer.shutdown().await;
}

/// Tells a failure in the stream, as Docker does when an exec session cannot be started: the client then asks for the
/// exit code.
async fn tell(error: &Error, tty: bool, mut writer: ClientWriter) {
    let mut bytes = Vec::new();
    push_output(&mut bytes, tty, Stream::Stderr, format!("{error}\r\n").as_bytes());
    // A client that has left is told nothing.
    let _ = writer.write_all(&bytes).await;
    let _ = writer.shutdown().await;
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    headers.contains_key(header::UPGRADE)
        && connection.flat_map(|v| v.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

/// What of [`Input`] the copying needs.
struct KeyedInput {
    given: bool,
    closes: bool,
    keys: Vec<u8>,
}

/// How the client's side came to its end.
enum InputEnd {
    /// The detach keys were typed, or the client said that it is done: the attachment is over.
    Detached,
    /// There is no more input; the output goes on. The writer is kept, for the monitor takes a closed
    /// connection for a client that has gone.
    Ended(#[expect(dead_code, reason = "held open, not used")] OwnedWriteHalf),
}

/// Joins a client and a monitor until the process ends or the client leaves.
async fn join(
    attached: Attached,
    input: KeyedInput,
    by_keys: &mut bool,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<(), io::Error> {
    if let Some(replay) = attached.replay {
        let mut entries = Box::pin(replay.stream);
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(io::Error::other)?;
            let mut bytes = Vec::new();
            push_output(&mut bytes, attached.tty, entry.stream, &entry.line);
            writer.write_all(&bytes).await?;
        }
    }
    let Some(stream) = attached.stream else { return writer.flush().await };
    let (monitor_reader, monitor_writer) = UnixStream::into_split(stream);
    let output = pump_output(monitor_reader, writer, attached.tty);
    let typed = pump_input(reader, monitor_writer, input, by_keys);
    tokio::pin!(output, typed);
    tokio::select! {
        ended = &mut output => ended,
        typed = &mut typed => match typed? {
            InputEnd::Detached => Ok(()),
            kept @ InputEnd::Ended(_) => {
                let ended = output.await;
                drop(kept);
                ended
            }
        },
    }
}

/// Appends output in the form that the client reads: bare with a terminal, in Docker's frames without.
pub(super) fn push_output(into: &mut Vec<u8>, tty: bool, stream: Stream, bytes: &[u8]) {
    if !tty {
        // Pieces come from buffers far below 4 GiB.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        into.extend_from_slice(&protocol::output_header(stream, length));
    }
    into.extend_from_slice(bytes);
}

async fn pump_output(
    mut monitor: OwnedReadHalf,
    client: &mut (impl AsyncWrite + Unpin),
    tty: bool,
) -> Result<(), io::Error> {
    let mut decoder = ServerDecoder::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut outgoing = Vec::with_capacity(BUFFER_BYTES + protocol::HEADER_LENGTH);
    loop {
        let length = monitor.read(&mut buffer).await?;
        if length == 0 {
            return client.flush().await;
        }
        let mut input = &buffer[..length];
        let mut exited = false;
        outgoing.clear();
        while let Some(frame) = decoder.decode(&mut input).map_err(io::Error::other)? {
            match frame {
                ServerFrame::Output(stream, bytes) => push_output(&mut outgoing, tty, stream, bytes),
                ServerFrame::Exit(_) => exited = true,
            }
        }
        client.write_all(&outgoing).await?;
        client.flush().await?;
        if exited {
            return Ok(());
        }
    }
}

async fn pump_input(
    client: &mut (impl AsyncRead + Unpin),
    mut monitor: OwnedWriteHalf,
    input: KeyedInput,
    by_keys: &mut bool,
) -> Result<InputEnd, io::Error> {
    let mut scanner = DetachScanner::new(input.keys);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        // A connection that breaks is a client that has left.
        let length = match client.read(&mut buffer).await {
            Ok(length) => length,
            Err(_) => return Ok(InputEnd::Detached),
        };
        if !input.given {
            // What a client says that gives no input means nothing; nor does it mean much that it stops.
            if length == 0 {
                return Ok(InputEnd::Ended(monitor));
            }
            continue;
        }
        let (bytes, detached) =
            if length == 0 { (scanner.finish(), false) } else { scanner.feed(&buffer[..length]) };
        // A process that ended, or closed its input, reads no more: the output tells the rest.
        if send_stdin(&mut monitor, &bytes).await.is_err() {
            return Ok(InputEnd::Ended(monitor));
        }
        if detached {
            *by_keys = true;
            return Ok(InputEnd::Detached);
        }
        if length == 0 {
            if !input.closes {
                return Ok(InputEnd::Detached);
            }
            let _ = monitor.write_all(&protocol::close_stdin_frame()).await;
            return Ok(InputEnd::Ended(monitor));
        }
    }
}

async fn send_stdin(monitor: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(bytes.len() + protocol::HEADER_LENGTH);
    frame.extend_from_slice(&protocol::stdin_header(length));
    frame.extend_from_slice(bytes);
    monitor.write_all(&frame).await
}

/// So many entries that are there already go in one piece: each by itself would be three system calls on either side.
const ENTRIES_AT_ONCE: usize = 256;

/// Log entries as a streamed body.
pub(super) fn entries_body(
    entries: impl futures_util::Stream<Item = Result<LogEntry>> + Send + 'static,
    tty: bool,
    prefix: LinePrefix,
) -> Body {
    let told = entries
        .ready_chunks(ENTRIES_AT_ONCE)
        .flat_map(move |some| futures_util::stream::iter(encode(some, tty, prefix)));
    Body::from_stream(told)
}

/// One piece of a body for entries that are there together; what comes before an error is sent before it.
fn encode(entries: Vec<Result<LogEntry>>, tty: bool, prefix: LinePrefix) -> Vec<Result<Bytes>> {
    let mut pieces = Vec::new();
    let mut bytes = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let before = prefix.of(&entry);
                let line =
                    if before.is_empty() { entry.line } else { [before.as_bytes(), &entry.line].concat() };
                push_output(&mut bytes, tty, entry.stream, &line);
            }
            Err(error) => {
                pieces.extend([Ok(Bytes::from(std::mem::take(&mut bytes))), Err(error)]);
            }
        }
    }
    pieces.push(Ok(bytes.into()));
    // An empty piece would say nothing.
    pieces.retain(|piece| piece.as_ref().is_ok_and(|bytes| !bytes.is_empty()) || piece.is_err());
    pieces
}

/// What is shown before each line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LinePrefix {
    /// When it was written.
    pub(super) timestamps: bool,
    /// What it carries, as Docker's `--details` has it.
    pub(super) details: bool,
}

impl LinePrefix {
    fn of(self, entry: &LogEntry) -> String {
        let mut text = String::new();
        if self.timestamps {
            text.push_str(&entry.time.rfc3339_fixed());
            text.push(' ');
        }
        if self.details {
            let pairs =
                entry.attributes.iter().map(|(key, value)| format!("{}={}", query(key), query(value)));
            text.push_str(&pairs.collect::<Vec<_>>().join(","));
            text.push(' ');
        }
        text
    }
}

/// Go's `url.QueryEscape`.
fn query(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
