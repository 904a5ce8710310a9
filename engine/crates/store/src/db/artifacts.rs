//! Things of registries that are no images, and the references that point at them.

use super::error::is_foreign_key;
use super::{KeptBlob, Txn, json_column, prefix_end, text_column, to_json};
use crate::manifest::{Document, parse_remarks};
use dhow_model::{Digest, Error, Reference, Result, Timestamp};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// A manifest that is not an image's. It and its blobs are content, as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The manifest: its digest is the artifact's id.
    pub manifest: KeptBlob,
    /// What kind of thing it is, by its own word.
    pub artifact_type: String,
    /// When it was made, by its own word.
    pub created: Option<Timestamp>,
    /// The remarks of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// Its configuration, often an empty one.
    pub config: KeptBlob,
    /// What it consists of.
    pub layers: Vec<KeptBlob>,
    /// When this engine pulled it.
    pub installed: Timestamp,
}

/// When a thing was made, in the words of the image specification.
const CREATED: &str = "org.opencontainers.image.created";
/// A media type is a word; this one is shown to people.
const TYPE_MAX: usize = 255;

impl Artifact {
    /// What a manifest says that is not an image's. Its bytes were verified by the caller.
    ///
    /// # Errors
    /// `Corrupt` when there is no telling what it consists of.
    pub fn of_manifest(
        digest: &Digest,
        document: Document,
        media_type: &str,
        bytes: &[u8],
        installed: Timestamp,
    ) -> Result<Self> {
        let name = format!("manifest {digest}");
        let remarks = parse_remarks(&name, bytes)?;
        let (Some(config), Some(layers)) = (document.config, document.layers) else {
            return Err(Error::corrupt(format!("{name} has no config or no layers")));
        };
        let artifact_type = remarks.artifact_type.unwrap_or_else(|| config.media_type.clone());
        let annotations = remarks.annotations.unwrap_or_default();
        Ok(Self {
            manifest: KeptBlob {
                digest: digest.clone(),
                size_bytes: bytes.len() as u64,
                media_type: media_type.to_owned(),
            },
            artifact_type: artifact_type.chars().filter(|c| !c.is_control()).take(TYPE_MAX).collect(),
            created: annotations.get(CREATED).and_then(|text| Timestamp::parse(text).ok()),
            annotations,
            config: KeptBlob::described(&config)?,
            layers: layers.iter().map(KeptBlob::described).collect::<Result<_>>()?,
            installed,
        })
    }

    /// The digest of its manifest.
    pub fn id(&self) -> &Digest {
        &self.manifest.digest
    }

    /// Its manifest and its blobs, each once.
    pub fn parts(&self) -> BTreeMap<&Digest, &KeptBlob> {
        let all = [&self.manifest, &self.config].into_iter().chain(&self.layers);
        all.map(|blob| (&blob.digest, blob)).collect()
    }

    /// Bytes of all of them.
    pub fn size_bytes(&self) -> u64 {
        self.parts().values().map(|blob| blob.size_bytes).sum()
    }
}

