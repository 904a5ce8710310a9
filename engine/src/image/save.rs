//! `save`: images, artifacts and what refers to them as one archive that dhow, Docker and every OCI tool can load.

use super::{artifacts, referrers};
use crate::{Engine, events};
use dhow_model::image::Image;
use dhow_model::{Digest, ErrorKind, Reference, Result};
use dhow_store::archive::Chosen;
use dhow_store::db::{Artifact, Referrer, Txn};
use dhow_store::output::Output;

/// What was found for saving: so that a wrong name is an error before the first byte is written.
#[derive(Default)]
pub struct Saving {
    images: Vec<Chosen<Image>>,
    artifacts: Vec<Chosen<Artifact>>,
}

/// Looks the images and artifacts up. A name without a tag means all of its tags; an id, no tag.
///
/// # Errors
/// `NotFound` for any of them.
pub fn prepare(engine: &Engine, names: &[String]) -> Result<Saving> {
    let mut saving = Saving::default();
    for name in names {
        let found = engine.db()?.read(|txn| saving.find(txn, name));
        match found {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                super::find_or_embedded(engine, name)?;
                engine.db()?.read(|txn| saving.find(txn, name))?;
            }
            found => found?,
        }
    }
    engine.db()?.read(|txn| saving.find_referrers(txn))?;
    Ok(saving)
}

impl Saving {
    fn find(&mut self, txn: &Txn<'_>, name: &str) -> Result<()> {
        let parsed = Reference::parse(name).ok();
        if let Some(wanted) = parsed.as_ref().filter(|r| r.tag().is_none() && r.digest().is_none()) {
            let of_name = |references: Vec<Reference>| -> Vec<Reference> {
                references.into_iter().filter(|r| r.name() == wanted.name()).collect()
            };
            let mut any = false;
            for (image, references) in txn.images()? {
                let tags = of_name(references);
                if !tags.is_empty() {
                    any = true;
                    add(&mut self.images, image, tags, |image| &image.id);
                }
            }
            for (artifact, references) in txn.artifacts()? {
                let tags = of_name(references);
                if !tags.is_empty() {
                    any = true;
                    add(&mut self.artifacts, artifact, tags, Artifact::id);
                }
            }
            if any {
                return Ok(());
            }
        }
        let tag = parsed.map(Reference::with_default_tag);
        let by_tag = |tags: Vec<Reference>| tag.into_iter().filter(|tag| tags.contains(tag)).collect();
        if let Some(artifact) = artifacts::named(txn, name)? {
            let tags = by_tag(txn.tags_of_artifact(artifact.id())?);
            add(&mut self.artifacts, artifact, tags, Artifact::id);
            return Ok(());
        }
        let image = txn.find_image(name)?;
        let tags = by_tag(txn.tags_of(&image.id)?);
        add(&mut self.images, image, tags, |image| &image.id);
        Ok(())
    }

    /// What refers to them, by any digest that they are known by.
    fn find_referrers(&mut self, txn: &Txn<'_>) -> Result<()> {
        let all = txn.referrers()?;
        let about = |digest: Option<&Digest>, references: &[Reference]| {
            let is_about = |one: &&Referrer| referrers::is_about_digests(one, digest, references);
            all.iter().filter(is_about).cloned().collect()
        };
        for chosen in &mut self.images {
            chosen.referrers = about(chosen.thing.manifest.as_ref(), &txn.tags_of(&chosen.thing.id)?);
        }
        for chosen in &mut self.artifacts {
            let id = chosen.thing.id();
            chosen.referrers = about(Some(id), &txn.tags_of_artifact(id)?);
        }
        Ok(())
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// `Corrupt` when a layer on disk no longer gives its digest; else what the writer says.
    pub fn write(&self, engine: &Engine, out: &mut dyn Output) -> Result<()> {
        dhow_store::archive::save(engine.content(), engine.layers(), &self.images, &self.artifacts, out)?;
        let images = self.images.iter().map(|chosen| &chosen.thing.id);
        let artifacts = self.artifacts.iter().map(|chosen| chosen.thing.id());
        engine.db()?.write(|txn| {
            for id in images.chain(artifacts) {
                txn.append_event(&events::image("save", id, id.as_str()), events::now())?;
            }
            Ok(())
        })
    }
}

/// Adds something, or its names to what is known of it.
fn add<T>(chosen: &mut Vec<Chosen<T>>, thing: T, references: Vec<Reference>, id: impl Fn(&T) -> &Digest) {
    match chosen.iter_mut().find(|known| id(&known.thing) == id(&thing)) {
        Some(known) => {
            for reference in references {
                if !known.references.contains(&reference) {
                    known.references.push(reference);
                }
            }
        }
        None => chosen.push(Chosen { thing, references, referrers: Vec::new() }),
    }
}
