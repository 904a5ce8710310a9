//! How much space files take.

use dhow_model::{Result, ResultExt};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Sum of the sizes of the regular files below a directory; hard links count once, a missing tree as zero.
pub(crate) fn tree_bytes(path: &Path) -> Result<u64> {
    let mut total = 0;
    let mut linked = BTreeSet::new();
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            // A container removes directories while we walk.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).context(|| format!("measure {}", directory.display())),
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file()
                && (metadata.nlink() == 1 || linked.insert((metadata.dev(), metadata.ino())))
            {
                total += metadata.len();
            }
        }
    }
    Ok(total)
}
