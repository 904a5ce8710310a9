//! What may be kept of things that refer to an image, wherever they come from. Whoever can write to a repository or an
//! archive can attach things to what is in it: there is a bound for everything, and each byte is verified.

use crate::content::{Content, digest_of};
use crate::db::{KeptBlob, Referrer};
use crate::manifest::{
    DOCKER_MANIFEST, Descriptor, MANIFEST, REFERENCE_DIGEST, REFERENCE_TYPE, parse, parse_remarks,
};
use dhow_model::{Digest, Error, Result, limits};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How many may refer to one digest: an image with a few signatures, lists and attestations has ten.
pub const PER_SUBJECT_MAX: usize = limits::REFERRERS.most_here();
/// The distribution protocol's own limit for manifests.
pub const MANIFEST_MAX: u64 = 4 << 20;
/// The list of what is in a large distribution has 20 MiB.
const BLOB_MAX: u64 = limits::REFERRER_BLOB_BYTES.most();
/// Bytes of all that refers to what one pull brings, or to one image of an archive.
pub const TOTAL_MAX: u64 = limits::REFERRERS_BYTES.most();
/// What is said of single ones that are left out, before they are only counted.
const REASONS_MAX: usize = 3;

/// Checks what points at the manifest of one, before anything is read.
///
/// # Errors
/// `Unsupported` for another type; `Corrupt` when it is too large or has no digest.
pub fn check_entry(entry: &Descriptor) -> Result<Digest> {
    let digest = entry.parsed_digest()?;
    if ![MANIFEST, DOCKER_MANIFEST].contains(&entry.media_type.as_str()) {
        return Err(Error::unsupported(format!("it is of type {:?}", entry.media_type)));
    }
    if entry.size > MANIFEST_MAX {
        let size = entry.size;
        return Err(Error::corrupt(format!(
            "its manifest has {size} bytes; at most {MANIFEST_MAX} are taken"
        )));
    }
    Ok(digest)
}

/// Reads the manifest of one that is said to be about `subject`.
///
/// # Errors
/// `Corrupt` when it is not what its digest says, or does not say what it is about, or says something else.
pub fn read(subject: &Digest, entry: &Descriptor, bytes: &[u8], repository: &str) -> Result<Referrer> {
    let digest = check_entry(entry)?;
    if bytes.len() as u64 != entry.size || digest_of(bytes) != digest {
        return Err(Error::corrupt("its manifest is not what its digest says"));
    }
    let name = format!("manifest {digest}");
    let document = parse(&name, bytes, Some(&entry.media_type))?;
    let remarks = parse_remarks(&name, bytes)?;
    let names_subject = match &remarks.subject {
        Some(named) if named.digest == subject.as_str() => true,
        // BuildKit's own are about what the index says.
        None if entry.attests() == Some(subject.as_str()) => false,
        Some(named) => {
            return Err(Error::corrupt(format!("it is about {:?}, not about {subject}", named.digest)));
        }
        None => return Err(Error::corrupt(format!("it does not say that it is about {subject}"))),
    };
    let (Some(config), Some(layers)) = (document.config, document.layers) else {
        return Err(Error::corrupt("its manifest has no config or no layers"));
    };
    let artifact_type = remarks.artifact_type.unwrap_or_else(|| config.media_type.clone());
    let mut blobs = BTreeMap::new();
    for blob in std::iter::once(&config).chain(&layers) {
        let kept = KeptBlob::described(blob)?;
        blobs.insert(kept.digest.clone(), kept);
    }
    Ok(Referrer {
        subject: subject.clone(),
        manifest: KeptBlob::described(entry)?,
        artifact_type,
        reference_type: entry.attests().and_then(|_| entry.annotation(REFERENCE_TYPE)).map(str::to_owned),
        names_subject,
        annotations: remarks.annotations.unwrap_or_default(),
        repository: repository.to_owned(),
        blobs: blobs.into_values().collect(),
    })
}

/// As the specification has it in a list; and with the annotations that BuildKit's indexes have.
pub fn descriptor(referrer: &Referrer) -> Value {
    let mut annotations: Map<String, Value> =
        referrer.annotations.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
    if let Some(kind) = &referrer.reference_type {
        annotations.insert(REFERENCE_TYPE.to_owned(), Value::from(kind.as_str()));
        annotations.insert(REFERENCE_DIGEST.to_owned(), Value::from(referrer.subject.as_str()));
    }
    let mut entry = json!({
        "mediaType": referrer.manifest.media_type,
        "digest": referrer.manifest.digest.as_str(),
        "size": referrer.manifest.size_bytes,
        "artifactType": referrer.artifact_type,
    });
    if !annotations.is_empty() {
        entry["annotations"] = Value::Object(annotations);
    }
    entry
}

/// How many bytes are taken already.
#[derive(Debug, Default)]
pub struct Room(u64);

impl Room {
    /// So many more are there.
    pub fn hold(&mut self, bytes: u64) {
        self.0 = self.0.saturating_add(bytes);
    }

    /// Takes what one needs, unless its bytes are too many. What is here already takes no more room.
    ///
    /// # Errors
    /// `Corrupt` when they are.
    pub fn take(&mut self, content: &Content, referrer: &Referrer) -> Result<()> {
        if let Some(large) = referrer.blobs.iter().find(|blob| blob.size_bytes > BLOB_MAX) {
            let (digest, size) = (&large.digest, large.size_bytes);
            return Err(Error::corrupt(format!(
                "blob {digest} of it has {size} bytes; at most {BLOB_MAX} are taken"
            )));
        }
        let missing = referrer.parts().filter(|blob| !content.contains(&blob.digest));
        let sum = missing.fold(self.0, |sum, blob| sum.saturating_add(blob.size_bytes));
        if sum > TOTAL_MAX {
            return Err(Error::corrupt(format!("all together have more than {TOTAL_MAX} bytes")));
        }
        self.0 = sum;
        Ok(())
    }
}

/// What a list calls one, for a terminal.
pub fn shown(entry: &Descriptor) -> String {
    entry.digest.chars().filter(|c| !c.is_control()).take(71).collect()
}

/// What is said of those that are left out: the first reasons, and how many more there are.
pub fn said_of(left_out: &[String]) -> Vec<String> {
    let first = left_out.iter().take(REASONS_MAX).map(|why| format!("Referrers left out: {why}"));
    let more = left_out.len().saturating_sub(REASONS_MAX);
    first.chain((more > 0).then(|| format!("Referrers left out: {more} more"))).collect()
}
