//! Detach keys: the key sequence by which a user leaves an attached container running.
//!
//! The sequence is looked for in what the client types. Bytes that begin it are held back until it is clear
//! whether the rest follows, as a terminal user expects: Ctrl-P alone still reaches the container, with the
//! key after it.

use dhow_model::{Error, Result};

/// Ctrl-P, Ctrl-Q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Parses `ctrl-a,b`: comma-separated single characters or `ctrl-` with one of `a-z @ [ \ ] ^ _`.
/// Nothing means the default.
///
/// # Errors
/// `InvalidArgument` in Docker's words.
pub(super) fn parse_keys(text: Option<&str>) -> Result<Vec<u8>> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(DEFAULT.to_vec()) };
    let key = |name: &str| -> Option<u8> {
        if let [byte] = name.as_bytes() {
            return Some(*byte);
        }
        match name.strip_prefix("ctrl-")?.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            [b'@'] => Some(0),
            [symbol @ b'['..=b'_'] => Some(symbol - b'[' + 27),
            _ => None,
        }
    };
    text.split(',')
        .map(|name| key(name).ok_or_else(|| Error::invalid(format!("Unknown character: '{name}'"))))
        .collect::<Result<Vec<u8>>>()
        .map_err(|error| Error::invalid(format!("Invalid detach keys ({text}) provided: {error}")))
}

/// Looks for the sequence in a stream of input.
pub(super) struct DetachScanner {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachScanner {
    /// A scanner; with no keys it finds nothing.
    pub(super) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Takes input and returns what may be passed on, and whether the sequence was completed.
    /// What follows a completed sequence is dropped.
    pub(super) fn feed(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::with_capacity(input.len() + self.matched);
        for &byte in input {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (pass, true);
                }
                continue;
            }
            // Not the sequence after all: what was held back goes on; this byte may begin it anew.
            pass.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.len() > 1 && self.keys.first() == Some(&byte));
            if self.matched == 0 {
                pass.push(byte);
            }
        }
        (pass, false)
    }

    /// What is still held back, when the input ends.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let held = self.keys[..self.matched].to_vec();
        self.matched = 0;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        assert_eq!(parse_keys(None).unwrap(), [16, 17]);
        assert_eq!(parse_keys(Some("")).unwrap(), [16, 17]);
        assert_eq!(parse_keys(Some("ctrl-a,b")).unwrap(), [1, b'b']);
        assert_eq!(
            parse_keys(Some("ctrl-@,ctrl-[,ctrl-],ctrl-^,ctrl-_,ctrl-\\")).unwrap(),
            [0, 27, 29, 30, 31, 28]
        );
        let error = parse_keys(Some("ctrl-a,shift-b")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid detach keys (ctrl-a,shift-b) provided: Unknown character: 'shift-b'"
        );
        for bad in ["ctrl-A", "ctrl-", "aa", "ctrl-a,", ",", "ctrl-aa", "é"] {
            assert!(parse_keys(Some(bad)).is_err(), "{bad}");
        }
    }

    fn run(chunks: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut scanner = DetachScanner::new(DEFAULT.to_vec());
        let mut all = Vec::new();
        for chunk in chunks {
            let (pass, detached) = scanner.feed(chunk);
            all.extend(pass);
            if detached {
                return (all, true);
            }
        }
        all.extend(scanner.finish());
        (all, false)
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_only_when_whole() {
        assert_eq!(run(&[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(run(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(run(&[b"a\x10", b"b"]), (b"a\x10b".to_vec(), false));
        assert_eq!(run(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(run(&[b"a\x10"]), (b"a\x10".to_vec(), false));
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost_without_the_sequence(
            chunks in proptest::collection::vec(proptest::collection::vec(0u8..=0x10, 0..8), 0..6)
        ) {
            let refs: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            proptest::prop_assert_eq!(run(&refs), (chunks.concat(), false));
        }
    }
}
