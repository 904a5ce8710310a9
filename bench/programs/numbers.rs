//! Writes numbered lines of 16 bytes as fast as a pipe takes them: `numbers BYTES`. A program of its own, because
//! it runs in containers that have no library, and must be faster than what it measures.

use std::io::Write;

/// Lines in one write: 64 KiB, what a pipe holds.
const LINES: u64 = 4096;

fn main() -> std::io::Result<()> {
    let bytes: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let last = bytes / 16;
    let mut out = std::io::stdout().lock();
    let mut piece = Vec::with_capacity(16 * LINES as usize);
    let mut number = 0;
    while number < last {
        piece.clear();
        for _ in 0..LINES.min(last - number) {
            number += 1;
            let mut line = *b"000000000000000\n";
            let (mut rest, mut at) = (number, 15);
            while rest > 0 {
                at -= 1;
                line[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            piece.extend_from_slice(&line);
        }
        out.write_all(&piece)?;
    }
    Ok(())
}
