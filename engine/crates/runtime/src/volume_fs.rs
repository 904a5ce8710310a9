//! Volumes that are filesystems of their own (`volume create -o type=… -o device=…`).
//!
//! Such a filesystem is mounted at the volume's place in the mount namespace of each monitor whose container uses
//! it, and nowhere else: the host's mount table stays as it is, and the last user's end unmounts it, however that
//! comes. All users have the same one: who comes later takes a copy of the mount from a monitor that is there.
//!
//! ```text
//!   lock USERS ─ a monitor in it that lives? ── yes: enter its namespace, copy the mount, come back
//!                                            └─ no: mount the filesystem anew
//!   attach it at the volume's place ─ write ourselves into USERS ─ unlock
//! ```

use crate::rootfs::{c_path, c_string};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::mount::{self, FsContext, OPEN_TREE_CLONE, RECURSIVE};
use dhow_sys::{Errno, clone, fsat, process};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A volume's filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFilesystem {
    /// The volume's directory, on which it is mounted.
    pub place: PathBuf,
    /// `tmpfs`, `ext4`, `nfs`; `none` for a directory of the host.
    pub kind: String,
    /// What is mounted.
    pub device: String,
    /// As mount(8) has them.
    pub options: Vec<String>,
    /// The file that lists the monitors that have it.
    pub users: PathBuf,
}

/// Whether the caller goes into the list of users, for others to take the mount from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It lives as long as its mounts are used.
    Long,
    /// It only has a look.
    Short,
}

/// Mounts them all in the mount namespace of this thread, which must be its own.
///
/// # Errors
/// Names the volume's place, and what the kernel says.
pub(crate) fn mount_all(filesystems: &[&VolumeFilesystem], stay: Stay) -> Result<()> {
    filesystems.iter().try_for_each(|filesystem| {
        filesystem
            .mount(stay)
            .context(|| format!("error while mounting volume '{}'", filesystem.place.display()))
    })
}

impl VolumeFilesystem {
    fn mount(&self, stay: Stay) -> Result<()> {
        let what = || format!("open {}", self.users.display());
        if let Some(parent) = self.users.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).context(what)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.users);
        let mut file = Flock::lock(file.context(what)?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::caused(ErrorKind::Internal, what(), errno))?;
        let mut text = String::new();
        file.read_to_string(&mut text).context(what)?;
        let mut users: Vec<(i32, u64)> = text.lines().filter_map(user).filter(lives).collect();
        let taken = users.iter().find_map(|(pid, _)| self.take_from(*pid).transpose()).transpose()?;
        let tree = taken.map_or_else(|| self.make(), Ok)?;
        make_private(&self.place)?;
        let place = c_path(&self.place)?;
        mount::open_path(&place)
            .and_then(|place| mount::attach(tree.as_fd(), place.as_fd()))
            .context_kind(ErrorKind::StartFailed, || format!("move_mount {}", self.place.display()))?;
        if stay == Stay::Long {
            let own = i32::try_from(std::process::id()).unwrap_or_default();
            users.push((own, process::start_ticks(own).context(what)?));
        }
        let text: String = users.iter().map(|(pid, ticks)| format!("{pid} {ticks}\n")).collect();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .context(what)
    }

    /// A copy of the mount that another monitor has; `None` when it ends just now.
    fn take_from(&self, pid: i32) -> Result<Option<OwnedFd>> {
        let what = || "share the mount of another container".to_owned();
        let Ok(theirs) = File::open(format!("/proc/{pid}/ns/mnt")) else { return Ok(None) };
        let home = File::open("/proc/thread-self/ns/mnt").context(what)?;
        let place = c_path(&self.place)?;
        process::setns(theirs.as_fd(), clone::NEWNS).context(what)?;
        let copied = mount::open_tree(None, &place, OPEN_TREE_CLONE | RECURSIVE);
        // Whoever cannot come back must not go on: all its paths would be another's.
        process::setns(home.as_fd(), clone::NEWNS).context(what)?;
        copied.map(Some).context(what)
    }

    /// The filesystem, as a detached mount.
    fn make(&self) -> Result<OwnedFd> {
        let failed = |message: Option<String>, errno: Errno| {
            let said = message.map(|message| format!(" ({message})")).unwrap_or_default();
            let what = || {
                format!("failed to mount local volume: mount {}:{}{said}", self.device, self.place.display())
            };
            errno_error(errno, what)
        };
        let words = Words::sort(&self.options);
        if let Some(recursive) = words.bind {
            let tree = mount::open_tree(None, &c_string(self.device.as_str())?, OPEN_TREE_CLONE | recursive)
                .map_err(|errno| failed(None, errno))?;
            mount::set_attributes(tree.as_fd(), words.attributes, 0, mount::PRIVATE, false)
                .map_err(|errno| failed(None, errno))?;
            return Ok(tree);
        }
        let kind = c_string(self.kind.as_str())?;
        let context = FsContext::of_source(&kind, &c_string(self.device.as_str())?)
            .map_err(|errno| failed(None, errno))?;
        for option in &words.others {
            let set = match option.split_once('=') {
                Some((key, value)) => context.set(&c_string(key)?, &c_string(value)?),
                None => context.set_flag(&c_string(*option)?),
            };
            set.map_err(|errno| failed(context.message().or_else(|| Some((*option).to_owned())), errno))?;
        }
        context.mount(words.attributes).map_err(|errno| failed(context.message(), errno))
    }
}

