//! Manifests and indexes as they come from registries and archives (image-spec: manifest.md, image-index.md,
//! descriptor.md), with Docker's media types accepted beside OCI's.

use dhow_model::{Digest, Error, ErrorKind, Result, limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// OCI's index of images for several machines.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI's manifest of one image.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's configuration of an image.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer as it is.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Says that a manifest is no image, but a statement about one.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Says about which manifest.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// Says, beside a name, which manifest something is about: in the archives of containerd, and so of Docker since 29.
pub const SUBJECT: &str = "io.containerd.manifest.subject";

/// What points at a blob. Its digest is text until it is needed: a descriptor that nobody follows may be odd.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// May be empty.
    #[serde(default)]
    pub media_type: String,
    /// `sha256:…`
    pub digest: String,
    /// Bytes of the blob.
    pub size: u64,
    /// What kind of thing it is, in an index, if it is no image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Remarks.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The machine that it is for, in an index.
    #[serde(default)]
    pub platform: Option<Platform>,
}

/// A kind of machine, in the words of Go, which are those of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`
    #[serde(default)]
    pub os: String,
    /// `amd64`
    #[serde(default)]
    pub architecture: String,
    /// `v8`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// What may stand alone: Go's names (containerd's `platforms`), and what uname says.
const ARCHITECTURES: [&str; 16] = [
    "386", "aarch64", "amd64", "arm", "arm64", "armel", "armhf", "i386", "loong64", "mips64le", "ppc64le",
    "riscv64", "s390x", "wasm", "x86-64", "x86_64",
];

impl Platform {
    /// This machine.
    pub fn host() -> Self {
        Self { os: "linux".to_owned(), architecture: architecture().to_owned(), variant: None }
    }

    /// `linux/arm64/v8`, `linux/amd64`, or an architecture alone.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !parts.iter().all(|part| word(part)) || parts.len() > 3 {
            return Err(Error::invalid(format!(
                "\"{text}\": invalid platform: want OS[/ARCHITECTURE[/VARIANT]], for example linux/arm64/v8"
            )));
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => (*os, architecture(), None),
            [architecture] if ARCHITECTURES.contains(architecture) => ("linux", *architecture, None),
            [_] => {
                return Err(Error::invalid(format!("\"{text}\": unknown operating system or architecture")));
            }
            [os, architecture, rest @ ..] => (*os, *architecture, rest.first().map(|v| (*v).to_owned())),
            [] => ("linux", architecture(), None),
        };
        // What uname says, and people type.
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", None) => ("arm", Some("v7".to_owned())),
            ("armel", None) => ("arm", Some("v6".to_owned())),
            ("i386", variant) => ("386", variant),
            other => other,
        };
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }

    /// Whether what is offered runs on this kind of machine. An arm64 of no variant is a v8.
    pub fn takes(&self, offered: &Platform) -> bool {
        let variant = |p: &Platform| match (p.variant.as_deref().unwrap_or(""), p.architecture.as_str()) {
            ("", "arm64") => "v8".to_owned(),
            (variant, _) => variant.to_owned(),
        };
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || variant(self) == variant(offered))
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

/// An index or a manifest: read as both, so that a document that is both can be refused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    #[serde(default)]
    schema_version: u64,
    /// What it says that it is.
    #[serde(default)]
    pub media_type: Option<String>,
    /// An index has them.
    #[serde(default)]
    pub manifests: Option<Vec<Descriptor>>,
    /// A manifest has it.
    #[serde(default)]
    pub config: Option<Descriptor>,
    /// A manifest has them, from the base upwards.
    #[serde(default)]
    pub layers: Option<Vec<Descriptor>>,
}

impl Document {
    /// Whether it is the manifest of something that is no image.
    pub fn is_artifact(&self) -> bool {
        let is_image = |config: &Descriptor| [CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str());
        self.layers.is_some() && self.config.as_ref().is_some_and(|config| !is_image(config))
    }

    /// Nothing is asked for, and no room made, by a claim that is too large.
    fn check_claims(&self, name: &str) -> Result<()> {
        let count = |list: &Option<Vec<Descriptor>>| list.as_ref().map_or(0, Vec::len);
        limits::INDEX_ENTRIES.check_count(|| name.to_owned(), count(&self.manifests))?;
        limits::LAYERS.check_count(|| name.to_owned(), count(&self.layers))?;
        self.layers.iter().flatten().chain(&self.config).try_for_each(|blob| {
            limits::LAYER_BYTES.check(|| format!("{name}: blob {}", blob.digest), blob.size)
        })
    }

