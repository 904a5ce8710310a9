//! From a layer's bytes as they come to its uncompressed tar, hashed on both sides.
//!
//! ```text
//!   source ─► gzip|zstd|… ──┬─► pieces of 256 KiB ─► the reader of the tar, a thread
//!    │   this thread       └─► the same pieces ───► hash of the tar, a thread
//!    └─► hash of the blob, a thread; of a stream it gets copies, which cost less than waiting for it
//! ```
//!
//! Inflating, hashing and unpacking go on at once, in constant memory, and pieces are handed on, not copied. A plain
//! source in memory is not copied at all: the tar is read where it is, and only hashed aside.

use crate::content::finish;
use bzip2::bufread::MultiBzDecoder;
use dhow_inflate::{Gzip, HISTORY, ROOM};
use dhow_model::{Digest, Error, ErrorKind, Result};
use lzma_rust2::XzReader;
use sha2::Digest as _;
use std::io::{BufRead, BufReader, Cursor, ErrorKind as IoKind, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

/// What one thread hands to the next at a time: fits the cache between two cores.
const PIECE: usize = 256 << 10;
/// How many pieces may wait: enough to even out a large file among small ones.
const WAITING: usize = 16;
/// How much of the source is looked at once: the granularity of progress.
const WINDOW: usize = 128 << 10;

/// How much memory the dictionary of xz may need, in KiB: eight times that of `xz -9`.
const XZ_MEMORY_KIB: u32 = 512 << 10;

/// How a block of bzip2 begins, and the end of a stream without any: the digits of π and of its root.
const BZIP2_NEXT: [[u8; 4]; 2] = [[0x31, 0x41, 0x59, 0x26], [0x17, 0x72, 0x45, 0x38]];

/// The bytes of a layer: a tar archive, plain or compressed with gzip, zstd, xz or bzip2.
pub enum LayerSource<'a> {
    /// In memory: a mapped file, or a part of one.
    Bytes(&'a [u8]),
    /// As they come.
    Reader {
        /// Where they come from.
        reader: Box<dyn Read + 'a>,
        /// How many there will be, when that is known: for progress only.
        size: Option<u64>,
    },
}

impl LayerSource<'_> {
    /// How many bytes there are, when that is known.
    pub fn size(&self) -> Option<u64> {
        match self {
            LayerSource::Bytes(bytes) => Some(bytes.len() as u64),
            LayerSource::Reader { size, .. } => *size,
        }
    }
}

/// What a source turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    /// Of the uncompressed tar.
    pub(crate) diff_id: Digest,
    /// Of the bytes as they came; `None` when nobody asked.
    pub(crate) blob: Option<Digest>,
}

/// How bytes are compressed, by their first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
    /// What distributions give their root filesystems in.
    Xz,
    /// What they gave them in before.
    Bzip2,
}

impl Compression {
    /// Looks at the first bytes. `Unsupported` for what is known but not done.
    pub(crate) fn detect(start: &[u8]) -> Result<Self> {
        let known: [(&[u8], &str); 2] = [(b"\x04\x22\x4d\x18", "lz4"), (b"LZIP", "lzip")];
        if let Some((_, name)) = known.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Err(Error::unsupported(format!(
                "the archive is compressed with {name}: only gzip, zstd, xz and bzip2 are supported, decompress it first"
            )));
        }
        Ok(match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame may come first (RFC 8878, 3.1.2).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A block comes next, or the end; a tar may begin with a file named like the first three.
            [b'B', b'Z', b'h', b'1'..=b'9', next @ ..]
                if BZIP2_NEXT.iter().any(|magic| next.starts_with(magic)) =>
            {
                Self::Bzip2
            }
            _ => Self::Plain,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }
}

/// Reads `source` through `read`, which gets the uncompressed tar and must take all of it, and hashes it.
/// `progress` hears how many bytes of the source were read.
pub(crate) fn read_hashed<T: Send>(
    source: LayerSource<'_>,
    want_blob: bool,
    progress: &(dyn Fn(u64) + Sync),
    read: impl FnOnce(&mut dyn BufRead) -> Result<T> + Send,
) -> Result<(T, Digests)> {
    match source {
        LayerSource::Bytes(bytes) => match Compression::detect(bytes)? {
            Compression::Plain => read_in_place(bytes, want_blob, progress, read),
            how => read_and_hash_aside(bytes, how, want_blob, progress, read),
        },
        LayerSource::Reader { mut reader, .. } => {
            let start = read_start(&mut reader)?;
            let how = Compression::detect(&start)?;
            let input = BufReader::with_capacity(WINDOW, Cursor::new(start).chain(reader));
            // A plain tar is its own blob: hashed once.
            let plain = how == Compression::Plain;
            let (value, mut digests) = read_piped(input, how, want_blob && !plain, progress, read)?;
            if plain && want_blob {
                digests.blob = Some(digests.diff_id.clone());
            }
            Ok((value, digests))
        }
    }
}

