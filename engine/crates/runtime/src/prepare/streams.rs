//! The new process's streams: a terminal in its own devpts, or pipes.

use super::Preparation;
use crate::child::Streams;
use crate::launch::ChildStdio;
use crate::plan::Scene;
use crate::rootfs::c_string;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::{OnErrno, fsat, mount, openat2, pty};
use nix::libc;
use std::os::fd::{AsFd, OwnedFd};

/// include/uapi/linux/magic.h.
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Our ends of the new process's streams.
#[derive(Default)]
pub(crate) struct OurEnds {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    pub pty: Option<OwnedFd>,
}

impl Preparation<'_> {
    pub(super) fn streams(&mut self, stdio: ChildStdio) -> Result<(Streams, OurEnds)> {
        match stdio {
            ChildStdio::Pty { rows, cols } => self.terminal(rows, cols),
            ChildStdio::Pipes { stdin } => self.pipes(stdin),
        }
    }

    fn terminal(&mut self, rows: u16, cols: u16) -> Result<(Streams, OurEnds)> {
        let devpts = match self.devpts.take() {
            Some(devpts) => devpts,
            // A further process uses the container's own instance.
            None => self.container_devpts()?,
        };
        let (owner, _) = self.host_ids(self.user.uid, 0)?;
        let open = || -> dhow_sys::Result<pty::Pty> {
            let terminal = pty::open(devpts.as_fd())?;
            if rows != 0 || cols != 0 {
                pty::resize(terminal.master.as_fd(), rows, cols)?;
            }
            pty::give_to(terminal.slave.as_fd(), owner)?;
            Ok(terminal)
        };
        let terminal = open().on("open", "/dev/pts/ptmx").context(|| "open a terminal".to_owned())?;
        let copy = |fd: &OwnedFd| fd.try_clone().context(|| "dup a terminal".to_owned());
        let streams = Streams {
            stdin: copy(&terminal.slave)?,
            stdout: copy(&terminal.slave)?,
            stderr: terminal.slave,
            terminal: true,
        };
        let master = nonblocking(terminal.master)?;
        Ok((streams, OurEnds { pty: Some(master), ..OurEnds::default() }))
    }

    fn container_devpts(&self) -> Result<OwnedFd> {
        let Scene::Exec { pid, .. } = &self.plan.scene else {
            return Err(Error::unsupported("a terminal needs an own /dev/pts, which a mount replaces"));
        };
        let path = format!("/proc/{pid}/root");
        let root = mount::open_path(&c_string(path.as_str())?).context(|| format!("open {path}"))?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let devpts =
            openat2::open(root.as_fd(), c"/dev/pts", flags, 0, openat2::IN_ROOT | openat2::NO_SYMLINKS)
                .on("openat2", "/dev/pts")
                .context(|| "open a terminal".to_owned())?;
        let magic = mount::filesystem_magic(devpts.as_fd()).context(|| "examine /dev/pts".to_owned())?;
        // Whatever else is there could hand us a device of its own choice.
        if magic != DEVPTS_SUPER_MAGIC {
            return Err(Error::new(ErrorKind::StartFailed, "/dev/pts in the container is not a devpts"));
        }
        Ok(devpts)
    }

    fn pipes(&self, stdin: bool) -> Result<(Streams, OurEnds)> {
        let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "pipe2".to_owned());
        let mut ours = OurEnds::default();
        let theirs_in = if stdin {
            let (read, write) = pipe()?;
            self.give(&read)?;
            ours.stdin = Some(nonblocking(write)?);
            read
        } else {
            mount_free_null()?
        };
        let (out_read, out_write) = pipe()?;
        let (err_read, err_write) = pipe()?;
        self.give(&out_write)?;
        self.give(&err_write)?;
        ours.stdout = Some(nonblocking(out_read)?);
        ours.stderr = Some(nonblocking(err_read)?);
        Ok((Streams { stdin: theirs_in, stdout: out_write, stderr: err_write, terminal: false }, ours))
    }

    /// So that the user may reopen `/dev/stdout`, as with Docker.
    fn give(&self, pipe: &OwnedFd) -> Result<()> {
        let (owner, _) = self.host_ids(self.user.uid, 0)?;
        if owner == 0 {
            return Ok(());
        }
        fsat::chown(pipe.as_fd(), owner, u32::MAX).context(|| "chown a stream".to_owned())
    }
}

fn mount_free_null() -> Result<OwnedFd> {
    std::fs::File::open("/dev/null").map(Into::into).context(|| "open /dev/null".to_owned())
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context(|| "fcntl(F_SETFL)".to_owned())?;
    Ok(fd)
}
