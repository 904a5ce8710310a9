//! Decoding tables of Huffman codes, and what their entries say.
//!
//! ```text
//!   an entry   bits 0–7    bits to take from the stream
//!              bits 8–12   how many of the bits to take are the code: the others are extra
//!                          a pointer: log2 of the subtable's size
//!              bit  13     POINTER to a subtable, for codes longer than the main table's index
//!              bit  14     SPECIAL: a pointer, the end of the block, or (neither) a code that does not exist
//!              bit  15     LITERAL
//!              bits 16–31  the literal; the base of the length or distance; the subtable's start
//! ```
//!
//! A table is filled by doubling: an entry for a code of n bits is written once in a table of 2^n, which is then
//! copied for each further bit of the index.

/// Bits of the index of the table of literals and lengths: longer codes are rare, and the first-level cache holds it.
pub(crate) const LITLEN_BITS: u32 = 11;
/// The same for distances.
pub(crate) const DISTANCE_BITS: u32 = 8;
/// The same for the code of code lengths, whose codes have seven bits at most.
pub(crate) const PRECODE_BITS: u32 = 7;
/// No code is longer (RFC 1951, 3.2.7).
const MAX_BITS: usize = 15;

/// Entries of the main table and of all its subtables. A subtable of 2^k entries has more than k symbols that are its own: 288
/// symbols make at most 922 entries where k is up to 4, and 32 at most 512 where k is up to 7.
pub(crate) const LITLEN_ENTRIES: usize = (1 << LITLEN_BITS) + 1024;
pub(crate) const DISTANCE_ENTRIES: usize = (1 << DISTANCE_BITS) + 1024;
pub(crate) const PRECODE_ENTRIES: usize = 1 << PRECODE_BITS;

pub(crate) const LITERAL: u32 = 1 << 15;
pub(crate) const SPECIAL: u32 = 1 << 14;
pub(crate) const POINTER: u32 = 1 << 13;
/// A code that is not assigned.
pub(crate) const INVALID: u32 = SPECIAL;
/// Bit 16 tells the end of the block from an invalid code.
pub(crate) const END_OF_BLOCK: u32 = SPECIAL | 1 << 16;

/// Whether a special entry that is no pointer is the end of the block.
pub(crate) fn is_end_of_block(entry: u32) -> bool {
    entry & (SPECIAL | POINTER | 1 << 16) == END_OF_BLOCK
}

/// The tables of one block.
pub(crate) struct Tables {
    pub(crate) litlen: [u32; LITLEN_ENTRIES],
    pub(crate) distance: [u32; DISTANCE_ENTRIES],
}

impl Tables {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self { litlen: [INVALID; LITLEN_ENTRIES], distance: [INVALID; DISTANCE_ENTRIES] })
    }
}

/// What the symbols of one alphabet mean: entries without the length of the code, which is added to both fields.
pub(crate) type Meanings<const N: usize> = [u32; N];

pub(crate) const PRECODE: Meanings<19> = {
    let mut all = [0; 19];
    let mut symbol = 0;
    while symbol < 19 {
        all[symbol as usize] = symbol << 16;
        symbol += 1;
    }
    all
};

/// Literals, the end of the block, lengths (RFC 1951, 3.2.5); the last two do not exist.
pub(crate) const LITLEN: Meanings<288> = {
    let mut all = [INVALID; 288];
    let mut symbol = 0;
    while symbol < 256 {
        all[symbol as usize] = LITERAL | symbol << 16;
        symbol += 1;
    }
    all[256] = END_OF_BLOCK;
    let mut base = 3;
    let mut index = 0;
    while index < 28 {
        let extra = if index < 8 { 0 } else { index / 4 - 1 };
        all[257 + index as usize] = base << 16 | extra;
        base += 1 << extra;
        index += 1;
    }
    all[285] = 258 << 16;
    all
};