/// The first bytes of a reader, as many as decide about the compression.
pub(crate) fn read_start(reader: &mut dyn Read) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.take(8).read_to_end(&mut start).map_err(|error| source_error(error, Compression::Plain))?;
    Ok(start)
}

/// A decompressor over `input`.
pub(crate) fn decoder<'a>(input: impl BufRead + 'a, how: Compression) -> Result<Box<dyn Read + 'a>> {
    Ok(match how {
        Compression::Plain => Box::new(input),
        Compression::Gzip => Box::new(Gzip::new(input)),
        Compression::Zstd => Box::new(
            zstd::stream::read::Decoder::with_buffer(input)
                .map_err(|e| Error::caused(ErrorKind::Internal, "start zstd", e))?,
        ),
        Compression::Xz => Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(input)),
    })
}

/// What a failed read means: our own error, the kernel's, or else the decompressor's.
pub(crate) fn source_error(error: std::io::Error, how: Compression) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        if let Some(Ok(ours)) = error.into_inner().map(|inner| inner.downcast::<Error>()) {
            return *ours;
        }
        return Error::internal("read archive");
    }
    if error.raw_os_error().is_some() || how == Compression::Plain {
        return Error::caused(ErrorKind::Internal, "read archive", error);
    }
    if how == Compression::Xz && error.kind() == IoKind::OutOfMemory {
        let limit = XZ_MEMORY_KIB >> 10;
        return Error::unsupported(format!("the xz stream needs more than {limit} MiB of memory"));
    }
    if error.kind() == IoKind::UnexpectedEof {
        return Error::corrupt(format!("the {} stream is truncated", how.name()));
    }
    Error::caused(ErrorKind::Corrupt, format!("corrupt {} stream", how.name()), error)
}

fn read_in_place<T>(
    bytes: &[u8],
    want_blob: bool,
    progress: &(dyn Fn(u64) + Sync),
    read: impl FnOnce(&mut dyn BufRead) -> Result<T>,
) -> Result<(T, Digests)> {
    std::thread::scope(|scope| {
        let hash = scope.spawn(move || {
            let mut hasher = sha2::Sha256::new();
            let mut done = 0;
            for piece in bytes.chunks(PIECE * 8) {
                hasher.update(piece);
                done += piece.len() as u64;
                progress(done);
            }
            finish(hasher)
        });
        let mut input = bytes;
        let value = read(&mut input)?;
        let diff_id = join(hash)?;
        let blob = want_blob.then(|| diff_id.clone());
        Ok((value, Digests { diff_id, blob }))
    })
}

/// A compressed source in memory, whose hash need not wait for the decompressor, nor hold it up.
fn read_and_hash_aside<T: Send>(
    bytes: &[u8],
    how: Compression,
    want_blob: bool,
    progress: &(dyn Fn(u64) + Sync),
    read: impl FnOnce(&mut dyn BufRead) -> Result<T> + Send,
) -> Result<(T, Digests)> {
    let given_up = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let hash = || {
            let mut hasher = sha2::Sha256::new();
            let pieces = bytes.chunks(PIECE).take_while(|_| !given_up.load(Ordering::Relaxed));
            pieces.for_each(|piece| hasher.update(piece));
            finish(hasher)
        };
        let blob = want_blob.then(|| scope.spawn(hash));
        let read = read_piped(bytes, how, false, progress, read);
        given_up.store(read.is_err(), Ordering::Relaxed);
        let blob = blob.map(join).transpose()?;
        read.map(|(value, digests)| (value, Digests { blob, ..digests }))
    })
}

