//! `tag`: another name for an image.

use crate::{Engine, events};
use dhow_model::{Error, Reference, Result};

/// Points `target` at the image that `source` names; a tag that pointed elsewhere moves.
///
/// # Errors
/// `NotFound` for the source; `InvalidArgument` for a malformed or digested target.
pub fn tag(engine: &Engine, source: &str, target: &str) -> Result<()> {
    let reference = Reference::parse(target)?;
    if reference.digest().is_some() {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    let reference = reference.with_default_tag();
    if let Some(artifact) = engine.db()?.read(|txn| super::artifacts::named(txn, source))? {
        return engine.db()?.write(|txn| {
            txn.tag_artifact(&reference, artifact.id())?;
            txn.append_event(&events::image("tag", artifact.id(), &reference.familiar()), events::now())?;
            Ok(())
        });
    }
    let image = super::find_or_embedded(engine, source)?;
    engine.db()?.write(|txn| {
        txn.tag(&reference, &image.id)?;
        txn.append_event(&events::image("tag", &image.id, &reference.familiar()), events::now())?;
        Ok(())
    })
}
