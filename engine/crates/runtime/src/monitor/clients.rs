//! All attached clients.

use super::client::Client;
use super::poller::Poller;
use super::spec::BareStream;
use crate::attach::{exit_frame, output_header};
use crate::log::Stream;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A client that was told of the exit and then takes no byte for so long is not waited for.
const LAGGARD_PATIENCE: Duration = Duration::from_secs(5);

/// The clients, by a number that is never used twice: a late event of one cannot hit another.
#[derive(Default)]
pub(super) struct Clients {
    all: BTreeMap<u64, Client>,
    last_id: u64,
}

impl Clients {
    /// Takes a connection; returns its number.
    pub(super) fn add(&mut self, socket: OwnedFd) -> u64 {
        self.last_id += 1;
        self.all.insert(self.last_id, Client::new(self.last_id, socket));
        self.last_id
    }

    /// Takes a stream without frames; returns its number.
    pub(super) fn add_bare(&mut self, stream: BareStream, fd: OwnedFd) -> u64 {
        self.last_id += 1;
        self.all.insert(self.last_id, Client::bare(self.last_id, stream, fd));
        self.last_id
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Client> {
        self.all.get_mut(&id)
    }

    /// Drops a client that does not speak the protocol.
    pub(super) fn remove(&mut self, id: u64) {
        self.all.remove(&id);
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Sends output to all that want it.
    pub(super) fn broadcast(&mut self, stream: Stream, bytes: &[u8]) {
        // One read is far below 4 GiB.
        let header = output_header(stream, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        for client in self.all.values_mut() {
            if client.leaving_since().is_none() && client.hello.is_some_and(|hello| hello.wants(stream)) {
                client.send(&header, bytes);
            }
        }
    }

    /// How many bytes the slowest client of this run is behind.
    pub(super) fn farthest_behind(&self) -> usize {
        self.all.values().filter(|c| c.leaving_since().is_none()).map(Client::behind).max().unwrap_or(0)
    }

    /// Tells every client of the exit.
    pub(super) fn finish(&mut self, code: i32) {
        for client in self.all.values_mut().filter(|c| c.leaving_since().is_none()) {
            client.finish(&exit_frame(code));
        }
    }

    /// Until when to wait for the slowest of those that were told of the exit; `None` when there is none.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        self.all.values().filter_map(Client::leaving_since).min().map(|since| since + LAGGARD_PATIENCE)
    }

    /// Forgets who is done, and tells the poller what the others wait for.
    pub(super) fn update(&mut self, poller: &Poller, input_full: bool) {
        let now = Instant::now();
        self.all.retain(|_, client| {
            !client.is_done()
                && client.leaving_since().is_none_or(|since| now < since + LAGGARD_PATIENCE)
                // Out of kernel memory: better one client less than a client that hangs.
                && client.update(poller, input_full).is_ok()
        });
    }
}
