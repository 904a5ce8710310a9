//! The blocks of one deflate stream (RFC 1951): their headers, stored ones, and the edges that the hot loop leaves.
//!
//! ```text
//!   Header ──► Stored ──┐        each step needs INPUT_NEEDED bytes, unless there are no more, and OUTPUT_MARGIN bytes
//!     ▲  └───► Codes ───┤        of room: so a step never stops in the middle, and nothing is kept but up to 7 bits
//!     └─────────────────┴──► End
//! ```

use crate::Damage;
use crate::bits::Bits;
use crate::fast::{self, Ended, INPUT_MARGIN, OUTPUT_MARGIN, Place};
use crate::tables::{
    self, DISTANCE, DISTANCE_BITS, LITERAL, LITLEN, LITLEN_BITS, POINTER, PRECODE, PRECODE_BITS,
    PRECODE_ENTRIES, SPECIAL, Tables, is_end_of_block,
};

/// No header of a block is longer: 17 bits, 19 code lengths of three, 316 codes of up to seven bits with seven more.
pub(crate) const INPUT_NEEDED: usize = 1024;
/// How far back a match may reach.
pub const HISTORY: usize = 32 << 10;

/// Why decoding stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Fewer than `INPUT_NEEDED` bytes are left, and more are to come.
    Input,
    /// Less than `OUTPUT_MARGIN` bytes of room are left.
    Room,
    /// Nothing: the stream is over, and what follows begins with a whole byte.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Stored { left: usize },
    Codes,
    End,
}

/// Where the decoder of one stream is.
pub(crate) struct Deflate {
    state: State,
    is_last: bool,
    bits: Bits,
    tables: Box<Tables>,
    /// Whether the tables are those of the fixed codes.
    is_fixed: bool,
    /// Bytes of output so far, as far as they matter for distances.
    history: usize,
}

/// The order of the lengths of code lengths (RFC 1951, 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

