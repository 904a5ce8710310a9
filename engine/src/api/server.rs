//! One connection: HTTP/1.1 with upgrades over anything that reads and writes.

use super::router::router;
use crate::Engine;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::UnixStream;

/// A client that has connected must send its request's head within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves one connection from inside this process until it closes or is upgraded. Who serves several makes
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

/// Serves until the connection closes or is upgraded, `gone` is ready, or `stop` is: then the request at hand
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
    // A request that takes the connection over watches the peer itself from then on.
    let service = service_fn(move |mut request| {
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        table.call(request)
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let (mut connection, mut gone) = (pin!(connection), pin!(gone));
    // An error of the connection is the client's: it went away or did not speak HTTP. There is nobody to tell.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = gone.as_mut() => {}
        () = stop => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection => {}
                () = gone => {}
            }
        }
    }
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
