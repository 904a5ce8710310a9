//! The index on disk: an EROFS image that holds everything of a tree but the data of its files, which it finds in
//! the tar (Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h).
//!
//! ```text
//!   0        nothing: boot sectors may be there
//!   1024     superblock, 128 bytes; block size 512, as a tar's
//!   1152     device slot, 128 bytes: device 1 is the tar
//!   1536     inodes of 64 bytes, each followed by its attributes and by
//!              a file's chunks: block of the tar, or a hole    (8 bytes each)
//!              a short link's target
//!   then     blocks of directories, and of targets that do not fit behind their inodes
//! ```
//!
//! An inode's number is its offset divided by 32. Directories are lists of `{inode, offset of the name, type}`,
//! sorted by bytes, in blocks that each hold the names of their own entries at their end.

use super::tree::{Body, Node, ROOT, Tree, Unfit};
use crate::tarball::Segment;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 512;
const BLOCK_BYTES: usize = 512;
const BLOCK_BITS: u32 = 9;
/// Where the superblock is.
pub(super) const SUPERBLOCK: usize = 1024;
pub(super) const MAGIC: u32 = 0xE0F5_E1E2;
const DEVICE_SLOT: usize = 1152;
const DEVICE_SLOT_BYTES: usize = 128;
/// The first inode. The checksum is of the block of the superblock, which ends here.
const INODES: u64 = 1536;
pub(super) const INODE_BYTES: u64 = 64;
/// Inodes lie at multiples of this.
pub(super) const SLOT: u64 = 32;
/// Checksum and times of inodes: older kernels need not know.
const COMPATIBLE: u32 = 0x1 | 0x2;
/// Files in chunks, and a device table.
const INCOMPATIBLE: u32 = 0x4 | 0x8;
/// No block: a hole.
pub(super) const HOLE: u32 = u32::MAX;
const CHUNK_INDEXES: u32 = 0x20;
/// A chunk is one to 2^31 blocks: five bits.
const CHUNK_BITS_MAX: u32 = BLOCK_BITS + 31;
/// More chunks than this of one file are not indexed.
const CHUNKS_MAX: u64 = 1 << 20;
pub(super) const DIRENT_BYTES: usize = 12;

pub(super) const LAYOUT_PLAIN: u16 = 0;
pub(super) const LAYOUT_INLINE: u16 = 2;
pub(super) const LAYOUT_CHUNKS: u16 = 4;

/// The sort of attribute that owners of files may set.
pub(super) const USER: u8 = 1;
/// Sorts of attributes by number.
pub(super) const PREFIXES: [(u8, &[u8]); 3] = [(USER, b"user."), (4, b"trusted."), (6, b"security.")];

/// The number of an attribute's sort, and the rest of its name.
pub(super) fn split_prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|(number, prefix)| Some((*number, name.strip_prefix(*prefix)?)))
}

/// The size of chunks that all borders of the pieces are multiples of, as a power of two, and how many there are.
pub(super) fn sparse_chunks(size: u64, segments: &[Segment]) -> Option<(u32, u64)> {
    let mut bits = CHUNK_BITS_MAX;
    let mut expected = None;
    for segment in segments {
        let end = segment.offset + segment.length;
        // Where a piece follows another at once, there is no border.
        if expected != Some(segment.offset) {
            bits = bits.min(segment.offset.trailing_zeros());
            bits = expected.map_or(bits, |end: u64| bits.min(end.trailing_zeros()));
        }
        expected = Some(end);
    }
    if let Some(end) = expected.filter(|end| *end != size) {
        bits = bits.min(end.trailing_zeros());
    }
    let bits = bits.max(BLOCK_BITS);
    let count = size.div_ceil(1 << bits);
    (count <= CHUNKS_MAX).then_some((bits, count))
}

/// The size of the one chunk of a file without holes.
fn whole_bits(size: u64) -> u32 {
    size.next_power_of_two().trailing_zeros().clamp(BLOCK_BITS, CHUNK_BITS_MAX)
}

