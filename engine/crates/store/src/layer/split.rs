//! The `split` file: all of a layer's tar but the file data.
//!
//! ```text
//!   0    "DHOWSPL1"
//!   8    u64 bytes of the tar     16  u64 bytes of files     24  u64 members
//!   32   u64 offset of the table  40  u64 number of payloads 48  zeros up to 64
//!   64   zstd frame of operations: 1 u32 length, bytes              that many bytes of the tar
//!                                  2 u32 payload, u32 count,        file data: pieces of that payload
//!                                    count × (u64 offset, u64 length)
//!                                  0                                the end
//!   …    zstd frame of the table, per payload: u8 where (0 the tree, 1 kept/), u32 length, path
//! ```
//!
//! Numbers are little-endian. The idea is tar-split's; the form is ours: it is read front to back, costs about
//! one per cent of the layer, and needs no JSON.

use crate::tarball::{Observer, Segment};
use dhow_model::{Error, Result, ResultExt};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::LayerInfo;

const MAGIC: &[u8; 8] = b"DHOWSPL1";
const HEADER: usize = 64;
const RAW: u8 = 1;
const PAYLOAD: u8 = 2;
const END: u8 = 0;
/// Headers are gathered up to this size before they become one operation.
const GATHER: usize = 64 << 10;
/// Headers compress to a tenth at any level; the first one costs least.
const LEVEL: i32 = 1;

/// Where the data of one file of the tar is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    /// Cleaned name in the tree, or a name in `kept/`.
    pub(super) path: Vec<u8>,
    /// Whether it is in `kept/`.
    pub(super) kept: bool,
    /// The file's number when it was written; not stored.
    pub(super) inode: u64,
}

/// Writes a split file while the tar is read.
pub(super) struct SplitWriter {
    out: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    raw: Vec<u8>,
    payloads: u32,
}

impl SplitWriter {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(path)
            .context(|| format!("create {}", path.display()))?;
        file.write_all(&[0; HEADER]).context(writing)?;
        let out = zstd::stream::write::Encoder::new(BufWriter::new(file), LEVEL).context(writing)?;
        Ok(Self { out, raw: Vec::with_capacity(GATHER), payloads: 0 })
    }

    /// The data of a file comes next; gives the payload's number.
    pub(super) fn payload(&mut self, segments: &[Segment]) -> Result<u32> {
        self.flush()?;
        let number = self.payloads;
        self.payloads =
            number.checked_add(1).ok_or_else(|| Error::corrupt("the layer has too many files"))?;
        let count =
            u32::try_from(segments.len()).map_err(|_| Error::corrupt("a file has too many pieces"))?;
        let mut op = vec![PAYLOAD];
        op.extend_from_slice(&number.to_le_bytes());
        op.extend_from_slice(&count.to_le_bytes());
        for piece in segments {
            op.extend_from_slice(&piece.offset.to_le_bytes());
            op.extend_from_slice(&piece.length.to_le_bytes());
        }
        self.out.write_all(&op).context(writing)?;
        Ok(number)
    }

    fn flush(&mut self) -> Result<()> {
        if !self.raw.is_empty() {
            let length = u32::try_from(self.raw.len()).map_err(|_| Error::internal("gathered too much"))?;
            self.out
                .write_all(&[RAW])
                .and_then(|()| self.out.write_all(&length.to_le_bytes()))
                .and_then(|()| self.out.write_all(&self.raw))
                .context(writing)?;
            self.raw.clear();
        }
        Ok(())
    }

    /// Writes the table and the header.
    pub(super) fn finish(mut self, info: &LayerInfo, payloads: &[Payload]) -> Result<()> {
        self.flush()?;
        self.out.write_all(&[END]).context(writing)?;
        let buffered = self.out.finish().context(writing)?;
        let mut file = buffered.into_inner().map_err(std::io::IntoInnerError::into_error).context(writing)?;
        let table_at = file.stream_position().context(writing)?;

        let mut table = zstd::stream::write::Encoder::new(BufWriter::new(file), LEVEL).context(writing)?;
        for payload in payloads {
            let length =
                u32::try_from(payload.path.len()).map_err(|_| Error::corrupt("a path is too long"))?;
            table
                .write_all(&[u8::from(payload.kept)])
                .and_then(|()| table.write_all(&length.to_le_bytes()))
                .and_then(|()| table.write_all(&payload.path))
                .context(writing)?;
        }
        let buffered = table.finish().context(writing)?;
        let file = buffered.into_inner().map_err(std::io::IntoInnerError::into_error).context(writing)?;

        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        let numbers = [info.tar_bytes, info.size_bytes, info.entries, table_at, payloads.len() as u64];
        for (field, number) in header[8..].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        file.write_all_at(&header, 0).context(writing)
    }
}

