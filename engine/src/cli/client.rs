//! One client for every verb: `bollard` for typed calls, and raw requests over the same transport where its
//! types would lose something (streams, the exact JSON of `inspect`, the head of `wait`).

use crate::cli::exit::{Failure, Outcome};
use crate::cli::transport::{Body, Connector, Transport};
use crate::handed;
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker, body_full, body_try_stream};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

/// A connection to an engine.
pub(crate) struct Client {
    /// Typed calls.
    pub(crate) docker: Docker,
    transport: Transport,
    version: ClientVersion,
    /// Whether the engine is in this process.
    local: bool,
}

/// What is read of a file at once: large enough that copying costs little beside hashing.
const CHUNK_BYTES: usize = 1 << 20;

/// Verbs wait as long as the engine needs (`stop -t 3600`); a person can always press Ctrl-C.
const NO_TIMEOUT_SECONDS: u64 = u64::MAX;

impl Client {
    /// A client of an engine of our own version: no round trip.
    pub(crate) fn local(connect: Connector, trace: bool) -> Outcome<Self> {
        let client = Self::with_version(Transport::new(connect, trace), *API_DEFAULT_VERSION)?;
        Ok(Self { local: true, ..client })
    }

    /// A client of somebody's server: asks which API version it speaks, and uses the lower one.
    pub(crate) async fn negotiated(connect: Connector, trace: bool) -> Outcome<Self> {
        let transport = Transport::new(connect, trace);
        let ping = Request::builder().method(Method::HEAD).uri("/_ping").body(empty()).map_err(wire)?;
        let answer = transport.send(ping).await?;
        let theirs =
            answer.headers().get("api-version").and_then(|v| v.to_str().ok()).and_then(parse_version);
        let ours = *API_DEFAULT_VERSION;
        let version = match theirs {
            Some(theirs) if theirs < ours => theirs,
            _ => ours,
        };
        Self::with_version(transport, version)
    }

    fn with_version(transport: Transport, version: ClientVersion) -> Outcome<Self> {
        let docker = Docker::connect_with_custom_transport(
            transport.for_bollard(),
            Some("http://dhow"),
            NO_TIMEOUT_SECONDS,
            &version,
        )?;
        Ok(Self { docker, transport, version, local: false })
    }

    /// The API version in use.
    pub(crate) fn version(&self) -> String {
        format!("{}.{}", self.version.major_version, self.version.minor_version)
    }

    /// Sends a request; an answer that is not a success is a [`Failure`] with the engine's message.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Body) -> Outcome<Response<Incoming>> {
        self.send_with(method, path, body, HeaderMap::new()).await
    }

    /// The same with a file: an engine in this process gets the file itself, another one its bytes, from where the
    /// file stands to its end.
    pub(crate) async fn send_file(
        &self,
        method: Method,
        path: &str,
        file: File,
    ) -> Outcome<Response<Incoming>> {
        if self.local {
            self.send_with(method, path, empty(), handed::give(file)).await
        } else {
            let bytes = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK_BYTES);
            self.send(method, path, body_try_stream(bytes)).await
        }
    }

    /// A GET request.
    pub(crate) async fn get(&self, path: &str) -> Outcome<Response<Incoming>> {
        self.send(Method::GET, path, empty()).await
    }

    /// A GET request whose answer goes to a file: an engine in this process writes it there itself.
    pub(crate) async fn get_into(&self, path: &str, file: File) -> Outcome<()> {
        if self.local {
            return self.send_with(Method::GET, path, empty(), handed::give(file)).await.map(drop);
        }
        let mut body = self.get(path).await?.into_body();
        let mut file = tokio::fs::File::from_std(file);
        let failed = |error: std::io::Error| Failure::new(format!("write the file: {error}"));
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(wire)?.into_data() {
                file.write_all(&data).await.map_err(failed)?;
            }
        }
        file.flush().await.map_err(failed)
    }

    /// The whole body of a GET request.
    pub(crate) async fn get_bytes(&self, path: &str) -> Outcome<Bytes> {
        collect(self.get(path).await?).await
    }

    /// A POST request with a JSON body and a JSON answer.
    pub(crate) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Outcome<T> {
        let body = serde_json::to_vec(body).map_err(wire)?;
        let answer = self.send(Method::POST, path, body_full(body.into())).await?;
        serde_json::from_slice(&collect(answer).await?).map_err(wire)
    }

    /// A POST request whose JSON answer does not matter.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Outcome<()> {
        let body = serde_json::to_vec(body).map_err(wire)?;
        collect(self.send(Method::POST, path, body_full(body.into())).await?).await?;
        Ok(())
    }

    /// A POST request that turns the connection into a byte stream both ways.
    pub(crate) async fn hijack(&self, path: &str, body: Option<Bytes>) -> Outcome<Upgraded> {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, http::HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, http::HeaderValue::from_static("tcp"));
        let answer = self.send_with(Method::POST, path, body_full(body.unwrap_or_default()), headers).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::new(format!("the engine did not open a stream: {}", answer.status())));
        }
        hyper::upgrade::on(answer).await.map_err(wire)
    }

    /// The same with more headers.
    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Body,
        headers: HeaderMap,
    ) -> Outcome<Response<Incoming>> {
        let uri = format!("/v{}{path}", self.version());
        let mut request = Request::builder().method(method).uri(uri).body(body).map_err(wire)?;
        request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        request.headers_mut().extend(headers);
        let answer = self.transport.send(request).await?;
        let status = answer.status();
        if status.is_success()
            || status == StatusCode::SWITCHING_PROTOCOLS
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(answer);
        }
        let body = collect(answer).await?;
        Err(Failure::answered(status.as_u16(), error_message(status, &body)))
    }
}

