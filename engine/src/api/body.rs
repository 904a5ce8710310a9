//! Bodies: JSON in, JSON out, and bridges between a blocking verb's `Read`/`Write` and a streamed body.

use super::blocking;
use super::place::Place;
use super::sorted;
use super::status::{ApiError, ApiResult};
use crate::handed;
use crate::structs::Kind;
use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use dhow_model::{Error, Result, ResultExt, members};
use dhow_store::output::{FileOutput, Output};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};

/// A JSON body larger than this is refused: the largest honest one holds a seccomp profile (16 KiB) and a
/// few thousand variables.
const JSON_LIMIT_BYTES: usize = dhow_model::limits::BODY_BYTES.most_here();

/// Chunks in flight between a connection and a blocking verb.
const CHUNKS_IN_FLIGHT: usize = 8;

/// How much of a body is read that nobody wants any more.
const UNREAD_MAX_BYTES: usize = 1 << 20;

/// How much of a file that was handed over is read at once.
const HANDED_BYTES: usize = 256 << 10;

/// How much a blocking writer gathers before it hands a chunk on.
const CHUNK_BYTES: usize = 64 << 10;

/// A JSON body. An absent one is `T::default()` only through [`optional_json`].
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> std::result::Result<Self, ApiError> {
        let bytes = read_json(request).await?;
        if bytes.is_empty() {
            return Err(Error::invalid("invalid JSON: got EOF while reading request body").into());
        }
        parse_json(&bytes).map(Self).map_err(ApiError::from)
    }
}

/// A JSON body that may be absent.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> std::result::Result<Self, ApiError> {
        let bytes = read_json(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        parse_json(&bytes).map(Self).map_err(ApiError::from)
    }
}

/// Reads a whole JSON body, after checking that it says it is one.
async fn read_json(request: Request) -> ApiResult<Bytes> {
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let bytes = match Limited::new(request.into_body(), JSON_LIMIT_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("request body too large: more than {JSON_LIMIT_BYTES} bytes"),
            ));
        }
        Err(error) => return Err(Error::invalid(format!("read request body: {error}")).into()),
    };
    if !bytes.is_empty() {
        let text = content_type.as_ref().and_then(|v| v.to_str().ok()).unwrap_or("");
        let essence = text.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let message = format!("unsupported Content-Type header ({text}): must be 'application/json'");
            return Err(Error::invalid(message).into());
        }
    }
    Ok(bytes)
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    members::from_slice(bytes).map_err(|error| Error::invalid(format!("invalid JSON: {error}")))
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> ApiResult {
    let mut text = Vec::new();
    append_json(&mut text, value)?;
    Ok(json_text(status, text))
}

/// Adds a value to a JSON text.
pub(super) fn append_json<T: Serialize>(text: &mut Vec<u8>, value: &T) -> Result<()> {
    serde_json::to_writer(text, value).map_err(|e| Error::internal(format!("encode the answer: {e}")))
}

/// An answer of a JSON text.
pub(super) fn json_text(status: StatusCode, mut text: Vec<u8>) -> Response {
    text.push(b'\n');
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// A 200 with JSON.
pub(super) fn ok_json<T: Serialize>(value: &T) -> ApiResult {
    json(StatusCode::OK, value)
}

/// A 200 with one of Docker's structs, or a list of them: every field that Docker writes, maps sorted.
pub(super) fn ok_struct<T: Serialize>(value: &T, kind: Kind) -> ApiResult {
    let text = sorted::whole(value, kind).map_err(|e| Error::internal(format!("encode the answer: {e}")))?;
    Ok(json_text(StatusCode::OK, text.into_bytes()))
}

/// A 200 with a body of a given type.
pub(super) fn typed(content_type: &'static str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response()
}

/// A request's body as a blocking reader, for use on a blocking thread.
pub(super) struct BodyReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    place: Place,
}

impl BodyReader {
    /// Takes a place and starts to forward the body. It stops soon after the reader is dropped.
    pub(super) async fn new(body: Body) -> Self {
        Self::from_stream(Place::take().await, body.into_data_stream())
    }

    fn from_stream(place: Place, mut stream: BodyDataStream) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_IN_FLIGHT);
        tokio::spawn(async move {
            let mut unread = 0;
            while let Some(chunk) = stream.next().await {
                let length = chunk.as_ref().map_or(UNREAD_MAX_BYTES, Bytes::len);
                if sender.send(chunk.map_err(io::Error::other)).await.is_err() {
                    // The verb failed before the end. A client that still writes would find the connection closed,
                    // and never see why: what is short is read to its end.
                    unread += length;
                    if unread >= UNREAD_MAX_BYTES {
                        return;
                    }
                }
            }
        });
        Self { chunks, current: Bytes::new(), place }
    }
}

