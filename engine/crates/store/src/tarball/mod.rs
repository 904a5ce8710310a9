//! Tar archives, read in place and written.
//!
//! [`Reader`] walks an archive over any [`std::io::BufRead`]: over a mapped file nothing is copied but the
//! 512-byte headers, over a decompressor the bytes are those of its buffer. It knows ustar, PAX (paths, ids,
//! times with fractions, sizes, extended attributes, sparse files 0.0, 0.1 and 1.0), GNU long names, old GNU
//! sparse files, and numbers in base 256. What it cannot understand it refuses with the byte offset; it never
//! panics and never allocates by a length that the archive only claims.
//!
//! ```text
//!   next_entry() ──► Entry ──► next_chunk()* ──► next_entry() ──► … ──► None ──► finish()
//!        │ every byte that is not file data                                        │ the padding
//!        └──────────────────────► Observer::raw ◄──────────────────────────────────┘
//! ```
//!
//! The sources of the formats: POSIX.1-2024 `pax`, the GNU tar manual ("Tar Internals"), and Go's `archive/tar`,
//! which wrote most image layers there are; where they differ, Go's reading is followed, because a layer's maker
//! saw its files through it.

pub mod encode;
mod entry;
mod header;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::{Entry, Kind, Mtime, Segment};
pub use reader::{Observer, Reader};
pub use writer::{Writer, file_span};

/// Everything in a tar archive is in blocks of this many bytes.
pub const BLOCK: usize = 512;
