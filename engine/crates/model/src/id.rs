//! Container and exec ids: 64 lower-case hexadecimal digits, shown as the first 12.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of digits that tables show.
pub const SHORT_LENGTH: usize = 12;

/// The id of a container, or of an exec session: 256 random bits in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// An id from 32 random bytes.
    ///
    /// Docker never hands out an id whose short form is all digits, because such a hostname looks like
    /// a number; the caller draws again when [`ContainerId::looks_numeric`] says so.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Self(text)
    }

    /// Takes a full id.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() == 64 && is_lower_hex(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!(
                "invalid container id {text:?}: want 64 lower-case hexadecimal digits"
            )))
        }
    }

    /// Whether the short form is digits only.
    pub fn looks_numeric(&self) -> bool {
        self.short().bytes().all(|b| b.is_ascii_digit())
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits.
    pub fn short(&self) -> &str {
        &self.0[..SHORT_LENGTH]
    }
}

/// Whether all of it is lower-case hexadecimal. Without a way out in the middle, so that it is done in vectors: a list
/// of a thousand containers has three thousand of them.
pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes().fold(true, |so_far, b| so_far & (b.is_ascii_digit() | matches!(b, b'a'..=b'f')))
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_become_hex() {
        let id = ContainerId::from_random([0xab; 32]);
        assert_eq!(id.as_str(), "ab".repeat(32));
        assert_eq!(id.short(), "abababababab");
        assert!(!id.looks_numeric());
        assert!(ContainerId::from_random([0x11; 32]).looks_numeric());
        assert_eq!(ContainerId::parse(id.as_str()).unwrap(), id);
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "ab", &"AB".repeat(32), &"g".repeat(64), &"a".repeat(65)] {
            assert!(ContainerId::parse(bad).is_err(), "{bad}");
        }
    }
}
