//! Lists that are being made: `~/.docker/manifests/LIST/MANIFEST`, one file each, as Docker's command line has them.

use super::entry::Entry;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use dhow_model::Reference;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// All lists.
pub(super) struct Lists {
    directory: PathBuf,
}

impl Lists {
    pub(super) fn of(context: &Context) -> Outcome<Self> {
        let directory = context.config_directory();
        let directory = directory
            .ok_or_else(|| Failure::new("no place for manifest lists: HOME and DOCKER_CONFIG are not set"))?;
        Ok(Self { directory: directory.join("manifests") })
    }

    fn path(&self, list: &Reference) -> PathBuf {
        self.directory.join(file_name(list))
    }

    /// The manifests of a list, by name; `None` if there is no such list.
    pub(super) fn entries(&self, list: &Reference) -> Outcome<Option<Vec<Entry>>> {
        let directory = self.path(list);
        let reading = |error: std::io::Error| Failure::new(format!("read {}: {error}", directory.display()));
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(reading)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            found.push(parse(&entry.map_err(reading)?.path())?);
        }
        found.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(Some(found))
    }

    /// One manifest of a list.
    pub(super) fn entry(&self, list: &Reference, manifest: &Reference) -> Outcome<Option<Entry>> {
        let path = self.path(list).join(file_name(manifest));
        if path.exists() { parse(&path).map(Some) } else { Ok(None) }
    }

    /// Keeps a manifest of a list.
    pub(super) fn keep(&self, list: &Reference, manifest: &Reference, entry: &Entry) -> Outcome<()> {
        let directory = self.path(list);
        let path = directory.join(file_name(manifest));
        let fail = |error: std::io::Error| Failure::new(format!("write {}: {error}", path.display()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(fail)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(fail)?;
        file.write_all(entry.json()?.as_bytes()).map_err(fail)?;
        file.persist(&path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    /// Forgets a list. Returns whether it was there.
    pub(super) fn remove(&self, list: &Reference) -> Outcome<bool> {
        let path = self.path(list);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::new(format!("remove {}: {error}", path.display()))),
        }
    }
}

fn parse(path: &std::path::Path) -> Outcome<Entry> {
    let json =
        std::fs::read(path).map_err(|error| Failure::new(format!("read {}: {error}", path.display())))?;
    Entry::parse(&json)
        .map_err(|why| Failure::new(format!("{} is not a manifest entry: {why}", path.display())))
}

/// Docker's: no colon, no slash. A reference has no other character that means something in a path.
fn file_name(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}
