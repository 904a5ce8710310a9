//! The walker: from bytes to members and their data.

use super::entry::{Entry, Kind, Mtime, Segment};
use super::header::{self, Block, Dialect};
use super::pax::{self, lossy};
use super::{BLOCK, sparse};
use dhow_model::{Error, ErrorKind, Result, limits};
use std::io::{BufRead, BufReader, Read, Seek};

/// An extended header larger than this is refused; Go's reader has the same limit. Linux lets a file have 64 KiB
/// of extended attributes on most filesystems.
const SPECIAL_MAX: u64 = limits::HEADER_BYTES.most();

/// Sees every byte of an archive that is not file data, in order.
pub trait Observer {
    /// More such bytes.
    ///
    /// # Errors
    /// Whatever the observer fails with ends the walk.
    fn raw(&mut self, bytes: &[u8]) -> Result<()>;
}

impl Observer for () {
    fn raw(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Walks an archive.
pub struct Reader<R, O = ()> {
    input: R,
    observer: O,
    /// Offset of the next byte that was not yet taken.
    position: u64,
    /// Bytes handed out by `next_chunk` that the input still holds.
    handed_out: usize,
    /// The data of the current member that nobody took yet, last piece first.
    pieces: Vec<Segment>,
    /// Bytes after the data, up to the next block.
    padding: u64,
    globals: Vec<(Vec<u8>, Vec<u8>)>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Members,
    EndMarker,
    BareEnd,
}

/// What the special members before a member say about it.
#[derive(Default)]
struct Special {
    records: Vec<(Vec<u8>, Vec<u8>)>,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    seen: bool,
}

impl<R: BufRead> Reader<R> {
    /// Walks `input` from its first byte.
    pub fn new(input: R) -> Self {
        Self::observed(input, ())
    }
}

impl<F: Read + Seek> Reader<BufReader<F>> {
    /// Goes past the current member's data without reading it. That the data is there is for the caller to know.
    ///
    /// # Errors
    /// What the input fails with.
    pub fn skip_data(&mut self) -> Result<()> {
        self.take_handed_out();
        let at = self.position;
        let data: u64 = self.pieces.drain(..).map(|piece| piece.length).sum();
        let bytes = data.saturating_add(std::mem::take(&mut self.padding));
        let far = i64::try_from(bytes).map_err(|_| corrupt(at, "a member is too large"))?;
        self.input.seek_relative(far).map_err(|error| input_error(error, at))?;
        self.position += bytes;
        Ok(())
    }
}

impl<R: BufRead, O: Observer> Reader<R, O> {
    /// The same, and shows `observer` everything but file data. File data that nobody asks for is shown too.
    pub fn observed(input: R, observer: O) -> Self {
        Self {
            input,
            observer,
            position: 0,
            handed_out: 0,
            pieces: Vec::new(),
            padding: 0,
            globals: Vec::new(),
            state: State::Members,
        }
    }

    /// The observer.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// The observer, when the walk is over.
    pub fn into_observer(self) -> O {
        self.observer
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the archive ended with the marker that the format asks for, and not just where the bytes ended.
    pub fn has_end_marker(&self) -> bool {
        self.state == State::EndMarker
    }

    /// The next member, or `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` with the byte offset; whatever the input or the observer fails with.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.pass_rest()?;
        let mut special = Special::default();
        while self.state == State::Members {
            let at = self.position;
            let Some(block) = self.read_block()? else {
                if special.seen {
                    return Err(corrupt(at, "the archive ends after an extended header"));
                }
                self.state = State::BareEnd;
                break;
            };
            if block.iter().all(|&b| b == 0) {
                if self.read_block()?.is_some_and(|second| second.iter().any(|&b| b != 0)) {
                    return Err(corrupt(at, "a lone block of zeros among the members"));
                }
                self.state = State::EndMarker;
                break;
            }
            header::verify_checksum(&block).map_err(|why| corrupt(at, &why))?;
            match block[156] {
                flag @ (b'x' | b'X' | b'g' | b'L' | b'K') => {
                    let body = self.read_special(at, &block)?;
                    special.seen = true;
                    match flag {
                        b'L' => special.gnu_name = Some(header::text(&body).to_vec()),
                        b'K' => special.gnu_link = Some(header::text(&body).to_vec()),
                        b'g' => {
                            self.globals.extend(pax::parse_records(&body).map_err(|why| corrupt(at, &why))?);
                            if self.globals.len() as u64 > limits::GLOBAL_RECORDS.most() {
                                return Err(corrupt(at, "more than 4096 global records"));
                            }
                            let bytes = self.globals.iter().map(|(key, value)| key.len() + value.len()).sum();
                            limits::HEADER_BYTES.check_count(
                                || format!("corrupt tar at byte {at}: its global records"),
                                bytes,
                            )?;
                        }
                        _ => special.records = pax::parse_records(&body).map_err(|why| corrupt(at, &why))?,
                    }
                }
                _ => return self.member(at, &block, special).map(Some),
            }
        }
        Ok(None)
    }

    /// The next piece of the current member's data: where it belongs in the file, and the bytes. `None` when all
    /// was taken.
    ///
    /// # Errors
    /// `Corrupt` when the archive ends before the data does.
    pub fn next_chunk(&mut self) -> Result<Option<(u64, &[u8])>> {
        self.take_handed_out();
        let Some(piece) = self.pieces.last_mut() else { return Ok(None) };
        let at = self.position;
        let bytes = self.input.fill_buf().map_err(|e| input_error(e, at))?;
        if bytes.is_empty() {
            return Err(corrupt(
                at,
                &format!("the archive ends, {} more bytes of file data were to come", piece.length),
            ));
        }
        let length = usize::try_from(piece.length).map_or(bytes.len(), |wanted| wanted.min(bytes.len()));
        let offset = piece.offset;
        let taken = length as u64;
        piece.offset += taken;
        piece.length -= taken;
        if piece.length == 0 {
            self.pieces.pop();
        }
        self.handed_out = length;
        Ok(Some((offset, &bytes[..length])))
    }

    /// Shows the observer all that follows the end of the archive, and gives the number of bytes in all.
    ///
    /// # Errors
    /// Whatever the input or the observer fails with.
    pub fn finish(&mut self) -> Result<u64> {
        self.pass_rest()?;
        loop {
            let at = self.position;
            let bytes = self.input.fill_buf().map_err(|e| input_error(e, at))?;
            let length = bytes.len();
            if length == 0 {
                return Ok(self.position);
            }
            self.observer.raw(bytes)?;
            self.consume(length);
        }
    }

    fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.position += length as u64;
    }

    fn take_handed_out(&mut self) {
        let length = std::mem::take(&mut self.handed_out);
        if length > 0 {
            self.consume(length);
        }
    }

    /// Passes what is left of the current member to the observer.
    fn pass_rest(&mut self) -> Result<()> {
        self.take_handed_out();
        let data: u64 = self.pieces.drain(..).map(|p| p.length).sum();
        let padding = std::mem::take(&mut self.padding);
        self.pass(data, true)?;
        self.pass(padding, false)
    }

    fn pass(&mut self, mut length: u64, data: bool) -> Result<()> {
        while length > 0 {
            let at = self.position;
            let bytes = self.input.fill_buf().map_err(|e| input_error(e, at))?;
            if bytes.is_empty() {
                // Some writers leave out the padding after the very last member.
                return if data {
                    Err(corrupt(at, &format!("the archive ends, {length} more bytes were to come")))
                } else {
                    Ok(())
                };
            }
            let taken = usize::try_from(length).map_or(bytes.len(), |wanted| wanted.min(bytes.len()));
            self.observer.raw(&bytes[..taken])?;
            self.consume(taken);
            length -= taken as u64;
        }
        Ok(())
    }

    /// One block, or `None` at the end of the input.
    fn read_block(&mut self) -> Result<Option<Block>> {
        let (start, mut block, mut filled) = (self.position, [0; BLOCK], 0);
        while filled < BLOCK {
            let at = self.position;
            let bytes = self.input.fill_buf().map_err(|e| input_error(e, at))?;
            if bytes.is_empty() {
                if filled == 0 {
                    return Ok(None);
                }
                return Err(corrupt(start, &format!("the archive ends {filled} bytes into a block")));
            }
            let taken = bytes.len().min(BLOCK - filled);
            block[filled..filled + taken].copy_from_slice(&bytes[..taken]);
            filled += taken;
            self.consume(taken);
        }
        self.observer.raw(&block)?;
        Ok(Some(block))
    }

    /// The next block, which must be there.
    fn need_block(&mut self) -> Result<Block> {
        let at = self.position;
        self.read_block()?.ok_or_else(|| corrupt(at, "the archive ends within a member"))
    }

    /// The data of an extended header.
    fn read_special(&mut self, at: u64, block: &Block) -> Result<Vec<u8>> {
        let size = size_field(at, block)?;
        if size > SPECIAL_MAX {
            return Err(corrupt(
                at,
                &format!("an extended header of {size} bytes; at most {SPECIAL_MAX} are taken"),
            ));
        }
        let mut body = Vec::new();
        for _ in 0..size.div_ceil(BLOCK as u64) {
            body.extend_from_slice(&self.need_block()?);
        }
        body.truncate(usize::try_from(size).unwrap_or(body.len()));
        Ok(body)
    }

    fn member(&mut self, at: u64, block: &Block, special: Special) -> Result<Entry> {
        let bad = |why: &str| corrupt(at, why);
        let dialect = header::dialect(block);
        let records =
            Records::collect(self.globals.iter().chain(&special.records)).map_err(|why| bad(&why))?;

        let path = records.path.or(special.gnu_name).unwrap_or_else(|| header::path(block, dialect));
        let link =
            records.link.or(special.gnu_link).unwrap_or_else(|| header::text(&block[157..257]).to_vec());
        if path.contains(&0) || link.contains(&0) {
            return Err(bad("a name contains a NUL byte"));
        }
        let kind = kind_of(block[156], &path);
        let id = |value: Option<u64>, field: &[u8], what: &str| -> Result<u32> {
            let value =
                value.map(Some).unwrap_or_else(|| header::number(field).and_then(|n| u64::try_from(n).ok()));
            value.and_then(|n| u32::try_from(n).ok()).ok_or_else(|| {
                bad(&format!("the {what} of {:?} is not a number from 0 to 4294967295", lossy(&path)))
            })
        };
        let uid = id(records.uid, &block[108..116], "owner")?;
        let gid = id(records.gid, &block[116..124], "group")?;
        let mode = header::number(&block[100..108])
            .and_then(|mode| u32::try_from(mode & 0o7777).ok())
            .ok_or_else(|| bad(&format!("the mode of {:?} is not a number", lossy(&path))))?;
        let mtime = match records.mtime {
            Some(mtime) => mtime,
            None => header::number(&block[136..148])
                .map(|seconds| Mtime { seconds, nanos: 0 })
                .ok_or_else(|| bad(&format!("the time of {:?} is not a number", lossy(&path))))?,
        };
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice if dialect != Dialect::V7 => {
                (id(None, &block[329..337], "major number")?, id(None, &block[337..345], "minor number")?)
            }
            _ => (0, 0),
        };

        // Links, devices, directories and pipes have no data, whatever their size field says.
        let header_only = !matches!(kind, Kind::File | Kind::Other(_)) && block[156] != b'D';
        let mut stored = match (header_only, records.size) {
            (true, _) => 0,
            (false, Some(size)) => size,
            (false, None) => size_field(at, block)?,
        };
        self.padding = stored.wrapping_neg() % BLOCK as u64;
        let mut size = stored;
        let mut segments = Vec::new();
        if kind != Kind::File {
            size = 0;
            segments.extend((stored > 0).then_some(Segment { offset: 0, length: stored }));
        } else if block[156] == b'S' {
            (segments, size) = self.old_sparse(at, block)?;
        } else if let Some(map) = records.sparse {
            size = records.sparse_size.ok_or_else(|| bad("a sparse map without the real size"))?;
            segments = match map {
                SparseMap::Listed(segments) => segments,
                SparseMap::InData => self.map_in_data(at, &mut stored)?,
            };
        } else {
            segments.extend((stored > 0).then_some(Segment { offset: 0, length: stored }));
        }
        if kind == Kind::File {
            sparse::check(&segments, size, stored).map_err(|why| bad(&why))?;
        }
        self.pieces = segments.iter().rev().copied().collect();
        // Data of members that are not files is nobody's: only the observer sees it.
        let segments = if kind == Kind::File { segments } else { Vec::new() };
        let data_at = self.position;
        Ok(Entry {
            path,
            link,
            kind,
            mode,
            uid,
            gid,
            size,
            mtime,
            device,
            xattrs: records.xattrs,
            segments,
            header_at: at,
            data_at,
        })
    }

