//! `dhow.json`: what the engine does unless a command says otherwise. Read once, when the engine is opened.
//!
//! The names are those of Docker's `daemon.json` where it has one:
//!
//! | key | |
//! |---|---|
//! | `data-root`, `exec-root` | where images and containers, and sockets and locks, are kept; `--root` and `--state` go first |
//! | `cgroup-parent` | the cgroup below which containers are made |
//! | `log-driver`, `log-opts` | for containers that name no driver; the options also for those that name the same one |
//! | `default-ulimits` | `{"nofile": {"Soft": 1024, "Hard": 2048}}` |
//! | `default-runtime`, `runtimes` | `{"crun": {"path": "/usr/bin/crun", "runtimeArgs": []}}` |
//! | `detach-keys` | for clients that name none |
//! | `insecure-registries` | hosts and networks that are asked without TLS, or without checking who answers |
//! | `bridge`, `bip`, `icc`, `ip-masq`, `mtu`, `ip` | the default bridge: its interface (`none`: there is none), its address, and what holds on it |
//! | `default-address-pools` | `[{"base": "10.0.0.0/16", "size": 24}]`: where networks get their subnets from |
//! | `dns`, `dns-opts`, `dns-search` | for containers that name none |
//! | `registry-mirrors` | hosts, or URLs, that are asked before Docker Hub |
//! | `max-concurrent-downloads` | how many connections a pull has at once, 4 unless told: for layers, and pieces of large ones |
//! | `layer-store` | `auto`, `indexed` or `unpacked`: the form of layers that are installed from now on. Ours, not Docker's |
//! | `userns-remap` | `default`, or `user[:group]` of /etc/subuid and /etc/subgid |
//! | `userns-ids` | `{"first": 1000000, "count": 655360}`: the host's ids that user namespaces take theirs from. Ours, not Docker's |
//!
//! A key that is unknown, or that nothing acts on, is refused with its line: a setting that is ignored is a lie.
//! What a setting makes of a container is recorded with it when it is created, so that a change of the file changes
//! new containers only.

mod lines;
mod network;

use dhow_model::log::LogConfig;
use dhow_model::resources::Ulimit;
use dhow_model::security::IdShift;
use dhow_model::{Error, ErrorKind, Result};
use dhow_store::layer::LayerForm;
use lines::Lines;
pub use network::NetworkSettings;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the file is looked for.
pub const DEFAULT_PATH: &str = "/etc/dhow/dhow.json";

/// What the file says; the default is what holds without one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// `data-root`.
    pub data_root: Option<PathBuf>,
    /// `exec-root`.
    pub exec_root: Option<PathBuf>,
    /// `cgroup-parent`; empty: the engine's own.
    pub cgroup_parent: String,
    /// `log-driver`; empty: `json-file`.
    pub log_driver: String,
    /// `log-opts`.
    pub log_opts: BTreeMap<String, String>,
    /// `default-ulimits`.
    pub ulimits: Vec<Ulimit>,
    /// `default-runtime`; empty: the engine's own.
    pub default_runtime: String,
    /// `runtimes`.
    pub runtimes: BTreeMap<String, RuntimeSettings>,
    /// `detach-keys`; empty: Ctrl-P, Ctrl-Q.
    pub detach_keys: String,
    /// `insecure-registries`: `host[:port]`, or a network.
    pub insecure_registries: Vec<String>,
    /// `registry-mirrors`: `host[:port]`.
    pub registry_mirrors: Vec<String>,
    /// `max-concurrent-downloads`.
    pub max_concurrent_downloads: Option<usize>,
    /// `layer-store`.
    pub layer_form: LayerForm,
    /// `userns-remap`; empty: containers share the host's ids.
    pub userns_remap: String,
    /// `userns-ids`; `None`: those of /etc/subuid and /etc/subgid.
    pub userns_ids: Option<IdShift>,
    /// What concerns networks.
    pub network: NetworkSettings,
}

/// An OCI runtime beside the engine's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeSettings {
    /// Its program: a path, or a name to be found in `PATH`.
    pub path: String,
    /// What it is called with before everything else.
    pub args: Vec<String>,
}

/// More connections than any registry likes, and threads than any pull needs.
const CONNECTIONS_MAX: usize = 64;

/// Keys of Docker's file that nothing here acts on.
const NOT_YET: [&str; 6] = ["hosts", "iptables", "storage-driver", "init", "default-shm-size", "labels"];

