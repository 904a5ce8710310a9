//! Text inside a JSON string, byte for byte as Docker's json-file driver writes it.
//!
//! Docker has its own encoder (`daemon/logger/jsonfilelog/jsonlog/jsonlogbytes.go`), a copy of Go's
//! `encoding/json` for byte slices: `<`, `>`, `&`, U+2028 and U+2029 are escaped too, `\n` and `\r` have
//! short forms and the other controls, tab included, have not.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte needs more than copying. Bytes from 0x80 on are looked at as UTF-8.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20
            || byte >= 0x80
            || byte == b'"' as usize
            || byte == b'\\' as usize
            || byte == b'<' as usize
            || byte == b'>' as usize
            || byte == b'&' as usize;
        byte += 1;
    }
    table
};

/// Appends `text` up to and including its first `\n`, escaped. Returns how many bytes of `text` that was,
/// and whether a `\n` ended it: newlines are found in the same pass that finds what to escape.
pub(super) fn escape_line(text: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
    let mut at = 0;
    // Everything before `copied` is in `out` already.
    let mut copied = 0;
    loop {
        at += text[at..].iter().position(|b| SPECIAL[usize::from(*b)]).unwrap_or(text.len() - at);
        let Some(&byte) = text.get(at) else {
            out.extend_from_slice(&text[copied..]);
            return (at, false);
        };
        if byte >= 0x80 {
            match character_length(&text[at..]) {
                // LINE SEPARATOR and PARAGRAPH SEPARATOR end a line in JavaScript's string literals.
                Some(3) if text[at] == 0xe2 && text[at + 1] == 0x80 && text[at + 2] & 0xfe == 0xa8 => {
                    out.extend_from_slice(&text[copied..at]);
                    out.extend_from_slice(if text[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    at += 3;
                    copied = at;
                }
                Some(length) => at += length,
                None => {
                    out.extend_from_slice(&text[copied..at]);
                    out.extend_from_slice(b"\\ufffd");
                    at += 1;
                    copied = at;
                }
            }
            continue;
        }
        out.extend_from_slice(&text[copied..at]);
        at += 1;
        copied = at;
        match byte {
            b'\n' => {
                out.extend_from_slice(b"\\n");
                return (at, true);
            }
            b'\r' => out.extend_from_slice(b"\\r"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => {
                let hex = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex[0], hex[1]]);
            }
        }
    }
}

/// The length of the UTF-8 sequence that `bytes` begin with; `None` when they begin with none (Unicode
/// standard, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
fn character_length(bytes: &[u8]) -> Option<usize> {
    let (length, second) = match *bytes.first()? {
        0..=0x7f => return Some(1),
        0xc2..=0xdf => (2, 0x80..=0xbf),
        0xe0 => (3, 0xa0..=0xbf),
        0xe1..=0xec | 0xee..=0xef => (3, 0x80..=0xbf),
        0xed => (3, 0x80..=0x9f),
        0xf0 => (4, 0x90..=0xbf),
        0xf1..=0xf3 => (4, 0x80..=0xbf),
        0xf4 => (4, 0x80..=0x8f),
        _ => return None,
    };
    let rest = bytes.get(1..length)?;
    (second.contains(&rest[0]) && rest[1..].iter().all(|b| b & 0xc0 == 0x80)).then_some(length)
}

/// `bytes` without the beginning of a UTF-8 sequence at their end, so that a long line is not cut inside
/// a character.
pub(super) fn trim_to_character(bytes: &[u8]) -> &[u8] {
    for back in 1..=bytes.len().min(3) {
        let lead = bytes[bytes.len() - back];
        let length = match lead {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes,
        };
        return if length > back && back < bytes.len() { &bytes[..bytes.len() - back] } else { bytes };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        assert_eq!(escape_line(text, &mut out).0, text.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_docker_writes_it() {
        assert_eq!(escaped(b"a<b>&c\n"), "a\\u003cb\\u003e\\u0026c\\n");
        assert_eq!(escaped(b"\"\\\t\r\x00\x1b[0m\x7f"), "\\\"\\\\\\u0009\\r\\u0000\\u001b[0m\x7f");
        assert_eq!(escaped("ü€😀\u{2028}\u{2029}\u{202a}".as_bytes()), "ü€😀\\u2028\\u2029\u{202a}");
        assert_eq!(escaped(b"\xff\xc3(\xe2\x82"), "\\ufffd\\ufffd(\\ufffd\\ufffd");
        assert_eq!(escaped(b"\xc0\xaf\xed\xa0\x80"), "\\ufffd".repeat(5));
    }

    #[test]
    fn stops_at_the_first_newline() {
        let mut out = Vec::new();
        assert_eq!(escape_line(b"one\ntwo\n", &mut out), (4, true));
        assert_eq!(escape_line(b"two", &mut out), (3, false));
        assert_eq!(out, b"one\\ntwo");
    }

    #[test]
    fn characters_stay_whole() {
        assert_eq!(trim_to_character("a€".as_bytes()), "a€".as_bytes());
        assert_eq!(trim_to_character(b"a\xe2\x82"), b"a");
        assert_eq!(trim_to_character(b"a\xf0\x9f\x98"), b"a");
        assert_eq!(trim_to_character(b"a\x80\x80\x80\x80"), b"a\x80\x80\x80\x80");
        assert_eq!(trim_to_character(b"abc"), b"abc");
        assert_eq!(trim_to_character(b"\xe2"), b"\xe2");
    }

    proptest! {
        #[test]
        fn any_text_is_valid_json(text in "\\PC{0,60}|[\\x00-\\x7f]{0,60}") {
            let line = text.replace('\n', " ");
            let json = format!("\"{}\"", escaped(line.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), line);
        }

        #[test]
        fn utf8_as_the_standard_library_sees_it(bytes in prop::collection::vec(any::<u8>(), 1..5)) {
            let valid = (1..=bytes.len()).find(|n| std::str::from_utf8(&bytes[..*n]).is_ok());
            prop_assert_eq!(character_length(&bytes), valid);
        }
    }
}
