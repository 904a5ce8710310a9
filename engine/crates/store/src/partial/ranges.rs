//! A large blob over several connections at once, each fetching one piece after the other, those in front first.
//!
//! ```text
//!   waiting: pieces that nobody fetches yet ──► a thread for each connection ──► HEX.START, growing
//!                                                                                   │
//!   the installer ◄── read(), from the front, as far as there is something ◄────────┘
//! ```
//!
//! How many threads there are changes: they take connections that no other blob of the pull needs, and give them up
//! for one that begins. A thread whose piece fails again and again gives it back and ends, for the registry may allow
//! fewer connections. When the last one does, or the origin does not do ranges, that is no error: [`Got::Over`]
//! says that the reader is to go on by itself, over one connection, with what is there. Its errors are the ones to tell.

use super::pieces::{PieceReader, Pieces, Spans, covering, gaps, total};
use super::{Blob, Connection};
use dhow_model::ErrorKind;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Waits before a piece is tried again; after the last the connection is given up.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];
/// What is read from a connection at once.
const BUFFER: usize = 128 << 10;
/// How often the reader looks for connections that came free.
const LOOK: Duration = Duration::from_millis(100);

/// The threads that fetch a blob, and what they have.
pub(super) struct Ranges {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    reader: PieceReader,
}

/// What a read gave.
pub(super) enum Got {
    Bytes(usize),
    /// The rest has to be fetched in another way.
    Over,
}

/// What is left when ranges are given up.
pub(super) struct Left {
    pub(super) pieces: Option<Arc<Pieces>>,
    pub(super) here: Spans,
    /// All of the blob, from an origin that does not do ranges, when nothing of it was there.
    pub(super) whole: Option<Box<dyn Read + Send>>,
}

struct Shared {
    blob: Arc<Blob>,
    pieces: Arc<Pieces>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: Spans,
    here: Spans,
    threads: usize,
    /// How many threads are worth trying.
    most: usize,
    /// Nobody is to go on.
    over: bool,
    whole: Option<Box<dyn Read + Send>>,
}

/// What a thread fetches.
struct Piece {
    start: u64,
    end: u64,
    /// How far it is asked for: further than `end` when nobody else is there to fetch what follows.
    asked: u64,
}

/// Why a transfer ended early.
enum Trouble {
    Passing,
    Lasting,
}

impl Ranges {
    /// Whether a blob of which that much is here is worth it.
    pub(super) fn suits(blob: &Blob, here: &Spans) -> bool {
        let connections = &blob.connections;
        let missing = blob.size.saturating_sub(total(here));
        connections.most > 1 && blob.size >= connections.ranged_from && missing > connections.piece
    }

    pub(super) fn new(blob: Arc<Blob>, pieces: Pieces, here: Spans) -> Self {
        let state = State {
            waiting: gaps(&here, blob.size, blob.connections.piece),
            here,
            threads: 0,
            most: blob.connections.most,
            over: false,
            whole: None,
        };
        let shared =
            Shared { blob, pieces: Arc::new(pieces), state: Mutex::new(state), changed: Condvar::new() };
        Self { shared: Arc::new(shared), threads: Vec::new(), reader: PieceReader::default() }
    }

