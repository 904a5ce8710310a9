//! The tree that a layer's members describe, in memory: names, attributes, and where in the tar the data is.
//!
//! The rules are those of unpacking (`unpack.rs`), member by member: the last of several members of one name wins,
//! directories merge, what is implied is made. Whatever is odd (a member below a symbolic link, a target that is
//! missing, an attribute that some filesystem might refuse) is not judged here: the layer is [`Unfit`], and
//! unpacking, which asks the kernel, has the last word about it.

use crate::layer::tree::Clean;
use crate::layer::unpack::{OPAQUE, is_aufs};
use crate::tarball::{BLOCK, Entry, Kind, Mtime, Segment};
use dhow_model::limits;
use std::collections::{BTreeMap, BTreeSet};

/// So many files are indexed at most: some 200 bytes of memory each until the index is written.
const NODES_MAX: usize = 1 << 20;
/// Bytes of names, targets, attributes and maps, all together.
const BYTES_MAX: usize = 256 << 20;
const NAME_MAX: usize = limits::NAME_BYTES.most_here();
const TARGET_MAX: usize = limits::LINK_TARGET_BYTES.most_here();
/// What Linux takes as an attribute's value (XATTR_SIZE_MAX is 65536, EROFS has 16 bits for it).
const VALUE_MAX: usize = 65535;
/// Bytes of attributes of one file: EROFS has 16 bits for their number of words.
const ATTRIBUTES_MAX: usize = 128 << 10;
/// Directories that no member describes get this mode, and root as owner.
const IMPLIED_MODE: u32 = 0o755;

/// The root.
pub(super) const ROOT: u32 = 0;

/// Why a layer is not indexed but unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit(pub(crate) &'static str);

/// One file.
#[derive(Debug)]
pub(super) struct Node {
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
    /// Names of it; of directories, always 1.
    pub(super) links: u32,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// Sorted by bytes, as the index wants it.
    Directory(BTreeMap<Box<[u8]>, u32>),
    /// All of it in one piece, at a byte of the tar.
    Whole {
        size: u64,
        at: u64,
    },
    /// Pieces of it in one piece, the first at a byte of the tar.
    Sparse {
        size: u64,
        at: u64,
        segments: Box<[Segment]>,
    },
    Symlink(Box<[u8]>),
    /// As the kernel encodes a device number in 32 bits; 0 for pipes.
    Special(u32),
}

impl Node {
    pub(super) fn is_dir(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    fn is_whiteout(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFCHR && matches!(self.body, Body::Special(0))
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) {
        match self.xattrs.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.xattrs.push((name.to_vec(), value.to_vec())),
        }
    }
}

