//! Image references: `name[:tag][@digest]`, normalised as Docker normalises them.
//!
//! ```text
//!   as typed                      domain             path              tag      familiar
//!   debian                        docker.io          library/debian    -        debian
//!   me/app:1                      docker.io          me/app            1        me/app:1
//!   localhost/app                 localhost          app               -        localhost/app
//!   reg.example.com:5000/a/b:2    reg.example.com:…  a/b               2        reg.example.com:5000/a/b:2
//! ```
//!
//! The grammar and the texts of the refusals are those of <https://github.com/distribution/reference>
//! (`regexp.go`, `normalize.go`). The tag is *not* filled in by [`Reference::parse`]: whoever means
//! "`latest` unless said otherwise" calls [`Reference::with_default_tag`].

use crate::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The registry of a name that says none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of a reference that says neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// An older name of [`DEFAULT_DOMAIN`].
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
/// Where one-word names of the default registry lie.
const OFFICIAL: &str = "library/";
/// Greatest length of a path in bytes (distribution/reference, `RepositoryNameTotalLengthMax`).
const PATH_LENGTH_MAX: usize = 255;
/// Greatest length of a tag in bytes.
const TAG_LENGTH_MAX: usize = 128;

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises what a user typed, or what [`fmt::Display`] printed.
    ///
    /// # Errors
    /// `InvalidArgument`, in Docker's words.
    pub fn parse(text: &str) -> Result<Self> {
        if is_identifier(text) {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (domain, remainder) = split_domain(text);
        let remote = remainder.split(':').next().unwrap_or_default();
        if remote.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name ({remote}) must be lowercase"
            )));
        }
        let malformed = || Error::invalid("invalid reference format");

        let (named, digest) = match remainder.split_once('@') {
            Some((named, digest)) => (named, Some(Digest::parse(digest)?)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        if !is_domain(&domain) || !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
            return Err(malformed());
        }
        if path.len() > PATH_LENGTH_MAX {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name must not be more than {PATH_LENGTH_MAX} characters"
            )));
        }
        Ok(Self { domain, path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// The registry's host, with its port if any.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was typed or filled in.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was typed.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same reference with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository and tag, without the digest.
    #[must_use]
    pub fn without_digest(mut self) -> Self {
        self.digest = None;
        self
    }

    /// The same repository at another tag, without a digest.
    ///
    /// # Errors
    /// `InvalidArgument` when the tag is malformed.
    pub fn with_tag(mut self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(Error::invalid(format!("invalid tag format: {tag:?}")));
        }
        self.tag = Some(tag.to_owned());
        self.digest = None;
        Ok(self)
    }

    /// The same repository at a digest, without a tag: `repository@sha256:…`.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.tag = None;
        self.digest = Some(digest);
        self
    }

    /// The canonical name without tag and digest: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as people write it: `debian`, `me/app`, `reg.example.com/app`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        let short = match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.path,
        };
        // What reads as something else when typed again keeps its whole name.
        let (domain, remainder) = split_domain(short);
        if domain == self.domain && remainder == self.path && !is_identifier(short) {
            short.to_owned()
        } else {
            self.name()
        }
    }

    /// The reference as people write it: `debian:12`, `debian@sha256:…`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest.as_str());
        }
        name
    }
}

/// Canonical: `docker.io/library/debian:12`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl std::str::FromStr for Reference {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

/// Docker's rule: the first component is a registry if it is `localhost`, holds a dot or a colon, or holds
/// an upper-case letter (which no namespace may).
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        None => return (DEFAULT_DOMAIN.to_owned(), format!("{OFFICIAL}{text}")),
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        Some(_) => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        (domain.to_owned(), format!("{OFFICIAL}{remainder}"))
    } else {
        (domain.to_owned(), remainder.to_owned())
    }
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `host[:port]`, where a host is dot-separated labels or a bracketed IPv6 address.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        // The last colon of a bare IPv6 address is inside its brackets.
        Some(at) if !text[at..].contains(']') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let port_fits = port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let host_fits = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(is_label),
    };
    port_fits && host_fits
}

