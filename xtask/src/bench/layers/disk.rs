//! A filesystem in a file, fresh for every sample: no sample pays for, or gains from, the one before it. The file is
//! read and written past the page cache, as a disk is: else everything would be copied, and kept in memory, twice.

use crate::bench::unmount_below;
use crate::{Result, process};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Larger than the largest material four times; the file is sparse.
const BYTES: u64 = 6 << 30;

/// A mounted ext4; unmounted and removed when it is dropped.
pub(super) struct Disk {
    file: PathBuf,
    /// The loop device, while there is one.
    device: Option<String>,
    pub(super) path: PathBuf,
}

impl Disk {
    pub(super) fn fresh(scratch: &Path) -> Result<Self> {
        let mut disk = Self { file: scratch.join("disk.img"), device: None, path: scratch.join("disk") };
        std::fs::create_dir_all(&disk.path)?;
        std::fs::File::create(&disk.file)?.set_len(BYTES)?;
        // Nothing is to be initialised in the background while others are measured.
        let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        process::output(Command::new("mkfs.ext4").args(["-q", "-F", "-E", options]).arg(&disk.file))?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result {
        let attach = ["--find", "--show", "--direct-io=on"];
        let device = process::output(Command::new("losetup").args(attach).arg(&self.file))?;
        let device = self.device.insert(device.trim().to_owned());
        process::run(Command::new("mount").arg(device).arg(&self.path))
    }

    /// Unmounts what engines left mounted on it, then itself.
    fn unmount(&mut self) -> Result {
        unmount_below(&self.path)?;
        let unmounted = process::run(Command::new("umount").arg(&self.path));
        match self.device.take() {
            Some(device) => process::run(Command::new("losetup").args(["--detach", &device])).and(unmounted),
            None => unmounted,
        }
    }

    /// Makes the next read one from the disk: as far as this machine's is concerned.
    pub(super) fn forget_pages(&mut self) -> Result {
        self.unmount()?;
        // Of the file itself: `count=0` with `nocache` drops all of it (dd, "nocache").
        let of = format!("of={}", self.file.display());
        process::output(Command::new("dd").args([
            &of,
            "oflag=nocache",
            "conv=notrunc,fdatasync",
            "count=0",
        ]))?;
        self.mount()
    }

    /// What a directory on it takes.
    pub(super) fn used_mib(&self, name: &str) -> Result<u64> {
        let text = process::output(Command::new("du").arg("-sm").arg(self.path.join(name)))?;
        Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.unmount().and_then(|()| Ok(std::fs::remove_file(&self.file)?)) {
            eprintln!("xtask: cannot take down {}: {error}", self.path.display());
        }
    }
}
