//! Content digests: `sha256:` and 64 hexadecimal digits (OCI image-spec, descriptor.md).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A SHA-256 digest. The only algorithm that images in the wild use; others are refused by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// From the 32 bytes of a finished hash.
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        let hex = crate::ContainerId::from_random(bytes);
        Self(format!("sha256:{hex}"))
    }

    /// Takes `sha256:<64 lower-case hexadecimal digits>`.
    ///
    /// # Errors
    /// `InvalidArgument` for another algorithm or a malformed digest.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((algorithm, hex)) = text.split_once(':') else {
            return Err(Error::invalid(format!("invalid digest {text:?}: want algorithm:hex")));
        };
        if algorithm != "sha256" {
            return Err(Error::invalid(format!(
                "invalid digest {text:?}: algorithm {algorithm:?} is not supported, only sha256"
            )));
        }
        if hex.len() != 64 || !crate::id::is_lower_hex(hex) {
            return Err(Error::invalid(format!(
                "invalid digest {text:?}: want 64 lower-case hexadecimal digits"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// `sha256:<hex>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first 12 digits, as `images` shows them.
    pub fn short(&self) -> &str {
        &self.hex()[..crate::id::SHORT_LENGTH]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let digest = Digest::from_sha256([0x5a; 32]);
        assert_eq!(Digest::parse(digest.as_str()).unwrap(), digest);
        assert_eq!(digest.short(), "5a5a5a5a5a5a");
        for bad in ["", "sha256", "sha256:", "md5:00", "sha512:00", "sha256:XYZ", "sha256:../../etc"] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }
}
