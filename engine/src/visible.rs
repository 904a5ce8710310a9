//! Files and directories that containers see: their modes are exactly these and their group is root's, whatever the umask
//! and the group of the process are that makes them. That may be a program of others with threads, so its umask is not touched.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Others may enter and read.
const DIRECTORY: u32 = 0o755;
/// Others may read.
const FILE: u32 = 0o644;

/// Makes a directory. One that is there keeps its mode, which may be the container's choice.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => settle(&File::open(path)?, DIRECTORY),
    }
}

/// Makes a directory, and those above it that are missing.
pub(crate) fn make_directories(path: &Path) -> io::Result<()> {
    match (make_directory(path), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            make_directories(parent)?;
            make_directory(path)
        }
        (result, _) => result,
    }
}

/// Writes a file, new or not.
pub(crate) fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(FILE).open(path)?;
    settle(&file, FILE)?;
    file.write_all(text.as_bytes())
}

/// Sets what is not so yet.
fn settle(made: &File, mode: u32) -> io::Result<()> {
    let found = made.metadata()?;
    // Root's group, not that of `newgrp` or of a set-group-id directory above.
    if found.uid() == 0 && found.gid() != 0 {
        fchown(made, None, Some(0))?;
    }
    if found.mode() & 0o7777 != mode {
        made.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}