impl Settings {
    /// Reads a file. One that was not asked for by name may be absent.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` with the file, the line and the key.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.is_none() => {
                return Ok(Self::default());
            }
            Err(error) => {
                let kind = match error.kind() {
                    std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                    _ => ErrorKind::InvalidArgument,
                };
                return Err(Error::caused(kind, format!("read {}", file.display()), error));
            }
        };
        let mut settings = Self::parse(&text)
            .map_err(|error| Error::new(error.kind(), format!("{}: {}", file.display(), error.message())))?;
        settings.file = Some(file.to_owned());
        Ok(settings)
    }

    /// Reads the text of a file. Pure.
    ///
    /// # Errors
    /// `InvalidArgument` with line and key.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            Error::invalid(format!("line {}, column {}: {error}", error.line(), error.column()))
        })?;
        let Value::Object(map) = value else {
            return Err(Error::invalid("line 1: want an object: { \"key\": value, … }"));
        };
        let lines = Lines::of(text);
        if let Some((key, line)) = lines.doubled() {
            return Err(Error::invalid(format!("line {line}: {key:?} is there twice")));
        }
        let mut settings = Self::default();
        for (key, value) in &map {
            settings.take(key, value).map_err(|wrong| {
                let line = lines.line(&wrong.path).or_else(|| lines.line(key)).unwrap_or(1);
                Error::invalid(format!("line {line}: {:?}: {}", wrong.path, wrong.why))
            })?;
        }
        settings.check(&lines)?;
        Ok(settings)
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), Wrong> {
        match key {
            "data-root" => self.data_root = Some(absolute(key, value)?),
            "exec-root" => self.exec_root = Some(absolute(key, value)?),
            "cgroup-parent" => {
                let path = text(key, value)?;
                if path.split('/').any(|part| part == "..") || path.ends_with(".slice") {
                    return Err(wrong(key, "want a cgroup path, without '..'"));
                }
                self.cgroup_parent = path;
            }
            "log-driver" => self.log_driver = text(key, value)?,
            "log-opts" => {
                for (name, value) in object(key, value)? {
                    let path = format!("{key}.{name}");
                    self.log_opts.insert(name.clone(), text(&path, value)?);
                }
            }
            "default-ulimits" => {
                for (name, value) in object(key, value)? {
                    self.ulimits.push(ulimit(&format!("{key}.{name}"), name, value)?);
                }
            }
            "default-runtime" => self.default_runtime = text(key, value)?,
            "runtimes" => {
                for (name, value) in object(key, value)? {
                    let path = format!("{key}.{name}");
                    if name == "dhow" {
                        return Err(wrong(&path, "this is the name of the engine's own runtime"));
                    }
                    self.runtimes.insert(name.clone(), runtime(&path, value)?);
                }
            }
            "detach-keys" => {
                let keys = text(key, value)?;
                crate::api::check_detach_keys(&keys).map_err(|error| wrong(key, error.message()))?;
                self.detach_keys = keys;
            }
            "insecure-registries" => self.insecure_registries = hosts(key, value)?,
            "registry-mirrors" => self.registry_mirrors = hosts(key, value)?,
            "max-concurrent-downloads" => {
                let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
                let number = number.filter(|number| (1..=CONNECTIONS_MAX).contains(number));
                let why = || wrong(key, format!("want a number from 1 to {CONNECTIONS_MAX}"));
                self.max_concurrent_downloads = Some(number.ok_or_else(why)?);
            }
            "layer-store" => {
                self.layer_form = match text(key, value)?.as_str() {
                    "auto" => LayerForm::Auto,
                    "indexed" => LayerForm::Indexed,
                    "unpacked" => LayerForm::Unpacked,
                    _ => return Err(wrong(key, "want \"auto\", \"indexed\" or \"unpacked\"")),
                }
            }
            "userns-remap" => self.userns_remap = text(key, value)?,
            "userns-ids" => self.userns_ids = Some(ids(key, value)?),
            key if NetworkSettings::KEYS.contains(&key) => self.network.take(key, value)?,
            known if NOT_YET.contains(&known) => {
                return Err(wrong(key, "Docker has this key, but nothing in dhow acts on it yet"));
            }
            _ => return Err(wrong(key, "unknown key")),
        }
        Ok(())
    }

    /// What depends on several keys.
    fn check(&self, lines: &Lines) -> Result<()> {
        let at = |key: &str| lines.line(key).unwrap_or(1);
        let driver = if self.log_driver.is_empty() { "json-file" } else { &self.log_driver };
        LogConfig::parse(driver, BTreeMap::new()).map_err(|error| {
            Error::invalid(format!("line {}: \"log-driver\": {}", at("log-driver"), error.message()))
        })?;
        LogConfig::parse(driver, self.log_opts.clone()).map_err(|error| {
            Error::invalid(format!("line {}: \"log-opts\": {}", at("log-opts"), error.message()))
        })?;
        let known = |name: &str| name.is_empty() || name == "dhow" || self.runtimes.contains_key(name);
        if !known(&self.default_runtime) {
            return Err(Error::invalid(format!(
                "line {}: \"default-runtime\": {:?} is not among the runtimes",
                at("default-runtime"),
                self.default_runtime
            )));
        }
        Ok(())
    }

    /// The log of a container whose creator named this driver (`None`: none) and these options.
    ///
    /// # Errors
    /// As [`LogConfig::parse`].
    pub fn log(&self, driver: Option<&str>, options: BTreeMap<String, String>) -> Result<LogConfig> {
        let default = if self.log_driver.is_empty() { "json-file" } else { &self.log_driver };
        let driver = driver.unwrap_or(default);
        let mut merged = if driver == default { self.log_opts.clone() } else { BTreeMap::new() };
        merged.extend(options);
        LogConfig::parse(driver, merged)
    }

    /// The limits of a container whose creator asked for these.
    pub fn with_ulimits(&self, mut asked: Vec<Ulimit>) -> Vec<Ulimit> {
        let missing: Vec<Ulimit> = self
            .ulimits
            .iter()
            .filter(|own| !asked.iter().any(|ulimit| ulimit.name == own.name))
            .cloned()
            .collect();
        asked.extend(missing);
        asked
    }
}