/// Distances; the last two do not exist.
pub(crate) const DISTANCE: Meanings<32> = {
    let mut all = [INVALID; 32];
    let mut base = 1;
    let mut index = 0;
    while index < 30 {
        let extra = if index < 4 { 0 } else { index / 2 - 1 };
        all[index as usize] = base << 16 | extra;
        base += 1 << extra;
        index += 1;
    }
    all
};

/// A code of `length` bits (what is left of it in a subtable) for a symbol.
fn entry(meaning: u32, length: u32) -> u32 {
    (meaning | length << 8) + length
}

/// How a set of code lengths can fail to be a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotACode;

/// Fills `table`, whose main part has 2^`bits` entries, for a code with these lengths.
///
/// A code must be complete, with the exceptions that zlib makes (`sparse`): none at all, or a single code of one bit.
pub(crate) fn build(
    table: &mut [u32],
    bits: u32,
    lengths: &[u8],
    meanings: &[u32],
    sparse: bool,
) -> Result<(), NotACode> {
    let mut count = [0u16; MAX_BITS + 1];
    for &length in lengths {
        count[usize::from(length) & MAX_BITS] += 1;
    }
    count[0] = 0;
    let Some(longest) = count.iter().rposition(|&n| n > 0) else {
        // No symbol: an error only where one is wanted.
        table[..1 << bits].fill(INVALID | 1 << 8 | 1);
        return if sparse { Ok(()) } else { Err(NotACode) };
    };
    let mut left = 1i32;
    for &n in &count[1..] {
        left = left * 2 - i32::from(n);
        if left < 0 {
            return Err(NotACode);
        }
    }
    // Symbols by the length of their codes, and in order among the same.
    let mut next = [0u16; MAX_BITS + 1];
    for length in 1..MAX_BITS {
        next[length + 1] = next[length] + count[length];
    }
    let mut sorted = [0u16; 288];
    for (symbol, &length) in (0u16..).zip(lengths) {
        if length > 0 {
            let place = &mut next[usize::from(length) & MAX_BITS];
            sorted[usize::from(*place)] = symbol;
            *place += 1;
        }
    }
    let meaning = |symbol: u16| meanings.get(usize::from(symbol)).copied().unwrap_or(INVALID);
    if left > 0 {
        if !sparse || longest != 1 {
            return Err(NotACode);
        }
        let only = entry(meaning(sorted[0]), 1);
        for pair in table[..1 << bits].chunks_exact_mut(2) {
            pair.copy_from_slice(&[only, INVALID | 1 << 8 | 1]);
        }
        return Ok(());
    }
    fill(table, bits, &mut count, &sorted, meaning);
    Ok(())
}

/// Fills a table for a complete code.
fn fill(
    table: &mut [u32],
    bits: u32,
    count: &mut [u16; MAX_BITS + 1],
    sorted: &[u16; 288],
    meaning: impl Fn(u16) -> u32,
) {
    let main = 1usize << bits;
    let mut symbols = sorted.iter().map(|&symbol| meaning(symbol));
    let mut next = || symbols.next().unwrap_or(INVALID);
    let mut length = 1u32;
    let mut end = 2usize;
    // With its bits in the order in which the stream has them: the last bit of the code is the highest.
    let mut code = 0usize;
    while length <= bits {
        for _ in 0..count[length as usize] {
            table[code] = entry(next(), length);
            if code == end - 1 {
                while end < main {
                    table.copy_within(..end, end);
                    end *= 2;
                }
                return;
            }
            code = successor(code, end - 1);
        }
        length += 1;
        if length <= bits {
            table.copy_within(..end, end);
            end *= 2;
        }
    }
    // Longer codes: a subtable for each main entry that they share.
    let mut free = main;
    let mut prefix = usize::MAX;
    let mut start = 0;
    loop {
        while count[length as usize] == 0 {
            length += 1;
        }
        if code & (main - 1) != prefix {
            prefix = code & (main - 1);
            start = free;
            let mut size_bits = length - bits;
            let mut used = u32::from(count[length as usize]);
            while used < 1 << size_bits && ((bits + size_bits) as usize) < MAX_BITS {
                size_bits += 1;
                used = used * 2 + u32::from(count[(bits + size_bits) as usize]);
            }
            free = start + (1 << size_bits);
            // Fits: the start is below 2^16.
            #[expect(clippy::cast_possible_truncation, reason = "tables have a few thousand entries")]
            let pointer = (start as u32) << 16 | SPECIAL | POINTER | size_bits << 8 | bits;
            table[prefix] = pointer;
        }
        let item = entry(next(), length - bits);
        for place in table[start..free].iter_mut().skip(code >> bits).step_by(1 << (length - bits)) {
            *place = item;
        }
        let last = (1usize << length) - 1;
        if code == last {
            return;
        }
        code = successor(code, last);
        count[length as usize] -= 1;
    }
}

