//! Who a container's process is: `user[:group]` looked up in the container's own passwd and group files.
//!
//! The files belong to the image, so they are hostile: opened below the container's root without blocking,
//! only as regular files, read up to a bound, and a line that does not parse is no line. A number is a number
//! even if some user has it as a name, and it is never more than 2³¹-1, so that it cannot wrap to root.

use dhow_model::{Error, Result, limits};
use dhow_sys::{Errno, openat2};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Larger files are refused; a site with 100,000 users has 6 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// The greatest id that we hand out, as Docker has it.
const MAX_ID: u32 = i32::MAX.unsigned_abs();
/// NGROUPS_MAX of the kernel.
const MAX_GROUPS: usize = limits::GROUPS.most_here();

/// Where the two files are read from. A mount of the user's over one of them wins over the root filesystem.
pub(crate) trait Files {
    /// Opens a file for reading without blocking; `None` when it does not exist.
    ///
    /// # Errors
    /// As open(2).
    fn open(&self, path: &CStr) -> Result<Option<OwnedFd>, Errno>;
}

/// Files below a root directory.
pub(crate) struct InRoot<'a>(pub BorrowedFd<'a>);

const READ_FLAGS: i32 = nix::libc::O_RDONLY | nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;

impl Files for InRoot<'_> {
    fn open(&self, path: &CStr) -> Result<Option<OwnedFd>, Errno> {
        match openat2::open_in_root(self.0, path, READ_FLAGS, 0) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// A user in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, the primary one included.
    pub groups: Vec<u32>,
    /// Home directory; `/` when the passwd file does not say.
    pub home: String,
}

#[derive(Debug, PartialEq, Eq)]
struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Looks `user[:group]` and further groups up.
///
/// # Errors
/// `InvalidArgument` when a name is unknown or a number out of range; `StartFailed` when a file cannot be used.
pub(crate) fn resolve(files: &impl Files, spec: &str, group_add: &[String]) -> Result<ResolvedUser> {
    let passwd = read_bounded(files, c"/etc/passwd")?;
    // A user by number without groups needs no group file: one file less to open for root.
    let group = read_bounded(files, c"/etc/group")?;
    resolve_in(&passwd, &group, spec, group_add)
}

fn read_bounded(files: &impl Files, path: &CStr) -> Result<String> {
    let name = path.to_string_lossy();
    let refuse =
        |why: &str| Error::new(dhow_model::ErrorKind::StartFailed, format!("the container's {name} {why}"));
    let opened = files
        .open(path)
        .map_err(|errno| refuse(&format!("cannot be opened: {}", dhow_sys::error::reason(errno))))?;
    let Some(fd) = opened else { return Ok(String::new()) };
    let stat = dhow_sys::openat2::stat(fd.as_fd()).map_err(|_| refuse("cannot be examined"))?;
    if stat.st_mode & nix::libc::S_IFMT != nix::libc::S_IFREG {
        return Err(refuse("is not a regular file"));
    }
    if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(refuse("is too large"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0) + 1);
    // The bound holds even if the file grows, or lies about its size.
    File::from(fd)
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(&format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse("is too large"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse_id(text: &str) -> Option<u32> {
    // u32's own parser takes a leading plus.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
        let uid = parse_id(fields.nth(1)?)?;
        let gid = parse_id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdEntry { name, uid, gid, home })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
        let gid = parse_id(fields.nth(1)?)?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn number_or_range(text: &str) -> Result<Option<u32>> {
    if !is_number(text) {
        return Ok(None);
    }
    parse_id(text)
        .map(Some)
        .ok_or_else(|| Error::invalid(format!("uids and gids must be in range 0-{MAX_ID}, not {text}")))
}

/// The pure part of [`resolve`].
fn resolve_in(passwd: &str, group: &str, spec: &str, group_add: &[String]) -> Result<ResolvedUser> {
    let (user_text, group_text) = spec.split_once(':').unwrap_or((spec, ""));
    let user_number = if user_text.is_empty() { Some(0) } else { number_or_range(user_text)? };
    let entry = passwd_entries(passwd).find(|entry| match user_number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user_text,
    });
    let uid = match (&entry, user_number) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(Error::invalid(format!(
                "unable to find user {user_text}: no matching entries in passwd file"
            )));
        }
    };
    let mut supplementary = Vec::new();
    let gid = if group_text.is_empty() {
        if let Some(entry) = &entry {
            let is_member = |g: &GroupEntry<'_>| g.members.split(',').any(|m| m.trim() == entry.name);
            supplementary.extend(group_entries(group).filter(is_member).map(|g| g.gid));
        }
        entry.as_ref().map_or(0, |entry| entry.gid)
    } else {
        find_group(group, group_text)?
    };
    limits::GROUPS.check_count(|| "the container".to_owned(), group_add.len())?;
    // The file is read once, however many names are looked up.
    let mut names: Option<HashMap<&str, u32>> = None;
    for text in group_add {
        supplementary.push(match number_or_range(text)? {
            Some(gid) => gid,
            None => {
                let names = names.get_or_insert_with(|| group_names(group));
                names.get(text.as_str()).copied().ok_or_else(|| no_group(text))?
            }
        });
    }
    // The primary group too: without it, setgroups would take away an access that a file denies "others"
    // but the group list is asked for (CVE-2022-36109).
    let mut groups = vec![gid];
    let mut known = HashSet::from([gid]);
    for id in supplementary {
        if known.insert(id) {
            groups.push(id);
        }
        if groups.len() >= MAX_GROUPS {
            break;
        }
    }
    let home = entry.map(|e| e.home).filter(|home| home.starts_with('/')).unwrap_or("/");
    Ok(ResolvedUser { uid, gid, groups, home: home.replace('\0', "") })
}