/// Writes the index of a tree over a tar of so many blocks.
pub(super) fn encode(tree: &Tree, tar_blocks: u64, uuid: [u8; 16]) -> Result<Vec<u8>, Unfit> {
    let too_large = |_| Unfit("its index or its tar is too large");
    let tar_blocks = u32::try_from(tar_blocks).map_err(too_large)?;
    let plan = Plan::of(tree);
    let blocks = u32::try_from(plan.end / BLOCK).map_err(too_large)?;
    let mut out = vec![0; usize::try_from(plan.end).map_err(too_large)?];
    for (id, node) in tree.nodes.iter().enumerate() {
        if plan.at[id] > 0 {
            write_node(&mut out, tree, &plan, id, node);
        }
    }
    let mut superblock = Fields(&mut out[SUPERBLOCK..]);
    superblock.u32(0, MAGIC);
    superblock.u32(8, COMPATIBLE);
    superblock.0[12] = BLOCK_BITS.to_le_bytes()[0];
    superblock.u16(14, u16::try_from(plan.number(ROOT)).unwrap_or_default());
    superblock.u64(16, plan.count);
    superblock.u32(36, blocks);
    superblock.0[48..64].copy_from_slice(&uuid);
    superblock.u32(80, INCOMPATIBLE);
    superblock.u16(86, 1);
    superblock.u16(88, u16::try_from(DEVICE_SLOT / DEVICE_SLOT_BYTES).unwrap_or_default());
    let mut slot = Fields(&mut out[DEVICE_SLOT..]);
    // A tag is what the kernel would open if nobody named the device.
    slot.0[..3].copy_from_slice(b"tar");
    slot.u32(64, tar_blocks);
    let end = SUPERBLOCK + BLOCK_BYTES;
    let checksum = crc32c(&out[SUPERBLOCK..end]);
    Fields(&mut out[SUPERBLOCK..]).u32(4, checksum);
    Ok(out)
}

/// Where everything is going to be.
struct Plan {
    /// Of each inode, in bytes; 0: nothing refers to it.
    at: Vec<u64>,
    /// Of its blocks, if it has any.
    data: Vec<u64>,
    parent: Vec<u32>,
    count: u64,
    end: u64,
}

impl Plan {
    fn of(tree: &Tree) -> Self {
        let total = tree.nodes.len();
        let mut plan = Self {
            at: vec![0; total],
            data: vec![0; total],
            parent: vec![ROOT; total],
            count: 0,
            end: INODES,
        };
        plan.place(ROOT, tree.node(ROOT));
        // Directory by directory, as they are walked: what is read together lies together.
        let mut order = vec![ROOT];
        let mut todo = vec![ROOT];
        while let Some(dir) = todo.pop() {
            let Body::Directory(children) = &tree.node(dir).body else { continue };
            let inner = todo.len();
            for child in children.values().copied() {
                if plan.at[child as usize] == 0 {
                    plan.place(child, tree.node(child));
                    order.push(child);
                    if tree.node(child).is_dir() {
                        plan.parent[child as usize] = dir;
                        todo.push(child);
                    }
                }
            }
            todo[inner..].reverse();
        }
        plan.end = plan.end.next_multiple_of(BLOCK);
        for id in order {
            let bytes = match &tree.node(id).body {
                Body::Directory(children) => directory_bytes(children.keys().map(|name| &**name)),
                Body::Symlink(target) if !fits_behind(plan.tail(id, tree.node(id)), target.len()) => {
                    target.len() as u64
                }
                _ => continue,
            };
            plan.data[id as usize] = plan.end;
            plan.end += bytes.next_multiple_of(BLOCK);
        }
        plan
    }

    fn place(&mut self, id: u32, node: &Node) {
        let head = INODE_BYTES + xattr_bytes(node);
        let mut at = self.end.next_multiple_of(SLOT);
        let tail = match &node.body {
            Body::Whole { size: 0, .. } | Body::Directory(_) | Body::Special(_) => 0,
            Body::Whole { size, .. } => 8 * size.div_ceil(1 << whole_bits(*size)),
            // Checked when the member was read.
            Body::Sparse { size, segments, .. } => {
                sparse_chunks(*size, segments).map_or(0, |(_, count)| 8 * count)
            }
            Body::Symlink(target) => {
                // Inline data must not cross a block.
                let places = (0..BLOCK / SLOT).map(|n| at + n * SLOT);
                match places.into_iter().find(|place| fits_behind(place + head, target.len())) {
                    Some(place) => {
                        at = place;
                        target.len() as u64
                    }
                    None => 0,
                }
            }
        };
        self.at[id as usize] = at;
        self.count += 1;
        self.end = match node.body {
            Body::Whole { .. } | Body::Sparse { .. } if tail > 0 => (at + head).next_multiple_of(8) + tail,
            _ => at + head + tail,
        };
    }

