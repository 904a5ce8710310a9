//! The hot loop: symbols of one block, for as long as input and output have room to spare.
//!
//! One round takes up to three literals, or up to two and a match, between two refills of a 64-bit bit buffer. Nothing
//! is checked in between: the margins at the start of a round are larger than what a round can take or make. This is
//! how libdeflate goes about it. (igzip's entries for two literals at once were tried: on programs, filling the table
//! costs more than they gain.)

#![allow(
    unsafe_code,
    reason = "bounds checks and overlapping copies here are a third of the time of an installation"
)]

use crate::Damage;
use crate::bits::Bits;
use crate::tables::{DISTANCE_BITS, LITERAL, LITLEN_BITS, POINTER, SPECIAL, Tables, is_end_of_block};

/// So much input must be left before the first round: each of its three refills takes seven bytes, and looks at eight.
pub(crate) const INPUT_MARGIN: usize = 40;
/// The same for each further round, where the first refill was that of the round before: so the first one is always
/// possible.
const ROUND_MARGIN: usize = INPUT_MARGIN - 8;
/// So much room a round needs: two literals, then a match of 258 bytes, copied by 32 bytes at a time.
pub(crate) const OUTPUT_MARGIN: usize = 320;

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The block is over.
    Block,
    /// Input or output is short of a margin.
    Margin,
}

/// Where a decoder is in its two buffers.
pub(crate) struct Place<'b> {
    pub(crate) input: &'b [u8],
    pub(crate) taken: usize,
    pub(crate) output: &'b mut [u8],
    pub(crate) made: usize,
    /// No match may begin before this place in the output.
    pub(crate) floor: usize,
}

/// Decodes symbols until a margin or the end of the block is reached.
pub(crate) fn run(tables: &Tables, bits: &mut Bits, place: &mut Place<'_>) -> Result<Ended, Damage> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("bmi2") {
        // SAFETY: this processor has what the function is compiled for.
        return unsafe { run_bmi2(tables, bits, place) };
    }
    run_anywhere(tables, bits, place)
}

/// The same with shifts by a variable that take one operation, not three.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "bmi2")]
fn run_bmi2(tables: &Tables, bits: &mut Bits, place: &mut Place<'_>) -> Result<Ended, Damage> {
    run_anywhere(tables, bits, place)
}

/// The low `count` bits.
#[inline(always)]
fn low(value: u64, count: u32) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "counts are 20 at most")]
    let low = (value & !(u64::MAX << (count & 63))) as usize;
    low
}

