//! The keys that leave a container running, Ctrl-P Ctrl-Q unless told otherwise.
//!
//! Keys that begin the sequence are held back until it is clear whether it completes; when it does not, they
//! go to the container like any others.

use crate::cli::exit::{Failure, Outcome};

/// Ctrl-P, Ctrl-Q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Finds the sequence in what is typed.
#[derive(Debug, Clone)]
pub(crate) struct DetachKeys {
    /// As typed or configured; `None`: the default.
    text: Option<String>,
    keys: Vec<u8>,
    matched: usize,
}

/// What became of some typed bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// What goes on to the container.
    pub(crate) forward: Vec<u8>,
    /// The sequence is complete.
    pub(crate) detached: bool,
}

impl DetachKeys {
    /// Parses `ctrl-p,ctrl-q`: single characters and `ctrl-` with a letter or one of `@ [ \ ] ^ _`.
    ///
    /// # Errors
    /// When a key is neither.
    pub(crate) fn parse(text: Option<&str>) -> Outcome<Self> {
        let keys = match text {
            None | Some("") => DEFAULT.to_vec(),
            Some(text) => text.split(',').map(parse_key).collect::<Option<Vec<u8>>>().ok_or_else(|| {
                Failure::usage(format!("invalid detach keys provided: {text:?}: want single characters or ctrl-<a-z@^[,_>, separated by commas"))
            })?,
        };
        Ok(Self { text: text.filter(|t| !t.is_empty()).map(str::to_owned), keys, matched: 0 })
    }

    /// What the engine is told, which looks for the same sequence.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The sequence as typed.
    pub(crate) fn sequence(&self) -> &[u8] {
        &self.keys
    }

    /// Takes some typed bytes.
    pub(crate) fn take(&mut self, typed: &[u8]) -> Typed {
        let mut forward = Vec::with_capacity(typed.len() + self.matched);
        for byte in typed {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return Typed { forward, detached: true };
                }
                continue;
            }
            forward.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if *byte == self.keys[0] {
                self.matched = 1;
            } else {
                forward.push(*byte);
            }
        }
        Typed { forward, detached: false }
    }
}

fn parse_key(text: &str) -> Option<u8> {
    if let [byte] = text.as_bytes() {
        return Some(*byte);
    }
    match text.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        b"@" => Some(0),
        b"[" => Some(27),
        b"\\" => Some(28),
        b"]" => Some(29),
        b"^" => Some(30),
        b"_" => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        let mut keys = DetachKeys::parse(None).unwrap();
        assert_eq!(keys.take(b"a\x10"), Typed { forward: b"a".to_vec(), detached: false });
        assert_eq!(keys.take(b"b"), Typed { forward: b"\x10b".to_vec(), detached: false });
        assert_eq!(keys.take(b"\x10\x10"), Typed { forward: b"\x10".to_vec(), detached: false });
        assert_eq!(keys.take(b"\x11zzz"), Typed { forward: Vec::new(), detached: true });
        let mut other = DetachKeys::parse(Some("ctrl-a,x")).unwrap();
        assert!(other.take(b"\x01x").detached);
        assert!(DetachKeys::parse(Some("ctrl-")).is_err());
        assert!(DetachKeys::parse(Some("ctrl-a,,x")).is_err());
    }
}
