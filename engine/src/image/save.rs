//! `save`: images as one archive that dhow, Docker and every OCI tool can load.

use crate::{Engine, events};
use dhow_model::image::Image;
use dhow_model::{ErrorKind, Reference, Result};
use dhow_store::output::Output;

/// Images that were found for saving: so that a wrong name is an error before the first byte is written.
pub struct Saving(Vec<(Image, Vec<Reference>)>);

/// Looks the images up. A name without a tag means all of its tags; an id, no tag.
///
/// # Errors
/// `NotFound` for any of them.
pub fn prepare(engine: &Engine, names: &[String]) -> Result<Saving> {
    let mut chosen: Vec<(Image, Vec<Reference>)> = Vec::new();
    let mut add =
        |image: Image, references: Vec<Reference>| match chosen.iter_mut().find(|(i, _)| i.id == image.id) {
            Some((_, known)) => {
                for reference in references {
                    if !known.contains(&reference) {
                        known.push(reference);
                    }
                }
            }
            None => chosen.push((image, references)),
        };
    let mut db = engine.db()?;
    for name in names {
        let parsed = Reference::parse(name).ok();
        if let Some(wanted) = parsed.as_ref().filter(|r| r.tag().is_none() && r.digest().is_none()) {
            let all = db.read(|txn| txn.images())?;
            let mut any = false;
            for (image, references) in all {
                let tags: Vec<_> = references.into_iter().filter(|r| r.name() == wanted.name()).collect();
                if !tags.is_empty() {
                    any = true;
                    add(image, tags);
                }
            }
            if any {
                continue;
            }
        }
        let image = match db.read(|txn| txn.find_image(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                drop(db);
                db = engine.db()?;
                super::find_or_embedded(engine, name)?
            }
            found => found?,
        };
        let by_tag = parsed.map(Reference::with_default_tag).filter(|reference| {
            db.read(|txn| txn.tags_of(&image.id)).is_ok_and(|tags| tags.contains(reference))
        });
        add(image, by_tag.into_iter().collect());
    }
    Ok(Saving(chosen))
}

impl Saving {
    /// Writes the archive.
    ///
    /// # Errors
    /// `Corrupt` when a layer on disk no longer gives its digest; else what the writer says.
    pub fn write(&self, engine: &Engine, out: &mut dyn Output) -> Result<()> {
        dhow_store::archive::save(engine.content(), engine.layers(), &self.0, out)?;
        engine.db()?.write(|txn| {
            for (image, references) in &self.0 {
                let name = references.first().map_or_else(|| image.id.to_string(), Reference::familiar);
                txn.append_event(&events::image("save", &image.id, &name), events::now())?;
            }
            Ok(())
        })
    }
}
