//! Members of a gzip file, one after another (RFC 1952).

use crate::Damage;
use crate::deflate::{Deflate, HISTORY, INPUT_NEEDED, Wants};
use crate::fast::OUTPUT_MARGIN;
use std::io::{BufRead, ErrorKind, Read, Result};

/// A buffer to decompress into has so much room at least; it is filled up to so much less than its length.
pub const ROOM: usize = OUTPUT_MARGIN;

/// At the seam of two pieces of input so much is looked at together.
const SEAM: usize = 4 * INPUT_NEEDED;
/// How much [`Read`] decompresses at a time.
const READ: usize = 256 << 10;

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Decompresses all members of a gzip file, and verifies each. What follows the last one must be another.
pub struct Gzip<R> {
    input: Input<R>,
    deflate: Deflate,
    in_member: bool,
    /// Whether no member has been seen so far.
    is_first: bool,
    checksum: crc32fast::Hasher,
    length: u32,
    /// For [`Read`]: the history, then what nobody has read yet.
    buffer: Vec<u8>,
    read: usize,
    filled: usize,
}

impl<R: BufRead> Gzip<R> {
    /// Reads the file that `input` is at.
    pub fn new(input: R) -> Self {
        Self {
            input: Input { input, seam: Vec::new(), own: 0 },
            deflate: Deflate::new(),
            in_member: false,
            is_first: true,
            checksum: crc32fast::Hasher::new(),
            length: 0,
            buffer: Vec::new(),
            read: 0,
            filled: 0,
        }
    }

    /// Decompresses into `output` from `at` on, and gives where it came: less than [`ROOM`] before the end, or to the end
    /// of the file. `at` itself: nothing is left.
    ///
    /// The bytes before `at` are the last ones that this gave: [`HISTORY`], or all of them. Data are given before they are
    /// verified, which they are when their member ends.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends within a member, `InvalidData` when it is damaged; what reading it fails with.
    pub fn fill(&mut self, output: &mut [u8], at: usize) -> Result<usize> {
        let mut end = at;
        while output.len().saturating_sub(end) >= ROOM {
            if !self.in_member && !self.begin()? {
                break;
            }
            let (now, wants) = self.input.decode(&mut self.deflate, output, end)?;
            self.checksum.update(&output[end..now]);
            #[expect(clippy::cast_possible_truncation, reason = "the format's own: modulo 2^32")]
            let fresh = (now - end) as u32;
            self.length = self.length.wrapping_add(fresh);
            end = now;
            if wants == Wants::Nothing {
                self.end()?;
            }
        }
        Ok(end)
    }

    /// Reads the header of a member, unless the file is over.
    fn begin(&mut self) -> Result<bool> {
        let Some(first) = self.input.next()? else {
            return if self.is_first { Err(Damage::Truncated.into()) } else { Ok(false) };
        };
        let mut header = Header { input: &mut self.input, checksum: crc32fast::Hasher::new() };
        header.checksum.update(&[first]);
        let [second, method, flags, ..] = header.take::<9>()?;
        // 8 is deflate; no other was ever defined.
        if (first, second, method) != (0x1f, 0x8b, 8) || flags & RESERVED != 0 {
            return Err(Damage::Header.into());
        }
        if flags & FEXTRA != 0 {
            for _ in 0..u16::from_le_bytes(header.take()?) {
                header.take::<1>()?;
            }
        }
        for text in [FNAME, FCOMMENT] {
            while flags & text != 0 && header.take()? != [0] {}
        }
        if flags & FHCRC != 0 {
            let wanted = header.checksum.clone().finalize() & 0xffff;
            if u32::from(u16::from_le_bytes(header.take()?)) != wanted {
                return Err(Damage::Header.into());
            }
        }
        self.deflate.reset();
        self.checksum.reset();
        (self.length, self.in_member, self.is_first) = (0, true, false);
        Ok(true)
    }