/// The tree so far.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(super) nodes: Vec<Node>,
    implied: BTreeSet<u32>,
    pub(crate) opaque_root: bool,
    pub(crate) entries: u64,
    pub(crate) size_bytes: u64,
    bytes: usize,
    /// The directory that the last member lay in: archives list directory by directory.
    last: (Vec<u8>, u32),
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = Node {
            mode: libc::S_IFDIR | 0o755,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            links: 1,
            xattrs: Vec::new(),
            body: Body::Directory(BTreeMap::new()),
        };
        Self {
            nodes: vec![root],
            implied: BTreeSet::new(),
            opaque_root: false,
            entries: 0,
            size_bytes: 0,
            bytes: 0,
            last: (Vec::new(), ROOT),
        }
    }

    /// One more member, whose data begins at byte `at` of the tar.
    pub(crate) fn member(&mut self, entry: &Entry, at: u64) -> Result<(), Unfit> {
        self.entries += 1;
        let name = Clean::parse(&entry.path).ok_or(Unfit("a name leads out of the layer"))?;
        if name.as_bytes().split(|&b| b == b'/').any(is_aufs) {
            return match name.split() {
                (parent, b".wh..wh..opq") if !parent.split(|&b| b == b'/').any(is_aufs) => {
                    self.opaque(parent, entry.mtime)
                }
                _ => Ok(()),
            };
        }
        if let Kind::Other(flag) = entry.kind {
            // A volume label says nothing about any file, but may imply the directory that it seems to lie in.
            return if flag == b'V' && name.split().0.is_empty() {
                Ok(())
            } else {
                Err(Unfit("a member of an unknown type"))
            };
        }
        if name.is_root() {
            if entry.kind != Kind::Directory {
                return Err(Unfit("the root is not a directory"));
            }
            return self.describe(ROOT, entry);
        }
        if name.as_bytes().len() as u64 > limits::PATH_BYTES.most() {
            return Err(Unfit("a path is too long"));
        }
        let (parent, last) = name.split();
        if last.len() > NAME_MAX {
            return Err(Unfit("a name is too long"));
        }
        let dir = self.directory(parent, entry.mtime)?;
        if let Some(hidden) = last.strip_prefix(b".wh.") {
            return self.whiteout(dir, hidden, entry.mtime);
        }
        match entry.kind {
            Kind::Directory => self.make_directory(dir, last, entry),
            Kind::HardLink => self.hard_link(dir, last, entry),
            Kind::File => {
                let body = file_body(entry, at)?;
                self.size_bytes = self.size_bytes.saturating_add(entry.size);
                self.make(dir, last, libc::S_IFREG | entry.mode, body, entry)
            }
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.len() > TARGET_MAX {
                    return Err(Unfit("a symbolic link's target is empty or too long"));
                }
                self.bytes += entry.link.len();
                let body = Body::Symlink(entry.link.clone().into_boxed_slice());
                self.make(dir, last, libc::S_IFLNK | 0o777, body, entry)
            }
            Kind::CharDevice => self.device(dir, last, libc::S_IFCHR, entry),
            Kind::BlockDevice => self.device(dir, last, libc::S_IFBLK, entry),
            Kind::Fifo => self.make(dir, last, libc::S_IFIFO | entry.mode, Body::Special(0), entry),
            Kind::Other(_) => Ok(()),
        }
    }

    /// Directories that no member describes, by name, sorted.
    pub(crate) fn implied(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        if self.implied.is_empty() {
            return found;
        }
        let mut todo = vec![(ROOT, Vec::new())];
        while let Some((id, name)) = todo.pop() {
            let Body::Directory(children) = &self.node(id).body else { continue };
            for (part, child) in children {
                if self.node(*child).is_dir() {
                    let inner =
                        if name.is_empty() { part.to_vec() } else { [&name, &b"/"[..], part].concat() };
                    todo.push((*child, inner));
                }
            }
            if self.implied.contains(&id) {
                found.push(name);
            }
        }
        found.sort();
        found
    }

    pub(super) fn node(&self, id: u32) -> &Node {
        &self.nodes[id as usize]
    }

    fn node_mut(&mut self, id: u32) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    fn child(&self, dir: u32, name: &[u8]) -> Option<u32> {
        match &self.node(dir).body {
            Body::Directory(children) => children.get(name).copied(),
            _ => None,
        }
    }

    /// Finds the directory of a cleaned name; makes what the tar only implies.
    fn directory(&mut self, name: &[u8], mtime: Mtime) -> Result<u32, Unfit> {
        if self.last.0 == name {
            return Ok(self.last.1);
        }
        let (mut here, mut length) = (ROOT, 0);
        for part in name.split(|&b| b == b'/').filter(|part| !part.is_empty()) {
            length += part.len() + 1;
            here = match self.child(here, part) {
                Some(id) if self.node(id).is_dir() => id,
                Some(id) if self.node(id).is_whiteout() => {
                    // Deleted and made anew in one layer: nothing from below may show.
                    self.unlink(here, part);
                    let id = self.imply(here, part, mtime)?;
                    self.implied.remove(&id);
                    self.node_mut(id).set_xattr(OPAQUE.as_bytes(), b"y");
                    id
                }
                Some(_) => return Err(Unfit("a member lies below a link or a file")),
                None => {
                    // What is implied is listed by its whole name in the end.
                    self.bytes += length;
                    self.imply(here, part, mtime)?
                }
            };
        }
        name.clone_into(&mut self.last.0);
        self.last.1 = here;
        Ok(here)
    }

    fn imply(&mut self, dir: u32, name: &[u8], mtime: Mtime) -> Result<u32, Unfit> {
        if name.len() > NAME_MAX {
            return Err(Unfit("a name is too long"));
        }
        let node = Node {
            mode: libc::S_IFDIR | IMPLIED_MODE,
            uid: 0,
            gid: 0,
            mtime,
            links: 1,
            xattrs: Vec::new(),
            body: Body::Directory(BTreeMap::new()),
        };
        let id = self.add(dir, name, node)?;
        self.implied.insert(id);
        Ok(id)
    }

    /// A new node under a free name.
    fn add(&mut self, dir: u32, name: &[u8], node: Node) -> Result<u32, Unfit> {
        self.bytes += name.len();
        if self.nodes.len() >= NODES_MAX || self.bytes > BYTES_MAX {
            return Err(Unfit("it has too many files"));
        }
        let id = u32::try_from(self.nodes.len()).map_err(|_| Unfit("it has too many files"))?;
        self.nodes.push(node);
        self.link(dir, name, id);
        Ok(id)
    }

    fn link(&mut self, dir: u32, name: &[u8], id: u32) {
        if let Body::Directory(children) = &mut self.node_mut(dir).body {
            children.insert(name.into(), id);
        }
    }

    /// Takes a name away, with everything below it.
    fn unlink(&mut self, dir: u32, name: &[u8]) {
        let Body::Directory(children) = &mut self.node_mut(dir).body else { return };
        let Some(id) = children.remove(name) else { return };
        self.last = (Vec::new(), ROOT);
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let node = self.node_mut(id);
            node.links = node.links.saturating_sub(1);
            if let Body::Directory(children) = &mut node.body {
                todo.extend(std::mem::take(children).into_values());
                self.implied.remove(&id);
            }
        }
    }

    fn make(&mut self, dir: u32, name: &[u8], mode: u32, body: Body, entry: &Entry) -> Result<(), Unfit> {
        if self.child(dir, name).is_some() {
            self.unlink(dir, name);
        }
        let node = Node { mode, uid: 0, gid: 0, mtime: entry.mtime, links: 1, xattrs: Vec::new(), body };
        let id = self.add(dir, name, node)?;
        self.describe(id, entry)
    }

    fn make_directory(&mut self, dir: u32, name: &[u8], entry: &Entry) -> Result<(), Unfit> {
        let id = match self.child(dir, name) {
            Some(id) if self.node(id).is_dir() => id,
            old => {
                let was_whiteout = old.is_some_and(|id| self.node(id).is_whiteout());
                if old.is_some() {
                    self.unlink(dir, name);
                }
                let id = self.imply(dir, name, entry.mtime)?;
                if was_whiteout {
                    // Deleted and made anew in one layer: nothing from below may show.
                    self.node_mut(id).set_xattr(OPAQUE.as_bytes(), b"y");
                }
                id
            }
        };
        self.describe(id, entry)
    }

    fn device(&mut self, dir: u32, name: &[u8], kind: u32, entry: &Entry) -> Result<(), Unfit> {
        let (major, minor) = entry.device;
        if major > 0xfff || minor > 0xf_ffff {
            return Err(Unfit("a device number is too large"));
        }
        // new_encode_dev (include/linux/kdev_t.h).
        let number = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        self.make(dir, name, kind | entry.mode, Body::Special(number), entry)
    }

    fn hard_link(&mut self, dir: u32, name: &[u8], entry: &Entry) -> Result<(), Unfit> {
        let target = Clean::parse(&entry.link).ok_or(Unfit("a link's target leads out of the layer"))?;
        if target.as_bytes().split(|&b| b == b'/').any(is_aufs) {
            return Err(Unfit("a hard link into aufs's own directory"));
        }
        let mut found = ROOT;
        for part in target.as_bytes().split(|&b| b == b'/') {
            found = self.child(found, part).ok_or(Unfit("a hard link's target is missing"))?;
        }
        if self.node(found).is_dir() {
            return Err(Unfit("a hard link's target is a directory"));
        }
        match self.child(dir, name) {
            // The same file already: replacing it would remove it.
            Some(old) if old == found => return Ok(()),
            Some(_) => self.unlink(dir, name),
            None => {}
        }
        if self.node(found).links == 0 {
            return Err(Unfit("a hard link's target is replaced by it"));
        }
        self.bytes += name.len();
        self.node_mut(found).links += 1;
        self.link(dir, name, found);
        Ok(())
    }

    /// `.wh.NAME`: hides NAME of the layers below, but not what this very layer has under that name.
    fn whiteout(&mut self, dir: u32, hidden: &[u8], mtime: Mtime) -> Result<(), Unfit> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Unfit("a whiteout of nothing"));
        }
        match self.child(dir, hidden) {
            Some(id) if self.node(id).is_dir() => self.node_mut(id).set_xattr(OPAQUE.as_bytes(), b"y"),
            Some(_) => {}
            None => {
                let node = Node {
                    mode: libc::S_IFCHR,
                    uid: 0,
                    gid: 0,
                    mtime,
                    links: 1,
                    xattrs: Vec::new(),
                    body: Body::Special(0),
                };
                self.add(dir, hidden, node)?;
            }
        }
        Ok(())
    }

    /// `.wh..wh..opq`: hides everything that the layers below have in that directory.
    fn opaque(&mut self, name: &[u8], mtime: Mtime) -> Result<(), Unfit> {
        if name.is_empty() {
            // Overlayfs merges the roots of all layers whatever their attributes: see `below.rs`.
            self.opaque_root = true;
            return Ok(());
        }
        let dir = self.directory(name, mtime)?;
        self.node_mut(dir).set_xattr(OPAQUE.as_bytes(), b"y");
        Ok(())
    }

    /// Owner, mode, time and attributes as the member has them.
    fn describe(&mut self, id: u32, entry: &Entry) -> Result<(), Unfit> {
        // To the kernel this id means "leave it as it is".
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            return Err(Unfit("an owner is -1"));
        }
        self.implied.remove(&id);
        let node = self.node_mut(id);
        (node.uid, node.gid, node.mtime) = (entry.uid, entry.gid, entry.mtime);
        if !matches!(node.body, Body::Symlink(_)) {
            node.mode = node.mode & libc::S_IFMT | entry.mode & 0o7777;
        }
        let user_is_taken = matches!(node.mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR);
        let mut bytes = 0;
        for (name, value) in &entry.xattrs {
            if name.starts_with(b"trusted.overlay.") {
                continue;
            }
            let (prefix, rest) =
                super::erofs::split_prefix(name).ok_or(Unfit("an attribute of an odd sort"))?;
            if prefix == super::erofs::USER && !user_is_taken {
                return Err(Unfit("a user attribute of a file that cannot have one"));
            }
            if rest.is_empty() || name.len() > NAME_MAX || value.len() > VALUE_MAX {
                return Err(Unfit("an attribute with an odd name, or one that is too long"));
            }
            bytes += name.len() + value.len();
            node.set_xattr(name, value);
        }
        if node.xattrs.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>()
            > ATTRIBUTES_MAX
        {
            return Err(Unfit("a file with too many attributes"));
        }
        self.bytes += bytes;
        Ok(())
    }
}

/// Where a file's data is, if the kernel can find it there: blocks of the tar must be blocks of the file.
fn file_body(entry: &Entry, at: u64) -> Result<Body, Unfit> {
    const { assert!(BLOCK as u64 == super::erofs::BLOCK) };
    let (size, block) = (entry.size, BLOCK as u64);
    if i64::try_from(size).is_err() {
        return Err(Unfit("a file is too large"));
    }
    if !entry.is_sparse() {
        return Ok(Body::Whole { size, at });
    }
    for segment in &entry.segments {
        let end = segment.offset + segment.length;
        if segment.offset % block != 0 || (end % block != 0 && end != size) {
            return Err(Unfit("a sparse file whose pieces are not whole blocks"));
        }
    }
    super::erofs::sparse_chunks(size, &entry.segments).ok_or(Unfit("a sparse file of too many pieces"))?;
    Ok(Body::Sparse { size, at, segments: entry.segments.clone().into_boxed_slice() })
}
