//! Sends what refers to a manifest along with it.

use crate::Engine;
use crate::image::push::blob::Destination;
use crate::image::transfer::{Announce, Message};
use dhow_model::{Digest, Error, ErrorKind, Reference, Result};
use dhow_registry::Repository;
use dhow_store::db::Referrer;
use dhow_store::manifest::{INDEX, parse};
use dhow_store::referrers::descriptor;
use serde_json::json;

/// Sends everything that refers to `subject`, which the registry has. What it does not take is said: the image is there
/// all the same.
pub(in crate::image) fn send(
    engine: &Engine,
    repository: &Repository,
    target: &Reference,
    subject: &Digest,
    announce: &dyn Announce,
) -> Result<()> {
    let referrers = engine.db()?.read(|txn| txn.referrers_of(subject))?;
    if referrers.is_empty() {
        return Ok(());
    }
    let sending = Sending { engine, repository, target, announce };
    let mut to_list = Vec::new();
    let mut sent = 0;
    for referrer in &referrers {
        match sending.one(referrer) {
            Ok(true) => sent += 1,
            Ok(false) => to_list.push(referrer),
            Err(error) => sending.left_out(&referrer.manifest.digest, &error),
        }
    }
    if !to_list.is_empty() {
        match sending.list(subject, &to_list) {
            Ok(listed) => sent += listed,
            Err(error) => sending.left_out(subject, &error),
        }
    }
    announce.say(&Message::status(format!("Referrers: {sent} of {} pushed", referrers.len())));
    Ok(())
}

struct Sending<'a> {
    engine: &'a Engine,
    repository: &'a Repository,
    target: &'a Reference,
    announce: &'a dyn Announce,
}

impl Sending<'_> {
    /// Sends one. Returns whether the registry lists it by itself.
    fn one(&self, referrer: &Referrer) -> Result<bool> {
        let digest = &referrer.manifest.digest;
        let bytes = self.engine.content().read_small(digest)?;
        let (engine, repository, target) = (self.engine, self.repository, self.target);
        let destination = Destination { engine, repository, target, announce: self.announce };
        for blob in &referrer.blobs {
            destination.send(&blob.digest, std::slice::from_ref(&referrer.repository))?;
        }
        let listed = self.repository.put_referrer(digest, &referrer.manifest.media_type, &bytes)?;
        Ok(listed && referrer.names_subject)
    }

    /// Adds them to the list that clients keep for a registry that has none. Returns how many are listed.
    fn list(&self, subject: &Digest, referrers: &[&Referrer]) -> Result<usize> {
        // A registry that has one lists by what manifests name, and nothing else.
        if referrers.iter().any(|referrer| !referrer.names_subject)
            && self.repository.has_referrers(subject)?
        {
            for referrer in referrers {
                let why = Error::unsupported(
                    "an index alone says what it is about, which the registry does not list",
                );
                self.left_out(&referrer.manifest.digest, &why);
            }
            return Ok(0);
        }
        let fetched = self.repository.fallback_referrers(subject)?;
        let before = fetched.map(|fetched| fetched.bytes);
        if let Some(index) = with_listed(subject, before.as_deref(), referrers)? {
            self.repository.put_fallback_referrers(subject, &index)?;
        }
        Ok(referrers.len())
    }

    fn left_out(&self, digest: &Digest, error: &Error) {
        self.announce.say(&Message::status(format!("Referrers left out: {digest}: {error}")));
    }
}

/// The list with these in it; `None` when they are. What others have listed stays as they wrote it.
fn with_listed(subject: &Digest, before: Option<&[u8]>, referrers: &[&Referrer]) -> Result<Option<Vec<u8>>> {
    let mut index = match before {
        None => json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }),
        Some(bytes) => {
            let name = format!("the list of referrers of {subject}");
            if parse(&name, bytes, Some(INDEX))?.manifests.is_none() {
                return Err(Error::corrupt(format!("{name} is no index")));
            }
            serde_json::from_slice(bytes).map_err(|error| Error::caused(ErrorKind::Corrupt, name, error))?
        }
    };
    let Some(entries) = index["manifests"].as_array_mut() else {
        return Err(Error::internal("an index without manifests"));
    };
    let count = entries.len();
    for referrer in referrers {
        let digest = referrer.manifest.digest.as_str();
        if !entries.iter().any(|entry| entry["digest"] == digest) {
            entries.push(descriptor(referrer));
        }
    }
    if before.is_some() && entries.len() == count {
        return Ok(None);
    }
    let bytes = serde_json::to_vec(&index)
        .map_err(|error| Error::caused(ErrorKind::Internal, "encode a list of referrers", error))?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_store::db::KeptBlob;
    use dhow_store::manifest::REFERENCE_DIGEST;
    use serde_json::Value;
    use std::collections::BTreeMap;

    fn referrer(n: u8) -> Referrer {
        let digest = Digest::from_sha256([n; 32]);
        Referrer {
            subject: Digest::from_sha256([1; 32]),
            manifest: KeptBlob { digest, size_bytes: 7, media_type: "m".into() },
            artifact_type: "a".into(),
            reference_type: (n == 3).then(|| "attestation-manifest".into()),
            names_subject: n != 3,
            annotations: BTreeMap::from([("k".into(), "v".into())]),
            repository: "reg.example/a".into(),
            blobs: Vec::new(),
        }
    }

    #[test]
    fn what_others_have_listed_stays() {
        let subject = Digest::from_sha256([1; 32]);
        let before = format!(
            r#"{{"schemaVersion":2,"odd":[1],"manifests":[{{"mediaType":"x","digest":"{}","size":1,"z":2}}]}}"#,
            Digest::from_sha256([2; 32])
        );
        let (two, three) = (referrer(2), referrer(3));
        let listed = with_listed(&subject, Some(before.as_bytes()), &[&two, &three]).unwrap().unwrap();
        let index: Value = serde_json::from_slice(&listed).unwrap();
        assert_eq!((&index["odd"][0], &index["manifests"][0]["z"]), (&json!(1), &json!(2)));
        assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
        let entry = &index["manifests"][1];
        assert_eq!((&entry["artifactType"], &entry["annotations"]["k"]), (&json!("a"), &json!("v")));
        assert_eq!(entry["annotations"][REFERENCE_DIGEST], subject.as_str());
        assert_eq!(with_listed(&subject, Some(&listed), &[&two]).unwrap(), None);
        assert!(with_listed(&subject, None, &[&two]).unwrap().is_some());
        for bad in ["<html>", r#"{"schemaVersion":2,"config":{"digest":"x","size":1},"layers":[]}"#] {
            assert_eq!(
                with_listed(&subject, Some(bad.as_bytes()), &[&two]).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
    }
}