    fn old_sparse(&mut self, at: u64, block: &Block) -> Result<(Vec<Segment>, u64)> {
        let (mut segments, mut more, size) = sparse::old_header(block).map_err(|why| corrupt(at, &why))?;
        while more {
            let block = self.need_block()?;
            sparse::push_old_pairs(&block[..504], &mut segments).map_err(|why| corrupt(at, &why))?;
            more = block[504] != 0;
        }
        Ok((segments, size))
    }

    /// PAX 1.0: takes the map from the start of the data, and what it used from `stored`.
    fn map_in_data(&mut self, at: u64, stored: &mut u64) -> Result<Vec<Segment>> {
        let mut lines: Vec<u64> = Vec::new();
        let mut wanted = 1;
        let mut digits: Vec<u8> = Vec::new();
        let bad = || corrupt(at, "the sparse map before the data is not lines of numbers");
        while lines.len() < wanted {
            *stored = stored.checked_sub(BLOCK as u64).ok_or_else(bad)?;
            for byte in self.need_block()? {
                if lines.len() == wanted {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(bad());
                    }
                    continue;
                }
                let value = pax::decimal(&digits).ok_or_else(bad)?;
                digits.clear();
                if lines.is_empty() {
                    wanted = usize::try_from(value)
                        .ok()
                        .filter(|&n| n <= sparse::SEGMENTS_MAX)
                        .map(|n| 2 * n + 1)
                        .ok_or_else(bad)?;
                }
                lines.push(value);
            }
        }
        let mut segments = Vec::new();
        for pair in lines[1..].chunks_exact(2) {
            sparse::push(&mut segments, pair[0], pair[1]).map_err(|why| corrupt(at, &why))?;
        }
        Ok(segments)
    }
}

