//! The 512-byte header: numbers, names, checksum.

use super::BLOCK;

/// One header block.
pub(super) type Block = [u8; BLOCK];

/// Which dialect a header is written in: it decides what the bytes after offset 345 mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Before POSIX: no prefix, no device numbers beyond what all have.
    V7,
    /// POSIX: the prefix is 155 bytes.
    Ustar,
    /// star: the prefix is 131 bytes, times follow.
    Star,
    /// GNU: times, and sparse maps, where the prefix would be.
    Gnu,
}

pub(super) fn dialect(block: &Block) -> Dialect {
    match &block[257..265] {
        b"ustar\x0000" if &block[508..512] == b"tar\0" => Dialect::Star,
        b"ustar  \0" => Dialect::Gnu,
        magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
        _ => Dialect::V7,
    }
}

/// A field up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&b| b == 0).unwrap_or(field.len())]
}

/// A number: octal digits among blanks, or base 256 when the first bit is set. `None`: neither.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Two's complement over the whole field but its first bit (GNU tar, "base-256").
        let negative = first & 0x40 != 0;
        let fill: u8 = if negative { 0xff } else { 0 };
        let lead = if negative { first } else { first & 0x7f };
        let bytes: Vec<u8> = std::iter::once(lead).chain(rest.iter().copied()).collect();
        let (high, low) = bytes.split_at(bytes.len().saturating_sub(8));
        let mut eight = [fill; 8];
        eight[8 - low.len()..].copy_from_slice(low);
        let value = i64::from_be_bytes(eight);
        (high.iter().all(|&b| b == fill) && (value < 0) == negative).then_some(value)
    } else {
        let digits = field.iter().position(|b| !matches!(b, b' ' | 0)).map_or(&field[..0], |at| &field[at..]);
        let end = digits.iter().position(|b| matches!(b, b' ' | 0)).unwrap_or(digits.len());
        digits[..end].iter().try_fold(0i64, |value, &digit| {
            let digit = matches!(digit, b'0'..=b'7').then(|| i64::from(digit - b'0'))?;
            value.checked_mul(8)?.checked_add(digit)
        })
    }
}

/// The checksum that the header claims, and whether it is right; else what it should be.
pub(super) fn verify_checksum(block: &Block) -> Result<(), String> {
    let (mut unsigned, mut signed) = (0u32, 0i32);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        unsigned += u32::from(byte);
        signed += i32::from(i8::from_ne_bytes([byte]));
    }
    match number(&block[148..156]) {
        // Some old tars summed signed bytes.
        Some(claimed) if claimed == i64::from(unsigned) || claimed == i64::from(signed) => Ok(()),
        Some(claimed) => Err(format!("header checksum is {claimed:#x}, computed {unsigned:#x}")),
        None => Err(format!("header checksum is not a number, computed {unsigned:#x}")),
    }
}

/// The name: prefix and name joined where the dialect has a prefix.
pub(super) fn path(block: &Block, dialect: Dialect) -> Vec<u8> {
    let prefix: &[u8] = match dialect {
        Dialect::Ustar => text(&block[345..500]),
        Dialect::Star => text(&block[345..476]),
        Dialect::V7 | Dialect::Gnu => b"",
    };
    let name = text(&block[..100]);
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}