    /// Configuration and layers of an image's manifest.
    ///
    /// # Errors
    /// `Corrupt` when one of them is missing; `Unsupported` when it is the manifest of something else.
    pub fn of_image(self, name: &str) -> Result<(Descriptor, Vec<Descriptor>)> {
        let (Some(config), Some(layers)) = (self.config, self.layers) else {
            return Err(Error::corrupt(format!("manifest {name} has no config or no layers")));
        };
        if ![CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
            return Err(Error::unsupported(format!(
                "manifest {name} is not of an image: its config is of type {:?}",
                config.media_type
            )));
        }
        Ok((config, layers))
    }
}

/// The manifest for a kind of machine among those of an index.
///
/// # Errors
/// `NotFound` naming those that there are.
pub fn choose(index: &str, mut entries: Vec<Descriptor>, platform: &Platform) -> Result<Descriptor> {
    entries.retain(|entry| !entry.is_attestation());
    let ours: Vec<_> = entries.iter().filter(|entry| entry.is_for(platform)).collect();
    // Several variants: the one without, else the first, as the specification asks.
    let plain = ours
        .iter()
        .find(|entry| entry.platform.as_ref().is_some_and(|p| p.variant.as_deref().unwrap_or("").is_empty()));
    match (plain.or(ours.first()), entries.as_slice()) {
        (Some(entry), _) => Ok((*entry).clone()),
        (None, [only]) if only.platform.is_none() => Ok(only.clone()),
        _ => Err(nothing_for(index, &entries, platform)),
    }
}

/// There is none for it.
pub(crate) fn nothing_for(index: &str, entries: &[Descriptor], platform: &Platform) -> Error {
    let have: Vec<String> =
        entries.iter().filter_map(|entry| entry.platform.as_ref()).map(Platform::to_string).collect();
    Error::not_found(format!("{index} has no image for {platform}; it has: {}", have.join(", ")))
}

impl Descriptor {
    /// Its digest, checked.
    ///
    /// # Errors
    /// `Corrupt` when it is none.
    pub fn parsed_digest(&self) -> Result<Digest> {
        Digest::parse(&self.digest).map_err(|error| error.with_kind(ErrorKind::Corrupt))
    }

    /// Whether it can be a layer. The compression is told by the bytes, not by the type; only what cannot be
    /// unpacked at all is refused here.
    ///
    /// # Errors
    /// `Unsupported` naming the type.
    pub fn check_layer(&self) -> Result<()> {
        if self.media_type.contains("encrypted") {
            return Err(Error::unsupported(format!("layer {} is encrypted", self.digest)));
        }
        if !self.media_type.is_empty() && !self.media_type.contains(".tar") {
            return Err(Error::unsupported(format!(
                "layer {} is of type {:?}",
                self.digest, self.media_type
            )));
        }
        Ok(())
    }

    /// One of its remarks.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether it points at a statement about an image.
    pub fn is_attestation(&self) -> bool {
        [REFERENCE_TYPE, SUBJECT].iter().any(|name| self.annotation(name).is_some())
            || self.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }

    /// The manifest that it points at a statement about, by the annotations of BuildKit: its digest.
    pub fn attests(&self) -> Option<&str> {
        self.annotation(REFERENCE_TYPE)?;
        self.annotation(REFERENCE_DIGEST)
    }

    /// Whether it is said to be for this kind of machine.
    pub(crate) fn is_for(&self, platform: &Platform) -> bool {
        self.platform.as_ref().is_some_and(|offered| platform.takes(offered))
    }
}

/// This machine in the words of Go.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// What a manifest says of itself: read only where it matters, because an image does not become another one by it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remarks {
    /// What kind of thing it is, if it says so.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The manifest that it refers to.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Remarks.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Reads what a manifest says of itself.
///
/// # Errors
/// `Corrupt` when it cannot be read.
pub fn parse_remarks(name: &str, bytes: &[u8]) -> Result<Remarks> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::caused(ErrorKind::Corrupt, format!("{name} is not a valid manifest"), error))
}

