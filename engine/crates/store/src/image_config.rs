//! The image configuration as JSON (OCI image-spec, config.md, and Docker's additions), read and written.
//!
//! The blob itself is kept as it came, because its digest is the image's id; this is what the engine reads out of
//! it. Docker's own JSON has `null` where the specification has nothing, and a string where it has a list of one:
//! both are taken.

mod health;

use dhow_model::image::{History, Image, ImageConfig};
use dhow_model::{Digest, Error, ErrorKind, Result, Timestamp, limits, members};
use health::HealthPart;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// An image configuration that was read, before its layers are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedConfig {
    /// `linux`.
    pub os: String,
    /// `amd64`, ….
    pub architecture: String,
    /// `v8`; may be empty.
    pub variant: String,
    /// When the image was made, by its own word.
    pub created: Option<Timestamp>,
    /// By whom; may be empty.
    pub author: String,
    /// The default container configuration.
    pub config: ImageConfig,
    /// Digests of the uncompressed layers, from the base upwards.
    pub diff_ids: Vec<Digest>,
    /// How it was made; sizes not known yet.
    pub history: Vec<History>,
}

/// Reads a configuration blob.
///
/// # Errors
/// `Corrupt` when it is not JSON, not an image configuration, or its root filesystem is not layers.
pub fn parse(bytes: &[u8]) -> Result<ParsedConfig> {
    let json: ConfigFile = serde_json::from_slice(bytes).map_err(|error| {
        Error::caused(ErrorKind::Corrupt, "the image configuration is not valid JSON", error)
    })?;
    let Some(rootfs) = json.rootfs else {
        return Err(Error::corrupt("the image configuration has no rootfs"));
    };
    if rootfs.kind != "layers" {
        return Err(Error::corrupt(format!(
            "the image configuration's rootfs is of type {:?}, not \"layers\"",
            rootfs.kind
        )));
    }
    limits::LAYERS.check_count(|| "the image configuration".to_owned(), rootfs.diff_ids.len())?;
    let diff_ids =
        rootfs.diff_ids.iter().map(|text| Digest::parse(text)).collect::<Result<_>>().map_err(|error| {
            Error::caused(ErrorKind::Corrupt, "the image configuration has a malformed diff id", error)
        })?;
    let config = json.config.unwrap_or_default();
    let history = json.history.into_iter().map(|step| History {
        created: time(step.created.as_deref()),
        created_by: step.created_by,
        comment: step.comment,
        empty_layer: step.empty_layer,
        size_bytes: 0,
    });
    Ok(ParsedConfig {
        os: json.os,
        architecture: json.architecture,
        variant: json.variant,
        created: time(json.created.as_deref()),
        author: json.author,
        config: config.into_config(),
        diff_ids,
        history: history.collect(),
    })
}

/// Reads a configuration as the Engine API has it in a body; `null` is an empty one.
///
/// # Errors
/// `InvalidArgument` when it is none.
pub fn parse_config(json: serde_json::Value) -> Result<ImageConfig> {
    if json.is_null() {
        return Ok(ImageConfig::default());
    }
    let config: ConfigPart = members::from_value(json)
        .map_err(|error| Error::invalid(format!("invalid container configuration: {error}")))?;
    Ok(config.into_config())
}

impl ConfigPart {
    fn into_config(self) -> ImageConfig {
        ImageConfig {
            user: self.user,
            env: self.env,
            entrypoint: self.entrypoint,
            cmd: self.cmd,
            working_dir: self.working_dir,
            labels: self.labels,
            volumes: self.volumes.into_keys().collect(),
            exposed_ports: self.exposed_ports.into_keys().collect(),
            stop_signal: self.stop_signal,
            healthcheck: self.healthcheck.map(HealthPart::into_check),
            shell: self.shell,
            on_build: self.on_build,
        }
    }
}

impl ParsedConfig {
    /// The image, once the sizes of its layers are known (from the base upwards).
    ///
    /// The history may name more or fewer layers than there are: tools that squash or rebase leave it so, and it
    /// is only for show.
    pub fn into_image(
        self,
        id: Digest,
        manifest: Option<Digest>,
        layer_sizes: &[u64],
        installed: Timestamp,
    ) -> Image {
        let mut sizes = layer_sizes.iter().copied();
        let mut history = self.history;
        for step in history.iter_mut().filter(|step| !step.empty_layer) {
            step.size_bytes = sizes.next().unwrap_or(0);
        }
        Image {
            id,
            manifest,
            os: self.os,
            architecture: self.architecture,
            variant: self.variant,
            created: self.created,
            author: self.author,
            config: self.config,
            layers: self.diff_ids,
            history,
            size_bytes: layer_sizes.iter().sum(),
            installed,
        }
    }

    /// The configuration as a blob: what `import` stores. The same input gives the same bytes.
    ///
    /// # Errors
    /// Never in practice: everything in it can be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let empty = |_: &String| serde_json::Map::new();
        let config = &self.config;
        let file = ConfigFile {
            created: self.created.map(|time| time.to_string()),
            author: self.author.clone(),
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
            config: Some(ConfigPart {
                user: config.user.clone(),
                exposed_ports: config.exposed_ports.iter().map(|port| (port.clone(), empty(port))).collect(),
                env: config.env.clone(),
                entrypoint: config.entrypoint.clone(),
                cmd: config.cmd.clone(),
                volumes: config.volumes.iter().map(|path| (path.clone(), empty(path))).collect(),
                working_dir: config.working_dir.clone(),
                labels: config.labels.clone(),
                stop_signal: config.stop_signal.clone(),
                healthcheck: config.healthcheck.as_ref().map(HealthPart::from),
                shell: config.shell.clone(),
                on_build: config.on_build.clone(),
            }),
            rootfs: Some(RootFs {
                kind: "layers".to_owned(),
                diff_ids: self.diff_ids.iter().map(Digest::to_string).collect(),
            }),
            history: self
                .history
                .iter()
                .map(|step| HistoryStep {
                    created: step.created.map(|time| time.to_string()),
                    created_by: step.created_by.clone(),
                    comment: step.comment.clone(),
                    empty_layer: step.empty_layer,
                })
                .collect(),
        };
        serde_json::to_vec(&file)
            .map_err(|error| Error::caused(ErrorKind::Internal, "write the image configuration", error))
    }
}

