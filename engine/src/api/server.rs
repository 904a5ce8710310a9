//! One connection: HTTP/1.1 over anything that reads and writes, until a request takes the connection over.

use super::router::router;
use super::takeover::Takeover;
use crate::Engine;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// A client that has connected must send its request's head within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long, and for how many bytes, a closed connection is read on: as long as Go's server waits
/// (net/http, rstAvoidanceDelay), and more than a client has on its way then.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 64 << 20;
const LINGER_BUFFER_BYTES: usize = 16 << 10;

/// How long the head of a stream's answer waits to be read before the stream begins. Clients read it at once; whoever
/// does not read it loses no more than this time.
const HEAD_READ_TIMEOUT: Duration = Duration::from_millis(100);
const HEAD_READ_PAUSE: Duration = Duration::from_micros(200);

/// Serves one connection from inside this process until it closes or is taken over. Who serves several makes
/// the [`router`] once, and uses [`serve_router`]: making it takes longer than most requests.
pub async fn serve_stream<I>(engine: Engine, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_router(router(engine), io).await;
}

/// As [`serve_stream`], over a router that is there.
pub async fn serve_router<I>(router: Router, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_connection(router, None, io, std::future::pending(), std::future::pending()).await;
}

/// Serves one connection of a unix socket, and lets go of it when the client has gone.
pub(crate) async fn serve_unix(router: Router, stream: UnixStream, stop: impl Future<Output = ()>) {
    // Without a second descriptor there is no watching: then a client that vanishes is noticed when it is
    // next written to.
    match Peer::of(&stream) {
        Ok(peer) => {
            let watched = peer.clone();
            serve_connection(router, Some(peer), stream, stop, async move { watched.gone().await }).await;
        }
        Err(_) => serve_connection(router, None, stream, stop, std::future::pending()).await,
    }
}

/// Serves until the connection closes or is taken over, `gone` is ready, or `stop` is: then the request at hand
/// is finished first.
///
/// A client that closes only its sending side still gets its answer.
async fn serve_connection<I>(
    router: Router,
    peer: Option<Peer>,
    io: I,
    stop: impl Future<Output = ()>,
    gone: impl Future<Output = ()>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let table = TowerToHyperService::new(router);
    let (takeover, taken) = Takeover::new();
    let service = service_fn(move |mut request| {
        // A request that takes the connection over watches the peer itself from then on.
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        request.extensions_mut().insert(takeover.clone());
        table.call(request)
    });
    let mut connection = http1::Builder::new()
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(io), service);
    let (mut gone, mut stop, mut taken) = (pin!(gone), pin!(stop), pin!(taken));
    let mut stopping = false;
    let taken = loop {
        tokio::select! {
            // An error of the connection is the client's: it went away or did not speak HTTP. There is nobody to tell.
            _ = poll_fn(|context| connection.poll_without_shutdown(context)) => break None,
            Ok(taken) = &mut taken => break Some(taken),
            () = &mut gone => return,
            () = &mut stop, if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let io = parts.io.into_inner();
    match taken {
        // For as long as the client and its container like: a server that stops does not wait for it.
        Some(taken) => drop(tokio::spawn(taken.run(parts.read_buf, io))),
        None => linger(io).await,
    }
}

/// Closes a connection so that the client can read the last answer. A socket that is closed with unread bytes in it
/// makes the kernel throw away what the client has not read yet: who was refused while it sent a body would see a
/// broken connection in place of the reason.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let reading = async {
        // Fails when the client has closed it.
        if io.shutdown().await.is_err() {
            return;
        }
        let mut unread = vec![0; LINGER_BUFFER_BYTES];
        let mut left = LINGER_BYTES;
        while let Ok(length @ 1..) = io.read(&mut unread).await {
            left = left.saturating_sub(length);
            if left == 0 {
                return;
            }
        }
    };
    // A client that neither reads nor closes is left to itself.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, reading).await;
}

/// The other end of a unix socket, watched through a descriptor of its own.
///
/// A request that waits for something (a `wait`, a followed log) reads and writes nothing, so that the
/// connection itself would not notice that its client has died.
#[derive(Clone)]
pub(super) struct Peer(Arc<UnixStream>);

impl Peer {
    fn of(stream: &UnixStream) -> io::Result<Self> {
        let watched = StdStream::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Self(Arc::new(UnixStream::from_std(watched)?)))
    }

    /// Returns when the client has read all that was sent to it; after a while in any case.
    pub(super) async fn has_read(&self) {
        let waiting = async {
            while dhow_sys::socket::unread_bytes(self.0.as_fd()).is_ok_and(|bytes| bytes > 0) {
                tokio::time::sleep(HEAD_READ_PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(HEAD_READ_TIMEOUT, waiting).await;
    }

    /// Returns when the client has closed both directions. Half a close is not that.
    pub(super) async fn gone(&self) {
        loop {
            // An error means that the runtime is ending, and with it everything.
            let Ok(ready) = self.0.ready(Interest::WRITABLE).await else { return };
            if ready.is_write_closed() {
                return;
            }
            // epoll tells changes: once we have said that nothing is ready, the next one wakes us.
            let _ = self.0.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn a_half_closed_client_gets_its_answer() {
        block_on(async {
            let (mut client, server) = UnixStream::pair().unwrap();
            let router = Router::new().route(
                "/slow",
                get(|| async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    "late"
                }),
            );
            let served = tokio::spawn(serve_unix(router, server, std::future::pending()));
            client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"), "{answer}");
            served.await.unwrap();
        });
    }

    #[test]
    fn a_vanished_client_ends_a_waiting_request() {
        block_on(async {
            let (mut client, server) = UnixStream::pair().unwrap();
            let router = Router::new().route("/wait", post(std::future::pending::<&str>));
            let served = tokio::spawn(serve_unix(router, server, std::future::pending()));
            client.write_all(b"POST /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!served.is_finished());
            let before = Instant::now();
            drop(client);
            served.await.unwrap();
            assert!(before.elapsed() < Duration::from_secs(1));
        });
    }

    #[test]
    fn a_stop_lets_the_request_at_hand_finish() {
        block_on(async {
            let (mut client, server) = UnixStream::pair().unwrap();
            let router = Router::new().route(
                "/slow",
                get(|| async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    "late"
                }),
            );
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let served = tokio::spawn(serve_unix(router, server, async {
                let _ = stopped.await;
            }));
            client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
            stop.send(()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("late"), "{answer}");
            served.await.unwrap();
        });
    }
}
