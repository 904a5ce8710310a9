//! One manifest of a list: its descriptor and its bytes, as Docker keeps them in a file.

use crate::cli::exit::{Failure, Outcome};
use crate::cli::inspect::indent;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dhow_store::manifest::{DOCKER_LIST, INDEX, MANIFEST};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What machine a manifest is for, in the order of Docker's fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub(super) os_version: String,
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) os_features: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) variant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
}

/// A manifest and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name that it was asked by.
    pub(super) reference: String,
    pub(super) descriptor: Descriptor,
    /// Exactly the registry's bytes.
    pub(super) raw: Vec<u8>,
}

/// The part of Docker's file that is read: the rest of it is `Raw` once more.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    #[serde(rename = "Ref")]
    reference: String,
    descriptor: Descriptor,
    raw: String,
}

/// A manifest of a list, in the order that Docker writes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a str,
    platform: &'a Platform,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<Listed<'a>>,
}

impl Entry {
    /// Reads Docker's file.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let raw = BASE64_STANDARD.decode(stored.raw).map_err(|error| format!("Raw: {error}"))?;
        Ok(Self { reference: stored.reference, descriptor: stored.descriptor, raw })
    }

    /// Docker's file.
    pub(super) fn json(&self) -> Outcome<String> {
        let text = |value: serde_json::Result<String>| {
            value.map_err(|error| Failure::new(format!("encode the manifest of {}: {error}", self.reference)))
        };
        let kind = if self.descriptor.media_type == MANIFEST { "OCIManifest" } else { "SchemaV2Manifest" };
        Ok(format!(
            "{{\"Ref\":{},\"Descriptor\":{},\"Raw\":\"{}\",\"{kind}\":{}}}",
            text(serde_json::to_string(&self.reference))?,
            text(serde_json::to_string(&self.descriptor))?,
            BASE64_STANDARD.encode(&self.raw),
            compact(&self.raw)
        ))
    }

    /// The manifest alone, as Docker shows it.
    pub(super) fn manifest(&self) -> String {
        indent(&self.raw, 0, "\t")
    }

    /// Its place in a list; `None` when it is not known what machine it is for.
    fn listed(&self) -> Option<Listed<'_>> {
        let platform = self.descriptor.platform.as_ref()?;
        (!platform.os.is_empty() && !platform.architecture.is_empty()).then_some(Listed {
            media_type: &self.descriptor.media_type,
            size: self.descriptor.size,
            digest: &self.descriptor.digest,
            platform,
        })
    }
}

/// JSON text without the blanks between its parts, and else as it was.
fn compact(json: &[u8]) -> String {
    let mut in_text = false;
    let mut after_backslash = false;
    String::from_utf8_lossy(json)
        .chars()
        .filter(|c| {
            in_text ^= *c == '"' && !after_backslash;
            after_backslash = in_text && *c == '\\' && !after_backslash;
            in_text || !c.is_ascii_whitespace()
        })
        .collect()
}

/// The list of these manifests, and its media type: an OCI index if one of them is OCI's.
pub(super) fn list(entries: &[Entry]) -> Outcome<(&'static str, String)> {
    let of_oci = entries.iter().any(|entry| entry.descriptor.media_type == MANIFEST);
    let media_type = if of_oci { INDEX } else { DOCKER_LIST };
    let mut manifests = Vec::new();
    for entry in entries {
        manifests.push(entry.listed().ok_or_else(|| {
            Failure::new(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                entry.reference
            ))
        })?);
    }
    let list = serde_json::to_vec(&List { schema_version: 2, media_type, manifests })
        .map_err(|error| Failure::new(format!("encode the manifest list: {error}")))?;
    Ok((media_type, indent(&list, 0, "   ")))
}

/// Everything about some manifests, as `inspect -v` shows it.
pub(super) fn verbose(entries: &[Entry]) -> Outcome<String> {
    let mut json = "[".to_owned();
    for (at, entry) in entries.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(json, "{}{}", if at > 0 { "," } else { "" }, entry.json()?);
    }
    json.push(']');
    Ok(indent(json.as_bytes(), 0, "\t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let platform = Platform { architecture: "arm64".into(), os: "linux".into(), ..Platform::default() };
        Entry {
            reference: "reg.example/a:1".into(),
            descriptor: Descriptor {
                media_type: MANIFEST.into(),
                digest: "sha256:00".into(),
                size: 17,
                platform: Some(platform),
            },
            raw: b"{\"b\": 1,\n \"a\": []}".to_vec(),
        }
    }

    #[test]
    fn files_are_dockers() {
        let json = entry().json().unwrap();
        assert_eq!(
            json,
            "{\"Ref\":\"reg.example/a:1\",\"Descriptor\":{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
             \"digest\":\"sha256:00\",\"size\":17,\"platform\":{\"architecture\":\"arm64\",\"os\":\"linux\"}},\
             \"Raw\":\"eyJiIjogMSwKICJhIjogW119\",\"OCIManifest\":{\"b\":1,\"a\":[]}}"
        );
        assert_eq!(Entry::parse(json.as_bytes()).unwrap(), entry());
        assert!(Entry::parse(b"{}").is_err() && Entry::parse(b"").is_err());
        assert_eq!(compact(br#"{ "a \\" : "b \" \n" }"#), r#"{"a \\":"b \" \n"}"#);
        assert_eq!(entry().manifest(), "{\n\t\"b\": 1,\n\t\"a\": []\n}");
    }

    #[test]
    fn lists_need_to_know_the_machine() {
        let (kind, json) = list(&[entry()]).unwrap();
        assert_eq!(kind, INDEX);
        assert!(json.starts_with("{\n   \"schemaVersion\": 2,\n   \"mediaType\": \""), "{json}");
        let mut unknown = entry();
        unknown.descriptor.platform = None;
        assert!(list(&[unknown]).unwrap_err().message.contains("must have an OS and Architecture"));
        let mut of_docker = entry();
        of_docker.descriptor.media_type = "application/vnd.docker.distribution.manifest.v2+json".into();
        assert_eq!(list(&[of_docker]).unwrap().0, DOCKER_LIST);
    }
}