/// Where a PAX sparse map is.
enum SparseMap {
    Listed(Vec<Segment>),
    InData,
}

/// The PAX records that mean something to us.
#[derive(Default)]
struct Records {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Mtime>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of their names.
    xattr_names: usize,
    sparse: Option<SparseMap>,
    sparse_size: Option<u64>,
}

impl Records {
    /// Later records win. An empty value takes an earlier one back.
    fn collect<'a>(records: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        let mut this = Self::default();
        let (mut sparse_name, mut listed, mut pending, mut version) = (None, None, None, (None, None));
        for (key, value) in records {
            let number = || -> Result<Option<u64>, String> {
                if value.is_empty() {
                    return Ok(None);
                }
                let parsed = pax::decimal(value);
                parsed.map(Some).ok_or_else(|| {
                    format!("the PAX record {:?} is {:?}, not a number", lossy(key), lossy(value))
                })
            };
            let text = || (!value.is_empty()).then(|| value.clone());
            match key.as_slice() {
                b"path" => this.path = text(),
                b"linkpath" => this.link = text(),
                b"size" => this.size = number()?,
                b"uid" => this.uid = number()?,
                b"gid" => this.gid = number()?,
                b"mtime" if value.is_empty() => this.mtime = None,
                b"mtime" => {
                    let time = pax::time(value)
                        .ok_or_else(|| format!("the PAX time {:?} is not a time", lossy(value)))?;
                    this.mtime = Some(time);
                }
                b"GNU.sparse.name" => sparse_name = text(),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => this.sparse_size = number()?,
                b"GNU.sparse.major" => version.0 = number()?,
                b"GNU.sparse.minor" => version.1 = number()?,
                b"GNU.sparse.map" => listed = Some(sparse::parse_list(value)?),
                b"GNU.sparse.offset" => pending = number()?,
                b"GNU.sparse.numbytes" => {
                    let (Some(offset), Some(length)) = (pending.take(), number()?) else {
                        return Err("a sparse piece without its offset".to_owned());
                    };
                    sparse::push(listed.get_or_insert_default(), offset, length)?;
                }
                _ => this.xattr(key, value)?,
            }
        }
        this.sparse = match (version, listed) {
            ((None | Some(0), _), Some(listed)) => Some(SparseMap::Listed(listed)),
            ((None | Some(0), _), None) => None,
            ((Some(1), Some(0)), _) => Some(SparseMap::InData),
            ((Some(major), minor), _) => {
                return Err(format!("sparse format {major}.{} is not known", minor.unwrap_or(0)));
            }
        };
        if sparse_name.is_some() {
            this.path = sparse_name;
        }
        Ok(this)
    }

    fn xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let (name, value, ours) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            (name.to_vec(), value.to_vec(), true)
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            match (pax::percent_decode(name), pax::base64_decode(value)) {
                (Some(name), Some(value)) => (name, value, false),
                _ => return Err(format!("the PAX record {:?} cannot be decoded", lossy(key))),
            }
        } else {
            return Ok(());
        };
        if name.is_empty() || name.contains(&0) {
            return Err(format!("the PAX record {:?} names no extended attribute", lossy(key)));
        }
        match self.xattrs.iter_mut().find(|(known, _)| *known == name) {
            // libarchive writes both forms; they agree, and the plain one is exact.
            Some(known) if ours => known.1 = value,
            Some(_) => {}
            None => {
                self.xattr_names += name.len() + 1;
                if self.xattr_names as u64 > limits::ATTRIBUTE_NAMES_BYTES.most() {
                    return Err("a member with more extended attributes than Linux lists".to_owned());
                }
                self.xattrs.push((name, value));
            }
        }
        Ok(())
    }
}

fn kind_of(flag: u8, path: &[u8]) -> Kind {
    match flag {
        // Before POSIX a directory was a file whose name ends in a slash.
        0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    }
}

fn size_field(at: u64, block: &Block) -> Result<u64> {
    header::number(&block[124..136])
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| corrupt(at, "the size field is not a number"))
}

/// `corrupt tar at byte N: why`.
fn corrupt(at: u64, why: &str) -> Error {
    Error::corrupt(format!("corrupt tar at byte {at}: {why}"))
}

/// An error of the input, which may carry one of ours from a decompressor.
fn input_error(error: std::io::Error, at: u64) -> Error {
    let reading = || format!("read tar at byte {at}");
    if !error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        return Error::caused(ErrorKind::Internal, reading(), error);
    }
    match error.into_inner().map(|inner| inner.downcast::<Error>()) {
        Some(Ok(ours)) => *ours,
        _ => Error::internal(reading()),
    }
}