impl Deflate {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Header,
            is_last: false,
            bits: Bits::default(),
            tables: Tables::new(),
            is_fixed: false,
            history: 0,
        }
    }

    /// Begins with another stream.
    pub(crate) fn reset(&mut self) {
        (self.state, self.is_last, self.history) = (State::Header, false, 0);
        self.bits = Bits::default();
    }

    /// Decodes from `input`, of which `is_all` there is or not, into `output` from `made` on. Before that, `output` has what
    /// this decoder made last, [`HISTORY`] bytes or all. Gives how many bytes were taken, and the new end of the output.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        is_all: bool,
        output: &mut [u8],
        made: usize,
    ) -> Result<(usize, usize, Wants), Damage> {
        let floor = made - self.history.min(made);
        let mut place = Place { input, taken: 0, output, made, floor };
        let wants = loop {
            if self.state == State::End {
                break Wants::Nothing;
            }
            if !is_all && place.input.len() - place.taken < INPUT_NEEDED {
                break Wants::Input;
            }
            if place.output.len() < place.made + OUTPUT_MARGIN {
                break Wants::Room;
            }
            match self.state {
                State::Header => self.header(&mut place)?,
                State::Stored { left } => self.stored(&mut place, left)?,
                State::Codes => self.codes(&mut place)?,
                State::End => {}
            }
        };
        place.taken -= self.bits.give_back();
        self.history = (self.history + place.made - made).min(HISTORY);
        Ok((place.taken, place.made, wants))
    }

    fn take(&mut self, place: &mut Place<'_>, count: u32) -> Result<usize, Damage> {
        if self.bits.count() < count {
            self.bits.refill(place.input, &mut place.taken);
        }
        self.bits.take(count).map(|bits| bits as usize).ok_or(Damage::Truncated)
    }

    fn header(&mut self, place: &mut Place<'_>) -> Result<(), Damage> {
        self.is_last = self.take(place, 1)? == 1;
        match self.take(place, 2)? {
            0 => {
                self.bits.align();
                let length = self.take(place, 16)?;
                if length != self.take(place, 16)? ^ 0xffff {
                    return Err(Damage::Block);
                }
                place.taken -= self.bits.give_back();
                self.state = State::Stored { left: length };
                if length == 0 {
                    self.end_block();
                }
                return Ok(());
            }
            1 if self.is_fixed => {}
            1 => {
                let mut lengths = [8; 288 + 32];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                lengths[288..].fill(5);
                self.build(&lengths, 288)?;
                self.is_fixed = true;
            }
            2 => {
                self.is_fixed = false;
                self.dynamic(place)?;
            }
            _ => return Err(Damage::Block),
        }
        self.state = State::Codes;
        Ok(())
    }

    fn build(&mut self, lengths: &[u8], literals: usize) -> Result<(), Damage> {
        let (literals, distances) = lengths.split_at(literals);
        let Tables { litlen, distance } = &mut *self.tables;
        tables::build(litlen, LITLEN_BITS, literals, &LITLEN, true)
            .and_then(|()| tables::build(distance, DISTANCE_BITS, distances, &DISTANCE, true))
            .map_err(|_| Damage::Block)?;
        Ok(())
    }

    /// The codes of a block that brings its own (RFC 1951, 3.2.7).
    fn dynamic(&mut self, place: &mut Place<'_>) -> Result<(), Damage> {
        let literals = self.take(place, 5)? + 257;
        let distances = self.take(place, 5)? + 1;
        let given = self.take(place, 4)? + 4;
        if literals > 286 || distances > 30 {
            return Err(Damage::Block);
        }
        let mut precode = [0u8; 19];
        for &symbol in &ORDER[..given] {
            // Three bits.
            #[expect(clippy::cast_possible_truncation, reason = "three bits")]
            let length = self.take(place, 3)? as u8;
            precode[symbol] = length;
        }
        let mut table = [0; PRECODE_ENTRIES];
        tables::build(&mut table, PRECODE_BITS, &precode, &PRECODE, false).map_err(|_| Damage::Block)?;

        let all = literals + distances;
        let mut lengths = [0u8; 286 + 30];
        let mut filled = 0;
        while filled < all {
            self.bits.refill(place.input, &mut place.taken);
            let entry = table[self.bits.peek(PRECODE_BITS) as usize];
            self.bits.skip(entry & 0xff).ok_or(Damage::Truncated)?;
            let (value, times) = match entry >> 16 {
                16 => {
                    let before = filled.checked_sub(1).ok_or(Damage::Block)?;
                    (lengths[before], 3 + self.take(place, 2)?)
                }
                17 => (0, 3 + self.take(place, 3)?),
                18 => (0, 11 + self.take(place, 7)?),
                #[expect(clippy::cast_possible_truncation, reason = "15 at most")]
                length => (length as u8, 1),
            };
            if times > all - filled {
                return Err(Damage::Block);
            }
            lengths[filled..filled + times].fill(value);
            filled += times;
        }
        // Without a code for its end, a block has none.
        if lengths[256] == 0 {
            return Err(Damage::Block);
        }
        self.build(&lengths[..all], literals)
    }

    fn stored(&mut self, place: &mut Place<'_>, left: usize) -> Result<(), Damage> {
        let rest = &place.input[place.taken..];
        let length = left.min(rest.len()).min(place.output.len() - place.made);
        if length == 0 {
            return Err(Damage::Truncated);
        }
        place.output[place.made..place.made + length].copy_from_slice(&rest[..length]);
        place.taken += length;
        place.made += length;
        self.state = State::Stored { left: left - length };
        if left == length {
            self.end_block();
        }
        Ok(())
    }

    fn end_block(&mut self) {
        self.state = if self.is_last { State::End } else { State::Header };
        if self.is_last {
            // What is left of the last byte belongs to nobody.
            self.bits.align();
        }
    }

    fn codes(&mut self, place: &mut Place<'_>) -> Result<(), Damage> {
        if place.input.len() - place.taken >= INPUT_MARGIN {
            place.taken -= self.bits.give_back();
            if fast::run(&self.tables, &mut self.bits, place)? == Ended::Block {
                self.end_block();
            }
            return Ok(());
        }
        // The last bytes of all: symbol by symbol, each as far as there are bits.
        while place.output.len() >= place.made + OUTPUT_MARGIN {
            if self.symbol(place)? {
                self.end_block();
                return Ok(());
            }
        }
        Ok(())
    }

    /// The entry for what comes next in a table, and the extra bits that belong to it.
    fn look_up(&mut self, place: &mut Place<'_>, is_distance: bool) -> Result<(u32, usize), Damage> {
        self.bits.refill(place.input, &mut place.taken);
        let (table, main) = if is_distance {
            (&self.tables.distance[..], DISTANCE_BITS)
        } else {
            (&self.tables.litlen[..], LITLEN_BITS)
        };
        let mut entry = table[self.bits.peek(main) as usize];
        if entry & POINTER != 0 {
            self.bits.skip(main).ok_or(Damage::Truncated)?;
            entry = table[(entry >> 16) as usize + self.bits.peek(entry >> 8 & 31) as usize];
        }
        let code = entry >> 8 & 31;
        self.bits.skip(code).ok_or(Damage::Truncated)?;
        let extra = self.bits.take((entry & 0xff) - code).ok_or(Damage::Truncated)?;
        Ok((entry, extra as usize))
    }

    /// Decodes one entry; says whether it was the end of the block.
    fn symbol(&mut self, place: &mut Place<'_>) -> Result<bool, Damage> {
        let (entry, extra) = self.look_up(place, false)?;
        if entry & LITERAL != 0 {
            place.output[place.made] = entry.to_le_bytes()[2];
            place.made += 1;
            return Ok(false);
        }
        if entry & SPECIAL != 0 {
            return if is_end_of_block(entry) { Ok(true) } else { Err(Damage::Code) };
        }
        let length = (entry >> 16) as usize + extra;
        let (entry, extra) = self.look_up(place, true)?;
        if entry & SPECIAL != 0 {
            return Err(Damage::Code);
        }
        let distance = (entry >> 16) as usize + extra;
        if distance > place.made - place.floor {
            return Err(Damage::Distance);
        }
        for _ in 0..length {
            place.output[place.made] = place.output[place.made - distance];
            place.made += 1;
        }
        Ok(false)
    }
}
