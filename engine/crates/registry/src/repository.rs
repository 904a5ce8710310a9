//! One image name at one registry: manifests, blobs, tags.

use crate::auth::{Credentials, encoded};
use crate::settings::Settings;
use crate::transport::{Patience, Request, Response, Transport, read_answer};
use dhow_model::{Digest, Error, ErrorKind, Result};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION};
use http::{Method, StatusCode};
use serde::Deserialize;
use std::io::Read;

/// Every form of manifest that dhow can do something with, the best first.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";
/// What registries call the digest of an answer.
const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";
/// Tags, or repositories, that are listed at most.
pub(crate) const NAMES_MAX: usize = dhow_model::limits::REGISTRY_NAMES.most_here();

/// A repository at a registry.
#[derive(Debug)]
pub struct Repository {
    /// Those that may have it, the best first; the last is the registry itself.
    transports: Vec<Transport>,
    path: String,
    scope: String,
}

/// A manifest or an index, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What the registry says that it is; may be empty.
    pub media_type: String,
    /// Exactly what came.
    pub bytes: Vec<u8>,
}

/// A blob that is being read.
pub struct Blob {
    /// Its bytes, from the offset that was asked for.
    pub reader: Box<dyn Read + Send>,
    /// Where they start: 0 when the registry does not do ranges.
    pub start: u64,
    /// Whether they are what was asked for, and not all of the blob.
    pub is_range: bool,
}

impl Repository {
    /// For reading. `path` is `library/debian`.
    ///
    /// # Errors
    /// None today: nobody is asked yet.
    pub fn to_pull(domain: &str, path: &str, credentials: &Credentials, settings: &Settings) -> Result<Self> {
        let hosts = settings.hosts_to_pull(domain);
        let last = hosts.len().saturating_sub(1);
        let transports = hosts.iter().enumerate().map(|(at, host)| {
            // A mirror is somebody else.
            let credentials = if at == last { credentials.clone() } else { Credentials::Anonymous };
            Transport::of_host(host, credentials, settings)
        });
        Ok(Self {
            transports: transports.collect(),
            path: path.to_owned(),
            scope: format!("repository:{path}:pull"),
        })
    }

    /// For writing, too.
    ///
    /// # Errors
    /// None today.
    pub fn to_push(domain: &str, path: &str, credentials: &Credentials, settings: &Settings) -> Result<Self> {
        Ok(Self {
            transports: vec![Transport::new(domain, credentials.clone(), settings)?],
            path: path.to_owned(),
            scope: format!("repository:{path}:pull,push"),
        })
    }

    /// The host that is asked last, which is the registry itself.
    pub fn host(&self) -> &str {
        self.transports.last().map_or("", Transport::host)
    }

    pub(crate) fn request<'a>(&'a self, method: Method, target: &'a str) -> Request<'a> {
        Request { method, target, headers: &[], body: None, scope: &self.scope, patience: Patience::Full }
    }