fn read_piped<'a, T: Send>(
    input: impl BufRead + 'a,
    how: Compression,
    want_blob: bool,
    progress: &(dyn Fn(u64) + Sync),
    read: impl FnOnce(&mut dyn BufRead) -> Result<T> + Send,
) -> Result<(T, Digests)> {
    let pool = Pool::default();
    std::thread::scope(|scope| {
        let (to_reader, pieces) = sync_channel::<Result<Piece<'_>>>(WAITING);
        let (to_hash, hash_pieces) = sync_channel::<Piece<'_>>(WAITING);
        let hash = spawn_hash(scope, hash_pieces);
        // Dropped at the end of its thread: that ends the others when `read` failed before the end.
        let reading =
            scope.spawn(move || read(&mut PieceReader { pieces, current: None, at: 0, ended: false }));
        let (to_blob, copies) = sync_channel::<Vec<u8>>(WAITING);
        let (spent, used) = channel();
        let blob_hash = want_blob.then(|| spawn_blob_hash(scope, copies, spent));
        let aside = want_blob.then_some(Aside { to_blob, used });
        let whole = inflate(input, how, aside, progress, &pool, to_reader, to_hash);
        let blob = blob_hash.map(join).transpose()?;
        let diff_id = join(hash)?;
        let value = join(reading)??;
        if whole {
            Ok((value, Digests { diff_id, blob }))
        } else {
            Err(Error::internal("the archive was not read to its end"))
        }
    })
}

fn spawn_hash<'scope>(
    scope: &'scope Scope<'scope, '_>,
    pieces: Receiver<Piece<'scope>>,
) -> ScopedJoinHandle<'scope, Digest> {
    scope.spawn(move || {
        let mut hasher = sha2::Sha256::new();
        for piece in pieces {
            hasher.update(piece.bytes());
        }
        finish(hasher)
    })
}

/// Hashes a blob of which it gets copies, and gives them back to be used again.
fn spawn_blob_hash<'scope>(
    scope: &'scope Scope<'scope, '_>,
    copies: Receiver<Vec<u8>>,
    spent: Sender<Vec<u8>>,
) -> ScopedJoinHandle<'scope, Digest> {
    scope.spawn(move || {
        let mut hasher = sha2::Sha256::new();
        for copy in copies {
            hasher.update(&copy);
            // At the end nobody wants it any more.
            let _ = spent.send(copy);
        }
        finish(hasher)
    })
}

/// The first stage. Whether it came to the end: not when it failed (the reader has the error), or when nobody
/// listened any more.
fn inflate<'pool>(
    input: impl BufRead,
    how: Compression,
    aside: Option<Aside>,
    progress: &(dyn Fn(u64) + Sync),
    pool: &'pool Pool,
    to_reader: SyncSender<Result<Piece<'pool>>>,
    to_hash: SyncSender<Piece<'pool>>,
) -> bool {
    let mut tee = Tee { input, aside, sent: 0, count: 0, progress };
    let result = Filler::new(&mut tee, how).and_then(|mut filler| {
        loop {
            let piece = filler.fill(pool).map_err(|error| source_error(error, how))?;
            let Some(piece) = piece else { return Ok(true) };
            if to_hash.send(piece.clone()).is_err() || to_reader.send(Ok(piece)).is_err() {
                return Ok(false);
            }
        }
    });
    match result.and_then(|ended| if ended { tee.finish(how).map(|()| true) } else { Ok(false) }) {
        Ok(ended) => ended,
        Err(error) => {
            // Nobody to tell: the reader has failed on its own.
            let _ = to_reader.send(Err(error));
            false
        }
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T> {
    thread.join().map_err(|_| Error::internal("a thread that reads a layer panicked"))
}

/// The way to who hashes the blob.
struct Aside {
    to_blob: SyncSender<Vec<u8>>,
    /// Copies that are hashed.
    used: Receiver<Vec<u8>>,
}

impl Aside {
    fn send(&self, bytes: &[u8]) {
        let mut copy = self.used.try_recv().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        // Fails when that thread panicked, which who joins it will see.
        let _ = self.to_blob.send(copy);
    }
}

/// Counts what passes, and sends it aside.
struct Tee<'a, R> {
    input: R,
    aside: Option<Aside>,
    /// How many bytes at the front of the input's buffer were sent already.
    sent: usize,
    count: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<R: BufRead> Tee<'_, R> {
    /// Takes what the decompressor left. Dropping it ends who hashes.
    fn finish(mut self, how: Compression) -> Result<()> {
        loop {
            let left = self.fill_buf().map_err(|error| source_error(error, how))?.len();
            if left == 0 {
                return Ok(());
            }
            self.consume(left);
        }
    }

    fn passed(&mut self, amount: usize) {
        let before = self.count;
        self.count += amount as u64;
        if before / PIECE as u64 != self.count / PIECE as u64 {
            (self.progress)(self.count);
        }
    }
}

impl<R: BufRead> BufRead for Tee<'_, R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        let bytes = self.input.fill_buf()?;
        let bytes = &bytes[..bytes.len().min(WINDOW)];
        if let (Some(aside), Some(fresh)) =
            (&self.aside, bytes.get(self.sent..).filter(|fresh| !fresh.is_empty()))
        {
            aside.send(fresh);
        }
        self.sent = bytes.len();
        Ok(bytes)
    }

    fn consume(&mut self, amount: usize) {
        self.sent = self.sent.saturating_sub(amount);
        self.input.consume(amount);
        self.passed(amount);
    }
}

