//! `dhow serve`: the Engine API on unix sockets.
//!
//! The server holds nothing that a container needs: it may be killed at any moment. What it does beside
//! answering is to start, when it starts itself, what the restart policies ask for after a boot, and to mend the
//! firewall's table when another program's reload has taken it away.
//!
//! Who may connect is decided by the file system: a socket is made with mode 0660, in a directory that is left
//! as it is. Whoever may connect is root on this machine, as with Docker.

use crate::{Config, Engine, api, network, recover, tidy};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where `dhow serve` listens when it is not told.
pub const DEFAULT_SOCKET: &str = "/run/dhow/dhow.sock";

/// Requests at hand when a stop comes get this long; streams that go on for ever are cut then.
const GRACE: Duration = Duration::from_secs(2);

/// After a failure of accept(2) that is likely to come again at once (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API of one engine until SIGINT or SIGTERM. `hosts` as typed with `-H`; none means the default.
///
/// # Errors
/// `InvalidArgument` and `Unsupported` for a host that cannot be listened on, `Conflict` when another server
/// answers there; when the engine cannot be opened.
pub fn serve(config: Config, hosts: &[String]) -> Result<()> {
    let paths = if hosts.is_empty() {
        vec![PathBuf::from(DEFAULT_SOCKET)]
    } else {
        hosts.iter().map(|host| parse_host(host)).collect::<Result<Vec<_>>>()?
    };
    // Before there are threads.
    dhow_sys::memory::shape_heap_for_a_long_life();
    // Opened first: it makes the directory in which the default socket lies.
    let engine = Engine::open(config)?;
    // Before there are threads: making a socket sets the process's umask for a moment.
    let sockets = paths.into_iter().map(Socket::bind).collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context(|| "start the server's threads".to_owned())?;
    let result = runtime.block_on(run(engine, sockets));
    // A verb that waits for a container to stop is not waited for: the monitor finishes the work.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// `unix:///path` → the path. Everything else is refused: without TLS, TCP would hand root to whoever can
/// reach the port, which on one machine is every user.
fn parse_host(host: &str) -> Result<PathBuf> {
    match host.split_once("://") {
        Some(("unix", "")) => Ok(PathBuf::from(DEFAULT_SOCKET)),
        Some(("unix", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(("unix", path)) => {
            Err(Error::invalid(format!("invalid host {host:?}: {path:?} is not an absolute path")))
        }
        Some(("tcp", _)) => Err(Error::unsupported(format!(
            "cannot serve on {host}: TCP without TLS gives root to everyone who can connect, and TLS is not \
             supported yet; use unix:///PATH, or SSH"
        ))),
        Some(("fd", _)) => {
            Err(Error::unsupported(format!("cannot serve on {host}: socket activation is not supported yet")))
        }
        _ => Err(Error::invalid(format!("invalid host {host:?}: want unix:///PATH"))),
    }
}

async fn run(engine: Engine, sockets: Vec<Socket>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context(|| "catch SIGINT".to_owned())?;
    let mut terminate = signal(SignalKind::terminate()).context(|| "catch SIGTERM".to_owned())?;
    let (stop, stopping) = watch::channel(());
    let router = api::router(engine.clone());
    let mut accepting = JoinSet::new();
    // Kept until the end: dropping a socket takes its file away.
    let mut kept = Vec::new();
    for socket in sockets {
        let listener = socket.listener.try_clone().and_then(UnixListener::from_std);
        let listener = listener.context(|| format!("listen on {}", socket.path.display()))?;
        kept.push(socket);
        accepting.spawn(accept(listener, router.clone(), stopping.clone()));
    }
    drop(stopping);
    let guarding = tokio::spawn(network::watch::keep(engine.clone()));
    let tidying = tokio::spawn(tidy::keep(engine.clone()));
    // Clients are served while containers start: one that hangs must not lock its user out.
    let booting = tokio::task::spawn_blocking(move || recover::boot(&engine));
    let booted = async {
        match booting.await {
            Ok(Ok(())) => std::future::pending::<Result<()>>().await,
            Ok(Err(error)) => Err(error),
            Err(error) => Err(Error::internal(format!("starting containers broke off: {error}"))),
        }
    };
    let result = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        failed = booted => failed,
    };
    guarding.abort();
    tidying.abort();
    drop(kept);
    drop(stop);
    // Each listener ends with its connections, each connection with its request.
    let _ = tokio::time::timeout(GRACE, async { while accepting.join_next().await.is_some() {} }).await;
    result
}

/// Takes connections until told to stop, then waits for those that are open.
async fn accept(listener: UnixListener, router: axum::Router, stopping: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut stop = stopping.clone();
    loop {
        tokio::select! {
            // The sender is dropped, never used: that is the signal.
            _ = stop.changed() => break,
            // Finished ones are let go.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let mut stop = stopping.clone();
                    connections.spawn(api::serve_unix(router.clone(), stream, async move {
                        let _ = stop.changed().await;
                    }));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A bound socket, whose file goes with it.
struct Socket {
    path: PathBuf,
    listener: StdListener,
    /// Device and inode of the file: another server may have replaced it by then.
    identity: Option<(u64, u64)>,
}

impl Socket {
    /// Binds a path. A file that is there is replaced only if it is a socket on which nobody answers.
    fn bind(path: PathBuf) -> Result<Self> {
        let what = || format!("listen on {}", path.display());
        let directory = path.parent().unwrap_or(Path::new("/"));
        let directory = File::open(directory).context(|| format!("open {}", directory.display()))?;
        // Two servers that start at once look and bind one after the other.
        let _turn = Flock::lock(directory, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io::Error::from(errno))
            .context(|| format!("lock the directory of {}", path.display()))?;
        remove_stale(&path)?;
        // Set before the file exists: there is no moment at which others may connect.
        let old = umask(Mode::from_bits_truncate(0o117));
        let bound = StdListener::bind(&path);
        umask(old);
        let listener = bound.context(what)?;
        listener.set_nonblocking(true).context(what)?;
        let identity = std::fs::symlink_metadata(&path).ok().map(|m| identity(&m));
        Ok(Self { path, listener, identity })
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn remove_stale(path: &Path) -> Result<()> {
    let what = || format!("listen on {}", path.display());
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(what),
    };
    if !metadata.file_type().is_socket() {
        return Err(Error::conflict(format!(
            "listen on {}: the file is there and is not a socket",
            path.display()
        )));
    }
    match StdStream::connect(path) {
        Ok(_) => Err(Error::conflict(format!("listen on {}: another server answers there", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).context(|| format!("remove the stale socket {}", path.display()))
        }
        Err(error) => Err(error).context_kind(ErrorKind::Conflict, what),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).ok().map(|m| identity(&m));
        if ours.is_some() && ours == self.identity {
            // Who comes next replaces a stale one anyway.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn hosts() {
        assert_eq!(parse_host("unix:///a/b.sock").unwrap(), Path::new("/a/b.sock"));
        assert_eq!(parse_host("unix://").unwrap(), Path::new(DEFAULT_SOCKET));
        for (bad, kind) in [
            ("unix://a", ErrorKind::InvalidArgument),
            ("/a/b.sock", ErrorKind::InvalidArgument),
            ("tcp://127.0.0.1:2375", ErrorKind::Unsupported),
            ("tcp://0.0.0.0:2375", ErrorKind::Unsupported),
            ("fd://", ErrorKind::Unsupported),
            ("", ErrorKind::InvalidArgument),
        ] {
            assert_eq!(parse_host(bad).unwrap_err().kind(), kind, "{bad}");
        }
    }

    #[test]
    fn a_socket_is_for_its_group_and_goes_with_its_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let socket = Socket::bind(path.clone()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = Socket::bind(path.clone()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("another server answers there"), "{error}");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = Socket::bind(path.clone()).unwrap();
        // Someone else's socket at the same path stays when we go.
        std::fs::remove_file(&path).unwrap();
        let _other = StdListener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());

        let file = directory.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(Socket::bind(file.clone()).err().unwrap().kind(), ErrorKind::Conflict);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    }
}
