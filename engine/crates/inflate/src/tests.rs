//! Whole files: what other compressors make, what is damaged, and what comes in pieces.

#![allow(clippy::cast_possible_truncation, reason = "the tests make their own numbers")]

use crate::Gzip;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};

/// Bytes of many kinds: noise, text, runs, near and far repetitions.
fn material(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below
    };
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < length {
        let amount = 1 + random(400);
        match random(5) {
            0 => (0..amount).for_each(|_| bytes.push(random(256) as u8)),
            1 => (0..amount).for_each(|_| bytes.push(b"etaoin shrdlu\n"[random(14)])),
            2 => {
                let byte = random(256) as u8;
                bytes.extend(std::iter::repeat_n(byte, amount));
            }
            _ => {
                let distance = 1 + random(bytes.len().clamp(1, if amount % 2 == 0 { 32768 } else { 20 }));
                for _ in 0..amount {
                    let byte = bytes.len().checked_sub(distance).map_or(7, |at| bytes[at]);
                    bytes.push(byte);
                }
            }
        }
    }
    bytes.truncate(length);
    bytes
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(bytes: impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Gzip::new(bytes).read_to_end(&mut out).map(|_| out)
}

/// A reader that gives pieces of a few bytes.
fn pieces(bytes: &[u8], size: usize) -> impl BufRead {
    BufReader::with_capacity(size, bytes)
}

#[test]
fn every_level_and_every_length_comes_back() {
    for length in [0, 1, 2, 7, 8, 9, 255, 1023, 1024, 1025, 4096, 70_000, 1_000_000] {
        let bytes = material(length, length as u64 + 5);
        for level in [0, 1, 4, 6, 9] {
            let packed = gzip(&bytes, level);
            assert!(gunzip(&packed[..]).unwrap() == bytes, "{length} {level}");
        }
    }
}

#[test]
fn seams_between_pieces_of_input_are_not_seen() {
    let bytes = material(300_000, 3);
    for level in [0, 1, 6] {
        let packed = gzip(&bytes, level);
        for size in [1, 2, 3, 100, 1000, 1023, 1024, 1025, 1100, 2047, 4095, 4096, 4097, 5000, 100_000] {
            assert!(gunzip(pieces(&packed, size)).unwrap() == bytes, "{level} {size}");
        }
    }
}

#[test]
fn output_may_come_in_any_portions() {
    let bytes = material(500_000, 11);
    let packed = gzip(&bytes, 6);
    for room in [1, 7, 500, 33_000, 400_000] {
        let mut gzip = Gzip::new(&packed[..]);
        let mut buffer = vec![0; crate::HISTORY + room + crate::ROOM];
        let (mut at, mut out) = (0, Vec::new());
        loop {
            let end = gzip.fill(&mut buffer, at).unwrap();
            if end == at {
                break;
            }
            out.extend_from_slice(&buffer[at..end]);
            let kept = end.min(crate::HISTORY);
            buffer.copy_within(end - kept..end, 0);
            at = kept;
        }
        assert!(out == bytes, "{room}");
    }
}

#[test]
fn members_follow_one_another() {
    let bytes = material(200_000, 17);
    let mut packed = Vec::new();
    let mut wanted = Vec::new();
    for (number, part) in bytes.chunks(777).enumerate() {
        packed.extend(gzip(part, number as u32 % 10));
        packed.extend(gzip(b"", 6));
        wanted.extend_from_slice(part);
    }
    assert!(gunzip(&packed[..]).unwrap() == wanted);
    for size in [1, 19, 1500, 5000] {
        assert!(gunzip(pieces(&packed, size)).unwrap() == wanted, "{size}");
    }
}