    pub(crate) fn target(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.path)
    }

    /// Asks one after the other until somebody has it; the registry's own failure is the one to tell.
    pub(crate) fn anywhere<T>(&self, ask: impl Fn(&Transport) -> Result<T>) -> Result<T> {
        let mut failure = Error::internal("no registry to ask");
        for transport in &self.transports {
            match ask(transport) {
                Ok(value) => return Ok(value),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    pub(crate) fn writable(&self) -> Result<&Transport> {
        self.transports.last().ok_or_else(|| Error::internal("no registry to ask"))
    }

    /// A manifest or an index, by tag or digest. Its bytes are not checked here: the caller knows whether there is
    /// a digest to check them by.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized`, `Forbidden` in the registry's words; `Unavailable` when it cannot be asked.
    pub fn manifest(&self, reference: &str) -> Result<Fetched> {
        let target = self.target(&format!("manifests/{reference}"));
        let request = Request { headers: &[("accept", MANIFESTS)], ..self.request(Method::GET, &target) };
        self.anywhere(|transport| {
            let response = expect(transport, &request, &[StatusCode::OK])?;
            let media_type = text(&response, CONTENT_TYPE.as_str());
            let media_type = media_type.split(';').next().unwrap_or("").trim().to_owned();
            Ok(Fetched { media_type, bytes: read_answer(response, &target)? })
        })
    }

    /// The digest of what a tag points at, without reading it; `None` when the registry does not say.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn digest_of(&self, reference: &str) -> Result<Option<Digest>> {
        let target = self.target(&format!("manifests/{reference}"));
        let request = Request { headers: &[("accept", MANIFESTS)], ..self.request(Method::HEAD, &target) };
        self.anywhere(|transport| {
            let response = expect(transport, &request, &[StatusCode::OK])?;
            Ok(Digest::parse(&text(&response, DOCKER_CONTENT_DIGEST)).ok())
        })
    }

    /// A blob's bytes from an offset on, up to another one or its end. A registry that does not do ranges gives all
    /// of them.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn blob(&self, digest: &Digest, from: u64, to: Option<u64>) -> Result<Blob> {
        let target = self.target(&format!("blobs/{digest}"));
        let last = to.map(|to| to.saturating_sub(1).to_string()).unwrap_or_default();
        let range = format!("bytes={from}-{last}");
        let whole = self.request(Method::GET, &target);
        let part = Request { headers: &[("range", &range)], ..self.request(Method::GET, &target) };
        let wants_part = from > 0 || to.is_some();
        self.anywhere(|transport| {
            let wanted = [StatusCode::OK, StatusCode::PARTIAL_CONTENT];
            let mut response = transport.send(if wants_part { &part } else { &whole })?;
            if wants_part && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                // There are such bytes: it is ranges that it does not want to do.
                response = transport.send(&whole)?;
            }
            if !wanted.contains(&response.status()) {
                return Err(transport.refusal(&whole, response));
            }
            let is_range = response.status() == StatusCode::PARTIAL_CONTENT;
            if is_range {
                let said = text(&response, CONTENT_RANGE.as_str());
                check_range(&said, from, to).map_err(|error| {
                    Error::caused(error.kind(), format!("registry {}: {target}", transport.host()), error)
                })?;
            }
            let start = if is_range { from } else { 0 };
            Ok(Blob { reader: Box::new(response.into_body().into_reader()), start, is_range })
        })
    }

    /// Whether the registry has a blob; its size if so.
    ///
    /// # Errors
    /// `Unauthorized`, `Forbidden`, `Unavailable`.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let transport = self.writable()?;
        let target = self.target(&format!("blobs/{digest}"));
        let request = self.request(Method::HEAD, &target);
        let response = expect(transport, &request, &[StatusCode::OK, StatusCode::NOT_FOUND])?;
        Ok((response.status() == StatusCode::OK)
            .then(|| text(&response, CONTENT_LENGTH.as_str()).parse().unwrap_or(0)))
    }

    /// Begins an upload; or, with a repository of the same registry that has the blob, lets the registry take it
    /// from there: then there is nothing to upload.
    ///
    /// # Errors
    /// `Unauthorized`, `Forbidden`, `Unavailable`.
    pub fn upload(&self, mount: Option<(&Digest, &str)>) -> Result<Option<Upload<'_>>> {
        let transport = self.writable()?;
        let query = mount.map(|(digest, from)| format!("?mount={digest}&from={}", encoded(from)));
        let target = self.target(&format!("blobs/uploads/{}", query.unwrap_or_default()));
        let request = self.request(Method::POST, &target);
        let response = expect(transport, &request, &[StatusCode::ACCEPTED, StatusCode::CREATED])?;
        if response.status() == StatusCode::CREATED {
            return Ok(None);
        }
        Ok(Some(Upload {
            repository: self,
            transport,
            location: location(transport, &request, &response)?,
            sent: 0,
        }))
    }

    /// Stores a manifest under a tag or its digest.
    ///
    /// # Errors
    /// `Unavailable` with the registry's words when it does not take it.
    pub fn put_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        self.put(reference, media_type, bytes).map(|_| ())
    }

    /// The same; the registry's answer.
    pub(crate) fn put(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<Response> {
        let target = self.target(&format!("manifests/{reference}"));
        let request = Request {
            headers: &[("content-type", media_type)],
            body: Some(bytes),
            ..self.request(Method::PUT, &target)
        };
        expect(self.writable()?, &request, &[StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED])
    }

    /// All tags.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Tags {
            tags: Option<Vec<String>>,
        }
        let transport = self.writable()?;
        let mut target = self.target("tags/list?n=1000");
        let mut all = Vec::new();
        loop {
            let response = expect(transport, &self.request(Method::GET, &target), &[StatusCode::OK])?;
            let next = next_page(&text(&response, LINK.as_str()));
            let page: Tags = serde_json::from_slice(&read_answer(response, &target)?).map_err(|error| {
                Error::caused(
                    ErrorKind::Unavailable,
                    format!("registry {}: {target}", transport.host()),
                    error,
                )
            })?;
            all.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) if all.len() < NAMES_MAX => target = next,
                _ => return Ok(all),
            }
        }
    }
}

