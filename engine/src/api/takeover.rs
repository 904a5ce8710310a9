//! A connection leaves HTTP: a handler that answers with a stream takes the connection itself.
//!
//! ```text
//!   request ── hyper ──► handler ── Takeover::begin ──► serve_connection (server.rs)
//!                        (waits for ever)                 │ takes the connection out of hyper,
//!                                                         │ with the bytes that hyper has read ahead
//!                                                         ▼
//!                                    head of the answer ── read by the client ──► work(reader, writer)
//! ```
//!
//! Docker does this for every attached stream, whether the client asked for an upgrade or not: the header is for
//! proxies. What follows the request on the connection is input of the program, never another request. The head is
//! sent alone, and the client has read it before the first byte of output is sent (of a unix socket, where the kernel
//! tells): clients that read the head through a buffer would lose what came with it.

use super::server::Peer;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

/// Both directions of a client, whatever carries them.
pub(super) type ClientReader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type ClientWriter = Box<dyn AsyncWrite + Send + Unpin>;

/// What is done with the connection, after the head was sent.
type Work = Box<dyn FnOnce(ClientReader, ClientWriter) -> BoxFuture<'static, ()> + Send>;

/// What a handler leaves for the connection.
pub(super) struct Taken {
    head: Vec<u8>,
    peer: Option<Peer>,
    work: Work,
}

/// The right to take a connection over; each request of the connection has it in its extensions.
#[derive(Clone)]
pub(super) struct Takeover(Arc<Mutex<Option<oneshot::Sender<Taken>>>>);

impl Takeover {
    /// For one connection: the right, and where to wait for its use.
    pub(super) fn new() -> (Self, oneshot::Receiver<Taken>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    /// Takes the connection. Never returns: the handler is dropped with what is left of HTTP.
    pub(super) async fn begin<F, W>(&self, head: Vec<u8>, peer: Option<Peer>, work: F) -> Infallible
    where
        F: FnOnce(ClientReader, ClientWriter) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let work: Work = Box::new(move |reader, writer| Box::pin(work(reader, writer)));
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Nobody listens when the connection has ended: then there is nobody to answer.
            let _ = sender.send(Taken { head, peer, work });
        }
        std::future::pending().await
    }
}

impl Taken {
    /// Answers on the bare connection. `ahead`: what HTTP has read of it and not used.
    pub(super) async fn run<I>(self, ahead: Bytes, io: I)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reader, mut writer) = tokio::io::split(io);
        if writer.write_all(&self.head).await.is_err() || writer.flush().await.is_err() {
            // The client has left before it had its answer. The work is done all the same: it sees the same error.
        }
        if let Some(peer) = &self.peer {
            peer.has_read().await;
        }
        let reader: ClientReader = if ahead.is_empty() {
            Box::new(reader)
        } else {
            Box::new(AsyncReadExt::chain(std::io::Cursor::new(ahead), reader))
        };
        (self.work)(reader, Box::new(writer)).await;
    }
}

/// The head of an answer whose body is the connection itself. `upgrade`: the protocol that the client asked for.
pub(super) fn head(content_type: &str, upgrade: Option<&http::HeaderValue>) -> Vec<u8> {
    let mut head = Vec::with_capacity(256);
    match upgrade {
        Some(_) => head.extend_from_slice(b"HTTP/1.1 101 UPGRADED\r\n"),
        None => head.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
    }
    line(&mut head, "Content-Type", content_type.as_bytes());
    if let Some(protocol) = upgrade {
        line(&mut head, "Connection", b"Upgrade");
        line(&mut head, "Upgrade", protocol.as_bytes());
    }
    finish(head)
}

/// The head of an answer that changes to WebSocket (RFC 6455, 4.2.2).
pub(super) fn websocket_head(accept: &str) -> Vec<u8> {
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    line(&mut head, "Connection", b"Upgrade");
    line(&mut head, "Upgrade", b"websocket");
    line(&mut head, "Sec-WebSocket-Accept", accept.as_bytes());
    finish(head)
}

fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Adds what every answer has, and the empty line.
fn finish(mut head: Vec<u8>) -> Vec<u8> {
    let mut usual = HeaderMap::new();
    super::router::usual_headers(&mut usual);
    for (name, value) in &usual {
        line(&mut head, name.as_str(), value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}
