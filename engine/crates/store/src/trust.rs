//! Whether the directories of an engine are ours: looked at once by each opening, before anything in them is read.
//!
//! | what is there | what happens |
//! |---|---|
//! | nothing | it is made, 0700 |
//! | a directory of ours that nobody else may write to | it is made 0700 if others could read it |
//! | a directory of somebody else, or one that others may write to | refused: whoever made it may have put anything in it |
//! | a symbolic link of root's or ours to such a directory | followed: administrators move data to other disks like that |
//! | a symbolic link of somebody else | refused |
//! | a symbolic link inside, or a database of somebody else | refused: it would lead us, with our rights, elsewhere |
//!
//! A directory above that others may write to is no danger by itself: what they put in our place is theirs, and refused.

use crate::db::private_directory;
use dhow_model::{Error, ErrorKind, Layout, Result, ResultExt};
use std::fs::Metadata;
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Nobody but the owner.
const PRIVATE: u32 = 0o700;

/// Makes the two directories when they are missing, and refuses those that are not ours.
///
/// # Errors
/// `Forbidden` saying what is wrong with which file, and the command that mends it; what the kernel says.
pub fn ensure(layout: &Layout) -> Result<()> {
    for (what, directory) in [("root", layout.root()), ("state", layout.state())] {
        if !check_directory(what, directory)? {
            private_directory(directory)?;
            // Somebody may have been faster.
            check_directory(what, directory)?;
        }
        check_entries(what, directory)?;
    }
    let database = layout.database();
    match look(&database)? {
        Some(found) if found.uid() != own_id() => Err(refused(format!(
            "the database {} belongs to uid {}, not to uid {}: {}",
            database.display(),
            found.uid(),
            own_id(),
            way_out(layout.root())
        ))),
        _ => Ok(()),
    }
}

/// `false` when there is none.
fn check_directory(what: &str, path: &Path) -> Result<bool> {
    let Some(mut found) = look(path)? else { return Ok(false) };
    if found.is_symlink() {
        if found.uid() != own_id() && found.uid() != 0 {
            return Err(refused(format!(
                "the {what} directory {} is a symbolic link of uid {}: name the directory that it should lead to, or \
                 remove it: rm {}",
                path.display(),
                found.uid(),
                path.display()
            )));
        }
        found = std::fs::metadata(path).context(|| format!("follow {}", path.display()))?;
    }
    if !found.is_dir() {
        return Err(refused(format!("the {what} directory {} is no directory", path.display())));
    }
    if found.uid() != own_id() {
        return Err(refused(format!(
            "the {what} directory {} belongs to uid {}, not to uid {}: {}",
            path.display(),
            found.uid(),
            own_id(),
            way_out(path)
        )));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(refused(format!(
            "others may write to the {what} directory {} (mode {mode:04o}): {}",
            path.display(),
            way_out(path)
        )));
    }
    if mode & 0o777 != PRIVATE {
        // Nobody else could have put anything there, so it is enough to close it.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(PRIVATE))
            .context(|| format!("make {} private", path.display()))?;
    }
    Ok(true)
}

/// None of the names that are opened by path may lead elsewhere. Kinds are read with the names: no call for each.
fn check_entries(what: &str, directory: &Path) -> Result<()> {
    let context = || format!("list {}", directory.display());
    for entry in std::fs::read_dir(directory).context(context)? {
        let entry = entry.context(context)?;
        if entry.file_type().context(context)?.is_symlink() {
            let path = entry.path();
            return Err(refused(format!(
                "{} is a symbolic link in the {what} directory, and would lead dhow elsewhere: remove it (rm {}), or \
                 mount the directory that it should lead to there (mount --bind)",
                path.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == IoKind::NotFound => Ok(None),
        found => found.map(Some).context(|| format!("look at {}", path.display())),
    }
}

fn way_out(path: &Path) -> String {
    let path = path.display();
    format!(
        "whoever could write there may have put anything in it. Use another directory, or move it away and let dhow \
         make it anew; only if you know all that is in it: chown {} {path} && chmod 0700 {path}",
        own_id()
    )
}

fn refused(what: String) -> Error {
    Error::new(ErrorKind::Forbidden, what)
}

fn own_id() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn modes_and_links() {
        let place = tempfile::tempdir().unwrap();
        let (root, state) = (place.path().join("r"), place.path().join("s"));
        let layout = Layout::new(&root, &state);
        ensure(&layout).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode(&root), mode(&state)), (0o700, 0o700));
        for (given, good) in [(0o755, true), (0o711, true), (0o770, false), (0o702, false), (0o1777, false)] {
            fs::set_permissions(&state, fs::Permissions::from_mode(given)).unwrap();
            let result = ensure(&layout);
            assert_eq!(result.is_ok(), good, "{given:o}: {result:?}");
            assert_eq!(mode(&state), if good { 0o700 } else { given });
        }
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        symlink("/nowhere", root.join("content")).unwrap();
        let error = ensure(&layout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(error.to_string().contains(&format!("rm {}", root.join("content").display())), "{error}");
        fs::remove_file(root.join("content")).unwrap();
        // The directory itself may be elsewhere.
        let (link, file) = (place.path().join("link"), place.path().join("file"));
        symlink(&root, &link).unwrap();
        ensure(&Layout::new(&link, &state)).unwrap();
        fs::write(&file, "").unwrap();
        assert!(ensure(&Layout::new(&file, &state)).unwrap_err().to_string().contains("is no directory"));
    }
}
