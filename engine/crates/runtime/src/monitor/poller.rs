//! epoll(7), level-triggered, with the monitor's own names for what it waits for.

use dhow_model::{Result, ResultExt};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::AsFd;
use std::time::Duration;

/// Who has something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// Someone connects.
    Door,
    /// The process ended.
    Process,
    /// Standard input takes bytes again.
    Input,
    /// The OOM killer struck.
    Oom,
    /// Output is there: 0 for standard output or the terminal, 1 for standard error.
    Output(usize),
    /// A health check's probe.
    Probe,
    /// The log's daemon takes more.
    Log,
    /// What the run has beside its processes.
    Companion,
    /// A client, by its number.
    Client(u64),
}

const FIRST_CLIENT: u64 = 16;

impl Token {
    fn number(self) -> u64 {
        match self {
            Token::Door => 0,
            Token::Process => 1,
            Token::Input => 2,
            Token::Oom => 3,
            Token::Output(index) => 4 + index as u64,
            Token::Probe => 6,
            Token::Log => 7,
            Token::Companion => 8,
            Token::Client(id) => FIRST_CLIENT + id,
        }
    }

    fn from_number(number: u64) -> Self {
        match number {
            0 => Token::Door,
            1 => Token::Process,
            2 => Token::Input,
            3 => Token::Oom,
            4 => Token::Output(0),
            6 => Token::Probe,
            7 => Token::Log,
            8 => Token::Companion,
            5..FIRST_CLIENT => Token::Output(1),
            client => Token::Client(client - FIRST_CLIENT),
        }
    }
}

/// Something that can be waited for, and what for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) token: Token,
    /// It can be read from, or is at its end.
    pub(super) readable: bool,
    /// It can be written to.
    pub(super) writable: bool,
    /// The other side is gone altogether.
    pub(super) hung_up: bool,
}

/// The set of what is waited for.
pub(super) struct Poller(Epoll);

impl Poller {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context(|| "epoll_create1".to_owned())?))
    }

    /// Waits for `fd` from now on. With neither direction, only for the other side's end.
    pub(super) fn add(&self, fd: impl AsFd, token: Token, read: bool, write: bool) -> Result<()> {
        self.0.add(fd, event(token, read, write)).context(|| format!("wait for {token:?}"))
    }

    /// Waits for other things of `fd`.
    pub(super) fn change(&self, fd: impl AsFd, token: Token, read: bool, write: bool) -> Result<()> {
        self.0.modify(fd, &mut event(token, read, write)).context(|| format!("wait for {token:?}"))
    }

    /// Waits no more for `fd`.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // It fails only for what was not added, and then all is well.
        let _ = self.0.delete(fd);
    }

    /// What is ready, after at most `timeout`. May be nothing at any time.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Result<impl Iterator<Item = Ready> + use<>> {
        // Rounded up: to wake too early would mean to spin.
        let timeout = timeout.map_or(EpollTimeout::NONE, |t| {
            EpollTimeout::try_from(t.as_micros().div_ceil(1000)).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); 16];
        let count = match self.0.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error).context(|| "epoll_wait".to_owned()),
        };
        Ok(events.into_iter().take(count).map(|event| {
            let has = |flags: EpollFlags| event.events().intersects(flags);
            let hung_up = has(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Ready {
                token: Token::from_number(event.data()),
                readable: has(EpollFlags::EPOLLIN),
                writable: has(EpollFlags::EPOLLOUT),
                hung_up,
            }
        }))
    }
}

fn event(token: Token, read: bool, write: bool) -> EpollEvent {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, read);
    flags.set(EpollFlags::EPOLLOUT, write);
    EpollEvent::new(flags, token.number())
}