fn errno_error(errno: Errno, what: impl FnOnce() -> String) -> Error {
    let reason = dhow_sys::error::reason(errno);
    Error::new(ErrorKind::StartFailed, format!("{}: {reason}", what()))
}

/// mount(8)'s words, by whom they are for.
struct Words<'a> {
    /// `bind`, or `rbind` with the mounts below.
    bind: Option<u32>,
    /// For the mount.
    attributes: u64,
    /// For the filesystem.
    others: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn sort(options: &'a [String]) -> Self {
        let mut words = Self { bind: None, attributes: 0, others: Vec::new() };
        for option in options {
            match option.as_str() {
                "bind" => words.bind = Some(0),
                "rbind" => words.bind = Some(RECURSIVE),
                "ro" => {
                    words.attributes |= mount::ATTR_RDONLY;
                    // The device may be one that cannot be written to.
                    words.others.push(option);
                }
                "nosuid" => words.attributes |= mount::ATTR_NOSUID,
                "nodev" => words.attributes |= mount::ATTR_NODEV,
                "noexec" => words.attributes |= mount::ATTR_NOEXEC,
                "noatime" => words.attributes |= mount::ATTR_NOATIME,
                "" | "defaults" | "rw" | "suid" | "dev" | "exec" | "atime" | "relatime" => {}
                other => words.others.push(other),
            }
        }
        words
    }
}

fn user(line: &str) -> Option<(i32, u64)> {
    let (pid, ticks) = line.split_once(' ')?;
    Some((pid.parse().ok()?, ticks.parse().ok()?))
}

fn lives((pid, ticks): &(i32, u64)) -> bool {
    process::start_ticks(*pid).ok() == Some(*ticks)
}

/// Cuts the mount that holds a place off from its peers, so that what is mounted there stays here.
fn make_private(place: &Path) -> Result<()> {
    let what = || format!("make the mount of {} private", place.display());
    let point = holder(place)?.map_or_else(|| PathBuf::from("/"), |(point, _)| point);
    mount::open_path(&c_path(&point)?)
        .and_then(|point| mount::set_attributes(point.as_fd(), 0, 0, mount::PRIVATE, false))
        .context(what)
}

/// The mount point that a path lies on, and its tags (`shared:1`).
pub(crate) fn holder(path: &Path) -> Result<Option<(PathBuf, Vec<String>)>> {
    let real = std::fs::canonicalize(path).context(|| format!("resolve {}", path.display()))?;
    let table =
        std::fs::read_to_string("/proc/thread-self/mountinfo").context(|| "read mountinfo".to_owned())?;
    let mounts = table.lines().filter_map(|line| {
        let (left, _) = line.split_once(" - ")?;
        let mut fields = left.split(' ');
        let point = PathBuf::from(unescaped(fields.nth(4)?));
        let tags: Vec<String> = fields.skip(1).map(str::to_owned).collect();
        real.starts_with(&point).then_some((point, tags))
    });
    // The last of those at one place lies on top.
    Ok(mounts.max_by_key(|(point, _)| point.components().count()))
}

/// Blanks and the like are octal in the table.
pub(crate) fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

/// Opens what a path below a volume means, in the volume alone.
///
/// # Errors
/// `ENOENT`; `EXDEV` when it leads out.
pub(crate) fn below(volume: &Path, subpath: &str) -> std::result::Result<OwnedFd, Errno> {
    let top = c_path(volume)
        .and_then(|path| mount::open_path(&path).context(String::new))
        .map_err(|_| Errno::ENOENT)?;
    fsat::open_resolved(top.as_fd(), Path::new(subpath), nix::libc::O_PATH, 0, fsat::resolve::BENEATH)
        .map_err(|error| error.errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_for_the_mount_or_the_filesystem() {
        let options = ["ro", "nosuid", "size=1m", "defaults", "noatime"].map(str::to_owned);
        let words = Words::sort(&options);
        assert_eq!(words.others, ["ro", "size=1m"]);
        assert_eq!(words.attributes, mount::ATTR_RDONLY | mount::ATTR_NOSUID | mount::ATTR_NOATIME);
        assert_eq!((words.bind, Words::sort(&["rbind".to_owned()]).bind), (None, Some(RECURSIVE)));
    }

    #[test]
    fn users_are_processes_that_live() {
        let own = i32::try_from(std::process::id()).unwrap();
        let ticks = process::start_ticks(own).unwrap();
        assert!(lives(&user(&format!("{own} {ticks}")).unwrap()));
        assert!(!lives(&(own, ticks + 1)));
        assert_eq!(user("x 1"), None);
    }

    #[test]
    fn a_path_below_a_volume_stays_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("volume/sub")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        let volume = dir.path().join("volume");
        std::os::unix::fs::symlink("sub", volume.join("link")).unwrap();
        std::os::unix::fs::symlink("../outside", volume.join("up")).unwrap();
        std::os::unix::fs::symlink("/", volume.join("top")).unwrap();
        assert!(below(&volume, "sub").is_ok() && below(&volume, "link").is_ok());
        for (path, errno) in
            [("up", Errno::EXDEV), ("top", Errno::EXDEV), ("..", Errno::EXDEV), ("no", Errno::ENOENT)]
        {
            assert_eq!(below(&volume, path).unwrap_err(), errno, "{path}");
        }
    }
}
