//! Images and the references that point at them.

use super::containers::id_at;
use super::error::is_foreign_key;
use super::{Txn, json_column, prefix_end, text_column, to_json};
use dhow_model::image::Image;
use dhow_model::{ContainerId, Digest, Error, Reference, Result};
use rusqlite::params;
use std::collections::HashMap;

impl Txn<'_> {
    /// Adds an image whose layers are installed. An image that is there already stays as it is, but learns
    /// its manifest's digest if it did not know it. Returns whether it is new.
    ///
    /// # Errors
    /// `NotFound` when a layer has no row.
    pub fn insert_image(&self, image: &Image) -> Result<bool> {
        let what = || format!("add image {}", image.id);
        if let Some(mut old) = self.image(&image.id)? {
            if old.manifest.is_none() && image.manifest.is_some() {
                old.manifest.clone_from(&image.manifest);
                self.change(
                    what,
                    "UPDATE images SET manifest = ?2, image = ?3 WHERE id = ?1",
                    params![old.id.as_str(), old.manifest.as_ref().map(Digest::as_str), to_json(&old)?],
                )?;
            }
            return Ok(false);
        }
        self.change(
            what,
            "INSERT INTO images (id, manifest, created, installed, image) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                image.id.as_str(),
                image.manifest.as_ref().map(Digest::as_str),
                image.created.map(|t| t.0),
                image.installed.0,
                to_json(image)?,
            ],
        )?;
        // The same layer may come twice in one image: an empty one often does.
        for (position, diff_id) in (0i64..).zip(&image.layers) {
            self.change(
                what,
                "INSERT INTO image_layers (image, position, diff_id) VALUES (?1, ?2, ?3)",
                params![image.id.as_str(), position, diff_id.as_str()],
            )
            .map_err(|error| match is_foreign_key(&error) {
                true => Error::not_found(format!("layer {diff_id} of image {} is not installed", image.id)),
                false => error,
            })?;
        }
        Ok(true)
    }

    /// One image.
    ///
    /// # Errors
    /// What the database says.
    pub fn image(&self, id: &Digest) -> Result<Option<Image>> {
        self.row(
            || format!("read image {id}"),
            "SELECT image FROM images WHERE id = ?1",
            [id.as_str()],
            |row| json_column(row, 0),
        )
    }

    /// All images with their references, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn images(&self) -> Result<Vec<(Image, Vec<Reference>)>> {
        let what = || "list images".to_owned();
        let mut tags: HashMap<Digest, Vec<Reference>> = HashMap::new();
        let all = "SELECT image, reference FROM image_tags ORDER BY reference";
        for (id, reference) in self.rows(what, all, [], |row| {
            Ok((text_column(row, 0, Digest::parse)?, text_column(row, 1, Reference::parse)?))
        })? {
            tags.entry(id).or_default().push(reference);
        }
        let images: Vec<Image> = self.rows(
            what,
            "SELECT image FROM images ORDER BY created DESC, installed DESC, id",
            [],
            |row| json_column(row, 0),
        )?;
        Ok(images
            .into_iter()
            .map(|image| {
                let references = tags.remove(&image.id).unwrap_or_default();
                (image, references)
            })
            .collect())
    }

    /// How many images there are, and artifacts.
    ///
    /// # Errors
    /// What the database says.
    pub fn count_images(&self) -> Result<u64> {
        let what = || "count images".to_owned();
        let sql = "SELECT (SELECT count(*) FROM images) + (SELECT count(*) FROM artifacts)";
        self.row(what, sql, [], |row| super::unsigned_column(row, 0)).map(Option::unwrap_or_default)
    }

    /// Points a reference at an image. Returns the other image that it pointed at before, if any.
    ///
    /// # Errors
    /// `NotFound` when the image is gone.
    pub fn tag(&self, reference: &Reference, image: &Digest) -> Result<Option<Digest>> {
        let before = self.tagged(reference)?;
        self.change(
            || format!("tag {reference}"),
            "INSERT INTO image_tags (reference, image) VALUES (?1, ?2) \
             ON CONFLICT (reference) DO UPDATE SET image = excluded.image",
            [&reference.to_string(), image.as_str()],
        )
        .map_err(|error| match is_foreign_key(&error) {
            true => Error::not_found(format!("No such image: {image}")),
            false => error,
        })?;
        self.untag_artifact(reference)?;
        Ok(before.filter(|b| b != image))
    }

    /// Forgets an image's reference. Returns whether it was there.
    ///
    /// # Errors
    /// What the database says.
    pub fn untag(&self, reference: &Reference) -> Result<bool> {
        self.change(
            || format!("untag {reference}"),
            "DELETE FROM image_tags WHERE reference = ?1",
            [reference.to_string()],
        )
        .map(|changed| changed > 0)
    }

    /// The image that exactly this reference points at.
    ///
    /// # Errors
    /// What the database says.
    pub fn tagged(&self, reference: &Reference) -> Result<Option<Digest>> {
        self.row(
            || format!("look for {reference}"),
            "SELECT image FROM image_tags WHERE reference = ?1",
            [reference.to_string()],
            |row| text_column(row, 0, Digest::parse),
        )
    }

    /// The references of one image, sorted.
    ///
    /// # Errors
    /// What the database says.
    pub fn tags_of(&self, image: &Digest) -> Result<Vec<Reference>> {
        self.rows(
            || format!("list the references of image {image}"),
            "SELECT reference FROM image_tags WHERE image = ?1 ORDER BY reference",
            [image.as_str()],
            |row| text_column(row, 0, Reference::parse),
        )
    }

    /// The image that a user means: by full id, by reference (`latest` unless said otherwise, or a manifest's
    /// digest), or by the beginning of its id, with or without `sha256:`, in this order.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` when several ids begin so, or the text is no reference at all.
    pub fn find_image(&self, who: &str) -> Result<Image> {
        let id = self.find_image_id(who)?;
        self.image(&id)?.ok_or_else(|| Error::not_found(format!("No such image: {who}")))
    }

    /// Like [`Txn::find_image`], without reading its configuration.
    ///
    /// # Errors
    /// As there.
    pub fn find_image_id(&self, who: &str) -> Result<Digest> {
        let what = || format!("look for image {who:?}");
        let hex = who.strip_prefix("sha256:").unwrap_or(who);
        if let Ok(digest) = Digest::parse(&format!("sha256:{hex}")) {
            let by_id = "SELECT id FROM images WHERE id = ?1 OR manifest = ?1 ORDER BY id != ?1 LIMIT 1";
            return self
                .row(what, by_id, [digest.as_str()], |row| text_column(row, 0, Digest::parse))?
                .ok_or_else(|| Error::not_found(format!("No such image: {who}")));
        }
        let is_hex = !hex.is_empty() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let reference = match Reference::parse(who) {
            Ok(reference) => Some(reference.with_default_tag()),
            // A short `sha256:` id does not have to be a reference.
            Err(_) if is_hex => None,
            Err(error) => return Err(error),
        };
        if let Some(reference) = &reference
            && let Some(id) = self.by_reference(reference)?
        {
            return Ok(id);
        }
        if is_hex {
            let start = format!("sha256:{hex}");
            let prefix = "SELECT id FROM images WHERE id >= ?1 AND id < ?2 LIMIT 2";
            let mut found = self.rows(what, prefix, [&start, &prefix_end(&start)], |row| {
                text_column(row, 0, Digest::parse)
            })?;
            match (found.pop(), found.pop()) {
                (Some(id), None) => return Ok(id),
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(format!("multiple IDs found with provided prefix: {who}")));
                }
                _ => {}
            }
        }
        let shown = reference.map_or_else(|| who.to_owned(), |r| r.familiar());
        Err(Error::not_found(format!("No such image: {shown}")))
    }

    /// A digest wins over a tag: it must be that of an image which some reference of the same repository
    /// points at.
    fn by_reference(&self, reference: &Reference) -> Result<Option<Digest>> {
        let Some(digest) = reference.digest() else { return self.tagged(reference) };
        let candidates = self.rows(
            || format!("look for {reference}"),
            "SELECT id FROM images WHERE manifest = ?1 OR id = ?1",
            [digest.as_str()],
            |row| text_column(row, 0, Digest::parse),
        )?;
        for id in candidates {
            if self.tags_of(&id)?.iter().any(|tag| tag.name() == reference.name()) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Removes an image with its references. Its layers stay until [`Txn::unreferenced_layers`] are taken.
    /// Returns whether it was there.
    ///
    /// # Errors
    /// `Conflict` while a container uses it.
    pub fn delete_image(&self, id: &Digest) -> Result<bool> {
        self.change(|| format!("delete image {id}"), "DELETE FROM images WHERE id = ?1", [id.as_str()])
            .map(|changed| changed > 0)
            .map_err(|error| match is_foreign_key(&error) {
                true => Error::conflict(format!("image {} is being used by a container", id.short())),
                false => error,
            })
    }

    /// The containers made from an image, or that mount it; running or not.
    ///
    /// # Errors
    /// What the database says.
    pub fn containers_using_image(&self, id: &Digest) -> Result<Vec<ContainerId>> {
        self.rows(
            || format!("list the containers of image {id}"),
            "SELECT id FROM containers WHERE image = ?1 \
             OR id IN (SELECT container FROM mounted_images WHERE image = ?1) ORDER BY created DESC, id",
            [id.as_str()],
            |row| id_at(row, 0),
        )
    }

    /// How many containers use each image that is used at all.
    ///
    /// # Errors
    /// What the database says.
    pub fn image_uses(&self) -> Result<HashMap<Digest, u64>> {
        let rows = self.rows(
            || "list images in use".to_owned(),
            "SELECT image, count(*) FROM \
             (SELECT id, image FROM containers UNION SELECT container, image FROM mounted_images) GROUP BY image",
            [],
            |row| Ok((text_column(row, 0, Digest::parse)?, super::unsigned_column(row, 1)?)),
        )?;
        Ok(rows.into_iter().collect())
    }
}