fn find_group(group: &str, text: &str) -> Result<u32> {
    if let Some(gid) = number_or_range(text)? {
        return Ok(gid);
    }
    group_entries(group).find(|entry| entry.name == text).map(|entry| entry.gid).ok_or_else(|| no_group(text))
}

fn no_group(text: &str) -> Error {
    Error::invalid(format!("unable to find group {text}: no matching entries in group file"))
}

/// The file by name; the first of several.
fn group_names(group: &str) -> HashMap<&str, u32> {
    let mut names = HashMap::new();
    for entry in group_entries(group) {
        names.entry(entry.name).or_insert(entry.gid);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_groups_as_the_kernel_takes_and_no_more() {
        let most = limits::GROUPS.most_here();
        // By name, each looked up in a file that has them all.
        let file: String = (1..=most).map(|n| format!("g{n}:x:{n}:\n")).collect();
        let mut names: Vec<String> = (1..most).map(|n| format!("g{n}")).collect();
        assert_eq!(resolve_in("", &file, "0", &names).unwrap().groups.len(), most);
        names.extend(["g1".to_owned(), "g2".to_owned()]);
        let error = resolve_in("", &file, "0", &names).unwrap_err();
        assert_eq!(error.to_string(), "the container has 65537 groups; at most 65536 are taken");
        let error = resolve_in("", &file, "0", &["nobody".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "unable to find group nobody: no matching entries in group file");
    }

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# note\nbob:x:1000:100:Bob:/home/bob:/bin/sh\n\
        1001:x:0:0::/:/bin/sh\nbad:x:4294967296:0::/:\nneg:x:-1:0::/:\nhalf:x\n";
    const GROUP: &str =
        "root:x:0:\nusers:x:100:\nwheel:x:10:root,bob\ndisk:x:6:alice, bob\nbig:x:2147483648:bob\n";

    fn user(spec: &str) -> Result<ResolvedUser> {
        resolve_in(PASSWD, GROUP, spec, &[])
    }

    #[test]
    fn names_numbers_and_groups() {
        let bob = user("bob").unwrap();
        assert_eq!((bob.uid, bob.gid, bob.home.as_str()), (1000, 100, "/home/bob"));
        assert_eq!(bob.groups, [100, 10, 6]);
        assert_eq!(user("1000").unwrap(), bob, "by number: the same entry");
        assert_eq!(user("").unwrap().groups, [0, 10]);
        let explicit = user("bob:wheel").unwrap();
        assert_eq!((explicit.gid, explicit.groups.as_slice()), (10, [10].as_slice()));
        let unknown = user("4242:4343").unwrap();
        assert_eq!((unknown.uid, unknown.gid, unknown.home.as_str()), (4242, 4343, "/"));
        assert_eq!(user("4242").unwrap().gid, 0);
        let added = resolve_in(PASSWD, GROUP, "bob", &["7".into(), "root".into()]).unwrap();
        assert_eq!(added.groups, [100, 10, 6, 7, 0]);
    }

    #[test]
    fn user_parsing_never_becomes_root() {
        // A name that is a number is the number.
        assert_eq!(user("1001").unwrap().uid, 1001);
        for wrapping in
            ["2147483648", "4294967296", "4294967295", "-1", "18446744073709551616", "+0", "0:4294967296"]
        {
            assert!(user(wrapping).is_err(), "{wrapping}");
        }
        for unknown in ["alice", "bad", "neg", "half", "0x0", "bob:nobody", "bob:big", " ", "root "] {
            assert!(user(unknown).is_err(), "{unknown:?}");
        }
        assert_eq!(
            user("alice").unwrap_err().to_string(),
            "unable to find user alice: no matching entries in passwd file"
        );
    }

    #[test]
    fn odd_files_are_refused_in_bounded_time() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let root: OwnedFd = File::open(dir.path()).unwrap().into();
        let resolve_here = || resolve(&InRoot(root.as_fd()), "", &[]);
        assert_eq!(resolve_here().unwrap().uid, 0, "no files at all");
        let path = dir.path().join("etc/group");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
        assert!(resolve_here().unwrap_err().to_string().contains("not a regular file"));
        std::fs::remove_file(&path).unwrap();
        File::create(&path).unwrap().set_len(4 << 30).unwrap();
        assert!(resolve_here().unwrap_err().to_string().contains("too large"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(resolve_here().unwrap().uid, 0, "the host's /dev/zero is out of reach");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(passwd in "(\\PC|\n|:){0,200}", group in "(\\PC|\n|:){0,200}", spec in "\\PC{0,20}") {
            let _ = resolve_in(&passwd, &group, &spec, &[]);
        }
    }
}
