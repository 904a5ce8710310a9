//! What a monitor does for its container's network while it runs: ports are forwarded, names are answered.
//!
//! Everything waits in one epoll, whose own descriptor the monitor waits for. Nothing here blocks.

use crate::dns::{NameServer, Names};
use crate::forward::{Forwarder, Reserved};
use dhow_model::{Result, ResultExt};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timer::Expiration;
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Numbers of the name server's sockets begin here; the forwarder's lie below.
pub(crate) const NAMES: u64 = 1 << 40;
const TIMER: u64 = u64::MAX;

/// The companion of a container's run.
#[derive(Debug)]
pub struct Service {
    epoll: Epoll,
    timer: TimerFd,
    forwarder: Forwarder,
    names: Option<NameServer>,
}

impl Service {
    /// One that does nothing yet.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context(|| "epoll_create1".to_owned())?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).context(|| "timerfd_create".to_owned())?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER)).context(|| "epoll_ctl".to_owned())?;
        Ok(Self { epoll, timer, forwarder: Forwarder::default(), names: None })
    }

    /// Forwards a port to a container's.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn forward(&mut self, reserved: Reserved, target: SocketAddr) -> Result<()> {
        self.forwarder.add(&self.epoll, reserved, target)
    }

    /// The container is reached at another address from now on.
    pub fn redirect(&mut self, to: IpAddr) {
        self.forwarder.redirect(to);
    }

    /// Answers for names by `server`.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn answer_by(&mut self, server: NameServer) -> Result<()> {
        server.register(&self.epoll)?;
        self.names = Some(server);
        Ok(())
    }

    /// Whether names are answered.
    pub fn answers(&self) -> bool {
        self.names.is_some()
    }

    /// Readable when [`Service::attend`] has something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Does what there is to do. Waits for nothing.
    pub fn attend(&mut self, names: &mut dyn Names) {
        let mut events = [EpollEvent::empty(); 32];
        let Ok(count) = self.epoll.wait(&mut events, EpollTimeout::ZERO) else { return };
        for event in &events[..count] {
            match event.data() {
                TIMER => {
                    // Reading makes it quiet again.
                    let _ = nix::unistd::read(&self.timer, &mut [0; 8]);
                }
                number if number >= NAMES => {
                    if let Some(server) = &mut self.names {
                        server.handle(&self.epoll, number, names);
                    }
                }
                number => self.forwarder.handle(&self.epoll, number),
            }
        }
        let wakes =
            [self.forwarder.tidy(), self.names.as_mut().and_then(|server| server.tidy(&self.epoll, names))];
        self.wake_at(wakes.into_iter().flatten().min());
    }

    fn wake_at(&self, at: Option<Instant>) {
        let _ = match at {
            None => self.timer.unset(),
            Some(at) => {
                // Zero would mean never.
                let left = at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                self.timer.set(Expiration::OneShot(TimeSpec::from(left)), TimerSetTimeFlags::empty())
            }
        };
    }
}
