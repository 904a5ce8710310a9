//! Members that replace earlier ones of the same layer: the last wins, but the data of the first is still needed
//! to write the tar again, and moves to `kept/`.

use super::{Unpacker, no_room, path, unpacking};
use dhow_model::{Error, Result, ResultExt};
use dhow_sys::Errno;
use dhow_sys::fsat::{self, Stat};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

impl Unpacker {
    /// Makes something with `call`; if the name is taken, replaces what has it.
    pub(super) fn make<T>(
        &mut self,
        dir: BorrowedFd<'_>,
        last: &[u8],
        call: impl Fn(&Path) -> fsat::Result<T>,
    ) -> Result<T> {
        match call(path(last)) {
            Err(error) if error.errno == Errno::EEXIST => {
                let old = fsat::stat_at(dir, path(last)).context(unpacking)?;
                self.replace(dir, last, &old)?;
                call(path(last)).map_err(no_room)
            }
            other => other.map_err(no_room),
        }
    }

    /// Removes what has that name, and keeps the data that is still needed.
    pub(super) fn replace(&mut self, dir: BorrowedFd<'_>, last: &[u8], old: &Stat) -> Result<()> {
        if let Some(workers) = &mut self.workers {
            workers.settle()?;
        }
        if self.by_inode.is_none() {
            self.by_inode = Some(self.payloads.iter().enumerate().map(|(n, p)| (p.inode, n)).collect());
        }
        self.tree.forget();
        if !old.is_dir() {
            self.keep(dir, last, old)?;
            return fsat::unlink_at(dir, path(last)).context(unpacking);
        }
        // Names in one directory share its descriptor: there are never more of them than the tree is deep.
        let mut todo: Vec<(Rc<OwnedFd>, Vec<u8>)> =
            vec![(Rc::new(dir.try_clone_to_owned().context(unpacking)?), last.to_vec())];
        while let Some((dir, name)) = todo.pop() {
            let stat = fsat::stat_at(dir.as_fd(), path(&name)).context(unpacking)?;
            if stat.is_dir() {
                self.directories.remove(&stat.inode);
                self.implied.remove(&stat.inode);
                let flags = libc::O_RDONLY | libc::O_DIRECTORY;
                let inner = Rc::new(fsat::open_at(dir.as_fd(), path(&name), flags, 0).context(unpacking)?);
                for listed in fsat::list_directory(inner.as_fd()).context(unpacking)? {
                    let name = listed.name.as_bytes();
                    if listed.is_dir == Some(false) {
                        let stat = fsat::stat_at(inner.as_fd(), path(name)).context(unpacking)?;
                        self.keep(inner.as_fd(), name, &stat)?;
                    } else {
                        todo.push((Rc::clone(&inner), name.to_vec()));
                    }
                }
            } else {
                self.keep(dir.as_fd(), &name, &stat)?;
            }
        }
        fsat::remove_tree(dir, path(last)).context(unpacking)
    }

    /// Gives a file that holds data of the tar a second name in `kept/`.
    fn keep(&mut self, dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> Result<()> {
        let known = self.by_inode.as_ref().and_then(|known| known.get(&stat.inode)).copied();
        let Some(payload) = known.filter(|_| stat.is_file()).and_then(|n| self.payloads.get_mut(n)) else {
            return Ok(());
        };
        if payload.kept {
            return Ok(());
        }
        if self.kept.is_none() {
            let place = self.layer.join("kept");
            std::fs::create_dir(&place).context(|| "make kept/".to_owned())?;
            self.kept = Some(fsat::open_directory(&place).context(unpacking)?);
        }
        let Some(kept) = &self.kept else { return Err(Error::internal("kept/ is not open")) };
        let new_name = stat.inode.to_string().into_bytes();
        fsat::link_at(dir, path(name), kept.as_fd(), path(&new_name)).context(unpacking)?;
        payload.kept = true;
        payload.path = new_name;
        Ok(())
    }

    /// After replacements a payload's name may lead elsewhere (a symbolic link on the way is another one now):
    /// finds each payload again by its inode.
    pub(super) fn settle_payloads(&mut self) -> Result<()> {
        if self.by_inode.is_none() {
            return Ok(());
        }
        self.tree.forget();
        let mut places: Option<HashMap<u64, Vec<u8>>> = None;
        for number in 0..self.payloads.len() {
            let payload = self.payloads[number].clone();
            let name = super::Clean::trusted(payload.path);
            if payload.kept || self.find(&name).is_some_and(|(_, stat)| stat.inode == payload.inode) {
                continue;
            }
            if places.is_none() {
                places = Some(self.walk()?);
            }
            match places.as_mut().and_then(|places| places.get(&payload.inode)) {
                Some(place) => self.payloads[number].path.clone_from(place),
                None => return Err(Error::internal(format!("the data of {} was lost", name.display()))),
            }
        }
        Ok(())
    }

    /// All regular files of the tree by inode.
    fn walk(&mut self) -> Result<HashMap<u64, Vec<u8>>> {
        let mut places = HashMap::new();
        let mut todo: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(name) = todo.pop() {
            let dir = self.tree.directory(&name).context(unpacking)?;
            for listed in fsat::list_directory(dir.as_fd()).context(unpacking)? {
                let inner = if name.is_empty() {
                    listed.name.as_bytes().to_vec()
                } else {
                    [name.as_slice(), b"/", listed.name.as_bytes()].concat()
                };
                let stat = fsat::stat_at(dir.as_fd(), Path::new(&listed.name)).context(unpacking)?;
                if stat.is_dir() {
                    todo.push(inner);
                } else if stat.is_file() {
                    places.insert(stat.inode, inner);
                }
            }
        }
        Ok(places)
    }
}