/// What is wrong, and where: `log-opts.max-size`.
struct Wrong {
    path: String,
    why: String,
}

fn wrong(path: &str, why: impl Into<String>) -> Wrong {
    Wrong { path: path.to_owned(), why: why.into() }
}

/// A list of hosts; Docker's files have URLs, too.
fn hosts(key: &str, value: &Value) -> Result<Vec<String>, Wrong> {
    let list = value.as_array().ok_or_else(|| wrong(key, "want a list of hosts"))?;
    let host = |value: &Value| {
        let text = value.as_str().unwrap_or("");
        let host = text.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let good =
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]/".contains(&b));
        if good {
            Ok(host.to_owned())
        } else {
            Err(wrong(key, "want hosts, for example \"reg.example:5000\""))
        }
    };
    list.iter().map(host).collect()
}

fn text(path: &str, value: &Value) -> Result<String, Wrong> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(path, "want a text in quotes"))
}

fn object<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Wrong> {
    value.as_object().ok_or_else(|| wrong(path, "want an object"))
}

fn absolute(path: &str, value: &Value) -> Result<PathBuf, Wrong> {
    let directory = PathBuf::from(text(path, value)?);
    if directory.is_absolute() { Ok(directory) } else { Err(wrong(path, "want an absolute path")) }
}

fn ulimit(path: &str, name: &str, value: &Value) -> Result<Ulimit, Wrong> {
    let fields = object(path, value)?;
    if let Some(odd) = fields.keys().find(|key| !["Name", "Soft", "Hard"].contains(&key.as_str())) {
        return Err(wrong(&format!("{path}.{odd}"), "unknown key"));
    }
    if fields.get("Name").is_some_and(|named| named != name) {
        return Err(wrong(path, "its Name is another"));
    }
    let limit = |field: &str| match fields.get(field) {
        None => Ok(None),
        Some(value) => value
            .as_i64()
            .filter(|limit| *limit >= -1)
            .map(Some)
            .ok_or_else(|| wrong(&format!("{path}.{field}"), "want a number, -1 or more")),
    };
    let (soft, hard) = match (limit("Soft")?, limit("Hard")?) {
        (Some(soft), Some(hard)) => (soft, hard),
        (Some(one), None) | (None, Some(one)) => (one, one),
        (None, None) => return Err(wrong(path, "want Soft, Hard or both")),
    };
    crate::api::check_ulimit(name, soft, hard).map_err(|error| wrong(path, error.message()))
}

fn ids(path: &str, value: &Value) -> Result<IdShift, Wrong> {
    let fields = object(path, value)?;
    if let Some(odd) = fields.keys().find(|key| !["first", "count"].contains(&key.as_str())) {
        return Err(wrong(&format!("{path}.{odd}"), "unknown key"));
    }
    let number = |field: &str| {
        let found = fields.get(field).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        found.filter(|number| *number > 0).ok_or_else(|| wrong(path, format!("want a number: {field:?}")))
    };
    let (first, count) = (number("first")?, number("count")?);
    if first.checked_add(count).is_none() {
        return Err(wrong(path, "there are no such ids"));
    }
    Ok(IdShift { first_uid: first, first_gid: first, count })
}

fn runtime(path: &str, value: &Value) -> Result<RuntimeSettings, Wrong> {
    let mut settings = RuntimeSettings::default();
    for (key, value) in object(path, value)? {
        let here = format!("{path}.{key}");
        match key.as_str() {
            "path" => settings.path = text(&here, value)?,
            "runtimeArgs" => {
                let list = value.as_array().ok_or_else(|| wrong(&here, "want a list of texts"))?;
                settings.args = list.iter().map(|one| text(&here, one)).collect::<Result<_, _>>()?;
            }
            "runtimeType" | "options" => {
                return Err(wrong(
                    &here,
                    "there are no containerd shims here: give the path of an OCI runtime",
                ));
            }
            _ => return Err(wrong(&here, "unknown key")),
        }
    }
    if settings.path.is_empty() {
        return Err(wrong(path, "\"path\" is missing"));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests;