/// The next code of the same length, bits reversed: `code` is not the `last` one, of all ones.
fn successor(code: usize, last: usize) -> usize {
    let bit = 1usize << (code ^ last).ilog2();
    code & (bit - 1) | bit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings_are_those_of_the_standard() {
        // RFC 1951, 3.2.5: symbol, base, extra bits.
        for (symbol, base, extra) in [
            (257, 3, 0),
            (264, 10, 0),
            (265, 11, 1),
            (269, 19, 2),
            (280, 115, 4),
            (284, 227, 5),
            (285, 258, 0),
        ] {
            assert_eq!(LITLEN[symbol], base << 16 | extra, "{symbol}");
        }
        for (symbol, base, extra) in
            [(0, 1, 0), (3, 4, 0), (4, 5, 1), (9, 25, 3), (28, 16385, 13), (29, 24577, 13)]
        {
            assert_eq!(DISTANCE[symbol], base << 16 | extra, "{symbol}");
        }
        assert_eq!((LITLEN[286], DISTANCE[31]), (INVALID, INVALID));
    }

    /// Decodes `code` of `length` bits (highest bit first) by `table`.
    fn look_up(table: &[u32], bits: u32, code: u32, length: u32) -> (u32, u32) {
        let stream = code.reverse_bits() >> (32 - length);
        let mut entry = table[(stream & ((1 << bits) - 1)) as usize];
        let mut taken = entry & 0xff;
        if entry & POINTER != 0 {
            let index = stream >> bits & ((1 << (entry >> 8 & 31)) - 1);
            entry = table[((entry >> 16) + index) as usize];
            taken += entry & 0xff;
        }
        (entry >> 16, taken)
    }

    #[test]
    fn every_code_of_a_table_with_subtables_is_found() {
        // Lengths 1, 2, … 14, 15, 15: the deepest code there is.
        let lengths: Vec<u8> = (1..=15).chain([15]).collect();
        let meanings: Vec<u32> = (0..16).map(|symbol| symbol << 16).collect();
        for bits in [7, 9, 11] {
            let mut table = [INVALID; LITLEN_ENTRIES];
            build(&mut table, bits, &lengths, &meanings, false).unwrap();
            for symbol in 0..16u32 {
                let length = u32::from(lengths[symbol as usize]);
                let code = if symbol == 15 { (1 << 15) - 1 } else { (1 << length) - 2 };
                assert_eq!(look_up(&table, bits, code, length), (symbol, length), "{bits} {symbol}");
            }
        }
    }

    #[test]
    fn what_is_not_a_code_is_refused() {
        let mut table = [0; 1 << 7];
        let mut try_lengths = |lengths: &[u8], sparse| build(&mut table, 7, lengths, &PRECODE, sparse);
        assert_eq!(try_lengths(&[1, 1, 1], true), Err(NotACode));
        assert_eq!(try_lengths(&[2, 2, 2], true), Err(NotACode));
        assert_eq!(try_lengths(&[1, 0, 0], false), Err(NotACode));
        assert_eq!(try_lengths(&[0, 0], false), Err(NotACode));
        assert_eq!(try_lengths(&[0, 1, 0], true), Ok(()));
        assert_eq!(try_lengths(&[0, 0], true), Ok(()));
    }
}
