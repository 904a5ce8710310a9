//! Bits that were taken from the input and not yet used.

/// A buffer of up to 63 bits, the next one lowest.
#[derive(Debug, Default)]
pub(crate) struct Bits {
    buffer: u64,
    count: u32,
}

impl Bits {
    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Fills up with whole bytes of `input` from `taken` on: to 56 bits at least, unless it ends.
    pub(crate) fn refill(&mut self, input: &[u8], taken: &mut usize) {
        while self.count <= 55
            && let Some(&byte) = input.get(*taken)
        {
            self.buffer |= u64::from(byte) << self.count;
            self.count += 8;
            *taken += 1;
        }
    }

    /// The next bits, without taking them; zeros after the last.
    pub(crate) fn peek(&self, count: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "asked for 16 at most")]
        let low = (self.buffer & ((1 << count) - 1)) as u32;
        low
    }

    /// Drops bits. `None` when there are not so many.
    pub(crate) fn skip(&mut self, count: u32) -> Option<()> {
        self.count = self.count.checked_sub(count)?;
        self.buffer >>= count;
        Some(())
    }

    /// Takes bits. `None` when there are not so many.
    pub(crate) fn take(&mut self, count: u32) -> Option<u32> {
        let low = self.peek(count);
        self.skip(count).map(|()| low)
    }

    /// Drops what is left of a byte that was begun.
    pub(crate) fn align(&mut self) {
        self.buffer >>= self.count & 7;
        self.count &= !7;
    }

    /// Drops whole bytes, and gives their number: they are to be read again. Up to seven bits stay.
    pub(crate) fn give_back(&mut self) -> usize {
        let bytes = self.count >> 3;
        self.count &= 7;
        self.buffer &= (1 << self.count) - 1;
        bytes as usize
    }

    /// The buffer and how much of it is there, for the hot loop.
    pub(crate) fn parts(&self) -> (u64, u32) {
        (self.buffer, self.count)
    }

    /// The reverse. Of the count, the low six bits are meant.
    pub(crate) fn set_parts(&mut self, buffer: u64, count: u32) {
        self.count = count & 63;
        self.buffer = buffer & ((1 << self.count) - 1);
    }
}
