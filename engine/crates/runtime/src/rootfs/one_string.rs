//! An overlay on kernels before 6.7, which take its layers only as one string of options.
//!
//! Such a string holds at most a page, less than the paths of forty layers. So the layers are opened, and named
//! by the numbers of their descriptors, as seen from `/proc/self/fd`: `lowerdir=7:8:9`. That works with mount(2)
//! alone (fsconfig(2) takes 255 bytes), which needs a place in a mount namespace, and none of the host's is
//! touched: a child with a namespace of its own mounts, and hands out a detached copy.
//!
//! ```text
//!   here                         child: mount namespace of its own, our descriptors
//!   prepare strings ── clone ──► cover layers by their id-mapped copies, if there are
//!                                open layers, chdir /proc/self/fd
//!                                mount(2) over the work directory, open_tree(2)
//!   the descriptor  ◄─── exit ── close the layers
//! ```

use super::{Writable, c_path};
use dhow_model::{Error, ErrorKind, Result};
use dhow_sys::mount::{self, OPEN_TREE_CLONE, OPTIONS_MAX};
use dhow_sys::{Errno, clone, process};
use std::ffi::{CStr, CString};
use std::io::{Cursor, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Makes the overlay. `mapped` has a detached, id-mapped copy of each layer, or nothing.
///
/// # Errors
/// Names the layer that is missing, or the limit that is met.
pub(super) fn overlay(
    lower: &[PathBuf],
    mapped: &[OwnedFd],
    writable: Option<&Writable<'_>>,
    scratch: &Path,
) -> Result<OwnedFd> {
    let options = writable.map(|Writable { upper, work, volatile }| {
        let volatile: &[u8] = if *volatile { b"volatile," } else { b"" };
        [b"upperdir=".as_slice(), &escaped(upper), b",workdir=", &escaped(work), b",", volatile].concat()
    });
    let layers = lower.iter().map(|path| c_path(path)).collect::<Result<Vec<_>>>()?;
    let target = c_path(scratch)?;
    let mut child = Child {
        layers: &layers,
        mapped,
        target: &target,
        places: [options.unwrap_or_default().as_slice(), b"lowerdir="].concat(),
        opened: Vec::with_capacity(layers.len()),
        options: [0; OPTIONS_MAX + 1],
    };
    clone::in_mount_namespace(|| child.mount())
        .map_err(|errno| explain(lower, writable.map_or(scratch, |writable| writable.upper), errno))
}

/// What the child works with: nothing in it grows or shrinks there.
struct Child<'a> {
    layers: &'a [CString],
    mapped: &'a [OwnedFd],
    target: &'a CStr,
    /// All options but the layers.
    places: Vec<u8>,
    opened: Vec<OwnedFd>,
    options: [u8; OPTIONS_MAX + 1],
}

impl Child<'_> {
    fn mount(&mut self) -> Result<OwnedFd, Errno> {
        let result = self.mount_and_open();
        // Its memory stays: this is a copy of another process, whose allocator may be locked.
        self.opened.clear();
        result
    }

    fn mount_and_open(&mut self) -> Result<OwnedFd, Errno> {
        for (path, copy) in self.layers.iter().zip(self.mapped) {
            mount::attach(copy.as_fd(), mount::open_path(path)?.as_fd())?;
        }
        for path in self.layers {
            self.opened.push(mount::open_path(path)?);
        }
        process::chdir(c"/proc/self/fd")?;
        let mut text = Cursor::new(&mut self.options[..OPTIONS_MAX]);
        let mut written = text.write_all(&self.places);
        for (index, layer) in self.opened.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            written = written.and_then(|()| write!(text, "{separator}{}", layer.as_raw_fd()));
        }
        written.map_err(|_| Errno::E2BIG)?;
        let options = CStr::from_bytes_until_nul(&self.options).map_err(|_| Errno::E2BIG)?;
        mount::mount_with_options(c"overlay", self.target, options)?;
        mount::open_tree(None, self.target, OPEN_TREE_CLONE)
    }
}

/// A path as the overlay's option parser reads it back: it ends an option at a comma, and a backslash takes the
/// meaning from what follows.
fn escaped(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b'\\' | b':') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

fn explain(lower: &[PathBuf], upper: &Path, errno: Errno) -> Error {
    let (kind, what) = match (errno, lower.iter().find(|layer| !layer.is_dir())) {
        (Errno::E2BIG, _) => (
            ErrorKind::Unsupported,
            format!(
                "{} layers: this kernel takes an overlay's layers only as one string of {OPTIONS_MAX} bytes \
                 (Linux 6.7 takes them one by one)",
                lower.len()
            ),
        ),
        (_, Some(missing)) => (ErrorKind::StartFailed, format!("layer {}", missing.display())),
        _ => (
            ErrorKind::StartFailed,
            format!("mount overlay of {} layers at {}", lower.len(), upper.display()),
        ),
    };
    Error::caused(kind, format!("root filesystem: {what}"), errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn directory(path: PathBuf) -> PathBuf {
        fs::create_dir(&path).unwrap();
        path
    }

    fn writable<'a>(upper: &'a Path, work: &'a Path) -> Writable<'a> {
        Writable { upper, work, volatile: true }
    }

    /// Newer kernels take the one string too: what the old ones need is tested on all.
    #[test]
    fn many_layers_odd_names_and_nothing_left() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| directory(dir.path().join(name));
        // From the top down; the last is the lowest.
        let lower: Vec<PathBuf> = (0..300).map(|number| at(&format!("layer-{number}"))).collect();
        for (number, layer) in lower.iter().enumerate() {
            fs::write(layer.join("which"), number.to_string()).unwrap();
            fs::write(layer.join(format!("n{number}")), "").unwrap();
        }
        let (upper, work) = (at("up,per:a\\b=c"), at("wo,rk:lowerdir=x"));
        let tree = overlay(&lower, &[], Some(&writable(&upper, &work)), &work).unwrap();
        let held =
            fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        assert_eq!(held.filter(|path| path.starts_with(dir.path())).count(), 0, "no layer stays open");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains(dir.path().to_str().unwrap()), "{table}");
        // Through /proc: a detached mount has no path.
        let root = PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd()));
        assert_eq!(fs::read_to_string(root.join("which")).unwrap(), "0");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 301);
        fs::write(root.join("new"), "written").unwrap();
        assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "written");
    }

    #[test]
    fn what_does_not_work_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| directory(dir.path().join(name));
        let (layer, upper, work) = (at("layer"), at("upper"), at("work"));
        let missing = dir.path().join("missing");
        let error = overlay(&[layer.clone(), missing], &[], Some(&writable(&upper, &work)), &work)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("root filesystem: layer /") && error.contains("/missing: ENOENT"),
            "{error}"
        );
        // Two paths of about 2000 bytes: what is left of the string is not enough for 100 numbers.
        let long = |name: &str| (0..10).fold(dir.path().join(name), |path, _| path.join("x".repeat(180)));
        let (upper, work) = (long("u"), long("w"));
        fs::create_dir_all(&upper).unwrap();
        fs::create_dir_all(&work).unwrap();
        let error = overlay(&vec![layer; 200], &[], Some(&writable(&upper, &work)), &work).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("200 layers: this kernel takes"), "{error}");
    }
}