impl Txn<'_> {
    /// Adds an artifact whose blobs are in place. One that is there already stays as it is.
    ///
    /// # Errors
    /// What the database says.
    pub fn insert_artifact(&self, artifact: &Artifact) -> Result<()> {
        self.change(
            || format!("add artifact {}", artifact.id()),
            "INSERT OR IGNORE INTO artifacts (id, artifact) VALUES (?1, ?2)",
            params![artifact.id().as_str(), to_json(artifact)?],
        )
        .map(|_| ())
    }

    /// One artifact.
    ///
    /// # Errors
    /// What the database says.
    pub fn artifact(&self, id: &Digest) -> Result<Option<Artifact>> {
        self.row(
            || format!("read artifact {id}"),
            "SELECT artifact FROM artifacts WHERE id = ?1",
            [id.as_str()],
            |row| json_column(row, 0),
        )
    }

    /// All artifacts with their references.
    ///
    /// # Errors
    /// What the database says.
    pub fn artifacts(&self) -> Result<Vec<(Artifact, Vec<Reference>)>> {
        let what = || "list artifacts".to_owned();
        let all = "SELECT artifact FROM artifacts ORDER BY id";
        let artifacts: Vec<Artifact> = self.rows(what, all, [], |row| json_column(row, 0))?;
        if artifacts.is_empty() {
            return Ok(Vec::new());
        }
        let mut tags: HashMap<Digest, Vec<Reference>> = HashMap::new();
        let all = "SELECT artifact, reference FROM artifact_tags ORDER BY reference";
        for (id, reference) in self.rows(what, all, [], |row| {
            Ok((text_column(row, 0, Digest::parse)?, text_column(row, 1, Reference::parse)?))
        })? {
            tags.entry(id).or_default().push(reference);
        }
        let with_tags = |artifact: Artifact| {
            let references = tags.remove(artifact.id()).unwrap_or_default();
            (artifact, references)
        };
        Ok(artifacts.into_iter().map(with_tags).collect())
    }

    /// Points a reference at an artifact, wherever it pointed before.
    ///
    /// # Errors
    /// `NotFound` when the artifact is gone.
    pub fn tag_artifact(&self, reference: &Reference, id: &Digest) -> Result<()> {
        self.change(
            || format!("tag {reference}"),
            "INSERT INTO artifact_tags (reference, artifact) VALUES (?1, ?2) \
             ON CONFLICT (reference) DO UPDATE SET artifact = excluded.artifact",
            [&reference.to_string(), id.as_str()],
        )
        .map_err(|error| match is_foreign_key(&error) {
            true => Error::not_found(format!("No such image: {id}")),
            false => error,
        })?;
        self.untag(reference).map(|_| ())
    }

    /// Forgets an artifact's reference. Returns whether it was there.
    ///
    /// # Errors
    /// What the database says.
    pub fn untag_artifact(&self, reference: &Reference) -> Result<bool> {
        self.change(
            || format!("untag {reference}"),
            "DELETE FROM artifact_tags WHERE reference = ?1",
            [reference.to_string()],
        )
        .map(|changed| changed > 0)
    }

    /// The references of one artifact, sorted.
    ///
    /// # Errors
    /// What the database says.
    pub fn tags_of_artifact(&self, id: &Digest) -> Result<Vec<Reference>> {
        self.rows(
            || format!("list the references of artifact {id}"),
            "SELECT reference FROM artifact_tags WHERE artifact = ?1 ORDER BY reference",
            [id.as_str()],
            |row| text_column(row, 0, Reference::parse),
        )
    }

    /// The artifact that exactly this reference points at.
    ///
    /// # Errors
    /// What the database says.
    pub fn tagged_artifact(&self, reference: &Reference) -> Result<Option<Digest>> {
        self.row(
            || format!("look for {reference}"),
            "SELECT artifact FROM artifact_tags WHERE reference = ?1",
            [reference.to_string()],
            |row| text_column(row, 0, Digest::parse),
        )
    }

    /// The artifact that a user means, as [`Txn::find_image`] finds images; `None` when there is none.
    ///
    /// # Errors
    /// `InvalidArgument` when several ids begin so.
    pub fn find_artifact(&self, who: &str) -> Result<Option<Artifact>> {
        let hex = who.strip_prefix("sha256:").unwrap_or(who);
        if let Ok(digest) = Digest::parse(&format!("sha256:{hex}")) {
            return self.artifact(&digest);
        }
        if let Ok(reference) = Reference::parse(who).map(Reference::with_default_tag) {
            if let Some(id) = self.tagged_artifact(&reference)? {
                return self.artifact(&id);
            }
            if let Some(digest) = reference.digest() {
                let of_repository = |tag: &Reference| tag.name() == reference.name();
                let known = self.tags_of_artifact(digest)?.iter().any(of_repository);
                return if known { self.artifact(digest) } else { Ok(None) };
            }
        }
        if hex.is_empty() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let start = format!("sha256:{hex}");
        let mut found: Vec<Artifact> = self.rows(
            || format!("look for artifact {who:?}"),
            "SELECT artifact FROM artifacts WHERE id >= ?1 AND id < ?2 LIMIT 2",
            [&start, &prefix_end(&start)],
            |row| json_column(row, 0),
        )?;
        match (found.pop(), found.pop()) {
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {who}")))
            }
            (found, _) => Ok(found),
        }
    }

    /// Removes an artifact with its references. Returns whether it was there.
    ///
    /// # Errors
    /// What the database says.
    pub fn delete_artifact(&self, id: &Digest) -> Result<bool> {
        self.change(|| format!("delete artifact {id}"), "DELETE FROM artifacts WHERE id = ?1", [id.as_str()])
            .map(|changed| changed > 0)
    }
}
