//! Writing any member there is: a POSIX header, and PAX records for what does not fit into it.
//!
//! The same entry always gives the same bytes. Sparse files are written in GNU's PAX form 1.0, which Go's
//! `archive/tar`, GNU tar and libarchive read: the map comes before the data, as decimal lines.

use super::{BLOCK, Entry, Kind};
use dhow_model::{Error, ErrorKind, Result};
use std::io::Write;

/// What octal digits in an 8-byte field hold.
const ID_MAX: u32 = 0o7_777_777;
/// What octal digits in a 12-byte field hold.
const SIZE_MAX: u64 = 0o77_777_777_777;
/// The name in the header of a member that PAX records name.
const NAME_MAX: usize = 100;

/// Writes the headers of a member, and the map of a sparse file. The data of its segments follows, then
/// [`padding`].
///
/// # Errors
/// When the output fails.
pub fn write_headers(out: &mut dyn Write, entry: &Entry) -> Result<()> {
    let map = if entry.kind == Kind::File && entry.is_sparse() { sparse_map(entry) } else { Vec::new() };
    let records = records(entry, !map.is_empty());
    let size = if entry.kind == Kind::File { entry.stored() + map.len() as u64 } else { 0 };
    let mut blocks = Vec::new();
    if !records.is_empty() {
        blocks.extend(header(&pax_name(&entry.path), b'x', 0o644, records.len() as u64, entry, true));
        blocks.extend(&records);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let name = if map.is_empty() { entry.path.clone() } else { [b"GNUSparseFile.0/", &*entry.path].concat() };
    blocks.extend(header(&name, flag(entry.kind), entry.mode, size, entry, false));
    blocks.extend(map);
    out.write_all(&blocks).map_err(failed)
}

/// Zeros after so many bytes of data, up to the next block.
///
/// # Errors
/// When the output fails.
pub fn padding(out: &mut dyn Write, stored: u64) -> Result<()> {
    let rest = usize::try_from(stored.wrapping_neg() % BLOCK as u64).unwrap_or(0);
    out.write_all(&[0; BLOCK][..rest]).map_err(failed)
}

/// The end of an archive.
///
/// # Errors
/// When the output fails.
pub fn end(out: &mut dyn Write) -> Result<()> {
    out.write_all(&[0; 2 * BLOCK]).and_then(|()| out.flush()).map_err(failed)
}

pub(crate) fn failed(error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Unavailable, "write archive", error)
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
        Kind::Other(flag) => flag,
    }
}

