//! One line of a json-file log, read back.

use super::{LogEntry, Stream};
use dhow_model::Timestamp;
use std::collections::BTreeMap;

/// The entry in `line`; `None` when it is none, as after a crash of the machine in the middle of a write.
///
/// Lines as our writer and Docker's make them take the short way, anything else that is valid JSON with
/// the same fields the long one.
pub(super) fn parse_line(line: &[u8]) -> Option<LogEntry> {
    parse_usual(line).or_else(|| parse_any(line))
}

fn parse_usual(line: &[u8]) -> Option<LogEntry> {
    let (text, rest) = unescape(line.strip_prefix(b"{\"log\":\"")?)?;
    let rest = rest.strip_prefix(b",\"stream\":\"std")?;
    let (stream, rest) = match rest.strip_prefix(b"out") {
        Some(rest) => (Stream::Stdout, rest),
        None => (Stream::Stderr, rest.strip_prefix(b"err")?),
    };
    let time = rest.strip_prefix(b"\",\"time\":\"")?.trim_ascii_end().strip_suffix(b"\"}")?;
    let time = Timestamp::parse(std::str::from_utf8(time).ok()?).ok()?;
    Some(LogEntry { stream, time, line: text, attributes: BTreeMap::new() })
}

/// Decodes up to the closing quote; returns the text and what follows the quote.
fn unescape(mut input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let plain = input.iter().position(|b| *b == b'"' || *b == b'\\')?;
        if text.is_empty() {
            text.reserve_exact(plain + 1);
        }
        text.extend_from_slice(&input[..plain]);
        let rest = &input[plain + 1..];
        if input[plain] == b'"' {
            return Some((text, rest));
        }
        let (escape, rest) = rest.split_first()?;
        input = rest;
        match *escape {
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b'"' | b'\\' => text.push(*escape),
            b'u' => {
                let (digits, rest) = rest.split_at_checked(4)?;
                let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
                // Half of a surrogate pair: not what we write; the long way knows what to do.
                let character = char::from_u32(code)?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                input = rest;
            }
            _ => return None,
        }
    }
}

fn parse_any(line: &[u8]) -> Option<LogEntry> {
    #[derive(serde::Deserialize)]
    struct Line {
        log: String,
        stream: String,
        time: String,
        #[serde(default)]
        attrs: BTreeMap<String, String>,
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    let stream = match line.stream.as_str() {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    let time = Timestamp::parse(&line.time).ok()?;
    Some(LogEntry { stream, time, line: line.log.into_bytes(), attributes: line.attrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree() {
        let usual = br#"{"log":"a\u003cb\u0009\u2028\ufffd\"\\ \u00fc\n","stream":"stderr","time":"2026-11-21T09:12:40.0125Z"}"#;
        let entry = parse_usual(usual).unwrap();
        assert_eq!(entry, parse_any(usual).unwrap());
        assert_eq!(entry.line, "a<b\t\u{2028}\u{fffd}\"\\ ü\n".as_bytes());
        assert_eq!(entry.time.to_string(), "2026-11-21T09:12:40.0125Z");
        assert_eq!(entry.stream, Stream::Stderr);
    }

    #[test]
    fn foreign_forms_and_garbage() {
        let foreign = br#"{"time":"2026-01-01T00:00:00Z","attrs":{"a":"b"},"stream":"stdout","log":"\ud83d\ude00\/\n"}"#;
        let entry = parse_line(foreign).unwrap();
        assert_eq!((&*entry.line, &*entry.attributes["a"]), ("😀/\n".as_bytes(), "b"));
        let pair = br#"{"log":"\ud83d\ude00","stream":"stdout","time":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(parse_line(pair).unwrap().line, "😀".as_bytes());
        for bad in [
            &b""[..],
            b"\0\0\0\n",
            b"{\"log\":\"x",
            b"{\"log\":\"\\u12\"}",
            b"{}",
            b"{\"log\":\"a\",\"stream\":\"std\"}",
        ] {
            assert_eq!(parse_line(bad), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = parse_line(&bytes);
            let _ = parse_line(&[b"{\"log\":\"", &bytes[..]].concat());
        }
    }
}
