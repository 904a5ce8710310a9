//! A container's root directory before it is there: for what must be read from it beforehand.

use crate::plan::LaunchPlan;
use crate::rootfs::{self, c_path, c_string};
use crate::step::{BindPlan, ImagePlan, MountStep, MountWhat, Step};
use crate::user::{Files, InRoot};
use crate::volume_fs;
use dhow_model::ErrorKind;
use dhow_sys::{Errno, fsat, mount};
use nix::libc;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The root as it will be: what the user mounts of files over the root filesystem.
pub(crate) struct FutureRoot<'a> {
    root: BorrowedFd<'a>,
    /// Where, and what.
    covers: Vec<(&'a str, Cover<'a>)>,
}

#[derive(Clone, Copy)]
enum Cover<'a> {
    Bind(&'a BindPlan),
    Image(&'a ImagePlan),
}

impl Cover<'_> {
    /// What will be there. Made anew each time: little is read before the container is there, and from an image hardly
    /// ever.
    fn open(self) -> Result<OwnedFd, Errno> {
        match self {
            Self::Bind(bind) if bind.subpath.is_empty() => {
                c_path(&bind.path).map_err(|_| Errno::EINVAL).and_then(|path| mount::open_path(&path))
            }
            Self::Bind(bind) => volume_fs::below(&bind.path, &bind.subpath),
            // As the image has them: who owns them does not matter to a reader who is root.
            Self::Image(image) => rootfs::of_image(&image.lower, &image.subpath, None, &image.scratch)
                .map_err(
                    |error| if error.kind() == ErrorKind::NotFound { Errno::ENOENT } else { Errno::EIO },
                ),
        }
    }
}

impl<'a> FutureRoot<'a> {
    /// By a plan that mounts on `root`.
    pub(crate) fn of(plan: &'a LaunchPlan, root: BorrowedFd<'a>) -> Self {
        let covers = plan.steps.iter().filter_map(|step| match step {
            Step::Mount(MountStep { what: MountWhat::Bind(bind), target, .. }) => {
                Some((target.as_str(), Cover::Bind(bind)))
            }
            Step::Mount(MountStep { what: MountWhat::Image(image), target, .. }) => {
                Some((target.as_str(), Cover::Image(image)))
            }
            _ => None,
        });
        Self { root, covers: covers.collect() }
    }

    /// Whether somebody may execute that file.
    pub(crate) fn has_program(&self, path: &str) -> bool {
        let opened = CString::new(path).ok().and_then(|path| self.open(&path).ok().flatten());
        let status = opened.and_then(|file| fsat::stat(file.as_fd()).ok());
        status.is_some_and(|status| status.is_file() && status.mode & 0o111 != 0)
    }
}

impl Files for FutureRoot<'_> {
    fn open(&self, path: &CStr) -> Result<Option<OwnedFd>, Errno> {
        let text = path.to_str().map_err(|_| Errno::EINVAL)?;
        let covering = self
            .covers
            .iter()
            .filter_map(|(target, source)| Some((source, text.strip_prefix(target)?)))
            .filter(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
            .min_by_key(|(_, rest)| rest.len());
        let Some((source, rest)) = covering else { return InRoot(self.root).open(path) };
        let place = match source.open() {
            Ok(place) => place,
            // The mount itself will say so, or make it.
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if rest.is_empty() {
            // A file: opened by what was just pinned, so that a FIFO is seen before it could block.
            return std::fs::OpenOptions::new()
                .read(true)
                .custom_flags_nonblock()
                .open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place)))
                .map(|file| Some(file.into()))
                .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)));
        }
        let rest = c_string(rest).map_err(|_| Errno::EINVAL)?;
        InRoot(place.as_fd()).open(&rest)
    }
}

/// O_NONBLOCK in the builder's words.
trait Nonblock {
    fn custom_flags_nonblock(&mut self) -> &mut Self;
}

impl Nonblock for std::fs::OpenOptions {
    fn custom_flags_nonblock(&mut self) -> &mut Self {
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, libc::O_NONBLOCK | libc::O_NOCTTY)
    }
}