/// A blob on its way to a registry, in pieces, the digest told at the end.
pub struct Upload<'a> {
    repository: &'a Repository,
    transport: &'a Transport,
    location: String,
    sent: u64,
}

impl Upload<'_> {
    /// Sends the next piece.
    ///
    /// # Errors
    /// `Unavailable` with the registry's words: the upload has to begin anew.
    pub fn send(&mut self, piece: &[u8]) -> Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let end = self.sent + piece.len() as u64;
        let range = format!("{}-{}", self.sent, end - 1);
        let request = Request {
            headers: &[("content-range", &range)],
            body: Some(piece),
            ..self.repository.request(Method::PATCH, &self.location)
        };
        let wanted = [StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::CREATED];
        let response = expect(self.transport, &request, &wanted)?;
        let next = location(self.transport, &request, &response)?;
        self.location = next;
        self.sent = end;
        Ok(())
    }

    /// Ends it: from now on the registry has the blob.
    ///
    /// # Errors
    /// `Unavailable` with the registry's words, for example because the digest is not that of what it got.
    pub fn finish(self, digest: &Digest) -> Result<()> {
        let joint = if self.location.contains('?') { '&' } else { '?' };
        let target = format!("{}{joint}digest={}", self.location, encoded(digest.as_str()));
        let request = self.repository.request(Method::PUT, &target);
        expect(self.transport, &request, &[StatusCode::CREATED, StatusCode::NO_CONTENT]).map(|_| ())
    }
}

/// Sends, and makes any other status an error.
pub(crate) fn expect(
    transport: &Transport,
    request: &Request<'_>,
    wanted: &[StatusCode],
) -> Result<Response> {
    let response = transport.send(request)?;
    if wanted.contains(&response.status()) { Ok(response) } else { Err(transport.refusal(request, response)) }
}

pub(crate) fn text(response: &Response, header: &str) -> String {
    response.headers().get(header).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
}

fn location(transport: &Transport, request: &Request<'_>, response: &Response) -> Result<String> {
    let location = text(response, LOCATION.as_str());
    if location.starts_with('/') || location.starts_with("https://") || location.starts_with("http://") {
        return Ok(location);
    }
    let (host, target) = (transport.host(), request.target);
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("registry {host}: {target}: no place to upload to: {location:?}"),
    ))
}

/// Whether an answer has the bytes that were asked for, or the first of them.
fn check_range(said: &str, from: u64, to: Option<u64>) -> Result<()> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Unavailable, what));
    let Some((start, last)) = content_range(said) else {
        return wrong(format!("unreadable range {said:?}"));
    };
    if start != from {
        return wrong(format!("asked from byte {from}, answered from {start}"));
    }
    if last < start || to.is_some_and(|to| last >= to) {
        return wrong(format!("asked for bytes {from} to {}, answered {said:?}", to.unwrap_or(0)));
    }
    Ok(())
}

/// `bytes 5-99/100`: the first and the last of them.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, _size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    Some((start.parse().ok()?, last.parse().ok()?))
}

/// `</v2/a/tags/list?last=x&n=1000>; rel="next"`: only on the same registry.
pub(crate) fn next_page(link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    (rest.contains("next") && target.starts_with('/')).then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_pages() {
        assert_eq!(content_range("bytes 5-99/100"), Some((5, 99)));
        assert_eq!(content_range("bytes 5-99/*"), Some((5, 99)));
        assert_eq!(content_range("lines 5-99/100"), None);
        for (said, from, to, good) in [
            ("bytes 5-99/100", 5, None, true),
            ("bytes 5-99/100", 5, Some(100), true),
            // Less is as much as there is for now.
            ("bytes 5-50/100", 5, Some(100), true),
            ("bytes 5-99/100", 5, Some(99), false),
            ("bytes 6-99/100", 5, Some(100), false),
            ("bytes 5-4/100", 5, None, false),
            ("", 5, None, false),
        ] {
            assert_eq!(check_range(said, from, to).is_ok(), good, "{said} for {from} to {to:?}");
        }
        assert_eq!(
            next_page("</v2/a/tags/list?last=x>; rel=\"next\"").as_deref(),
            Some("/v2/a/tags/list?last=x")
        );
        assert_eq!(next_page("<https://elsewhere/x>; rel=\"next\""), None);
        assert_eq!(next_page(""), None);
    }
}