#[test]
fn a_match_does_not_reach_into_the_member_before() {
    // A fixed block: a match of length 3, distance 1, at the very beginning.
    let mut packed = gzip(&[9; 100], 6);
    packed.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    packed.extend([0b0000_0011, 0b0000_0010, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let error = gunzip(&packed[..]).unwrap_err();
    assert_eq!(error.to_string(), "a match begins before the data");
}

#[test]
fn fields_of_headers_are_passed_over_and_checked() {
    let plain = gzip(b"hello", 6);
    let mut header = vec![0x1f, 0x8b, 8, 0b1_1110, 1, 2, 3, 4, 0, 255];
    header.extend([3, 0, b'x', b'y', b'z']);
    header.extend(b"name\0a comment\0");
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&header);
    let sum = checksum.finalize() as u16;
    let whole = [&header[..], &sum.to_le_bytes(), &plain[10..]].concat();
    assert_eq!(gunzip(&whole[..]).unwrap(), b"hello");
    assert_eq!(gunzip(pieces(&whole, 1)).unwrap(), b"hello");
    let wrong = [&header[..], &(sum ^ 1).to_le_bytes(), &plain[10..]].concat();
    assert_eq!(gunzip(&wrong[..]).unwrap_err().to_string(), "invalid gzip header");
    for (at, byte) in [(0, 0x1e), (1, 0), (2, 7), (3, 0x20)] {
        let mut odd = plain.clone();
        odd[at] = byte;
        assert_eq!(gunzip(&odd[..]).unwrap_err().to_string(), "invalid gzip header", "{at}");
    }
}

#[test]
fn whatever_is_cut_off_is_missed() {
    for level in [0, 1, 6] {
        let packed = gzip(&material(3000, 23), level);
        for length in 0..packed.len() {
            let error = gunzip(&packed[..length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{level} {length}: {error}");
        }
    }
}

#[test]
fn sums_lengths_and_what_follows_are_checked() {
    let packed = gzip(&material(100_000, 29), 6);
    let end = packed.len();
    for (at, text) in [(end - 8, "the checksum does not match"), (end - 1, "the length does not match")] {
        let mut odd = packed.clone();
        odd[at] ^= 1;
        let error = gunzip(&odd[..]).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidData, text));
    }
    let garbage = [&packed[..], b"something else"].concat();
    assert_eq!(gunzip(&garbage[..]).unwrap_err().to_string(), "invalid gzip header");
}

#[test]
fn one_wrong_bit_anywhere_is_noticed() {
    let bytes = material(2000, 31);
    let packed = gzip(&bytes, 6);
    // Not in the header's time, flags and system, which say nothing about the data.
    for at in (0..3).chain(10..packed.len()) {
        for bit in 0..8 {
            let mut odd = packed.clone();
            odd[at] ^= 1 << bit;
            // The bits that fill up the last byte of the data mean nothing.
            if let Ok(out) = gunzip(&odd[..]) {
                assert!(out == bytes && at == packed.len() - 9, "{at} {bit}");
            }
        }
    }
}

/// What zlib-rs makes of it.
fn peer(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    flate2::bufread::MultiGzDecoder::new(bytes).read_to_end(&mut out).ok().map(|_| out)
}

#[test]
fn hand_made_blocks_are_judged_as_zlib_judges_them() {
    // Short random streams after a good header: a block's header decides most of them.
    let mut state = 1u64;
    let mut both = [0, 0];
    for _ in 0..200_000 {
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let length = 2 + (state >> 60) as usize;
        let mut word = state;
        for _ in 0..length {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            packed.push((word >> 24) as u8);
        }
        // Fixed codes, mostly.
        packed[10] = packed[10] & !7 | 0b011;
        let data = {
            let mut out = Vec::new();
            let end = flate2::read::DeflateDecoder::new(&packed[10..]).read_to_end(&mut out);
            end.is_ok().then_some(out)
        };
        if let Some(data) = &data {
            let mut decoder = flate2::Decompress::new(false);
            let mut out = vec![0; data.len() + 1];
            decoder.decompress(&packed[10..], &mut out, flate2::FlushDecompress::None).unwrap();
            packed.truncate(10 + decoder.total_in() as usize);
            packed.extend(crc32fast::hash(data).to_le_bytes());
            packed.extend((data.len() as u32).to_le_bytes());
        }
        assert_eq!(gunzip(&packed[..]).ok(), data);
        both[usize::from(data.is_some())] += 1;
    }
    assert!(both[0] > 1000 && both[1] > 1000, "{both:?}");
}

proptest::proptest! {
    #[test]
    fn damaged_files_are_judged_as_zlib_judges_them(
        seed in 0u64..1000, length in 0usize..5000, level in 0u32..10,
        flips in proptest::collection::vec((10usize..5000, 0u8..8), 0..4),
    ) {
        let mut packed = gzip(&material(length, seed), level);
        for (at, bit) in flips {
            let place = at % packed.len();
            packed[place.max(10)] ^= 1 << bit;
        }
        proptest::prop_assert_eq!(gunzip(&packed[..]).ok(), peer(&packed));
    }
}
