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
mod statements;

pub use import::{ImportOptions, import};
pub use save::{Chosen, save};

use crate::content::Content;
use crate::db::{Artifact, Referrer};
use crate::install::Loaded;
use crate::layer::{LayerStore, Progress};
use bundle::Bundle;
use dhow_model::{Digest, Error, Reference, Result};
use std::fs::File;
use std::path::Path;

/// What an archive had; nothing of it is in the database yet.
#[derive(Debug, Default)]
pub struct Archived {
    /// Its images.
    pub images: Vec<Loaded>,
    /// What it has that is no image, and the names.
    pub artifacts: Vec<(Artifact, Vec<Reference>)>,
    /// What is about them.
    pub referrers: Vec<Referrer>,
    /// The digests that something refers to, as names of images and artifacts: id and reference.
    pub known_by: Vec<(Digest, Reference)>,
    /// Why some of what refers to them is not kept.
    pub left_out: Vec<String>,
}

/// Something that is no image, whose manifest was read and verified.
struct PlannedArtifact {
    artifact: Artifact,
    manifest: Vec<u8>,
    references: Vec<Reference>,
}

/// Installs every image of a docker-archive or OCI archive, plain or compressed.
///
/// It is read from where it stands. What is no file, and what is compressed as a whole, is copied first.
///
/// # Errors
/// `Corrupt` naming the member that is not what its digest says, or where the archive ends too early;
/// `InvalidArgument` when it is no image archive; `Unsupported` for forms that are not known.
pub fn load(content: &Content, layers: &dyn LayerStore, archive: File) -> Result<Archived> {
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
) -> Result<Archived> {
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
) -> Result<Archived> {
    install_all(content, layers, &Bundle::of_directory(directory)?, progress)
}

fn install_all(
    content: &Content,
    layers: &dyn LayerStore,
    bundle: &Bundle,
    progress: &dyn Progress,
) -> Result<Archived> {
    let mut plan = match (bundle.read_small("index.json")?, bundle.read_small("manifest.json")?) {
        (Some(index), docker) => {
            let mut plan = oci::plan(bundle, &index)?;
            if let Some(docker) = docker {
                docker::merge_names(bundle, &docker, &mut plan.images)?;
            }
            plan
        }
        (None, Some(manifest)) => {
            oci::Plan { images: docker::plan(bundle, &manifest)?, ..oci::Plan::default() }
        }
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
    plan.statements.settle(bundle, &mut plan.images, &plan.artifacts);
    let images = match plan.images.is_empty() && !plan.artifacts.is_empty() {
        true => Vec::new(),
        false => crate::install::install(content, layers, bundle, plan.images, progress)?,
    };
    plan.artifacts.iter().try_for_each(|planned| install_artifact(content, bundle, planned))?;
    let kept = plan.statements.keep(bundle, content, &images, &plan.artifacts);
    Ok(Archived {
        images,
        artifacts: plan.artifacts.into_iter().map(|one| (one.artifact, one.references)).collect(),
        referrers: kept.referrers,
        known_by: kept.known_by,
        left_out: kept.left_out,
    })
}

/// Every blob as it is.
fn install_artifact(content: &Content, bundle: &Bundle, planned: &PlannedArtifact) -> Result<()> {
    let artifact = &planned.artifact;
    let of = |error: Error| Error::caused(error.kind(), format!("artifact {}", artifact.id()), error);
    for blob in artifact.parts().into_values().filter(|blob| blob.digest != *artifact.id()) {
        if !statements::keep_blob(bundle, content, blob).map_err(of)? {
            let path = oci::blob_path(&blob.digest);
            return Err(of(Error::corrupt(format!("the archive has no {path:?}"))));
        }
    }
    content.put_bytes(&planned.manifest, Some(artifact.id())).map(|_| ())
}
