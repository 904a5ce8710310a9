//! Artifacts: every byte as it came, so the digest stays what it is.

use super::{Push, Pushed};
use crate::events;
use crate::image::push::blob::Destination;
use crate::image::referrers;
use crate::image::transfer::Message;
use dhow_model::{Reference, Result};
use dhow_store::db::Artifact;
use std::collections::BTreeSet;

impl Push<'_> {
    pub(super) fn artifact(&self, artifact: &Artifact) -> Result<Pushed> {
        let known = self.engine.db()?.read(|txn| txn.tags_of_artifact(artifact.id()))?;
        let from: BTreeSet<String> = known.iter().map(Reference::name).collect();
        let from: Vec<String> = from.into_iter().collect();
        let Push { engine, repository, reference: target, announce } = *self;
        let destination = Destination { engine, repository, target, announce };
        for digest in artifact.parts().into_keys().filter(|digest| *digest != artifact.id()) {
            destination.send(digest, &from)?;
        }
        let bytes = engine.content().read_small(artifact.id())?;
        let tag = target.tag().unwrap_or_default().to_owned();
        repository.put_manifest(&tag, &artifact.manifest.media_type, &bytes)?;
        referrers::send(engine, repository, target, artifact.id(), announce)?;
        let (digest, size) = (artifact.id().clone(), bytes.len());
        announce.say(&Message::status(format!("{tag}: digest: {digest} size: {size}")));
        engine.db()?.write(|txn| {
            txn.tag_artifact(&target.clone().with_digest(digest.clone()), &digest)?;
            txn.append_event(&events::image("push", &digest, &target.familiar()), events::now())?;
            Ok(())
        })?;
        Ok(Pushed { tag, digest, size })
    }
}
