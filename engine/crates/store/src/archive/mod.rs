//! Image archives: `load`, `save` and `import`.
//!
//! ```text
//!   load:  file ─► bundle (plain tar or layout, members by name) ─► oci.rs | docker.rs: what is in it, verified
//!                                                                      └─► ../install.rs: layers in parallel, blobs
//!   save:  images ─► an OCI layout that is a docker-archive too, layers streamed from their split files
//!   import: a root filesystem's tar ─► one layer and a configuration
//! ```
//!
//! Nothing here touches the database: the verbs commit what these functions give in one transaction, and
//! until then nobody but a sweep sees the new layers and blobs.
//!
//! What is in an archive is decided by text that somebody else wrote, so every digest and size is checked, and
//! what could be read in two ways (a manifest that is also an index, two members of one name, a `manifest.json`
//! that disagrees with the `index.json` beside it) is refused.

mod bundle;
mod docker;
mod import;
mod oci;
mod save;

pub use import::{ImportOptions, import};
pub use save::save;

use crate::content::Content;
use crate::install::Loaded;
use crate::layer::{LayerStore, Progress};
use bundle::Bundle;
use dhow_model::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Installs every image of a docker-archive or OCI archive, plain or compressed.
///
/// It is read from where it stands. What is no file, and what is compressed as a whole, is copied first.
///
/// # Errors
/// `Corrupt` naming the member that is not what its digest says, or where the archive ends too early;
/// `InvalidArgument` when it is no image archive; `Unsupported` for forms that are not known.
pub fn load(content: &Content, layers: &dyn LayerStore, archive: File) -> Result<Vec<Loaded>> {
    load_reporting(content, layers, archive, &())
}

/// The same, and reports how the layers go.
///
/// # Errors
/// As [`load`].
pub fn load_reporting(
    content: &Content,
    layers: &dyn LayerStore,
    archive: File,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    install_all(content, layers, &Bundle::of_archive(archive, content)?, progress)
}

/// Installs every image of a directory that is an OCI layout, or an unpacked docker-archive.
///
/// # Errors
/// As [`load`].
pub fn load_directory(
    content: &Content,
    layers: &dyn LayerStore,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    install_all(content, layers, &Bundle::of_directory(directory)?, progress)
}

fn install_all(
    content: &Content,
    layers: &dyn LayerStore,
    bundle: &Bundle,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    let images = match (bundle.read_small("index.json")?, bundle.read_small("manifest.json")?) {
        (Some(index), docker) => {
            let mut images = oci::plan(bundle, &index)?;
            if let Some(docker) = docker {
                docker::merge_names(bundle, &docker, &mut images)?;
            }
            images
        }
        (None, Some(manifest)) => docker::plan(bundle, &manifest)?,
        (None, None) if bundle.read_small("repositories")?.is_some() => {
            return Err(Error::unsupported(
                "the archive is in the form that Docker wrote before version 1.10: load and save it with a newer one",
            ));
        }
        (None, None) => {
            return Err(Error::invalid(
                "not an image archive: it has neither index.json nor manifest.json (a root filesystem is for import)",
            ));
        }
    };
    crate::install::install(content, layers, bundle, images, progress)
}
