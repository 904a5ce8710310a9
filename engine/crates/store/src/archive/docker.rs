//! docker-archives: `manifest.json` names, for each image, a configuration and the layers' files.

use super::bundle::Bundle;
use super::oci::parse_reference;
use crate::content::{digest_of, verify};
use crate::install::{Place, Planned};
use dhow_model::{Digest, Error, ErrorKind, Result};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images that `manifest.json` names.
pub(super) fn plan(bundle: &Bundle, manifest: &[u8]) -> Result<Vec<Planned>> {
    let mut images = Vec::new();
    for entry in parse(manifest)? {
        let config = read_config(bundle, &entry.config)?;
        let places = entry.layers.unwrap_or_default().into_iter().map(|path| Place {
            blob: digest_in(&path),
            path: path.trim_start_matches("./").to_owned(),
            size: None,
        });
        let mut image = Planned::new(config, None, places.collect())?;
        for tag in entry.repo_tags.unwrap_or_default() {
            image.add_reference(parse_reference(&tag)?);
        }
        images.push(image);
    }
    Ok(images)
}

/// An archive may be both an OCI layout and a docker-archive: then they must speak of the same images, and the
/// names of both count.
pub(super) fn merge_names(bundle: &Bundle, manifest: &[u8], images: &mut [Planned]) -> Result<()> {
    for entry in parse(manifest)? {
        let id = digest_of(&read_config(bundle, &entry.config)?);
        let mut any = false;
        for image in images.iter_mut().filter(|image| image.id() == id) {
            for tag in entry.repo_tags.iter().flatten() {
                image.add_reference(parse_reference(tag)?);
            }
            any = true;
        }
        if !any {
            return Err(Error::corrupt(format!(
                "the archive is ambiguous: manifest.json has an image {id} that index.json has not"
            )));
        }
    }
    Ok(())
}

fn parse(manifest: &[u8]) -> Result<Vec<Entry>> {
    serde_json::from_slice(manifest).map_err(|error| {
        Error::caused(ErrorKind::Corrupt, "manifest.json is not a docker-archive's manifest", error)
    })
}

/// The configuration's file is named after its digest: `HEX.json`, or `blobs/sha256/HEX`.
fn read_config(bundle: &Bundle, path: &str) -> Result<Vec<u8>> {
    let Some(bytes) = bundle.read_small(path.trim_start_matches("./"))? else {
        return Err(Error::corrupt(format!(
            "the archive has no {path:?}, which is an image's configuration"
        )));
    };
    verify(&format!("configuration {path}"), digest_in(path).as_ref(), &digest_of(&bytes))?;
    Ok(bytes)
}

/// The digest that a file's name says, if it says one. `HEX/layer.tar` of old archives is no digest of anything.
fn digest_in(path: &str) -> Option<Digest> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let hex = match name.strip_suffix(".json") {
        Some(hex) => hex,
        None if path.trim_start_matches("./").starts_with("blobs/sha256/") => name,
        None => return None,
    };
    Digest::parse(&format!("sha256:{hex}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_a_digest() {
        let hex = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
        assert_eq!(digest_in(&format!("{hex}.json")).unwrap().hex(), hex);
        assert_eq!(digest_in(&format!("blobs/sha256/{hex}")).unwrap().hex(), hex);
        assert_eq!(digest_in(&format!("{hex}/layer.tar")), None);
        // containers/image names layers after their diff ids, which they are checked against anyway.
        assert_eq!(digest_in(&format!("{hex}.tar")), None);
        assert_eq!(digest_in("config.json"), None);
    }
}