/// What a request brings: its body, or the file that the command line of this process handed over instead.
pub(super) enum Input {
    Handed(BufReader<File>),
    Body(BodyReader),
}

impl Input {
    /// # Errors
    /// As [`handed::take`].
    pub(super) async fn of(request: Request) -> Result<Self> {
        Ok(match handed::take(request.headers())? {
            Some(file) => Self::Handed(BufReader::with_capacity(HANDED_BYTES, file)),
            None => Self::Body(BodyReader::new(request.into_body()).await),
        })
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Handed(file) => file.read(buffer),
            Self::Body(body) => body.read(buffer),
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            let chunk = match self.chunks.try_recv() {
                Ok(chunk) => Some(chunk),
                Err(_) => self.place.wait_for_client(self.chunks.recv()).ok_or_else(stalled)?,
            };
            match chunk {
                None => return Ok(0),
                Some(chunk) => self.current = chunk?,
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client did nothing, and another one needed its place")
}

/// A blocking writer whose bytes become a response's body.
struct BodyWriter {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    gathered: BytesMut,
    /// None for one that never waits.
    place: Option<Place>,
    /// Weak: the client is gone when its side has let go.
    unread: Weak<Mutex<Chunks>>,
}

impl BodyWriter {
    fn send(&mut self, chunk: io::Result<Bytes>) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the client went away");
        let chunk = match (self.chunks.try_send(chunk), &self.place) {
            (Ok(()), _) => return Ok(()),
            (Err(TrySendError::Full(chunk)), Some(_)) => chunk,
            (Err(_), _) => return Err(gone()),
        };
        let Some(place) = &self.place else { return Err(gone()) };
        match place.wait_for_client(self.chunks.send(chunk)) {
            Some(sent) => sent.map_err(|_| gone()),
            None => {
                if let Some(unread) = self.unread.upgrade() {
                    unread.lock().unwrap_or_else(PoisonError::into_inner).cut();
                }
                Err(stalled())
            }
        }
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = self.gathered.split().freeze();
        self.send(Ok(chunk))
    }
}

impl Output for BodyWriter {}

/// Runs a verb that writes into the file that the command line of this process handed over, if it did, else as
/// [`stream_from`] does.
///
/// # Errors
/// The verb's; as [`handed::take`].
pub(super) async fn write_to<F>(
    place: Place,
    headers: &HeaderMap,
    content_type: &'static str,
    verb: F,
) -> ApiResult
where
    F: FnOnce(&mut (dyn Output + Send)) -> Result<()> + Send + 'static,
{
    let Some(file) = handed::take(headers)? else { return stream_from(place, content_type, verb).await };
    let written = move || {
        let mut out = FileOutput::new(file);
        verb(&mut out)?;
        out.flush().context_kind(dhow_model::ErrorKind::Unavailable, || "write the file".to_owned())
    };
    blocking(written).await?;
    Ok(typed(content_type, Body::empty()))
}

/// Runs a verb that writes, and streams what it writes.
///
/// # Errors
/// The verb's, if it fails before the first chunk. After that an error can only cut the body short, which
/// the client sees as a broken transfer.
pub(super) async fn stream_from<F>(place: Place, content_type: &'static str, verb: F) -> ApiResult
where
    F: FnOnce(&mut (dyn Output + Send)) -> Result<()> + Send + 'static,
{
    stream_in_flight(CHUNKS_IN_FLIGHT, Some(place), content_type, verb).await
}

/// The same for a verb that must not wait for its client; what it writes is bounded by other means.
pub(super) async fn stream_without_waiting<F>(content_type: &'static str, verb: F) -> ApiResult
where
    F: FnOnce(&mut (dyn Output + Send)) -> Result<()> + Send + 'static,
{
    stream_in_flight(Semaphore::MAX_PERMITS, None, content_type, verb).await
}

async fn stream_in_flight<F>(
    chunks: usize,
    place: Option<Place>,
    content_type: &'static str,
    verb: F,
) -> ApiResult
where
    F: FnOnce(&mut (dyn Output + Send)) -> Result<()> + Send + 'static,
{
    let (sender, chunks) = mpsc::channel::<io::Result<Bytes>>(chunks);
    let chunks = Arc::new(Mutex::new(Chunks { receiver: chunks, is_cut: false }));
    let unread = Arc::downgrade(&chunks);
    let work = tokio::task::spawn_blocking(move || {
        let gathered = BytesMut::with_capacity(CHUNK_BYTES);
        let mut writer = BodyWriter { chunks: sender, gathered, place, unread };
        let result = verb(&mut writer).and_then(|()| {
            writer.flush().map_err(|e| Error::caused(dhow_model::ErrorKind::Unavailable, "send the body", e))
        });
        if let Err(error) = &result {
            // Fails when the client is gone, who then needs no telling.
            let _ = writer.send(Err(io::Error::other(error.to_string())));
        }
        result
    });
    match next(&chunks).await {
        Some(Ok(first)) => {
            let rest = futures_util::stream::unfold(chunks, |chunks| async move {
                next(&chunks).await.map(|chunk| (chunk, chunks))
            });
            let all = futures_util::stream::once(async { Ok(first) }).chain(rest);
            Ok(typed(content_type, Body::from_stream(all)))
        }
        // Nothing was written: the verb's own result says why.
        _ => match work.await {
            Ok(Ok(())) => Ok(typed(content_type, Body::empty())),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(Error::internal(format!("the operation broke off: {error}")).into()),
        },
    }
}

/// What was written and not yet sent.
struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    /// The verb was ended: what comes is not the end of the body.
    is_cut: bool,
}

impl Chunks {
    fn cut(&mut self) {
        self.is_cut = true;
        while self.receiver.try_recv().is_ok() {}
    }
}

async fn next(chunks: &Mutex<Chunks>) -> Option<io::Result<Bytes>> {
    std::future::poll_fn(|context| {
        let mut chunks = chunks.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut chunks.is_cut) {
            return Poll::Ready(Some(Err(stalled())));
        }
        chunks.receiver.poll_recv(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_verb_that_fails_early_fails_the_request() {
        runtime().block_on(async {
            let error = stream_from(Place::take().await, "application/x-tar", |_| {
                Err(Error::not_found("No such image: x"))
            })
            .await
            .unwrap_err();
            assert_eq!(error.into_response().status(), 404);
        });
    }

    #[test]
    fn what_a_verb_writes_arrives_whole() {
        runtime().block_on(async {
            let response = stream_from(Place::take().await, "application/x-tar", |out| {
                for _ in 0..1000 {
                    out.write_all(&[7; 1000]).map_err(|e| Error::internal(e.to_string()))?;
                }
                Ok(())
            })
            .await
            .unwrap();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes.len(), 1_000_000);
        });
    }

    #[test]
    fn a_late_failure_cuts_the_body_short() {
        runtime().block_on(async {
            let response = stream_from(Place::take().await, "application/x-tar", |out| {
                out.write_all(&[0; CHUNK_BYTES]).map_err(|e| Error::internal(e.to_string()))?;
                Err(Error::corrupt("bad layer"))
            })
            .await
            .unwrap();
            assert!(response.into_body().collect().await.is_err());
        });
    }

    #[test]
    fn a_body_is_read_in_any_pieces() {
        runtime().block_on(async {
            let chunks = futures_util::stream::iter([
                Ok::<_, io::Error>(Bytes::from("abc")),
                Ok(Bytes::new()),
                Ok(Bytes::from("defg")),
            ]);
            let mut reader = BodyReader::new(Body::from_stream(chunks)).await;
            let text = tokio::task::spawn_blocking(move || {
                let mut text = String::new();
                let mut small = [0; 2];
                loop {
                    match reader.read(&mut small).unwrap() {
                        0 => return text,
                        n => text.push_str(std::str::from_utf8(&small[..n]).unwrap()),
                    }
                }
            })
            .await
            .unwrap();
            assert_eq!(text, "abcdefg");
        });
    }

    #[test]
    fn json_needs_its_content_type() {
        runtime().block_on(async {
            let request = |kind: &str, body: &'static str| {
                Request::builder().header("content-type", kind).body(Body::from(body)).unwrap()
            };
            let parse = |r| async { Json::<serde_json::Value>::from_request(r, &()).await.map(|j| j.0) };
            assert_eq!(
                parse(request("application/json; charset=utf-8", "{}")).await.unwrap(),
                serde_json::json!({})
            );
            assert!(parse(request("text/plain", "{}")).await.is_err());
            assert!(parse(request("application/json", "")).await.is_err());
            assert!(parse(request("application/json", "{} x")).await.is_err());
        });
    }
}