/// The map of a sparse file: number of pieces, then offset and length of each, padded to a block.
fn sparse_map(entry: &Entry) -> Vec<u8> {
    let mut pieces: Vec<(u64, u64)> = entry.segments.iter().map(|s| (s.offset, s.length)).collect();
    if pieces.last().is_none_or(|(offset, length)| offset + length < entry.size) {
        pieces.push((entry.size, 0));
    }
    let mut map = format!("{}\n", pieces.len()).into_bytes();
    for (offset, length) in pieces {
        map.extend(format!("{offset}\n{length}\n").into_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

fn records(entry: &Entry, is_sparse: bool) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| push_record(&mut records, key, value);
    if is_sparse {
        add(b"GNU.sparse.major", b"1");
        add(b"GNU.sparse.minor", b"0");
        add(b"GNU.sparse.name", &entry.path);
        add(b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
    } else if entry.path.len() > NAME_MAX || !entry.path.is_ascii() {
        add(b"path", &entry.path);
    }
    if entry.link.len() > NAME_MAX || !entry.link.is_ascii() {
        add(b"linkpath", &entry.link);
    }
    if entry.uid > ID_MAX {
        add(b"uid", entry.uid.to_string().as_bytes());
    }
    if entry.gid > ID_MAX {
        add(b"gid", entry.gid.to_string().as_bytes());
    }
    if !is_sparse && entry.kind == Kind::File && entry.size > SIZE_MAX {
        add(b"size", entry.size.to_string().as_bytes());
    }
    let mtime = entry.mtime;
    if mtime.nanos != 0 || u64::try_from(mtime.seconds).ok().is_none_or(|seconds| seconds > SIZE_MAX) {
        add(b"mtime", time(mtime.seconds, mtime.nanos).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// Seconds with a fraction; before 1970 both count downwards.
fn time(seconds: i64, nanos: u32) -> String {
    let (sign, whole, fraction) = match (seconds < 0, nanos) {
        (true, 1..) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (false, _) => ("", seconds.unsigned_abs(), nanos),
    };
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned()
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} ").into_bytes());
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// The name of the extended header, which no reader takes for more than a remark.
fn pax_name(path: &[u8]) -> Vec<u8> {
    let last = path.rsplit(|&b| b == b'/').find(|part| !part.is_empty()).unwrap_or(b"root");
    [b"PaxHeaders.0/", &last[..last.len().min(NAME_MAX - 13)]].concat()
}

fn header(name: &[u8], flag: u8, mode: u32, size: u64, entry: &Entry, is_extension: bool) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let put = |block: &mut [u8; BLOCK], at: usize, text: &[u8]| {
        let length = text.len().min(NAME_MAX);
        block[at..at + length].copy_from_slice(&text[..length]);
    };
    put(&mut block, 0, name);
    let id = |id: u32| if is_extension || id > ID_MAX { 0 } else { u64::from(id) };
    octal(&mut block[100..108], u64::from(mode & 0o7777));
    octal(&mut block[108..116], id(entry.uid));
    octal(&mut block[116..124], id(entry.gid));
    octal(&mut block[124..136], size.min(SIZE_MAX));
    octal(&mut block[136..148], u64::try_from(entry.mtime.seconds).unwrap_or(0).min(SIZE_MAX));
    block[148..156].fill(b' ');
    block[156] = flag;
    if !is_extension && matches!(entry.kind, Kind::HardLink | Kind::Symlink) {
        put(&mut block, 157, &entry.link);
    }
    block[257..265].copy_from_slice(b"ustar\x0000");
    let (major, minor) = if is_extension { (0, 0) } else { entry.device };
    octal(&mut block[329..337], u64::from(major));
    octal(&mut block[337..345], u64::from(minor));
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    octal(&mut block[148..155], sum);
    block
}

/// Octal digits up to a closing NUL.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b"01234567"[usize::try_from(value & 7).unwrap_or(0)];
        value >>= 3;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mtime, Reader, Segment};
    use super::*;

    fn entry(path: &[u8], kind: Kind) -> Entry {
        Entry {
            path: path.to_vec(),
            link: Vec::new(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Mtime::default(),
            device: (0, 0),
            xattrs: Vec::new(),
            segments: Vec::new(),
            header_at: 0,
            data_at: 0,
        }
    }

    fn round_trip(entry: &Entry) -> Entry {
        let mut bytes = Vec::new();
        write_headers(&mut bytes, entry).unwrap();
        bytes.extend(vec![b'd'; usize::try_from(entry.stored()).unwrap()]);
        padding(&mut bytes, entry.stored()).unwrap();
        end(&mut bytes).unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = Reader::new(&bytes[..]);
        let mut read = reader.next_entry().unwrap().unwrap();
        assert!(reader.next_entry().unwrap().is_none() && reader.has_end_marker());
        (read.header_at, read.data_at) = (0, 0);
        read
    }

    #[test]
    fn every_member_comes_back_as_it_was() {
        let long = [b"d/".repeat(120).as_slice(), b"name"].concat();
        let mut all = vec![entry(b"f", Kind::File), entry(b"d/", Kind::Directory), entry(&long, Kind::Fifo)];
        all.push(Entry { uid: 4_000_000_000, gid: 2_097_152, mode: 0o6755, ..entry(b"big-ids", Kind::File) });
        for (seconds, nanos) in [(-5, 250_000_000), (-5, 0), (1_700_000_000, 1), (1 << 34, 0)] {
            all.push(Entry { mtime: Mtime { seconds, nanos }, ..entry(b"time", Kind::File) });
        }
        all.push(Entry { link: long.clone(), ..entry("l\u{e4}".as_bytes(), Kind::Symlink) });
        all.push(Entry { link: b"\xff\xfe".to_vec(), ..entry(b"\xc3(", Kind::HardLink) });
        all.push(Entry { device: (259, 1_048_575), ..entry(b"dev", Kind::BlockDevice) });
        let xattrs = vec![
            (b"security.capability".to_vec(), b"\x01\0\0\x02=\n\0".to_vec()),
            (b"user.empty".to_vec(), Vec::new()),
        ];
        all.push(Entry { xattrs, ..entry(b"x", Kind::File) });
        let segments = vec![Segment { offset: 0, length: 700 }];
        all.push(Entry { size: 700, segments, ..entry(b"data", Kind::File) });
        for mut each in all {
            // A directory's name is read back without its slash or with it, as it was written.
            assert_eq!(round_trip(&each), each);
            each.path = b"again".to_vec();
            assert_eq!(round_trip(&each), each);
        }
    }

    #[test]
    fn holes_come_back() {
        for segments in [vec![], vec![(4096, 10)], vec![(0, 512), (1 << 40, 3)], vec![(100, 1 << 20)]] {
            let segments: Vec<Segment> =
                segments.into_iter().map(|(offset, length)| Segment { offset, length }).collect();
            let sparse = Entry { size: 1 << 41, segments, ..entry(b"d/sparse", Kind::File) };
            assert_eq!(round_trip(&sparse), sparse);
        }
    }
}