    fn tail(&self, id: u32, node: &Node) -> u64 {
        self.at[id as usize] + INODE_BYTES + xattr_bytes(node)
    }

    fn number(&self, id: u32) -> u64 {
        self.at[id as usize] / SLOT
    }
}

fn fits_behind(tail: u64, length: usize) -> bool {
    tail % BLOCK + length as u64 <= BLOCK
}

/// Bytes of a file's attributes, with their header; 0 if there are none.
fn xattr_bytes(node: &Node) -> u64 {
    if node.xattrs.is_empty() {
        return 0;
    }
    let entry = |name: &[u8], value: &[u8]| {
        let rest = split_prefix(name).map_or(0, |(_, rest)| rest.len());
        (4 + rest + value.len()).next_multiple_of(4) as u64
    };
    12 + node.xattrs.iter().map(|(name, value)| entry(name, value)).sum::<u64>()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are as wide as the format has them; limits were checked"
)]
fn write_node(out: &mut [u8], tree: &Tree, plan: &Plan, id: usize, node: &Node) {
    let at = plan.at[id] as usize;
    let xattrs = xattr_bytes(node);
    let tail = at + (INODE_BYTES + xattrs) as usize;
    let number = plan.at[id] / SLOT;
    let (layout, size, union, links) = match &node.body {
        Body::Directory(children) => {
            let size = write_directory(out, tree, plan, id as u32, children);
            let inner = children.values().filter(|child| tree.node(**child).is_dir()).count();
            (LAYOUT_PLAIN, size, (plan.data[id] / BLOCK) as u32, 2 + inner as u32)
        }
        Body::Whole { size: 0, .. } => (LAYOUT_PLAIN, 0, 0, node.links),
        Body::Whole { size, at } => {
            let bits = whole_bits(*size);
            let chunks = (0..size.div_ceil(1 << bits)).map(|n| Some(at / BLOCK + (n << (bits - BLOCK_BITS))));
            write_chunks(out, tail, chunks);
            (LAYOUT_CHUNKS, *size, CHUNK_INDEXES | (bits - BLOCK_BITS), node.links)
        }
        Body::Sparse { size, at, segments } => {
            let (bits, count) = sparse_chunks(*size, segments).unwrap_or((CHUNK_BITS_MAX, 0));
            write_chunks(out, tail, sparse_blocks(*at, segments, bits, count));
            (LAYOUT_CHUNKS, *size, CHUNK_INDEXES | (bits - BLOCK_BITS), node.links)
        }
        Body::Symlink(target) => {
            let (layout, place, block) = match plan.data[id] {
                0 => (LAYOUT_INLINE, tail, 0),
                block => (LAYOUT_PLAIN, block as usize, (block / BLOCK) as u32),
            };
            out[place..place + target.len()].copy_from_slice(target);
            (layout, target.len() as u64, block, node.links)
        }
        Body::Special(device) => (LAYOUT_PLAIN, 0, *device, node.links),
    };
    let mut inode = Fields(&mut out[at..]);
    // Bit 0: an inode of 64 bytes.
    inode.u16(0, 1 | (layout << 1));
    inode.u16(2, if xattrs == 0 { 0 } else { ((xattrs - 12) / 4 + 1) as u16 });
    inode.u16(4, node.mode as u16);
    inode.u64(8, size);
    inode.u32(16, union);
    inode.u32(20, number as u32);
    inode.u32(24, node.uid);
    inode.u32(28, node.gid);
    // As the kernel reads it: a signed number.
    inode.u64(32, node.mtime.seconds.cast_unsigned());
    inode.u32(40, node.mtime.nanos);
    inode.u32(44, links);
    let mut place = at + INODE_BYTES as usize + 12;
    for (name, value) in &node.xattrs {
        let Some((sort, rest)) = split_prefix(name) else { continue };
        let mut entry = Fields(&mut out[place..]);
        entry.0[0] = rest.len() as u8;
        entry.0[1] = sort;
        entry.u16(2, value.len() as u16);
        entry.0[4..4 + rest.len()].copy_from_slice(rest);
        entry.0[4 + rest.len()..4 + rest.len() + value.len()].copy_from_slice(value);
        place += (4 + rest.len() + value.len()).next_multiple_of(4);
    }
}

