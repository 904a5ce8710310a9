//! What refers to manifests that are kept: signatures, attestations. A row is kept for as long as something is known
//! by the digest that it refers to.

use super::{Txn, json_column, to_json};
use crate::manifest::Descriptor;
use dhow_model::{Digest, Result};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A blob that something needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeptBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size_bytes: u64,
    /// As the manifest says.
    pub media_type: String,
}

impl KeptBlob {
    /// What a descriptor points at.
    ///
    /// # Errors
    /// `Corrupt` when it has no digest.
    pub fn described(descriptor: &Descriptor) -> Result<Self> {
        Ok(Self {
            digest: descriptor.parsed_digest()?,
            size_bytes: descriptor.size,
            media_type: descriptor.media_type.clone(),
        })
    }
}

/// A manifest that says something about another one. It and its blobs are content, as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referrer {
    /// What it is about: the digest of a manifest or an index.
    pub subject: Digest,
    /// The manifest itself.
    pub manifest: KeptBlob,
    /// What kind of statement it is, by its own word.
    pub artifact_type: String,
    /// What BuildKit calls it, when it was an index that tied it to its subject: `attestation-manifest`.
    pub reference_type: Option<String>,
    /// Whether its manifest names what it is about.
    pub names_subject: bool,
    /// The remarks of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// The repository that it came from: `docker.io/library/debian`.
    pub repository: String,
    /// Its configuration, and what it says.
    pub blobs: Vec<KeptBlob>,
}

impl Referrer {
    /// Its manifest and its blobs.
    pub fn parts(&self) -> impl Iterator<Item = &KeptBlob> {
        std::iter::once(&self.manifest).chain(&self.blobs)
    }
}

/// Nothing is known by the digest that they refer to.
const ORPHANS: &str = "NOT EXISTS (SELECT 1 FROM images WHERE images.manifest = subject) \
    AND NOT EXISTS (SELECT 1 FROM image_tags WHERE substr(reference, -71) = subject) \
    AND NOT EXISTS (SELECT 1 FROM artifacts WHERE artifacts.id = subject) \
    AND NOT EXISTS (SELECT 1 FROM artifact_tags WHERE substr(reference, -71) = subject)";

impl Txn<'_> {
    /// Records a referrer that is in place; one that is known already is what it is now.
    ///
    /// # Errors
    /// What the database says.
    pub fn keep_referrer(&self, referrer: &Referrer) -> Result<()> {
        self.change(
            || format!("add referrer {} of {}", referrer.manifest.digest, referrer.subject),
            "INSERT INTO referrers (subject, manifest, referrer) VALUES (?1, ?2, ?3) \
             ON CONFLICT (subject, manifest) DO UPDATE SET referrer = excluded.referrer",
            params![referrer.subject.as_str(), referrer.manifest.digest.as_str(), to_json(referrer)?],
        )
        .map(|_| ())
    }

    /// All referrers.
    ///
    /// # Errors
    /// What the database says.
    pub fn referrers(&self) -> Result<Vec<Referrer>> {
        let sql = "SELECT referrer FROM referrers ORDER BY subject, manifest";
        self.rows(|| "list referrers".to_owned(), sql, [], |row| json_column(row, 0))
    }

    /// What refers to one manifest or index.
    ///
    /// # Errors
    /// What the database says.
    pub fn referrers_of(&self, subject: &Digest) -> Result<Vec<Referrer>> {
        self.rows(
            || format!("list the referrers of {subject}"),
            "SELECT referrer FROM referrers WHERE subject = ?1 ORDER BY manifest",
            [subject.as_str()],
            |row| json_column(row, 0),
        )
    }

    /// Forgets a referrer.
    ///
    /// # Errors
    /// What the database says.
    pub fn forget_referrer(&self, referrer: &Referrer) -> Result<()> {
        self.change(
            || format!("forget referrer {} of {}", referrer.manifest.digest, referrer.subject),
            "DELETE FROM referrers WHERE subject = ?1 AND manifest = ?2",
            [referrer.subject.as_str(), referrer.manifest.digest.as_str()],
        )
        .map(|_| ())
    }

    /// Forgets what refers to nothing that is known here any more, and returns it.
    ///
    /// # Errors
    /// What the database says.
    pub fn forget_orphaned_referrers(&self) -> Result<Vec<Referrer>> {
        let what = || "look for referrers of nothing".to_owned();
        let sql = format!("SELECT referrer FROM referrers WHERE {ORPHANS}");
        let orphans: Vec<Referrer> = self.rows(what, &sql, [], |row| json_column(row, 0))?;
        for orphan in &orphans {
            self.forget_referrer(orphan)?;
        }
        Ok(orphans)
    }
}
