//! `tree ROOT SKIP…`: one line for every file below ROOT, with all that a layer must keep: type, mode,
//! owner, size, times, links, device numbers, symlink targets, extended attributes, content. Two trees are
//! equal when the outputs are.
//!
//! Compiled by the tests as a static program, so that it runs in any image; it has no dependencies.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_void};
use std::fmt::Write as _;
use std::hash::Hasher;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

unsafe extern "C" {
    fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize;
}

/// Attributes that the kernel makes up, or that overlayfs keeps for itself.
const NOT_IN_LAYERS: [&str; 3] = ["trusted.overlay.", "user.overlay.", "security.selinux"];

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let root = arguments.next().expect("usage: tree ROOT SKIP…");
    let skip: Vec<PathBuf> = arguments.collect();
    let mut lines = Vec::new();
    let mut inodes = BTreeMap::new();
    walk(&root, Path::new(""), &skip, &mut inodes, &mut lines);
    println!("{}", lines.join("\n"));
}

/// Depth first, names in byte order, so that the first name of an inode is the same everywhere.
fn walk(
    root: &Path,
    below: &Path,
    skip: &[PathBuf],
    inodes: &mut BTreeMap<(u64, u64), PathBuf>,
    lines: &mut Vec<String>,
) {
    let path = root.join(below);
    let metadata = path.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    lines.push(describe(&path, below, &metadata, inodes));
    if metadata.is_dir() && !skip.iter().any(|s| s == below) {
        let entries = path.read_dir().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let below = below.join(name);
            if !skip.contains(&below) || root.join(&below).is_dir() {
                walk(root, &below, skip, inodes, lines);
            }
        }
    }
}

fn describe(
    path: &Path,
    below: &Path,
    metadata: &std::fs::Metadata,
    inodes: &mut BTreeMap<(u64, u64), PathBuf>,
) -> String {
    let kind = metadata.file_type();
    let letter = match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_fifo() => 'p',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () if kind.is_socket() => 's',
        () => '-',
    };
    let mut line = format!(
        "/{} {letter} mode={:o} owner={}:{} mtime={}",
        below.to_string_lossy().escape_default(),
        metadata.mode() & 0o7777,
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
    );
    if !kind.is_dir() {
        // A directory's size and link count are its filesystem's affair.
        write!(line, " size={} links={}", metadata.len(), metadata.nlink()).unwrap();
        let first = inodes.entry((metadata.dev(), metadata.ino())).or_insert_with(|| below.to_owned());
        if first != below {
            write!(line, " same-as=/{}", first.display()).unwrap();
        }
    }
    match letter {
        'l' => write!(line, " -> {}", path.read_link().unwrap().display()).unwrap(),
        'c' | 'b' => write!(line, " device={:x}", metadata.rdev()).unwrap(),
        '-' => write!(line, " content={:016x}", content(path)).unwrap(),
        _ => {}
    }
    for (name, value) in attributes(path) {
        let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
        write!(line, " {name}={hex}").unwrap();
    }
    line
}

/// A hash that is the same wherever this program runs: enough to compare two trees.
#[allow(deprecated, reason = "the only hasher of std that promises the same result in every process")]
fn content(path: &Path) -> u64 {
    let mut hasher = std::hash::SipHasher::new();
    let mut file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if count == 0 {
            return hasher.finish();
        }
        hasher.write(&buffer[..count]);
    }
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut names = vec![0u8; 1 << 16];
    // SAFETY: the path is NUL-terminated, and the kernel writes at most the buffer's length.
    let length = unsafe { llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    let mut found = BTreeMap::new();
    for name in names[..usize::try_from(length).unwrap_or(0)].split_inclusive(|b| *b == 0) {
        let name = CStr::from_bytes_with_nul(name).unwrap();
        let mut value = vec![0u8; 1 << 16];
        // SAFETY: as above, for both strings and the buffer.
        let length =
            unsafe { lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        let text = OsStr::from_bytes(name.to_bytes()).to_string_lossy().into_owned();
        if let Ok(length) = usize::try_from(length)
            && !NOT_IN_LAYERS.iter().any(|prefix| text.starts_with(prefix))
        {
            value.truncate(length);
            found.insert(text, value);
        }
    }
    found
}