#[inline(always)]
#[expect(clippy::too_many_lines, reason = "one loop, whose parts share all of their registers")]
fn run_anywhere(tables: &Tables, bits: &mut Bits, place: &mut Place<'_>) -> Result<Ended, Damage> {
    if place.input.len() < place.taken + INPUT_MARGIN || place.output.len() < place.made + OUTPUT_MARGIN {
        return Ok(Ended::Margin);
    }
    let litlen = &tables.litlen;
    let input = place.input.as_ptr_range();
    let output = place.output.as_mut_ptr_range();
    // SAFETY: the slices have so many bytes, as was just looked at; `floor` is at or before `made`. Rounds begin at or
    // before `last_from` and `last_to`.
    let (mut from, last_from, mut to, last_to, floor) = unsafe {
        (
            input.start.add(place.taken),
            input.end.sub(ROUND_MARGIN),
            output.start.add(place.made),
            output.end.sub(OUTPUT_MARGIN),
            output.start.add(place.floor.min(place.made)),
        )
    };
    // Only the low six bits of `count` count: whole entries are subtracted from it.
    let (mut buffer, mut count) = bits.parts();

    /// At least 56 bits are in the buffer afterwards. Bits above `count` are those that come next, so that they may be
    /// there already.
    macro_rules! refill {
        () => {
            // SAFETY: a round begins with ROUND_MARGIN bytes left, and refills twice, by seven bytes each.
            unsafe {
                buffer |= u64::from_le(from.cast::<u64>().read_unaligned()) << (count & 63);
                from = from.add(7).sub((count >> 3 & 7) as usize);
            }
            count |= 56;
        };
    }
    macro_rules! take {
        ($entry:expr) => {
            buffer >>= $entry & 63;
            count = count.wrapping_sub($entry);
        };
    }
    macro_rules! next_entry {
        () => {
            litlen[low(buffer, LITLEN_BITS)]
        };
    }
    macro_rules! put_literal {
        ($entry:expr) => {
            #[expect(clippy::cast_possible_truncation, reason = "the literal is shifted down")]
            // SAFETY: a round begins with OUTPUT_MARGIN bytes of room, and makes three literals at most.
            unsafe {
                to.write(($entry >> 16) as u8);
                to = to.add(1);
            }
        };
    }

    refill!();
    let mut entry = next_entry!();
    let ended = loop {
        if from > last_from || to > last_to {
            break Ok(Ended::Margin);
        }
        let mut before = buffer;
        take!(entry);
        if entry & LITERAL != 0 {
            let first = entry;
            entry = next_entry!();
            before = buffer;
            take!(entry);
            put_literal!(first);
            if entry & LITERAL != 0 {
                let second = entry;
                entry = next_entry!();
                before = buffer;
                take!(entry);
                put_literal!(second);
                if entry & LITERAL != 0 {
                    put_literal!(entry);
                    refill!();
                    entry = next_entry!();
                    continue;
                }
            }
        }
        if entry & SPECIAL != 0 {
            if entry & POINTER != 0 {
                entry = litlen[(entry >> 16) as usize + low(buffer, entry >> 8 & 31)];
                before = buffer;
                take!(entry);
                if entry & LITERAL != 0 {
                    put_literal!(entry);
                    refill!();
                    entry = next_entry!();
                    continue;
                }
            }
            if entry & SPECIAL != 0 {
                break if is_end_of_block(entry) { Ok(Ended::Block) } else { Err(Damage::Code) };
            }
        }
        let length = (entry >> 16) as usize + (low(before, entry) >> (entry >> 8 & 63));

        // A distance takes up to 28 bits; up to 44 of 56 are gone.
        if count & 63 < 28 {
            refill!();
        }
        let mut apart = tables.distance[low(buffer, DISTANCE_BITS)];
        before = buffer;
        take!(apart);
        if apart & SPECIAL != 0 {
            if apart & POINTER != 0 {
                apart = tables.distance[(apart >> 16) as usize + low(buffer, apart >> 8 & 31)];
                before = buffer;
                take!(apart);
            }
            if apart & SPECIAL != 0 {
                break Err(Damage::Code);
            }
        }
        let distance = (apart >> 16) as usize + (low(before, apart) >> (apart >> 8 & 63));
        if distance > to.addr() - floor.addr() {
            break Err(Damage::Distance);
        }
        // Looked up before the copy, so that both go on at once.
        refill!();
        entry = next_entry!();
        // SAFETY: `distance` bytes are before `to`; after it is room for 258 bytes and the width of a store, as the
        // round has made two at most.
        unsafe {
            copy_match(to, distance, length);
            to = to.add(length);
        }
    };
    bits.set_parts(buffer, count);
    place.taken = from.addr() - input.start.addr();
    place.taken -= bits.give_back();
    place.made = to.addr() - output.start.addr();
    ended
}

/// Copies `length` bytes from `distance` before `to`, where what is copied may be what was just written.
///
/// # Safety
/// `distance` is at least 1, and so many bytes before `to` may be read. `length` + 31 bytes (of 289 at most) from
/// `to` on may be written.
#[inline(always)]
unsafe fn copy_match(to: *mut u8, distance: usize, length: usize) {
    // SAFETY: writes go up to the first multiple of 32 at or after `length`: within what the caller promises. What is
    // read is at or after `to - distance`, and before what is written next: a word is read whole before it is written.
    unsafe {
        let from = to.sub(distance).cast_const();
        if distance >= 8 {
            // Words, not vectors: what is copied was often just written, and by words it is forwarded.
            let mut done = 0;
            loop {
                for word in 0..4 {
                    let at = done + word * 8;
                    let word = from.add(at).cast::<u64>().read_unaligned();
                    to.add(at).cast::<u64>().write_unaligned(word);
                }
                done += 32;
                if done >= length {
                    break;
                }
            }
        } else if distance == 1 {
            let word = u64::from(from.read()) * 0x0101_0101_0101_0101;
            let mut done = 0;
            while done < length {
                to.add(done).cast::<u64>().write_unaligned(word);
                to.add(done + 8).cast::<u64>().write_unaligned(word);
                done += 16;
            }
        } else {
            // Each step makes `distance` good bytes, and up to six that the next one writes again.
            let mut done = 0;
            while done < length {
                let word = from.add(done).cast::<u64>().read_unaligned();
                to.add(done).cast::<u64>().write_unaligned(word);
                done += distance;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_of_every_distance_and_length_repeat_what_was_before() {
        for distance in (1..40).chain([255, 1000]) {
            for length in 3..=258 {
                let mut bytes: Vec<u8> = (0..1000u32).map(|n| (n * 7 % 251) as u8).collect();
                bytes.resize(1000 + OUTPUT_MARGIN, 0);
                let mut wanted = bytes[..1000].to_vec();
                for _ in 0..length {
                    wanted.push(wanted[wanted.len() - distance]);
                }
                // SAFETY: 1000 bytes are before, and OUTPUT_MARGIN after.
                unsafe { copy_match(bytes.as_mut_ptr().add(1000), distance, length) };
                assert_eq!(bytes[..1000 + length], wanted, "{distance} {length}");
            }
        }
    }
}