/// A time that cannot be told (Go's zero time is before any that we have) is none.
fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|text| Timestamp::parse(text).ok())
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ConfigFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    author: String,
    #[serde(deserialize_with = "lax")]
    architecture: String,
    #[serde(deserialize_with = "lax")]
    os: String,
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    variant: String,
    config: Option<ConfigPart>,
    rootfs: Option<RootFs>,
    #[serde(deserialize_with = "lax")]
    history: Vec<HistoryStep>,
}

type Set = BTreeMap<String, serde_json::Map<String, serde_json::Value>>;

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigPart {
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(deserialize_with = "lax_set", skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: Set,
    #[serde(deserialize_with = "lax", skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "lax_set", skip_serializing_if = "BTreeMap::is_empty")]
    volumes: Set,
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    working_dir: String,
    #[serde(deserialize_with = "lax", skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<HealthPart>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    shell: Vec<String>,
    #[serde(deserialize_with = "lax", skip_serializing_if = "Vec::is_empty")]
    on_build: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct RootFs {
    #[serde(rename = "type", deserialize_with = "lax")]
    kind: String,
    #[serde(deserialize_with = "lax")]
    diff_ids: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct HistoryStep {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    created_by: String,
    #[serde(deserialize_with = "lax", skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(deserialize_with = "lax", skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

/// `null` is the default.
fn lax<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A set whose members may be `null` instead of `{}`.
fn lax_set<'de, D: Deserializer<'de>>(from: D) -> Result<Set, D::Error> {
    let set: Option<BTreeMap<String, Option<serde_json::Map<String, serde_json::Value>>>> =
        Option::deserialize(from)?;
    Ok(set.unwrap_or_default().into_keys().map(|key| (key, serde_json::Map::new())).collect())
}

/// A list of words, or one word alone.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::deserialize(from)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::Many(words)) => words,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

    #[test]
    fn dockers_own_json_is_read() {
        let json = format!(
            r#"{{"architecture":"amd64","config":{{"Hostname":"","User":"1000:1000","Tty":false,
            "ExposedPorts":{{"80/tcp":{{}},"53/udp":null}},"Env":["PATH=/bin"],"Cmd":["sh","-c","x"],"Entrypoint":null,
            "Volumes":{{"/data":{{}}}},"WorkingDir":"/w","OnBuild":null,"Labels":null,"StopSignal":"SIGQUIT"}},
            "container":"abc","created":"2024-01-02T03:04:05.6Z","docker_version":"20.10",
            "history":[{{"created":"2024-01-02T03:04:05Z","created_by":"ADD"}},
                       {{"created":"0001-01-01T00:00:00Z","created_by":"CMD","empty_layer":true}}],
            "os":"linux","rootfs":{{"type":"layers","diff_ids":["{ID}"]}}}}"#
        );
        let parsed = parse(json.as_bytes()).unwrap();
        assert_eq!(parsed.config.cmd, ["sh", "-c", "x"]);
        assert!(parsed.config.entrypoint.is_empty() && parsed.config.labels.is_empty());
        assert_eq!(parsed.config.exposed_ports.iter().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!((parsed.config.stop_signal.as_str(), parsed.diff_ids.len()), ("SIGQUIT", 1));
        let image = parsed.clone().into_image(Digest::from_sha256([1; 32]), None, &[77], Timestamp(1));
        assert_eq!((image.size_bytes, image.history[0].size_bytes, image.history[1].size_bytes), (77, 77, 0));
        assert_eq!(image.history[1].created, None);
        assert_eq!(parse(&parsed.to_json().unwrap()).unwrap(), parsed);
    }

    #[test]
    fn a_word_instead_of_a_list_and_odd_histories_are_taken() {
        let json = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Entrypoint":"/run","Cmd":null}},
            "history":null,"rootfs":{{"type":"layers","diff_ids":["{ID}"]}}}}"#
        );
        let parsed = parse(json.as_bytes()).unwrap();
        assert_eq!(parsed.config.entrypoint, ["/run"]);
        assert!(parsed.history.is_empty());
    }

    #[test]
    fn what_is_no_image_configuration_is_corrupt() {
        for (bad, why) in [
            ("", "not valid JSON"),
            ("[1]", "not valid JSON"),
            ("{}", "has no rootfs"),
            (r#"{"rootfs":{"type":"layers"},"rootfs":{"type":"layers"}}"#, "duplicate field"),
            (r#"{"rootfs":{"type":"base","diff_ids":[]}}"#, "of type \"base\""),
            (r#"{"rootfs":{"type":"layers","diff_ids":["md5:00"]}}"#, "malformed diff id"),
            (r#"{"config":{"Env":[1]},"rootfs":{"type":"layers","diff_ids":[]}}"#, "not valid JSON"),
        ] {
            let error = parse(bad.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains(why), "{bad}: {error}");
        }
    }
}