impl Observer for SplitWriter {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(GATHER) {
            self.raw.extend_from_slice(piece);
            if self.raw.len() >= GATHER {
                self.flush()?;
            }
        }
        Ok(())
    }
}

/// What comes next in the tar.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    /// These bytes.
    Raw(&'a [u8]),
    /// These pieces of that payload.
    Payload(usize, &'a [Segment]),
}

/// Reads a split file.
pub(super) struct SplitReader {
    pub(super) payloads: Vec<Payload>,
    ops: zstd::stream::read::Decoder<'static, BufReader<File>>,
    raw: Vec<u8>,
    segments: Vec<Segment>,
}

impl SplitReader {
    /// Reads only the sizes.
    pub(super) fn info(path: &Path) -> Result<LayerInfo> {
        let file = File::open(path).context(|| format!("open {}", path.display()))?;
        Ok(read_header(&file)?.0)
    }

    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).context(|| format!("open {}", path.display()))?;
        let (_, table_at, count) = read_header(&file)?;
        file.seek(SeekFrom::Start(table_at)).context(reading)?;
        let mut table = zstd::stream::read::Decoder::new(&file).context(reading)?;
        let mut payloads = Vec::new();
        for _ in 0..count {
            let [kept] = take(&mut table)?;
            let mut path = vec![0; u32::from_le_bytes(take(&mut table)?) as usize];
            table.read_exact(&mut path).context(reading)?;
            payloads.push(Payload { path, kept: kept != 0, inode: 0 });
        }
        drop(table);
        file.seek(SeekFrom::Start(HEADER as u64)).context(reading)?;
        let ops = zstd::stream::read::Decoder::new(file).context(reading)?.single_frame();
        Ok(Self { payloads, ops, raw: Vec::new(), segments: Vec::new() })
    }

    /// The next operation, `None` at the end.
    pub(super) fn next_op(&mut self) -> Result<Option<Op<'_>>> {
        let [kind] = take(&mut self.ops)?;
        match kind {
            END => Ok(None),
            RAW => {
                self.raw.resize(u32::from_le_bytes(take(&mut self.ops)?) as usize, 0);
                self.ops.read_exact(&mut self.raw).context(reading)?;
                Ok(Some(Op::Raw(&self.raw)))
            }
            PAYLOAD => {
                let number = u32::from_le_bytes(take(&mut self.ops)?) as usize;
                let count = u32::from_le_bytes(take(&mut self.ops)?);
                self.segments.clear();
                for _ in 0..count {
                    let offset = u64::from_le_bytes(take(&mut self.ops)?);
                    let length = u64::from_le_bytes(take(&mut self.ops)?);
                    self.segments.push(Segment { offset, length });
                }
                Ok(Some(Op::Payload(number, &self.segments)))
            }
            other => Err(Error::corrupt(format!("a split file has an unknown operation {other}"))),
        }
    }
}

fn read_header(file: &File) -> Result<(LayerInfo, u64, u64)> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).context(reading)?;
    if &header[..8] != MAGIC {
        return Err(Error::corrupt("a split file has no magic number"));
    }
    let mut numbers = header[8..].chunks_exact(8).map(|field| {
        let mut number = [0; 8];
        number.copy_from_slice(field);
        u64::from_le_bytes(number)
    });
    let mut next = || numbers.next().unwrap_or(0);
    let info = LayerInfo { tar_bytes: next(), size_bytes: next(), entries: next() };
    Ok((info, next(), next()))
}

fn take<const N: usize>(input: &mut dyn Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).context(reading)?;
    Ok(bytes)
}

fn writing() -> String {
    "write a layer's split file".to_owned()
}

fn reading() -> String {
    "read a layer's split file".to_owned()
}
