//! Decompressing gzip: whatever zlib-rs makes of some bytes, we make of them; and nothing outside of the room is written.
#![no_main]

use dhow_inflate::{Gzip, HISTORY, ROOM};
use libfuzzer_sys::fuzz_target;
use std::io::{BufReader, Read, Result};

/// More is not compared: a short input can stand for a thousand times as much.
const MOST: usize = 4 << 20;
/// What must still be there after the end of a buffer.
const GUARD: [u8; 64] = [0xa5; 64];

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    // Sums seldom fit by chance: half of the inputs are the bare data, to which header and sums are added here.
    let whole = if first & 1 == 0 { bytes.to_vec() } else { wrapped(bytes) };
    let theirs = peer(&whole);
    let piece = usize::from(first >> 1) * 37 + 1;
    let ours = ours(&whole, piece);
    // Where both stop early, neither has seen all.
    if [&theirs, &ours].iter().any(|out| out.as_ref().is_ok_and(|out| out.len() >= MOST)) {
        return;
    }
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => assert!(theirs == ours, "other data"),
        (Err(_), Err(_)) => {}
        (theirs, ours) => panic!("{:?} {:?}", theirs.map(|out| out.len()), ours.map(|out| out.len())),
    }
});

/// A member with these data, as far as they are any.
fn wrapped(data: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::Decompress::new(false);
    let mut out = Vec::with_capacity(MOST);
    let end = decoder.decompress_vec(data, &mut out, flate2::FlushDecompress::Finish);
    let used = if end.is_ok() { decoder.total_in() as usize } else { data.len() };
    let mut sum = flate2::Crc::new();
    sum.update(&out);
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    [&header[..], &data[..used], &sum.sum().to_le_bytes(), &sum.amount().to_le_bytes()].concat()
}

fn peer(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    flate2::bufread::MultiGzDecoder::new(bytes).take(MOST as u64 + 1).read_to_end(&mut out)?;
    out.truncate(MOST);
    Ok(out)
}

/// With input in pieces, into a buffer that is too small for most.
fn ours(bytes: &[u8], piece: usize) -> Result<Vec<u8>> {
    let mut gzip = Gzip::new(BufReader::with_capacity(piece, bytes));
    let room = piece * 3 + ROOM;
    let mut buffer = vec![0; HISTORY + room];
    buffer.extend(GUARD);
    let (mut at, mut out) = (0, Vec::new());
    while out.len() <= MOST {
        let end = gzip.fill(&mut buffer[..HISTORY + room], at)?;
        assert!(buffer.ends_with(&GUARD), "wrote outside of its room");
        if end == at {
            break;
        }
        out.extend_from_slice(&buffer[at..end]);
        let kept = end.min(HISTORY);
        buffer.copy_within(end - kept..end, 0);
        at = kept;
    }
    out.truncate(MOST);
    Ok(out)
}
