//! Images: load, import, list, remove.

use super::{filters, json};
use crate::api::convert;
use crate::image::import::ImportRequest;
use crate::{Engine, image};
use dhow_model::{Error, ErrorKind, Reference, Result, ResultExt};
use serde::Serialize;
use std::fs::File;
use std::path::Path;

/// One image or artifact that was loaded.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Loaded {
    id: String,
    repo_tags: Vec<String>,
}

/// Loads every image of an archive, read from where `archive` stands to its end: a file, a pipe, a socket.
/// Returns `[{"Id":…,"RepoTags":[…]}]`.
///
/// # Errors
/// As `image::load`.
pub fn load(engine: &Engine, archive: &File) -> Result<String> {
    let archive = archive.try_clone().context(|| "duplicate the archive's descriptor".to_owned())?;
    let loaded = image::load::load(engine, archive)?;
    let images = loaded.images.iter().map(|one| (&one.image.id, &one.references));
    let artifacts = loaded.artifacts.iter().map(|one| (one.artifact.id(), &one.references));
    let shown = images.chain(artifacts).map(|(id, references)| Loaded {
        id: id.to_string(),
        repo_tags: references.iter().map(Reference::familiar).collect(),
    });
    json(&shown.collect::<Vec<Loaded>>())
}

/// The same with a path.
///
/// # Errors
/// As [`load`]; `NotFound` when there is no such file.
pub fn load_path(engine: &Engine, path: &Path) -> Result<String> {
    load(engine, &open(path)?)
}

/// Opens an archive by its path.
///
/// # Errors
/// `NotFound` when there is no such file, `Forbidden` when it may not be read, `InvalidArgument` for a directory.
pub fn open(path: &Path) -> Result<File> {
    let what = || format!("open {}", path.display());
    let file = File::open(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Forbidden,
            _ => ErrorKind::Internal,
        };
        Error::caused(kind, what(), error)
    })?;
    if file.metadata().context(what)?.is_dir() {
        return Err(Error::invalid(format!("{} is a directory", path.display())));
    }
    Ok(file)
}

/// What an import is called and says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Import<'a> {
    /// Its tag, if it gets one.
    pub reference: Option<&'a str>,
    /// Dockerfile instructions, one each.
    pub changes: &'a [&'a str],
    /// The comment of its history entry.
    pub message: &'a str,
    /// `os[/architecture[/variant]]`; empty: this machine's.
    pub platform: &'a str,
}

/// Makes an image of one layer of a tar, plain or compressed. Returns its id.
///
/// # Errors
/// As `image::import`.
pub fn import(engine: &Engine, tar: &mut File, import: Import<'_>) -> Result<String> {
    let reference = import.reference.map(Reference::parse).transpose()?;
    if reference.as_ref().is_some_and(|r| r.digest().is_some()) {
        return Err(Error::invalid("cannot import digest reference"));
    }
    let request = ImportRequest {
        reference: reference.map(Reference::with_default_tag),
        changes: import.changes.iter().map(|&change| change.to_owned()).collect(),
        message: import.message.to_owned(),
        platform: import.platform.to_owned(),
    };
    image::import::import(engine, tar, &request).map(|id| id.to_string())
}

/// The body of `GET /images/json`.
///
/// # Errors
/// As `image::list`.
pub fn list(engine: &Engine, filter: Option<&str>) -> Result<String> {
    let filters = filters(filter)?;
    let images = image::list::list(engine, &filters)?.iter().map(convert::image::summary).collect();
    json(&convert::artifact::among(images, &image::artifacts::list(engine, &filters)?))
}

/// The body of `DELETE /images/NAME`.
///
/// # Errors
/// As `image::remove`.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<String> {
    json(&convert::image::removed(&image::remove::remove(engine, name, force)?))
}
