//! Parent directories: the fast way, and the one that makes what is missing.

use super::{DirectoryTime, OPAQUE, Unpacker, no_room, unpacking};
use crate::layer::tree::{Clean, LINKS_MAX, path};
use crate::tarball::Mtime;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::fsat;
use dhow_sys::{Errno, xattr};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// Directories that no member describes get this mode, and root as owner.
const IMPLIED_MODE: u32 = 0o755;

impl Unpacker {
    /// Opens the directory of that cleaned name; makes it, and those above it, when the tar only implies them.
    /// `mtime` is that of the member that implies them.
    pub(super) fn parent(&mut self, name: &[u8], mtime: Mtime) -> Result<Rc<OwnedFd>> {
        match self.tree.directory(name) {
            Ok(dir) => Ok(dir),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => {
                let made = self.make_parents(name, mtime)?;
                Ok(self.tree.remember(name, made))
            }
            Err(errno) => Err(Error::caused(ErrorKind::Internal, "open the parent directory", errno)),
        }
    }

    /// Walks name by name, following the layer's own symbolic links inside the tree, and makes what is missing.
    fn make_parents(&mut self, name: &[u8], mtime: Mtime) -> Result<OwnedFd> {
        let mut todo: VecDeque<Vec<u8>> = parts(name);
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut here = self.root_again()?;
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == b".." {
                // Only from a link's target. What was walked has no links and is moved by nobody, so its parent is
                // where it says; and the root is its own.
                done.pop();
                here = match done.is_empty() {
                    true => self.root_again()?,
                    false => fsat::open_at(here.as_fd(), path(b".."), libc::O_PATH | libc::O_DIRECTORY, 0)
                        .context(unpacking)?,
                };
                continue;
            }
            let file = path(&part);
            match fsat::stat_at(here.as_fd(), file) {
                Ok(stat) if stat.is_dir() => {}
                Ok(stat) if stat.is_symlink() => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::corrupt("too many symbolic links in the parent directories"));
                    }
                    let target = fsat::read_link_at(here.as_fd(), file).context(unpacking)?;
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        done.clear();
                        here = self.root_again()?;
                    }
                    for part in parts(target).into_iter().rev() {
                        todo.push_front(part);
                    }
                    continue;
                }
                Ok(stat) if stat.is_whiteout() => {
                    // Deleted and made anew in one layer: nothing from below may show.
                    self.replace(here.as_fd(), &part, &stat)?;
                    let inode = self.imply(&here, &done, &part, mtime)?;
                    self.implied.remove(&inode);
                    xattr::set_at(here.as_fd(), file, OsStr::new(OPAQUE), b"y").context(unpacking)?;
                }
                Ok(_) => {
                    return Err(Error::corrupt(format!(
                        "its parent {} is not a directory",
                        Clean::trusted(join(&done, &part)).display()
                    )));
                }
                Err(error) if error.errno == Errno::ENOENT => {
                    self.imply(&here, &done, &part, mtime)?;
                }
                Err(error) => return Err(error).context(unpacking),
            }
            here =
                fsat::open_at(here.as_fd(), file, libc::O_PATH | libc::O_DIRECTORY, 0).context(unpacking)?;
            done.push(part);
        }
        Ok(here)
    }

    /// Makes one implied directory, and gives its inode. Its real attributes may come from the layers below: see `below.rs`.
    fn imply(&mut self, here: &OwnedFd, done: &[Vec<u8>], part: &[u8], mtime: Mtime) -> Result<u64> {
        let file = path(part);
        fsat::mkdir_at(here.as_fd(), file, IMPLIED_MODE).map_err(no_room)?;
        let stat = fsat::stat_at(here.as_fd(), file).context(unpacking)?;
        // A setgid parent passes its group and bit on.
        if (stat.uid, stat.gid) != (0, 0) {
            fsat::chown_at(here.as_fd(), file, 0, 0).context(unpacking)?;
        }
        if stat.mode & 0o7777 != IMPLIED_MODE {
            fsat::chmod_at(here.as_fd(), file, IMPLIED_MODE).context(unpacking)?;
        }
        let name = Clean::trusted(join(done, part));
        name.check_length()?;
        self.keep_name(2 * name.as_bytes().len())?;
        self.implied.insert(stat.inode, name.clone());
        self.directories.insert(stat.inode, DirectoryTime { name, mtime });
        Ok(stat.inode)
    }

    pub(super) fn root_again(&self) -> Result<OwnedFd> {
        self.tree.root().try_clone_to_owned().context(|| "duplicate the layer's root".to_owned())
    }
}

fn parts(name: &[u8]) -> VecDeque<Vec<u8>> {
    let parts = name.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.map(<[u8]>::to_vec).collect()
}

fn join(done: &[Vec<u8>], part: &[u8]) -> Vec<u8> {
    let mut name = done.join(&b'/');
    if !name.is_empty() {
        name.push(b'/');
    }
    name.extend_from_slice(part);
    name
}
