//! Artifacts: every blob as it is, one after the other; a large one comes over several connections.

use super::{Remote, WhileHeard};
use crate::image::gc;
use crate::image::referrers::Keeper;
use crate::image::transfer::Message;
use crate::{Engine, events};
use dhow_model::{Digest, Error, ErrorKind, Reference, Result};
use dhow_store::db::{Artifact, KeptBlob};

impl Remote<'_> {
    /// Fetches an artifact, and records it under its references. Returns how many referrers are kept with it.
    pub(super) fn install_artifact(
        &self,
        engine: &Engine,
        artifact: &Artifact,
        manifest: &[u8],
        documents: &[Vec<u8>],
        references: &[Reference],
        keeper: Keeper<'_>,
    ) -> Result<usize> {
        let parts: Vec<&KeptBlob> =
            artifact.parts().into_values().filter(|part| part.digest != *artifact.id()).collect();
        let is_known = engine.db()?.read(|txn| txn.artifact(artifact.id()))?.is_some();
        for part in parts.iter().filter(|_| !is_known) {
            let is_here = engine.content().contains(&part.digest);
            self.say(&part.digest, if is_here { "Already exists" } else { "Pulling fs layer" });
        }
        gc::install(engine, || {
            for bytes in documents {
                engine.content().put_bytes(bytes, None)?;
            }
            let (fetched, referrers) = keeper.beside(|| {
                parts.iter().try_for_each(|part| self.keep_blob(engine, part))?;
                engine.content().put_bytes(manifest, Some(artifact.id()))
            });
            fetched?;
            engine.db()?.write_durable(|txn| {
                txn.insert_artifact(artifact)?;
                for reference in references {
                    txn.tag_artifact(reference, artifact.id())?;
                }
                for referrer in &referrers {
                    txn.keep_referrer(referrer)?;
                }
                let name = self.reference.familiar();
                txn.append_event(&events::image("pull", artifact.id(), &name), events::now())?;
                Ok(referrers.len())
            })
        })
    }

    fn keep_blob(&self, engine: &Engine, blob: &KeptBlob) -> Result<()> {
        let content = engine.content();
        let (digest, size) = (&blob.digest, blob.size_bytes);
        let name = || format!("blob {digest} of {}", self.reference.familiar_name());
        if let Some(here) = content.size(digest) {
            if here == size {
                return Ok(());
            }
            return Err(Error::corrupt(format!("{} has {here} bytes, its manifest says {size}", name())));
        }
        let mut may_be_spoilt = self.partials.length(digest) > 0;
        loop {
            let fetch = self.fetch(digest.clone());
            let reader = self.partials.reader(digest, size, fetch, self.heard(digest, size));
            let put = content.put(&mut WhileHeard { reader, announce: self.announce }, Some(digest));
            match put {
                Ok(_) => break,
                // What was kept from before may have been wrong.
                Err(error) if error.kind() == ErrorKind::Corrupt && may_be_spoilt => {
                    may_be_spoilt = false;
                    self.partials.forget(digest)?;
                }
                Err(error) => {
                    if error.kind() == ErrorKind::Corrupt {
                        self.partials.forget(digest)?;
                    }
                    return Err(Error::caused(error.kind(), name(), error));
                }
            }
        }
        self.partials.forget(digest)?;
        self.say(digest, "Pull complete");
        Ok(())
    }

    fn say(&self, digest: &Digest, status: &str) {
        let id = digest.short().to_owned();
        self.announce.say(&Message { id, ..Message::status(status) });
    }
}
