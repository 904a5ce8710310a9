//! Gzip (RFC 1952, RFC 1951), decompressed: what an installation of a layer spends most of its time with.
//!
//! ```text
//!   gzip.rs     members: headers, checksums, the seams between pieces of input      Gzip
//!   deflate.rs  blocks, one step after another                                        │
//!   fast.rs     the hot loop over symbols (all of the crate's `unsafe`)               │
//!   tables.rs   what the hot loop looks codes up in; bits.rs what it looks up         ▼
//! ```
//!
//! Streaming in constant memory: output goes to buffers of the caller's, which only has to carry the last [`HISTORY`]
//! bytes over from one to the next. zlib-rs takes half as long again.

mod bits;
mod deflate;
mod fast;
mod gzip;
mod tables;

pub use deflate::HISTORY;
pub use gzip::{Gzip, ROOM};

/// What can be wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// It ends too early.
    Truncated,
    /// Not gzip at all, or a header that says what nobody knows.
    Header,
    /// A block's header, or the codes in it, cannot be.
    Block,
    /// A code that stands for nothing.
    Code,
    /// A match that begins before the stream.
    Distance,
    /// The data have another checksum than they should.
    Checksum,
    /// There are more data, or fewer, than there should be.
    Length,
}

impl From<Damage> for std::io::Error {
    fn from(damage: Damage) -> Self {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        let (kind, text) = match damage {
            Damage::Truncated => (UnexpectedEof, "it ends too early"),
            Damage::Header => (InvalidData, "invalid gzip header"),
            Damage::Block => (InvalidData, "invalid block"),
            Damage::Code => (InvalidData, "invalid code"),
            Damage::Distance => (InvalidData, "a match begins before the data"),
            Damage::Checksum => (InvalidData, "the checksum does not match"),
            Damage::Length => (InvalidData, "the length does not match"),
        };
        Self::new(kind, text)
    }
}

#[cfg(test)]
mod tests;