/// No body.
pub(crate) fn empty() -> Body {
    body_full(Bytes::new())
}

/// The rest of an answer.
pub(crate) async fn collect(answer: Response<Incoming>) -> Outcome<Bytes> {
    Ok(answer.into_body().collect().await.map_err(wire)?.to_bytes())
}

/// The `message` of an error's body, or the body, or at least the status.
fn error_message(status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    if let Ok(Message { message }) = serde_json::from_slice(body) {
        return message;
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() { format!("the engine answered {status}") } else { text.to_owned() }
}

fn parse_version(text: &str) -> Option<ClientVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ClientVersion { major_version: major.parse().ok()?, minor_version: minor.parse().ok()? })
}

/// A failure of the HTTP machinery.
pub(crate) fn wire(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Failure::new(text)
}

/// A path and its query, every part encoded.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    text: String,
    has_query: bool,
}

impl Route {
    /// A fixed path.
    pub(crate) fn new(path: &str) -> Self {
        Self { text: path.to_owned(), has_query: false }
    }

    /// A path around the name of an object: `/containers/`, name, `/json`.
    pub(crate) fn of(before: &str, name: &str, after: &str) -> Self {
        Self { text: format!("{before}{}{after}", encode_segment(name)), has_query: false }
    }

    /// Adds a parameter.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(key);
        self.text.push('=');
        self.text.push_str(&encode(value, b"-._~"));
        self
    }

    /// Adds `key=1` when it is set.
    #[must_use]
    pub(crate) fn flag(self, key: &str, set: bool) -> Self {
        if set { self.with(key, "1") } else { self }
    }

    /// Adds a parameter that has a value.
    #[must_use]
    pub(crate) fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// An object's name as part of a path. Images have slashes, which stay; `.` and `..` would climb, so their
/// dots are not left to be read as such.
pub(crate) fn encode_segment(name: &str) -> String {
    let safe: &[u8] =
        if name.split('/').any(|part| part == "." || part == "..") { b"-_~/:@" } else { b"-._~/:@" };
    encode(name, safe)
}

fn encode(text: &str, safe: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || safe.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let route =
            Route::of("/containers/", "a b?", "/json").with("size", "1").flag("x", false).with("q", "a&b");
        assert_eq!(route.as_str(), "/containers/a%20b%3F/json?size=1&q=a%26b");
        assert_eq!(Route::of("/images/", "h:5000/a/b:1", "/json").as_str(), "/images/h:5000/a/b:1/json");
        assert_eq!(encode_segment("../info"), "%2E%2E/info");
    }
}
