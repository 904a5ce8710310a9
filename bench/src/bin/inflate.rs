//! What installing a layer cannot do without: decompressing it and hashing both sides, with the engine's own libraries,
//! in two threads as the engine does it. Nothing is written. Prints the digest of the uncompressed bytes.
//!
//! `inflate FILE`: gzip, zstd or plain, by the first bytes.

use dhow_inflate::{Gzip, HISTORY, ROOM};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};

/// As large as the engine's.
const PIECE: usize = 256 << 10;

/// The end of one piece, and room after it, are what the decompressor of gzip asks for.
const BUFFER: usize = HISTORY + PIECE + ROOM;

/// Fills a buffer from [`HISTORY`] on, and gives where it came.
type Fill = Box<dyn FnMut(&mut [u8]) -> std::io::Result<usize>>;

fn main() -> std::io::Result<()> {
    let path = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("want a file"))?;
    let mut file = BufReader::with_capacity(PIECE, std::fs::File::open(path)?);
    let mut next: Fill = match file.fill_buf()? {
        [0x1f, 0x8b, ..] => {
            let (mut gzip, mut before) = (Gzip::new(file), vec![0; HISTORY]);
            Box::new(move |piece| {
                piece[..HISTORY].copy_from_slice(&before);
                let end = gzip.fill(piece, HISTORY)?;
                before.copy_from_slice(&piece[end - HISTORY..end]);
                Ok(end)
            })
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => filled(zstd::stream::read::Decoder::with_buffer(file)?),
        _ => filled(file),
    };
    let (sender, pieces) = std::sync::mpsc::sync_channel::<(Vec<u8>, usize)>(16);
    let (back, free) = std::sync::mpsc::channel::<Vec<u8>>();
    let hashing = std::thread::spawn(move || {
        let mut hasher = Sha256::new();
        for (piece, end) in pieces {
            hasher.update(&piece[HISTORY..end]);
            // At the end nobody takes it back.
            let _ = back.send(piece);
        }
        hasher.finalize()
    });
    loop {
        let mut piece = free.try_recv().unwrap_or_else(|_| vec![0; BUFFER]);
        let end = next(&mut piece)?;
        if end == HISTORY || sender.send((piece, end)).is_err() {
            break;
        }
    }
    drop(sender);
    let digest = hashing.join().map_err(|_| std::io::Error::other("the hashing thread panicked"))?;
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(std::io::stdout(), "{hex}")
}

/// Fills pieces from a reader.
fn filled(mut input: impl Read + 'static) -> Fill {
    Box::new(move |piece| {
        let mut end = HISTORY;
        while end < HISTORY + PIECE {
            match input.read(&mut piece[end..HISTORY + PIECE])? {
                0 => break,
                length => end += length,
            }
        }
        Ok(end)
    })
}
