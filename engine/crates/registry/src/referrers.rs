//! What refers to a manifest: signatures, lists of what is in an image, and other statements about it.
//!
//! A registry of distribution 1.1 lists them (`GET /v2/NAME/referrers/DIGEST`). With one that does not know what that
//! is, those who push them keep the list under a tag that is made of the digest: `sha256-HEX`.
//!
//! A pull can do without them: nothing here is waited for long.

use crate::repository::{Blob, Fetched, Repository, expect, next_page, text};
use crate::transport::{Patience, Request, Response, Transport, read_answer};
use dhow_model::{Digest, Result};
use http::header::{CONTENT_TYPE, LINK};
use http::{Method, StatusCode};
use std::sync::atomic::Ordering;

/// What a list of referrers is.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// By which a registry says that it has taken notice of what a manifest refers to.
const OCI_SUBJECT: &str = "oci-subject";
/// Parts of one list: a list that does not end is an attack.
const PAGES_MAX: usize = 16;

impl Repository {
    /// The lists of what refers to a manifest, each an index as it came, not verified in any way. The first of the
    /// hosts that has an answer is believed, also when it says that there is nothing.
    ///
    /// # Errors
    /// `Unauthorized`, `Forbidden`, `Unavailable` in the registry's words; `Corrupt` when a list is far too long.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Vec<u8>>> {
        self.anywhere(|transport| {
            if let Some(pages) = self.listed(transport, subject)? {
                return Ok(pages);
            }
            let fallback = self.fallback(transport, subject)?;
            Ok(fallback.into_iter().map(|fetched| fetched.bytes).collect())
        })
    }

    /// Whether the registry itself lists referrers.
    ///
    /// # Errors
    /// As [`Repository::referrers`].
    pub fn has_referrers(&self, subject: &Digest) -> Result<bool> {
        Ok(self.listed(self.writable()?, subject)?.is_some())
    }

    /// The list that clients keep for a registry that has none; `None` when there is no such tag.
    ///
    /// # Errors
    /// As [`Repository::referrers`].
    pub fn fallback_referrers(&self, subject: &Digest) -> Result<Option<Fetched>> {
        self.fallback(self.writable()?, subject)
    }

    /// The registry's own answer; `None` when it does not know the question.
    fn listed(&self, transport: &Transport, subject: &Digest) -> Result<Option<Vec<Vec<u8>>>> {
        if transport.lacks_referrers().load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut target = self.target(&format!("referrers/{subject}"));
        let mut pages = Vec::new();
        loop {
            let request = self.list_request(&target);
            let response = transport.send(&request)?;
            match response.status() {
                // Some have a page for people there, which is no answer either.
                StatusCode::OK if media_type(&text(&response, CONTENT_TYPE.as_str())) == INDEX => {}
                StatusCode::OK
                | StatusCode::NOT_FOUND
                | StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_ACCEPTABLE
                | StatusCode::NOT_IMPLEMENTED
                    if pages.is_empty() =>
                {
                    transport.lacks_referrers().store(true, Ordering::Relaxed);
                    keep_connection(response, &target);
                    return Ok(None);
                }
                _ => return Err(transport.refusal(&request, response)),
            }
            let next = next_page(&text(&response, LINK.as_str()));
            pages.push(read_answer(response, &target)?);
            match next {
                Some(next) if pages.len() < PAGES_MAX => target = next,
                _ => return Ok(Some(pages)),
            }
        }
    }

    fn fallback(&self, transport: &Transport, subject: &Digest) -> Result<Option<Fetched>> {
        let target = self.target(&format!("manifests/{}", fallback_tag(subject)));
        let response =
            expect(transport, &self.list_request(&target), &[StatusCode::OK, StatusCode::NOT_FOUND])?;
        if response.status() == StatusCode::NOT_FOUND {
            keep_connection(response, &target);
            return Ok(None);
        }
        let media_type = media_type(&text(&response, CONTENT_TYPE.as_str())).to_owned();
        Ok(Some(Fetched { media_type, bytes: read_answer(response, &target)? }))
    }

    fn list_request<'a>(&'a self, target: &'a str) -> Request<'a> {
        Request {
            headers: &[("accept", INDEX)],
            patience: Patience::ShortInAll,
            ..self.request(Method::GET, target)
        }
    }

    /// The manifest of a referrer; the caller verifies it.
    ///
    /// # Errors
    /// As [`Repository::referrers`], and `NotFound`.
    pub fn referrer_manifest(&self, digest: &Digest, media_type: &str) -> Result<Vec<u8>> {
        let target = self.target(&format!("manifests/{digest}"));
        let headers = [("accept", media_type)];
        let request = Request {
            headers: &headers,
            patience: Patience::ShortInAll,
            ..self.request(Method::GET, &target)
        };
        self.anywhere(|transport| read_answer(expect(transport, &request, &[StatusCode::OK])?, &target))
    }

    /// A blob of a referrer, all of it; the caller verifies it.
    ///
    /// # Errors
    /// As [`Repository::referrer_manifest`].
    pub fn referrer_blob(&self, digest: &Digest) -> Result<Blob> {
        let target = self.target(&format!("blobs/{digest}"));
        let request = Request { patience: Patience::Short, ..self.request(Method::GET, &target) };
        self.anywhere(|transport| {
            let response = expect(transport, &request, &[StatusCode::OK])?;
            Ok(Blob { reader: Box::new(response.into_body().into_reader()), start: 0, is_range: false })
        })
    }

    /// Stores a manifest under its digest. Returns whether the registry has taken notice of what it refers to: if
    /// not, the list of referrers is the client's to keep ([`Repository::fallback_referrers`]).
    ///
    /// # Errors
    /// `Unavailable` with the registry's words when it does not take it.
    pub fn put_referrer(&self, digest: &Digest, media_type: &str, bytes: &[u8]) -> Result<bool> {
        let response = self.put(digest.as_str(), media_type, bytes)?;
        Ok(response.headers().contains_key(OCI_SUBJECT))
    }

    /// Stores the list that clients keep.
    ///
    /// # Errors
    /// As [`Repository::put_referrer`].
    pub fn put_fallback_referrers(&self, subject: &Digest, index: &[u8]) -> Result<()> {
        self.put(&fallback_tag(subject), INDEX, index).map(|_| ())
    }
}

/// An answer that was read to its end leaves its connection to the next question.
fn keep_connection(response: Response, target: &str) {
    // Whatever it says, and whether it can be read.
    let _ = read_answer(response, target);
}

/// The tag that a list of referrers is kept under (the specification's «referrers tag schema»).
fn fallback_tag(subject: &Digest) -> String {
    subject.as_str().replace(':', "-")
}

/// Whether a tag is one of those.
pub fn lists_referrers(tag: &str) -> bool {
    tag.strip_prefix("sha256-").is_some_and(|hex| Digest::parse(&format!("sha256:{hex}")).is_ok())
}

fn media_type(header: &str) -> &str {
    header.split(';').next().unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_digest() {
        let digest = Digest::from_sha256([0xab; 32]);
        assert_eq!(fallback_tag(&digest), format!("sha256-{}", "ab".repeat(32)));
        assert!(lists_referrers(&fallback_tag(&digest)));
        assert!(!lists_referrers("sha256-1") && !lists_referrers("latest"));
        assert_eq!(media_type("application/json; charset=utf-8"), "application/json");
    }
}