impl<R: BufRead> Read for Tee<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.aside.is_none() {
            // Large reads pass the input's buffer by.
            let length = self.input.read(out)?;
            self.passed(length);
            return Ok(length);
        }
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(out.len());
        out[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// Buffers that go round.
#[derive(Default)]
struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

/// A filled buffer that two threads read; goes back when both have done.
type Piece<'pool> = Arc<PieceBytes<'pool>>;

struct PieceBytes<'pool> {
    /// Of [`BUFFER`] bytes.
    buffer: Vec<u8>,
    /// Where the piece is in it.
    place: Range<usize>,
    pool: &'pool Pool,
}

impl PieceBytes<'_> {
    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.place.clone()).unwrap_or_default()
    }
}

impl Drop for PieceBytes<'_> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// Before a piece, the decompressor of gzip wants to see the end of the one before; after it, it wants room.
const BUFFER: usize = HISTORY + PIECE + ROOM;

/// Fills pieces with what it decompresses.
enum Filler<'input, 'pool, R> {
    /// With the piece before.
    Gzip(Box<Gzip<R>>, Option<Piece<'pool>>),
    Other(Box<dyn Read + 'input>),
}

impl<'input, 'pool, R: BufRead + 'input> Filler<'input, 'pool, R> {
    fn new(input: R, how: Compression) -> Result<Self> {
        Ok(match how {
            Compression::Gzip => Self::Gzip(Box::new(Gzip::new(input)), None),
            _ => Self::Other(decoder(input, how)?),
        })
    }

    /// The next piece; `None` at the end.
    fn fill(&mut self, pool: &'pool Pool) -> std::io::Result<Option<Piece<'pool>>> {
        let free = pool.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut piece =
            PieceBytes { buffer: free.unwrap_or_else(|| vec![0; BUFFER]), place: HISTORY..HISTORY, pool };
        piece.place.end = match self {
            Self::Gzip(gzip, before) => {
                if let Some(before) = before {
                    let end = before.place.end;
                    piece.buffer[..HISTORY].copy_from_slice(&before.buffer[end - HISTORY..end]);
                }
                gzip.fill(&mut piece.buffer, HISTORY)?
            }
            Self::Other(input) => {
                let mut end = HISTORY;
                while end < HISTORY + PIECE {
                    match input.read(&mut piece.buffer[end..HISTORY + PIECE]) {
                        Ok(0) => break,
                        Ok(length) => end += length,
                        Err(error) if error.kind() == IoKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                end
            }
        };
        if piece.place.is_empty() {
            return Ok(None);
        }
        let piece = Arc::new(piece);
        if let Self::Gzip(_, before) = self {
            *before = Some(piece.clone());
        }
        Ok(Some(piece))
    }
}

/// The pieces as one stream.
struct PieceReader<'pool> {
    pieces: Receiver<Result<Piece<'pool>>>,
    current: Option<Piece<'pool>>,
    at: usize,
    ended: bool,
}

impl BufRead for PieceReader<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        while !self.ended && self.current.as_ref().is_none_or(|piece| self.at >= piece.place.len()) {
            self.at = 0;
            self.current = match self.pieces.recv() {
                Ok(piece) => Some(piece.map_err(std::io::Error::other)?),
                Err(_) => {
                    self.ended = true;
                    None
                }
            };
        }
        Ok(self.current.as_ref().and_then(|piece| piece.bytes().get(self.at..)).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for PieceReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(out.len());
        out[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::digest_of;
    use std::io::{Seek, Write};
    use std::process::Command;

    fn all(input: &mut dyn BufRead) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        input.read_to_end(&mut out).map_err(|error| source_error(error, Compression::Plain))?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Through xz(1): the crate is a decoder here, and nothing else.
    fn xz(flags: &[&str], bytes: &[u8]) -> Vec<u8> {
        through("xz", flags, bytes)
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        through("bzip2", &["-1"], bytes)
    }

    fn through(program: &str, flags: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut plain = tempfile::tempfile().unwrap();
        plain.write_all(bytes).unwrap();
        plain.rewind().unwrap();
        let ended = Command::new(program).arg("-c").args(flags).stdin(plain).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        ended.stdout
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let step = |seed: &mut u64| {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            Some(seed.to_le_bytes()[3])
        };
        std::iter::repeat_n((), bytes).scan(88172645463325252u64, |seed, ()| step(seed)).collect()
    }

    #[test]
    fn every_form_gives_the_same_tar_and_both_digests() {
        let tar: Vec<u8> = (0..3_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let two_members = [gzip(&tar[..5_000_000]), gzip(&tar[5_000_000..])].concat();
        let two_streams = [xz(&["-0"], &tar[..5_000_000]), xz(&["-0"], &tar[5_000_000..])].concat();
        let zstd = zstd::encode_all(&tar[..], 1).unwrap();
        // As pbzip2 writes it; a stream may be empty.
        let parts = [bzip2(&tar[..5_000_000]), bzip2(b""), bzip2(&tar[5_000_000..])].concat();
        for blob in [tar.clone(), gzip(&tar), two_members, zstd, two_streams, bzip2(&tar), parts] {
            for streamed in [false, true] {
                let source = if streamed {
                    LayerSource::Reader { reader: Box::new(&blob[..]), size: None }
                } else {
                    LayerSource::Bytes(&blob)
                };
                let seen = std::sync::atomic::AtomicU64::new(0);
                let progress = |n| seen.store(n, std::sync::atomic::Ordering::Relaxed);
                let (bytes, digests) = read_hashed(source, true, &progress, all).unwrap();
                assert!(bytes == tar);
                assert_eq!(digests.diff_id, digest_of(&tar));
                assert_eq!(digests.blob, Some(digest_of(&blob)));
                assert!(seen.into_inner() > 0 || blob.len() < PIECE);
            }
        }
    }

    #[test]
    fn damage_and_foreign_compressions_have_clear_errors() {
        let whole = gzip(&vec![7; 1 << 20]);
        let read = |bytes: &[u8]| read_hashed(LayerSource::Bytes(bytes), false, &|_| {}, all).unwrap_err();
        let error = read(&whole[..whole.len() - 20]);
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Corrupt, "the gzip stream is truncated")
        );
        let mut flipped = whole.clone();
        let end = flipped.len() - 6;
        flipped[end] ^= 1;
        assert_eq!(read(&flipped).kind(), ErrorKind::Corrupt);
        let zstd = zstd::encode_all(&[7; 1000][..], 1).unwrap();
        assert_eq!(read(&zstd[..zstd.len() - 3]).kind(), ErrorKind::Corrupt);
        let error = read(b"LZIPrest");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("compressed with lzip"), "{error}");
        let whole = bzip2(&noise(1 << 20));
        for cut in [9, 100, whole.len() / 2, whole.len() - 1] {
            assert_eq!(read(&whole[..cut]).to_string(), "the bzip2 stream is truncated", "{cut}");
        }
        let second = [whole.as_slice(), &whole[..1000]].concat();
        assert_eq!(read(&second).to_string(), "the bzip2 stream is truncated");
        for at in [20, whole.len() / 2, whole.len() - 4] {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            let error = read(&flipped);
            assert!(
                error.kind() == ErrorKind::Corrupt && error.to_string().contains("bzip2 stream"),
                "{error}"
            );
        }
        assert_eq!(read(&[whole.as_slice(), b"rubbish"].concat()).kind(), ErrorKind::Corrupt);
        // A tar whose first file has such a name.
        assert_eq!(Compression::detect(b"BZh9-tar").unwrap(), Compression::Plain);
        let whole = xz(&["-0"], &vec![7; 1 << 20]);
        assert_eq!(read(&whole[..whole.len() - 20]).to_string(), "the xz stream is truncated");
        let mut flipped = whole.clone();
        let end = flipped.len() / 2;
        flipped[end] ^= 1;
        assert_eq!(read(&flipped).kind(), ErrorKind::Corrupt);
        let greedy = xz(&["--lzma2=preset=0,dict=768MiB"], b"little");
        assert_eq!(read(&greedy).to_string(), "the xz stream needs more than 512 MiB of memory");
    }

    #[test]
    fn a_reader_that_gives_up_ends_everything() {
        let blob = gzip(&vec![7; 64 << 20]);
        let failed = read_hashed(LayerSource::Bytes(&blob), true, &|_| {}, |_| -> Result<()> {
            Err(Error::invalid("enough"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "enough");
    }
}