    /// Reads what follows the data of a member.
    fn end(&mut self) -> Result<()> {
        self.in_member = false;
        let mut trailer = Header { input: &mut self.input, checksum: crc32fast::Hasher::new() };
        if u32::from_le_bytes(trailer.take()?) != self.checksum.clone().finalize() {
            return Err(Damage::Checksum.into());
        }
        if u32::from_le_bytes(trailer.take()?) != self.length {
            return Err(Damage::Length.into());
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.read == self.filled {
            if self.buffer.is_empty() {
                self.buffer = vec![0; HISTORY + READ + ROOM];
            }
            let kept = self.filled.min(HISTORY);
            self.buffer.copy_within(self.filled - kept..self.filled, 0);
            (self.read, self.filled) = (kept, kept);
            let mut buffer = std::mem::take(&mut self.buffer);
            let filled = self.fill(&mut buffer, kept);
            self.buffer = buffer;
            self.filled = filled?;
        }
        let length = out.len().min(self.filled - self.read);
        out[..length].copy_from_slice(&self.buffer[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

/// Bytes of a header, with their checksum.
struct Header<'i, R> {
    input: &'i mut Input<R>,
    checksum: crc32fast::Hasher,
}

impl<R: BufRead> Header<'_, R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.input.next()?.ok_or(Damage::Truncated)?;
        }
        self.checksum.update(&bytes);
        Ok(bytes)
    }
}

/// The input as the decoder wants it: `INPUT_NEEDED` bytes at once, or all that there are.
struct Input<R> {
    input: R,
    /// The end of one piece of the input, and, while it is decoded, the beginning of the next.
    seam: Vec<u8>,
    /// So many bytes of the seam are no longer in the input; the others still are.
    own: usize,
}

impl<R: BufRead> Input<R> {
    /// What the input has now; empty at its end.
    fn peek(&mut self) -> Result<&[u8]> {
        loop {
            match self.input.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // Has them by now.
        self.input.fill_buf()
    }

    fn next(&mut self) -> Result<Option<u8>> {
        if self.own > 0 {
            let byte = self.seam.remove(0);
            self.own -= 1;
            return Ok(Some(byte));
        }
        let first = self.peek()?.first().copied();
        if first.is_some() {
            self.input.consume(1);
        }
        Ok(first)
    }

    /// Decodes until the stream ends or there is no more room.
    fn decode(&mut self, deflate: &mut Deflate, output: &mut [u8], made: usize) -> Result<(usize, Wants)> {
        let mut made = made;
        loop {
            let is_seam = self.own > 0;
            let wants;
            (made, wants) = if is_seam {
                self.across_the_seam(deflate, output, made)?
            } else {
                let piece = self.peek()?;
                let (taken, made, wants) = deflate.decode(piece, piece.is_empty(), output, made)?;
                self.input.consume(taken);
                (made, wants)
            };
            if wants != Wants::Input {
                return Ok((made, wants));
            }
            if !is_seam {
                self.keep_the_rest()?;
            }
        }
    }

    /// Takes what is left of the current piece, too little to be decoded, into the seam.
    fn keep_the_rest(&mut self) -> Result<()> {
        let rest = self.input.fill_buf()?;
        let length = rest.len();
        self.seam.truncate(self.own);
        self.seam.extend_from_slice(rest);
        self.own += length;
        self.input.consume(length);
        Ok(())
    }

    /// Decodes the seam and what follows it.
    fn across_the_seam(
        &mut self,
        deflate: &mut Deflate,
        output: &mut [u8],
        made: usize,
    ) -> Result<(usize, Wants)> {
        let is_all = loop {
            let length = self.peek()?.len();
            let next = self.input.fill_buf()?;
            let wanted = SEAM.saturating_sub(self.own);
            self.seam.truncate(self.own);
            if length == 0 || length > wanted {
                self.seam.extend_from_slice(&next[..length.min(wanted)]);
                break length == 0;
            }
            // A short piece: all of it.
            self.seam.extend_from_slice(next);
            self.own += length;
            self.input.consume(length);
        };
        let (taken, now, wants) = deflate.decode(&self.seam, is_all, output, made)?;
        self.input.consume(taken.saturating_sub(self.own));
        self.seam.truncate(self.own);
        self.seam.drain(..taken.min(self.own));
        self.own = self.seam.len();
        Ok((now, wants))
    }
}
