//! What installing a layer cannot do without: decompressing it and hashing both sides, with the engine's own libraries,
//! in two threads as the engine does it. Nothing is written. Prints the digest of the uncompressed bytes.
//!
//! `inflate FILE`: gzip, zstd or plain, by the first bytes.

use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};

/// As large as the engine's.
const PIECE: usize = 256 << 10;

fn main() -> std::io::Result<()> {
    let path = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("want a file"))?;
    let mut file = BufReader::with_capacity(PIECE, std::fs::File::open(path)?);
    let start = file.fill_buf()?;
    let mut input: Box<dyn Read> = match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    };
    let (sender, pieces) = std::sync::mpsc::sync_channel::<Vec<u8>>(16);
    let (back, free) = std::sync::mpsc::channel::<Vec<u8>>();
    let hashing = std::thread::spawn(move || {
        let mut hasher = Sha256::new();
        for piece in pieces {
            hasher.update(&piece);
            // At the end nobody takes it back.
            let _ = back.send(piece);
        }
        hasher.finalize()
    });
    loop {
        let mut piece = free.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut filled = 0;
        while filled < PIECE {
            match input.read(&mut piece[filled..])? {
                0 => break,
                length => filled += length,
            }
        }
        piece.truncate(filled);
        if filled == 0 || sender.send(piece).is_err() {
            break;
        }
    }
    drop(sender);
    let digest = hashing.join().map_err(|_| std::io::Error::other("the hashing thread panicked"))?;
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(std::io::stdout(), "{hex}")
}