/// Reads an index or a manifest, and refuses what could be both (CVE-2021-41190), or what is not what it was
/// said to be.
///
/// # Errors
/// `Corrupt`, `Unsupported`.
pub fn parse(name: &str, bytes: &[u8], said: Option<&str>) -> Result<Document> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| {
        Error::caused(ErrorKind::Corrupt, format!("{name} is not a valid manifest or index"), error)
    })?;
    document.check_claims(name)?;
    let ambiguous = |why: &str| Err(Error::corrupt(format!("{name} is ambiguous: {why}")));
    if document.schema_version != 2 {
        return Err(Error::unsupported(format!(
            "{name} has schema version {}, want 2",
            document.schema_version
        )));
    }
    let is_index = document.manifests.is_some();
    if is_index && (document.config.is_some() || document.layers.is_some()) {
        return ambiguous("it is both an index and a manifest");
    }
    let inside = document.media_type.as_deref();
    if let (Some(inside), Some(said)) = (inside, said)
        && inside != said
        && !(said == INDEX && name == "index.json")
    {
        return ambiguous(&format!("it says that it is {inside:?}, its descriptor says {said:?}"));
    }
    match inside.or(said) {
        Some(INDEX | DOCKER_LIST) if !is_index => {
            ambiguous("it is said to be an index, but has no manifests")
        }
        Some(MANIFEST | DOCKER_MANIFEST) if is_index => {
            ambiguous("it is said to be a manifest, but has manifests")
        }
        Some(INDEX | DOCKER_LIST | MANIFEST | DOCKER_MANIFEST) | None => Ok(document),
        Some(other) => Err(Error::unsupported(format!("{name} is of type {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_have_an_edge() {
        let manifest = |layers: usize, size: u64| {
            let layer = format!(r#"{{"digest":"sha256:x","size":{size}}}"#);
            let layers = vec![layer; layers].join(",");
            parse("x", format!(r#"{{"schemaVersion":2,"layers":[{layers}]}}"#).as_bytes(), None)
        };
        let (size, layers) = (limits::LAYER_BYTES.most(), limits::LAYERS.most_here());
        assert!(manifest(1, size).is_ok());
        let claimed = size + 1;
        let text = format!("x: blob sha256:x has {claimed} bytes; at most {size} are taken");
        assert_eq!(manifest(1, claimed).unwrap_err().to_string(), text);
        assert!(manifest(1, u64::MAX).is_err());
        assert!(manifest(layers, 1).is_ok());
        let text = "x has 501 layers; at most 500 are taken";
        assert_eq!(manifest(layers + 1, 1).unwrap_err().to_string(), text);
        let index = |entries: usize| {
            let entries = vec![r#"{"digest":"","size":1}"#; entries].join(",");
            parse("x", format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#).as_bytes(), None)
        };
        assert!(index(limits::INDEX_ENTRIES.most_here()).is_ok());
        assert!(index(limits::INDEX_ENTRIES.most_here() + 1).is_err());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let both = br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(parse("x", both, None).unwrap_err().to_string().contains("both an index and a manifest"));
        let liar =
            br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        assert!(parse("x", liar, Some(MANIFEST)).unwrap_err().to_string().contains("ambiguous"));
        assert!(parse("x", liar, Some(INDEX)).is_ok());
        let twice = br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(parse("x", twice, None).unwrap_err().to_string().contains("duplicate field"));
        let old = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        assert_eq!(parse("x", old, None).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn the_manifest_for_this_machine_is_chosen() {
        let entry = |arch: &str, variant: Option<&str>| Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: format!("{arch}-{variant:?}"),
            size: 1,
            artifact_type: None,
            annotations: None,
            platform: Some(Platform {
                os: if arch == "unknown" { arch } else { "linux" }.to_owned(),
                architecture: arch.to_owned(),
                variant: variant.map(str::to_owned),
            }),
        };
        let ours = architecture();
        let all =
            vec![entry("s390x", None), entry("unknown", None), entry(ours, Some("v3")), entry(ours, None)];
        assert_eq!(choose("index", all, &Platform::host()).unwrap().digest, format!("{ours}-None"));
        let error = choose("index", vec![entry("s390x", None), entry("arm", Some("v7"))], &Platform::host())
            .unwrap_err();
        assert!(error.to_string().ends_with("it has: linux/s390x, linux/arm/v7"), "{error}");
    }

    #[test]
    fn kinds_of_machines() {
        let parse = |text: &str| Platform::parse(text).map(|p| p.to_string());
        assert_eq!(parse("linux/arm64/v8").unwrap(), "linux/arm64/v8");
        assert_eq!(parse("arm64").unwrap(), "linux/arm64");
        assert_eq!(parse("linux/x86_64").unwrap(), "linux/amd64");
        assert_eq!(parse("linux").unwrap(), Platform::host().to_string());
        for bad in ["", "linux/", "a/b/c/d", "linux/amd 64", "bogus"] {
            assert_eq!(parse(bad).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        let arm = Platform::parse("linux/arm64/v8").unwrap();
        assert!(arm.takes(&Platform::parse("linux/arm64").unwrap()));
        assert!(!arm.takes(&Platform::parse("linux/arm/v7").unwrap()));
    }
}
