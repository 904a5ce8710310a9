//! Looking names up in an index without mounting it: what a layer says about a directory, for `below.rs`.

use super::erofs::{BLOCK, DIRENT_BYTES, HOLE, INODE_BYTES, LAYOUT_PLAIN, MAGIC, PREFIXES, SLOT, SUPERBLOCK};
use crate::layer::below::Attributes;
use dhow_model::{Error, Result, ResultExt};
use dhow_sys::fsat::Time;
use std::path::Path;

/// An index in memory.
pub(crate) struct Index {
    bytes: Vec<u8>,
}

/// An inode's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u64);

impl Index {
    /// Reads an index.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let reading = || format!("read {}", path.display());
        Self::of_bytes(std::fs::read(path).context(reading)?)
            .map_err(|error| Error::caused(error.kind(), reading(), error))
    }

    /// One that is in memory.
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Result<Self> {
        let index = Self { bytes };
        if index.u32(SUPERBLOCK as u64)? != MAGIC {
            return Err(Error::corrupt("this is no index of ours"));
        }
        Ok(index)
    }

    /// The root directory.
    pub(crate) fn root(&self) -> Result<Number> {
        Ok(Number(u64::from(self.u16(SUPERBLOCK as u64 + 14)?)))
    }

    /// The entry of that name in a directory.
    pub(crate) fn find(&self, dir: Number, name: &[u8]) -> Result<Option<Number>> {
        let mut found = None;
        self.entries(dir, |text, number| {
            if text == name {
                found = Some(number);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// All entries of a directory, in the order in which they are there.
    pub(super) fn list(&self, dir: Number) -> Result<Vec<(Vec<u8>, Number)>> {
        let mut all = Vec::new();
        self.entries(dir, |text, number| {
            all.push((text.to_vec(), number));
            true
        })?;
        Ok(all)
    }

    /// Shows the entries of a directory until `see` has enough.
    fn entries(&self, dir: Number, mut see: impl FnMut(&[u8], Number) -> bool) -> Result<()> {
        let at = dir.0.saturating_mul(SLOT);
        let (size, start) = (self.u64(at + 8)?, u64::from(self.u32(at + 16)?) * BLOCK);
        if !self.is_dir(dir)? || self.layout(dir)?.0 != LAYOUT_PLAIN {
            return Ok(());
        }
        let mut done = 0;
        while done < size {
            let block = self.slice(start.saturating_add(done), BLOCK.min(size - done))?;
            done += BLOCK;
            let entry = |n: usize| block.get(n * DIRENT_BYTES..(n + 1) * DIRENT_BYTES);
            let name_at = |entry: &[u8]| usize::from(u16::from_le_bytes([entry[8], entry[9]]));
            let count = entry(0).map_or(0, |first| name_at(first) / DIRENT_BYTES);
            for n in 0..count {
                let Some(this) = entry(n) else { return Err(damaged()) };
                let end = if n + 1 < count { entry(n + 1).map_or(block.len(), name_at) } else { block.len() };
                let text = block.get(name_at(this)..end).ok_or_else(damaged)?;
                let text = text.split(|&b| b == 0).next().unwrap_or_default();
                let number = u64::from_le_bytes(this[..8].try_into().map_err(|_| damaged())?);
                if !see(text, Number(number)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// How a file's data is laid out, and its size.
    pub(super) fn layout(&self, file: Number) -> Result<(u16, u64)> {
        let at = file.0.saturating_mul(SLOT);
        Ok((self.u16(at)? >> 1, self.u64(at + 8)?))
    }

    /// Block of the tar and length of each chunk of a file that is no hole.
    pub(super) fn chunks(&self, file: Number, size: u64) -> Result<Vec<(u64, u64)>> {
        let at = file.0.saturating_mul(SLOT);
        let words = u64::from(self.u16(at + 2)?);
        let xattrs = if words == 0 { 0 } else { 12 + 4 * (words - 1) };
        let start = (at + INODE_BYTES + xattrs).next_multiple_of(8);
        let length = BLOCK << (self.u32(at + 16)? & 0x1f);
        let mut found = Vec::new();
        for n in 0..size.div_ceil(length) {
            let block = self.u32(start + 8 * n + 4)?;
            if block != HOLE {
                found.push((u64::from(block), length.min(size - n * length)));
            }
        }
        Ok(found)
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self, file: Number) -> Result<bool> {
        Ok(u32::from(self.u16(file.0.saturating_mul(SLOT) + 4)?) & libc::S_IFMT == libc::S_IFDIR)
    }

    /// Owner, mode, time and extended attributes.
    pub(crate) fn attributes(&self, file: Number) -> Result<Attributes> {
        let at = file.0.saturating_mul(SLOT);
        let mut xattrs = Vec::new();
        let words = u64::from(self.u16(at + 2)?);
        if words > 0 {
            let mut place = at + INODE_BYTES + 12;
            let end = place + 4 * (words - 1);
            while place < end {
                let head = self.slice(place, 4)?;
                let (name, value) = (u64::from(head[0]), u64::from(u16::from_le_bytes([head[2], head[3]])));
                let prefix = PREFIXES.iter().find(|(number, _)| *number == head[1]).ok_or_else(damaged)?.1;
                let name_bytes = [prefix, self.slice(place + 4, name)?].concat();
                xattrs.push((name_bytes, self.slice(place + 4 + name, value)?.to_vec()));
                place += (4 + name + value).next_multiple_of(4);
            }
        }
        Ok(Attributes {
            mode: u32::from(self.u16(at + 4)?),
            uid: self.u32(at + 24)?,
            gid: self.u32(at + 28)?,
            mtime: Time { seconds: self.u64(at + 32)?.cast_signed(), nanos: self.u32(at + 40)? },
            xattrs,
        })
    }

    fn slice(&self, at: u64, length: u64) -> Result<&[u8]> {
        let start = usize::try_from(at).map_err(|_| damaged())?;
        let end = at.checked_add(length).and_then(|end| usize::try_from(end).ok()).ok_or_else(damaged)?;
        self.bytes.get(start..end).ok_or_else(damaged)
    }

    fn array<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        self.slice(at, N as u64)?.try_into().map_err(|_| damaged())
    }

    fn u16(&self, at: u64) -> Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: u64) -> Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: u64) -> Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}

fn damaged() -> Error {
    Error::corrupt("the index of a layer is damaged")
}
