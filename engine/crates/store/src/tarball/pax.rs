//! PAX extended headers: `length key=value\n` records, and what their values mean.

use super::Mtime;

/// Key and value, any bytes.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// The records of one extended header, or the reason why they cannot be read.
pub(super) fn parse_records(mut body: &[u8]) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    // Some writers pad the body with NULs.
    while body.first().is_some_and(|&b| b != 0) {
        let blank = body.iter().take(20).position(|&b| b == b' ').ok_or("a PAX record has no length")?;
        let length = decimal(&body[..blank])
            .and_then(|n| usize::try_from(n).ok())
            .filter(|&n| n > blank + 1 && n <= body.len())
            .ok_or_else(|| format!("a PAX record claims a length of {:?}", lossy(&body[..blank])))?;
        let (record, rest) = body.split_at(length);
        let record =
            record[blank + 1..].strip_suffix(b"\n").ok_or("a PAX record does not end in a line feed")?;
        let equals = record.iter().position(|&b| b == b'=').ok_or("a PAX record has no \"=\"")?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() {
            return Err("a PAX record has no key".to_owned());
        }
        records.push((key.to_vec(), value.to_vec()));
        body = rest;
    }
    Ok(records)
}

/// A whole decimal number, without sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are dropped.
pub(super) fn time(text: &[u8]) -> Option<Mtime> {
    let (negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let point = text.iter().position(|&b| b == b'.');
    let seconds = i64::try_from(decimal(&text[..point.unwrap_or(text.len())])?).ok()?;
    let fraction = point.map_or(&text[..0], |at| &text[at + 1..]);
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9)
        .fold(0u32, |value, at| value * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanos) {
        (false, _) => Mtime { seconds, nanos },
        (true, 0) => Mtime { seconds: -seconds, nanos },
        (true, _) => Mtime { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// libarchive's names are percent-encoded.
pub(super) fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
        out.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &tail[2..];
    }
    Some(out)
}

/// libarchive's values are in base 64, padded or not.
pub(super) fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for &byte in text.iter().take_while(|&&b| b != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'\n' | b'\r' => continue,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

/// Bytes for a message.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
