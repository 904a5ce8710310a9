//! Connections to an engine: in this process, or behind a unix or TCP socket.
//!
//! A [`Connector`] makes byte streams; a `Transport` speaks HTTP/1 over them, keeps idle ones for the next
//! request, and hands itself to `bollard` as its custom transport. The in-process engine is one more
//! connector, given by the caller (see [`crate::cli::Doors`]), so nothing here knows the engine.

use bollard::BollardRequest;
use bollard::errors::Error as WireError;
use bytes::Bytes;
use futures_util::Stream as FrameStream;
use http::Response;
use http::header::{HOST, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connected byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream being connected.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Makes a new stream to the engine.
pub type Connector = Arc<dyn Fn() -> Connecting + Send + Sync>;

/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<Incoming>, WireError>> + Send>>;

/// The body of bollard's requests, by its parts: bollard does not export the name.
pub(crate) type Body =
    Either<Full<Bytes>, StreamBody<Pin<Box<dyn FrameStream<Item = io::Result<Frame<Bytes>>> + Send>>>>;

/// HTTP/1 over the streams of a connector.
#[derive(Clone)]
pub(crate) struct Transport {
    connect: Connector,
    /// Connections whose last answer may have been read to its end.
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
    /// Print each request and its status on standard error (`--debug`).
    trace: bool,
}

impl Transport {
    pub(crate) fn new(connect: Connector, trace: bool) -> Self {
        Self { connect, idle: Arc::default(), trace }
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn send(&self, mut request: BollardRequest) -> Result<Response<Incoming>, WireError> {
        // On the wire a request names a path, and the host in a header.
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let line = self.trace.then(|| format!("{} {path}", request.method()));
        *request.uri_mut() = Uri::from(path);
        request.headers_mut().insert(HOST, HeaderValue::from_static("dhow"));
        let mut sender = self.sender().await?;
        let response = sender.send_request(request).await?;
        if let Some(line) = line {
            trace(&format!("{line}: {}", response.status()));
        }
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok(response)
    }

    /// The form in which bollard takes a transport.
    pub(crate) fn for_bollard(&self) -> impl Fn(BollardRequest) -> Answering + Send + Sync + 'static {
        let transport = self.clone();
        move |request| {
            let transport = transport.clone();
            Box::pin(async move { transport.send(request).await })
        }
    }

    /// An idle connection, or a new one.
    async fn sender(&self) -> Result<SendRequest<Body>, WireError> {
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|sender| !sender.is_closed());
            if let Some(at) = idle.iter().position(SendRequest::is_ready) {
                return Ok(idle.swap_remove(at));
            }
        }
        let stream = (self.connect)().await.map_err(|err| WireError::IOError { err })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The connection's own failure is also the failure of its request, which is reported.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

/// One line of `--debug`.
#[allow(clippy::print_stderr, reason = "that is what the flag asks for")]
pub(crate) fn trace(line: &str) {
    eprintln!("dhow: debug: {line}");
}

/// Where a remote engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A unix socket's path.
    Unix(String),
    /// `name:port`.
    Tcp(String),
}

/// Docker's port for an engine without TLS.
const TCP_PORT: u16 = 2375;

impl Host {
    /// Parses `-H`, `DOCKER_HOST` and a context's endpoint: `unix:///path`, `tcp://name[:port]`,
    /// `http://name[:port]`, and `name:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix("/var/run/docker.sock".to_owned())),
            "unix" => Ok(Self::Unix(rest.to_owned())),
            "tcp" | "http" => {
                let rest = rest.trim_end_matches('/');
                if rest.is_empty() || rest.contains('/') {
                    return Err(format!("unable to parse docker host `{text}`"));
                }
                let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if has_port { rest.to_owned() } else { format!("{rest}:{TCP_PORT}") }))
            }
            "https" => Err(format!("host {text}: TLS is not supported by dhow yet")),
            "ssh" => Err(format!("host {text}: SSH is not supported by dhow yet")),
            "npipe" => Err(format!("host {text}: named pipes exist on Windows only")),
            "fd" => Err(format!("host {text}: an inherited descriptor is for a server, not for a client")),
            _ => Err(format!("unable to parse docker host `{text}`")),
        }
    }

    /// Streams to that address.
    pub(crate) fn connector(self) -> Connector {
        Arc::new(move || {
            let host = self.clone();
            Box::pin(async move {
                let connected: io::Result<Box<dyn Stream>> = match &host {
                    Host::Unix(path) => {
                        tokio::net::UnixStream::connect(path).await.map(|s| Box::new(s) as Box<dyn Stream>)
                    }
                    Host::Tcp(address) => tokio::net::TcpStream::connect(address).await.map(|s| {
                        // Keystrokes are small; waiting to merge them is felt. Refusal only costs latency.
                        let _ = s.set_nodelay(true);
                        Box::new(s) as Box<dyn Stream>
                    }),
                };
                connected.map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot connect to the engine at {host}: {error}. Is it running?"),
                    )
                })
            })
        })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(Host::parse("unix:///x.sock"), Ok(Host::Unix("/x.sock".into())));
        assert_eq!(Host::parse("unix://"), Ok(Host::Unix("/var/run/docker.sock".into())));
        assert_eq!(Host::parse("tcp://h"), Ok(Host::Tcp("h:2375".into())));
        assert_eq!(Host::parse("h:99"), Ok(Host::Tcp("h:99".into())));
        assert_eq!(Host::parse("tcp://[::1]:99/"), Ok(Host::Tcp("[::1]:99".into())));
        for bad in ["ssh://h", "https://h", "tcp://", "x://y", "tcp://h/path"] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
    }
}