/// The block of each chunk, or none for a hole.
fn sparse_blocks(at: u64, segments: &[Segment], bits: u32, count: u64) -> impl Iterator<Item = Option<u64>> {
    let mut pieces = segments.iter();
    let mut piece = pieces.next();
    let mut stored = at;
    (0..count).map(move |n| {
        let offset = n << bits;
        while let Some(past) = piece.filter(|piece| piece.offset + piece.length <= offset) {
            stored += past.length;
            piece = pieces.next();
        }
        piece.filter(|piece| piece.offset <= offset).map(|piece| (stored + offset - piece.offset) / BLOCK)
    })
}

#[expect(clippy::cast_possible_truncation, reason = "blocks of the tar were counted: they fit 32 bits")]
fn write_chunks(out: &mut [u8], tail: usize, blocks: impl Iterator<Item = Option<u64>>) {
    for (number, block) in blocks.enumerate() {
        let mut chunk = Fields(&mut out[tail.next_multiple_of(8) + 8 * number..]);
        match block {
            Some(block) => {
                chunk.u16(2, 1);
                chunk.u32(4, block as u32);
            }
            None => chunk.u32(4, HOLE),
        }
    }
}

/// The names of a directory's blocks: `.` and `..` are sorted among the others.
fn with_dots<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    let mut all: Vec<&[u8]> = names.chain([&b"."[..], &b".."[..]]).collect();
    all.sort_unstable();
    all
}

/// How many of the names one block takes, and the bytes that it then has.
fn pack(names: &[&[u8]]) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for name in names {
        let more = bytes + DIRENT_BYTES + name.len();
        if more > BLOCK_BYTES {
            break;
        }
        (count, bytes) = (count + 1, more);
    }
    (count, bytes)
}

fn directory_bytes<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let names = with_dots(names);
    let (mut rest, mut bytes) = (&names[..], 0);
    while !rest.is_empty() {
        let (count, used) = pack(rest);
        rest = &rest[count..];
        bytes += if rest.is_empty() { used as u64 } else { BLOCK };
    }
    bytes
}

/// Writes a directory's blocks, and gives its size.
#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets within a block, and within what was made in memory"
)]
fn write_directory(
    out: &mut [u8],
    tree: &Tree,
    plan: &Plan,
    id: u32,
    children: &std::collections::BTreeMap<Box<[u8]>, u32>,
) -> u64 {
    let names = with_dots(children.keys().map(|name| &**name));
    let (mut rest, mut size) = (&names[..], 0);
    while !rest.is_empty() {
        let (count, used) = pack(rest);
        let mut block = Fields(&mut out[(plan.data[id as usize] + size) as usize..]);
        let mut name_at = DIRENT_BYTES * count;
        for (n, name) in rest[..count].iter().enumerate() {
            let target = match *name {
                b"." => id,
                b".." => plan.parent[id as usize],
                other => children.get(other).copied().unwrap_or(ROOT),
            };
            let entry = DIRENT_BYTES * n;
            block.u64(entry, plan.number(target));
            block.u16(entry + 8, name_at as u16);
            block.0[entry + 10] = file_type(tree.node(target).mode);
            block.0[name_at..name_at + name.len()].copy_from_slice(name);
            name_at += name.len();
        }
        rest = &rest[count..];
        size += if rest.is_empty() { used as u64 } else { BLOCK };
    }
    size
}

/// As in directories' entries (include/linux/fs_types.h).
fn file_type(mode: u32) -> u8 {
    match mode & libc::S_IFMT {
        libc::S_IFREG => 1,
        libc::S_IFDIR => 2,
        libc::S_IFCHR => 3,
        libc::S_IFBLK => 4,
        libc::S_IFIFO => 5,
        libc::S_IFLNK => 7,
        _ => 0,
    }
}

/// Little-endian numbers at offsets.
struct Fields<'a>(&'a mut [u8]);

impl Fields<'_> {
    fn u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// CRC-32C with all ones at the start, and not inverted at the end. Of one block: no table is worth it.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}
