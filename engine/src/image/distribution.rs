//! What a registry has under a name, without fetching an image.

use super::pull::denied;
use super::transfer::Registries;
use dhow_model::{Digest, Error, ErrorKind, Reference, Result};
use dhow_registry::Repository;
use dhow_store::content::{SMALL_MAX, digest_of};
use dhow_store::manifest::{Platform, parse};
use std::io::Read;

/// A manifest or an index at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// What it says that it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: usize,
    /// The machines that it has an image for.
    pub platforms: Vec<Platform>,
}

/// Asks the registry.
///
/// # Errors
/// `NotFound`, `Unauthorized`, `Unavailable` in the registry's words; `Corrupt` when it is not what its digest says.
pub fn inspect(reference: &Reference, registries: &Registries) -> Result<Distribution> {
    let repository = Repository::to_pull(
        reference.domain(),
        reference.path(),
        &registries.credentials,
        &registries.settings,
    )?;
    let wanted = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, tag) => tag.unwrap_or("latest"),
    };
    let fetched = repository.manifest(wanted).map_err(|error| denied(reference, error))?;
    let digest = digest_of(&fetched.bytes);
    let name = reference.familiar();
    if reference.digest().is_some_and(|wanted| *wanted != digest) {
        return Err(Error::corrupt(format!(
            "registry {}: manifest {wanted} has the digest {digest}",
            repository.host()
        )));
    }
    let said = Some(fetched.media_type.as_str()).filter(|said| said.contains("vnd."));
    let mut document = parse(&name, &fetched.bytes, said)?;
    let media_type = document.media_type.clone().unwrap_or(fetched.media_type);
    let platforms = match document.manifests.take() {
        Some(entries) => entries.into_iter().filter_map(|entry| entry.platform).collect(),
        None if document.is_artifact() => Vec::new(),
        None => {
            let (config, _) = document.of_image(&name)?;
            let config = config.parsed_digest()?;
            let mut bytes = Vec::new();
            let what = || format!("read the configuration {config} of {name}");
            let blob = repository.blob(&config, 0, None)?;
            blob.reader
                .take(SMALL_MAX)
                .read_to_end(&mut bytes)
                .map_err(|error| Error::caused(ErrorKind::Unavailable, what(), error))?;
            if digest_of(&bytes) != config {
                return Err(Error::corrupt(format!(
                    "the configuration of {name} is not what its digest says"
                )));
            }
            let platform = serde_json::from_slice(&bytes)
                .map_err(|error| Error::caused(ErrorKind::Corrupt, what(), error))?;
            vec![platform]
        }
    };
    Ok(Distribution { media_type, digest, size: fetched.bytes.len(), platforms })
}
