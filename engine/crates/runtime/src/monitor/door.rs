//! The lock that puts a monitor in charge of its container, its place on the roll of those that live, and the socket that
//! clients come to.

use crate::attach::{fits_sun_path, split, through_descriptor};
use dhow_model::{ContainerId, Error, ErrorKind, Result, ResultExt};
use dhow_sys::roll;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for the lock. A monitor that has recorded its container's exit, so that another start is
/// possible, holds it for microseconds more, or while it removes what the container left.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Clients that may wait to be let in.
const BACKLOG: i32 = 128;

/// Where a door is.
pub(super) struct Address {
    pub(super) lock: PathBuf,
    pub(super) socket: PathBuf,
    /// A container's monitor: the roll, and what it is called there.
    pub(super) roll: Option<(PathBuf, ContainerId)>,
}

/// In charge, and listening. On drop the socket goes first, then the place on the roll, then the lock.
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
    _place: Option<roll::Place>,
    _lock: Flock<File>,
}

impl Door {
    /// Takes the lock and listens.
    ///
    /// # Errors
    /// `Conflict` when another monitor stays in charge; else when a directory, file or socket cannot be made.
    pub(super) fn open(address: &Address) -> Result<Self> {
        let Address { lock: lock_file, socket: socket_path, roll } = address;
        for path in [lock_file, socket_path] {
            let (directory, _) = split(path)?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .context(|| format!("make {}", directory.display()))?;
        }
        let lock = take_lock(lock_file)?;
        let listener = listen_at(socket_path).context(|| format!("listen on {}", socket_path.display()))?;
        // Without a place it is found by its lock, which takes a little longer.
        let place = roll.as_ref().and_then(|(path, id)| enter(path, id).ok().flatten());
        Ok(Self { listener, path: socket_path.to_owned(), _place: place, _lock: lock })
    }

    /// The next client that waits, if any, as a non-blocking socket.
    pub(super) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        match self.listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(true)?;
                Ok(Some(socket.into()))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Gone already when the container was removed. The fields go after this, the lock among them.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes a place on the roll of living monitors.
fn enter(path: &Path, id: &ContainerId) -> Result<Option<roll::Place>> {
    let what = || format!("enter {} in {}", id.short(), path.display());
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).context(what)?;
    let name = id.as_str().as_bytes().try_into().context(what)?;
    roll::Place::take(&file, &roll::boot_id().context(what)?, name).context(what)
}

fn take_lock(path: &Path) -> Result<Flock<File>> {
    let what = || format!("lock {}", path.display());
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).context(what)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    let mut file = file;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, nix::errno::Errno::EAGAIN)) => file,
            Err((_, error)) => return Err(error).context(what),
        };
        if Instant::now() >= deadline {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("{}: another monitor is in charge", path.display()),
            ));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A listening socket at `path`, mode 0600. What lies there is a dead monitor's: we have the lock.
fn listen_at(path: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context(|| "unlink".to_owned());
        }
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None).context(|| "socket".to_owned())?;
    // Linux gives the socket's file the mode of the socket itself (net/unix/af_unix.c, unix_bind_bsd): no
    // moment in which it is open to others.
    fchmod(&made, Mode::S_IRUSR | Mode::S_IWUSR).context(|| "fchmod".to_owned())?;
    let (directory, name) = split(path)?;
    let opened;
    let address = if fits_sun_path(path) {
        UnixAddr::new(path)
    } else {
        opened = File::open(directory).context(|| "open".to_owned())?;
        UnixAddr::new(&through_descriptor(&opened, name))
    };
    bind(made.as_raw_fd(), &address.context(|| "address".to_owned())?).context(|| "bind".to_owned())?;
    listen(&made, Backlog::new(BACKLOG).context(|| "listen".to_owned())?).context(|| "listen".to_owned())?;
    Ok(UnixListener::from(made))
}
