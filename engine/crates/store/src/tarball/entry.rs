//! One member of an archive, with everything that its headers say about it.

/// What sort of file a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file, sparse or not.
    File,
    /// Another name of an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// Something else, by its type flag.
    Other(u8),
}

/// A modification time: seconds since 1970 rounded down, and nanoseconds upwards from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mtime {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// A stretch of file data that is present in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file it begins.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// One member: extended headers already applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as written: any bytes but NUL, absolute or with `..` if the archive says so.
    pub path: Vec<u8>,
    /// Target of a link, as written.
    pub link: Vec<u8>,
    /// The sort of file.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky; nothing else.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size of the file, holes included; 0 for everything but regular files.
    pub size: u64,
    /// Modification time.
    pub mtime: Mtime,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes in the order written, each name once.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The data that follows, in file order. Covers the whole file unless it is sparse.
    pub segments: Vec<Segment>,
    /// Offset of the member's own header in the archive.
    pub header_at: u64,
    /// Offset of its data.
    pub data_at: u64,
}

impl Entry {
    /// Bytes of data in the archive, without padding.
    pub fn stored(&self) -> u64 {
        self.segments.iter().map(|s| s.length).sum()
    }

    /// Whether the data leaves holes in the file.
    pub fn is_sparse(&self) -> bool {
        self.stored() != self.size
    }

    /// The name for messages.
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}