    /// Waits for bytes at an offset. `heard` is told how many there are in all, now and then.
    pub(super) fn read(&mut self, at: u64, out: &mut [u8], heard: &mut dyn FnMut(u64)) -> Got {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut state = shared.lock();
            self.more_threads(&mut state);
            let received = total(&state.here);
            let found = covering(&state.here, at);
            let is_over = found.is_none() && (state.over || state.threads == 0);
            drop(state);
            // Whoever hears it may take its time.
            heard(received);
            if is_over {
                return Got::Over;
            }
            if let Some((start, end)) = found {
                let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(out.len());
                if let Ok(read) = self.reader.read(&shared.pieces, start, at, &mut out[..most]) {
                    return Got::Bytes(read);
                }
                // Somebody took the file away: it is fetched again.
                shared.lock().here.remove(&start);
                return Got::Over;
            }
            let state = shared.lock();
            if covering(&state.here, at).is_none() && !state.over && state.threads > 0 {
                // Woken, or out of patience: either way it is looked at again.
                let _ = shared.changed.wait_timeout(state, LOOK);
            }
        }
    }

    /// As many threads as there are pieces and connections for.
    fn more_threads(&mut self, state: &mut State) {
        while !state.over && !state.waiting.is_empty() && state.threads < state.most {
            let connection = match state.threads {
                0 => Some(self.shared.blob.connections.take()),
                _ => self.shared.blob.connections.try_take(),
            };
            let Some(connection) = connection else { return };
            self.threads.retain(|thread| !thread.is_finished());
            let shared = Arc::clone(&self.shared);
            let work = move || shared.work(connection);
            match std::thread::Builder::new().name("fetch".into()).spawn(work) {
                Ok(thread) => self.threads.push(thread),
                Err(_) => {
                    state.most = state.threads;
                    return;
                }
            }
            state.threads += 1;
        }
    }

    /// Ends the threads. What came so far is there.
    pub(super) fn give_up(&mut self) -> Left {
        self.stop();
        let mut state = self.shared.lock();
        Left {
            pieces: Some(Arc::clone(&self.shared.pieces)),
            here: std::mem::take(&mut state.here),
            whole: state.whole.take(),
        }
    }

    fn stop(&mut self) {
        self.shared.end();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Ranges {
    /// Whoever embeds the engine keeps its process: no thread lives on.
    fn drop(&mut self) {
        self.stop();
    }
}

/// One thread less, however it ends.
struct Working<'a>(&'a Shared);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn work(&self, connection: Connection) {
        let _working = Working(self);
        let _connection = connection;
        let mut buffer = vec![0; BUFFER];
        while let Some(piece) = self.next_piece() {
            if !self.fetch_piece(piece, &mut buffer) {
                return;
            }
        }
    }

    /// The first piece that nobody fetches; `None` when there is none for this thread.
    fn next_piece(&self) -> Option<Piece> {
        let mut state = self.lock();
        let leaves =
            state.threads > 1 && (state.threads > state.most || self.blob.connections.are_too_many());
        if state.over || leaves {
            return None;
        }
        let (start, end) = state.waiting.pop_first()?;
        let mut asked = end;
        // Alone, one request does for all that follows.
        while state.threads == 1
            && !self.blob.connections.has_spare()
            && let Some(next) = state.waiting.get(&asked)
        {
            asked = *next;
        }
        Some(Piece { start, end, asked })
    }

    /// Whether the thread is to go on with another piece.
    fn fetch_piece(&self, mut piece: Piece, buffer: &mut [u8]) -> bool {
        let Ok(mut file) = self.pieces.append_to(piece.start) else {
            self.end();
            return false;
        };
        let (mut at, mut failures) = (piece.start, 0);
        loop {
            let before = at;
            match self.transfer(&mut piece, &mut at, &mut file, buffer) {
                Ok(()) => return true,
                Err(Trouble::Lasting) => {
                    self.end();
                    return false;
                }
                Err(Trouble::Passing) => {
                    piece.asked = piece.end;
                    failures = if at > before { 0 } else { failures };
                    let Some(wait) = BACK_OFF.get(failures) else {
                        let mut state = self.lock();
                        state.waiting.insert(at, piece.end);
                        state.most = state.threads - 1;
                        return false;
                    };
                    failures += 1;
                    if !self.wait(*wait) {
                        return false;
                    }
                }
            }
        }
    }

    /// Until the piece ends, or the transfer does.
    fn transfer(
        &self,
        piece: &mut Piece,
        at: &mut u64,
        file: &mut File,
        buffer: &mut [u8],
    ) -> Result<(), Trouble> {
        let mut opened = (self.blob.fetch)(*at, Some(piece.asked)).map_err(|error| match error.kind() {
            ErrorKind::Unavailable => Trouble::Passing,
            _ => Trouble::Lasting,
        })?;
        if !opened.is_range || opened.start != *at {
            if opened.start == 0 && *at == 0 {
                self.lock().whole = Some(opened.reader);
            }
            return Err(Trouble::Lasting);
        }
        while *at < piece.end {
            let most = usize::try_from(piece.end - *at).unwrap_or(usize::MAX).min(buffer.len());
            let read = match opened.reader.read(&mut buffer[..most]) {
                Ok(0) | Err(_) => return Err(Trouble::Passing),
                Ok(read) => read,
            };
            // No room to keep it: the reader alone can do without.
            file.write_all(&buffer[..read]).map_err(|_| Trouble::Lasting)?;
            *at += read as u64;
            let mut state = self.lock();
            state.here.insert(piece.start, *at);
            if state.over {
                return Err(Trouble::Lasting);
            }
            if *at == piece.end && piece.asked > *at {
                // What follows comes over this connection, unless somebody else is at it by now.
                piece.end = state.waiting.remove(at).unwrap_or(piece.end);
            }
            drop(state);
            self.changed.notify_all();
        }
        if *at == piece.asked {
            // Read to its end, the connection can be used again; whatever this says, the piece is there.
            let _ = opened.reader.read(&mut buffer[..1]);
        }
        Ok(())
    }

    /// Whether the time has passed without anybody ending it.
    fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.lock();
        while !state.over {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
        false
    }
}