/// Lower-case letters and digits, separated by one dot, one or two underscores, or any number of dashes.
fn is_path_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(|b| is_word(*b)) || !bytes.last().is_some_and(|b| is_word(*b)) {
        return false;
    }
    bytes
        .split(|b| is_word(*b))
        .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

fn is_tag(text: &str) -> bool {
    text.len() <= TAG_LENGTH_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_is_dockers() {
        for (typed, canonical, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("docker.io/debian", "docker.io/library/debian", "debian"),
            ("index.docker.io/debian", "docker.io/library/debian", "debian"),
            ("library/debian", "docker.io/library/debian", "debian"),
            ("me/app:v1.0_x-y", "docker.io/me/app:v1.0_x-y", "me/app:v1.0_x-y"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/app:2", "localhost:5000/app:2", "localhost:5000/app:2"),
            (
                "reg.example.com/a/b__c.d-e--f",
                "reg.example.com/a/b__c.d-e--f",
                "reg.example.com/a/b__c.d-e--f",
            ),
            ("Registry/app", "Registry/app", "Registry/app"),
            ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
            ("docker.io/localhost/app", "docker.io/localhost/app", "docker.io/localhost/app"),
        ] {
            let reference = Reference::parse(typed).unwrap();
            assert_eq!(reference.to_string(), canonical, "{typed}");
            assert_eq!(reference.familiar(), familiar, "{typed}");
        }
    }

    #[test]
    fn tags_and_digests() {
        let digest = Digest::from_sha256([7; 32]);
        let both = Reference::parse(&format!("debian:12@{digest}")).unwrap();
        assert_eq!((both.tag(), both.digest()), (Some("12"), Some(&digest)));
        assert_eq!(both.clone().without_digest().familiar(), "debian:12");
        assert_eq!(both.familiar_name(), "debian");
        let only = Reference::parse(&format!("debian@{digest}")).unwrap().with_default_tag();
        assert_eq!((only.tag(), only.digest()), (None, Some(&digest)));
        assert_eq!(Reference::parse("debian").unwrap().with_default_tag().tag(), Some("latest"));
        assert_eq!(only.with_tag("13").unwrap().familiar(), "debian:13");
    }

    #[test]
    fn refusals_speak_as_docker_does() {
        let text = |typed: &str| Reference::parse(typed).unwrap_err().to_string();
        assert_eq!(text("Foo"), "invalid reference format: repository name (library/Foo) must be lowercase");
        assert_eq!(text("me/App:1"), "invalid reference format: repository name (me/App) must be lowercase");
        assert_eq!(
            text(&"ab".repeat(32)),
            format!(
                "invalid repository name ({}), cannot specify 64-byte hexadecimal strings",
                "ab".repeat(32)
            )
        );
        assert_eq!(
            text(&"a/".repeat(128).trim_end_matches('/').replace("a/a", "aa/a").to_owned()),
            "invalid reference format: repository name must not be more than 255 characters"
        );
        let long_tag = format!("a:{}", "t".repeat(129));
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ":1",
            "a:",
            "a:-1",
            "a b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a._b",
            "a@",
            "é",
            "a:b:c",
            "a@sha256:12",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "foo_bar.com/x",
            "-x.com/a",
            "x.com:p/a",
            "../etc",
            "a:../b",
            "x.com:/a",
            "[]/a",
            "a\n",
            &long_tag,
        ] {
            let error = Reference::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn as_json_it_is_one_string() {
        let reference = Reference::parse("debian:12").unwrap();
        let json = serde_json::to_string(&reference).unwrap();
        assert_eq!(json, "\"docker.io/library/debian:12\"");
        assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,60}") {
            let _ = Reference::parse(&text);
        }

        #[test]
        fn both_forms_read_back(
            text in "(([a-c]{1,3}\\.){1,2}[a-z]{2}(:[0-9]{1,4})?/|localhost/|library/|docker\\.io/)?[a-z0-9]{1,4}([._-][a-z0-9]{1,3}){0,2}(/[a-z]{1,4}){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,5})?"
        ) {
            // `a_b.c/d` looks like a registry, and no registry has an underscore.
            let Ok(reference) = Reference::parse(&text) else { return Ok(()) };
            proptest::prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            proptest::prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
        }
    }
}
