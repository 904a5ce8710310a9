//! Blobs that are kept as they came, to a registry.

use crate::Engine;
use crate::image::transfer::{Announce, Message};
use dhow_model::{Digest, Error, ErrorKind, Reference, Result};
use dhow_registry::Repository;
use std::io::Read;

/// How much of a blob is sent with one request.
const PIECE: u64 = 8 << 20;

/// Where blobs go.
pub(in crate::image) struct Destination<'a> {
    pub(in crate::image) engine: &'a Engine,
    pub(in crate::image) repository: &'a Repository,
    pub(in crate::image) target: &'a Reference,
    pub(in crate::image) announce: &'a dyn Announce,
}

impl Destination<'_> {
    /// Sees to it that the registry has a blob: it may take it from one of the repositories that had it
    /// (`docker.io/library/debian`).
    pub(in crate::image) fn send(&self, digest: &Digest, from: &[String]) -> Result<()> {
        if self.repository.blob_size(digest)?.is_some() {
            self.say(digest, "Layer already exists");
            return Ok(());
        }
        let domain = format!("{}/", self.target.domain());
        let here = self.target.name();
        let mut upload = None;
        for path in from.iter().filter(|name| **name != here).filter_map(|name| name.strip_prefix(&domain)) {
            // Whoever may not read the other repository is simply given an upload.
            upload = self.repository.upload(Some((digest, path)))?;
            if upload.is_none() {
                self.say(digest, &format!("Mounted from {path}"));
                return Ok(());
            }
        }
        let upload = match upload {
            None => self.repository.upload(None)?,
            some => some,
        };
        let mut upload = upload
            .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the registry has a blob that nobody named"))?;
        let mut file = self.engine.content().open_blob(digest)?;
        loop {
            let mut piece = Vec::new();
            (&mut file)
                .take(PIECE)
                .read_to_end(&mut piece)
                .map_err(|error| Error::caused(ErrorKind::Internal, format!("read blob {digest}"), error))?;
            if piece.is_empty() {
                break;
            }
            upload.send(&piece)?;
        }
        // The registry hashes it again: what a disk has spoilt is not taken.
        upload.finish(digest)?;
        self.say(digest, "Pushed");
        Ok(())
    }

    fn say(&self, digest: &Digest, status: &str) {
        let id = digest.short().to_owned();
        self.announce.say(&Message { id, ..Message::status(status) });
    }
}
