//! Between a thread that packs or extracts, and a request's or an answer's body.

use crate::cli::client::wire;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::transport::Body;
use bollard::body_try_stream;
use bytes::Bytes;
use dhow_model::{Error, Result};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::io::{self, Read, Write};
use tokio::sync::mpsc;

/// Pieces on their way.
const PIECES_IN_FLIGHT: usize = 8;
/// How much is gathered before it is sent.
const PIECE_BYTES: usize = 128 << 10;

/// Why packing did not come to its end.
pub(super) enum Broken {
    /// Here: a file that cannot be read.
    Failed(Error),
    /// There: nobody takes the bytes any more.
    Refused,
}

/// A thread that packs.
pub(super) struct Packing(tokio::task::JoinHandle<std::result::Result<u64, Broken>>);

impl Packing {
    /// How many bytes it was.
    pub(super) async fn finish(self) -> std::result::Result<u64, Broken> {
        self.0.await.unwrap_or_else(|stopped| {
            Err(Broken::Failed(Error::internal(format!("packing broke off: {stopped}"))))
        })
    }
}

/// Packs in a thread; what it writes is a request's body. Must be called inside a tokio runtime.
pub(super) fn upload(pack: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static) -> (Body, Packing) {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_IN_FLIGHT);
    let packing = tokio::task::spawn_blocking(move || {
        let mut pieces =
            Pieces { sender, gathered: Vec::with_capacity(PIECE_BYTES), bytes: 0, refused: false };
        let packed = pack(&mut pieces)
            .and_then(|()| pieces.flush().map_err(|e| Error::internal(format!("send the archive: {e}"))));
        match packed {
            Ok(()) => Ok(pieces.bytes),
            Err(_) if pieces.refused => Err(Broken::Refused),
            Err(error) => {
                // Cuts the body short, so that the engine does not take it for whole.
                let _ = pieces.sender.blocking_send(Err(io::Error::other("the archive broke off")));
                Err(Broken::Failed(error))
            }
        }
    });
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (body_try_stream(pieces), Packing(packing))
}

struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    gathered: Vec<u8>,
    bytes: u64,
    refused: bool,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.gathered.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.gathered, Vec::with_capacity(PIECE_BYTES));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| {
            self.refused = true;
            io::ErrorKind::BrokenPipe.into()
        })
    }
}

/// Extracts an answer's body in a thread; gives how many bytes it had.
pub(super) async fn download(
    answer: Response<Incoming>,
    extract: impl FnOnce(&mut dyn Read) -> Result<()> + Send + 'static,
) -> Outcome<u64> {
    let (sender, pieces) = mpsc::channel::<io::Result<Bytes>>(PIECES_IN_FLIGHT);
    let extracting =
        tokio::task::spawn_blocking(move || extract(&mut Reading { pieces, current: Bytes::new() }));
    let mut body = answer.into_body();
    let mut bytes = 0;
    let mut broken = None;
    while let Some(frame) = body.frame().await {
        let piece = match frame {
            Ok(frame) => frame.into_data().map(Ok),
            Err(error) => {
                let failure = wire(error);
                let text = failure.message.clone();
                broken = Some(failure);
                Ok(Err(io::Error::other(text)))
            }
        };
        let Ok(piece) = piece else { continue };
        bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        // The thread ended early: its own failure says why.
        if sender.send(piece).await.is_err() || broken.is_some() {
            break;
        }
    }
    drop(sender);
    let extracted =
        extracting.await.map_err(|stopped| Failure::new(format!("extracting broke off: {stopped}")))?;
    match (broken, extracted) {
        (Some(failure), _) => Err(failure),
        (None, extracted) => extracted.map(|()| bytes).map_err(Failure::from),
    }
}

struct Reading {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
