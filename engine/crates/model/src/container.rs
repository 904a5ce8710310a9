//! What a container is made of, as typed ([`CreateSpec`]) and as validated and merged with its image
//! ([`ContainerConfig`]).
//!
//! `api/` turns the wire's optional strings into a `CreateSpec`; `container/create.rs` merges it with the
//! image's configuration; the result is stored once and never changes, save for [`HostConfig::restart`]
//! and [`HostConfig::resources`] by `update`.

use crate::health::HealthCheck;
pub use crate::log::{LOG_MAX_FILES, LOG_MAX_SIZE_BYTES, LogConfig, LogDriver, LogRequest};
use crate::mount::Mount;
use crate::network::{EndpointConfig, PortBinding};
use crate::resources::Resources;
use crate::security::Security;
use crate::signal::Signal;
use crate::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A request to make a container: every text is checked, nothing is merged with the image yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateSpec {
    /// The image as typed: a name, a tag, a digest or an id.
    pub image: String,
    /// `None`: the container's short id.
    pub hostname: Option<String>,
    /// NIS domain name; may be empty.
    pub domainname: String,
    /// `None` or empty: the image's.
    pub user: Option<String>,
    /// `NAME=value`, or `NAME` alone to remove the image's. Overrides the image's by name.
    pub env: Vec<String>,
    /// `None`: the image's. `Some(empty)`: none at all.
    pub entrypoint: Option<Vec<String>>,
    /// `None`: the image's, unless an entrypoint is given.
    pub cmd: Option<Vec<String>>,
    /// `None`: the image's.
    pub working_dir: Option<String>,
    /// Added to the image's.
    pub labels: BTreeMap<String, String>,
    /// Paths that get an anonymous volume, beside the image's.
    pub volumes: BTreeSet<String>,
    /// `80/tcp`: told to users, nothing more. Beside the image's.
    pub exposed_ports: BTreeSet<String>,
    /// A pseudo-terminal for the first process.
    pub tty: bool,
    /// Keep standard input open, attached or not.
    pub open_stdin: bool,
    /// Close standard input when the first attached client goes.
    pub stdin_once: bool,
    /// What the creating client means to attach to; told in `inspect`.
    pub attach_stdin: bool,
    /// See `attach_stdin`.
    pub attach_stdout: bool,
    /// See `attach_stdin`.
    pub attach_stderr: bool,
    /// `None`: the image's, or TERM.
    pub stop_signal: Option<Signal>,
    /// Seconds between the stop signal and KILL; `None`: 10. Negative: wait for ever.
    pub stop_timeout: Option<i64>,
    /// What was said of the log; the engine's settings say the rest.
    pub log: LogRequest,
    /// What is not said is the image's.
    pub healthcheck: Option<HealthCheck>,
    /// What concerns the host.
    pub host: HostConfig,
}

/// A container's configuration: validated, merged with the image's, complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The image as the user typed it.
    pub image: String,
    /// What it resolved to when the container was made.
    pub image_id: Digest,
    /// Host name, one label or several.
    pub hostname: String,
    /// NIS domain name; may be empty.
    pub domainname: String,
    /// `user[:group]` by name or number, resolved in the container's filesystem at each start. Empty: root.
    pub user: String,
    /// `NAME=value`, each name once.
    pub env: Vec<String>,
    /// What comes before `cmd`.
    pub entrypoint: Vec<String>,
    /// The command, or the entrypoint's arguments.
    pub cmd: Vec<String>,
    /// Absolute, or empty for `/`.
    pub working_dir: String,
    /// The image's and the user's.
    pub labels: BTreeMap<String, String>,
    /// Paths that get an anonymous volume.
    pub volumes: BTreeSet<String>,
    /// `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// A pseudo-terminal for the first process.
    pub tty: bool,
    /// Keep standard input open, attached or not.
    pub open_stdin: bool,
    /// Close standard input when the first attached client goes.
    pub stdin_once: bool,
    /// What the creating client meant to attach to.
    pub attach_stdin: bool,
    /// See `attach_stdin`.
    pub attach_stdout: bool,
    /// See `attach_stdin`.
    pub attach_stderr: bool,
    /// What `stop` sends first.
    pub stop_signal: Signal,
    /// Seconds between the stop signal and KILL; `None`: 10. Negative: wait for ever.
    pub stop_timeout: Option<i64>,
    /// The user's over the image's.
    #[serde(default)]
    pub healthcheck: Option<HealthCheck>,
    /// What runs a `CMD-SHELL` check; empty: `/bin/sh -c`.
    #[serde(default)]
    pub shell: Vec<String>,
    /// What concerns the host.
    pub host: HostConfig,
}

impl ContainerConfig {
    /// What a health check executes; `None` without a check.
    pub fn probe_argv(&self) -> Option<Vec<String>> {
        self.healthcheck.as_ref()?.argv(&self.shell)
    }

    /// Whether it is stopped when it is unhealthy, for its restart policy to start it again.
    pub fn restarts_unhealthy(&self) -> bool {
        self.host.annotations.get(RESTART_UNHEALTHY).is_some_and(|value| value == "true")
    }

    /// The argument vector of the first process: entrypoint, then command.
    pub fn argv(&self) -> impl Iterator<Item = &String> {
        self.entrypoint.iter().chain(&self.cmd)
    }
}

/// The annotation that `--restart-unhealthy` is, with the value `true`: any client of the API can ask for it.
pub const RESTART_UNHEALTHY: &str = "dhow.restart-unhealthy";

/// In place of an address in `--add-host`: the host's on the container's network.
pub const HOST_GATEWAY: &str = "host-gateway";

/// The part of a configuration that concerns the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostConfig {
    /// `-v`, `--mount`, `--tmpfs`, in the order given; `create` adds anonymous volumes with their names.
    pub mounts: Vec<Mount>,
    /// `NAME[:MODE]` of containers whose mounts it has too, as typed; `create` adds those to `mounts`.
    #[serde(default)]
    pub volumes_from: Vec<String>,
    /// Which network namespace.
    pub network: NetworkMode,
    /// The networks that it is on, the one of [`HostConfig::network`] among them.
    #[serde(default)]
    pub endpoints: Vec<EndpointConfig>,
    /// Ports to publish.
    #[serde(default)]
    pub ports: Vec<PortBinding>,
    /// Publish every exposed port.
    #[serde(default)]
    pub publish_all: bool,
    /// `--link`: other containers on the default bridge, and what they are called here.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// When the monitor starts it again.
    pub restart: RestartPolicy,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// Rows and columns that its terminal begins with; `None`: it has no size until somebody says it.
    #[serde(default)]
    pub console_size: Option<(u16, u16)>,
    /// Limits.
    pub resources: Resources,
    /// Capabilities, seccomp, namespaces shared with the host, masked paths.
    pub security: Security,
    /// The root filesystem is mounted read-only.
    pub readonly_rootfs: bool,
    /// A minimal init as pid 1 that reaps and forwards signals.
    pub init: bool,
    /// Size of `/dev/shm` in bytes; `None`: 64 MiB.
    pub shm_size_bytes: Option<u64>,
    /// `net.*`, `kernel.*` and the like that are namespaced.
    pub sysctls: BTreeMap<String, String>,
    /// `host:ip` lines for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Name servers for `/etc/resolv.conf`; empty: the host's.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Supplementary groups by name or number.
    pub group_add: Vec<String>,
    /// Where the output goes.
    pub log: LogConfig,
    /// Where the creating CLI wrote the id; told in `inspect`.
    pub container_id_file: String,
    /// Who starts it: a name of the settings' runtimes, or a path; empty: this engine.
    #[serde(default)]
    pub runtime: String,
    /// Options of the writable layer as typed: `size`.
    #[serde(default)]
    pub storage: BTreeMap<String, String>,
    /// The project of its quota; 0: none.
    #[serde(default)]
    pub storage_project: u32,
    /// `key=value`, kept and shown; only [`RESTART_UNHEALTHY`] is acted upon.
    pub annotations: BTreeMap<String, String>,
}

/// Which network namespace a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A new one with only loopback.
    #[default]
    None,
    /// The host's.
    Host,
    /// That of another container: its name in a request, its id in a configuration.
    Container(String),
    /// A new one on a network, by the name or id that the user typed, and on whatever else
    /// [`HostConfig::endpoints`] tells.
    Network(String),
}

impl NetworkMode {
    /// Docker's word for it.
    pub fn word(&self) -> Cow<'static, str> {
        match self {
            NetworkMode::None => "none".into(),
            NetworkMode::Host => "host".into(),
            NetworkMode::Container(id) => format!("container:{id}").into(),
            NetworkMode::Network(name) => name.clone().into(),
        }
    }

    /// Whether the container has a network namespace of its own.
    pub fn is_own(&self) -> bool {
        matches!(self, NetworkMode::None | NetworkMode::Network(_))
    }
}

impl HostConfig {
    /// Whether the monitor has a network to connect the container's namespace to.
    pub fn is_connected(&self) -> bool {
        match &self.network {
            NetworkMode::Network(_) => true,
            // One that has left `none` may have joined others.
            NetworkMode::None => self.endpoints.iter().any(|e| e.network != "none"),
            NetworkMode::Host | NetworkMode::Container(_) => false,
        }
    }
}

/// When the monitor starts a container again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After a non-zero exit, at most so often; 0: without limit.
    OnFailure {
        /// Greatest number of restarts in a row; 0 for no limit.
        max_retries: u32,
    },
    /// After every exit, and at boot.
    Always,
    /// Like `Always`, but not at boot if a user stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    /// Parses `no`, `on-failure[:n]`, `always`, `unless-stopped`; empty means `no`.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, count) = text.split_once(':').map_or((text, None), |(n, c)| (n, Some(c)));
        let policy = match name {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => {
                let max_retries = match count {
                    None => 0,
                    Some(c) => c.parse().map_err(|_| {
                        Error::invalid(format!("invalid restart policy {text:?}: maximum retry count must be a whole number, not {c:?}"))
                    })?,
                };
                return Ok(Self::OnFailure { max_retries });
            }
            _ => {
                return Err(Error::invalid(format!(
                    "invalid restart policy {text:?}: want no, on-failure[:n], always or unless-stopped"
                )));
            }
        };
        if count.is_some() {
            return Err(Error::invalid(format!(
                "invalid restart policy {text:?}: maximum retry count cannot be used with {name:?}"
            )));
        }
        Ok(policy)
    }

    /// Docker's word for it, without the count.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// Whether a run that ended with `exit_code`, after `restarts` restarts in a row, is followed by another.
    /// `stopped_by_user` is the last word for every policy.
    pub fn wants_restart(self, exit_code: i32, restarts: u32, stopped_by_user: bool) -> bool {
        !stopped_by_user
            && match self {
                Self::No => false,
                Self::OnFailure { max_retries } => {
                    exit_code != 0 && (max_retries == 0 || restarts < max_retries)
                }
                Self::Always | Self::UnlessStopped => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies() {
        assert_eq!(RestartPolicy::parse("").unwrap(), RestartPolicy::No);
        assert_eq!(
            RestartPolicy::parse("on-failure:3").unwrap(),
            RestartPolicy::OnFailure { max_retries: 3 }
        );
        for bad in ["sometimes", "always:2", "on-failure:", "on-failure:-1", "on-failure:x"] {
            assert!(RestartPolicy::parse(bad).is_err(), "{bad}");
        }
        let three = RestartPolicy::OnFailure { max_retries: 3 };
        assert!(three.wants_restart(1, 2, false));
        assert!(!three.wants_restart(1, 3, false));
        assert!(!three.wants_restart(0, 0, false));
        assert!(RestartPolicy::Always.wants_restart(0, 9, false));
        assert!(!RestartPolicy::Always.wants_restart(0, 9, true));
    }
}
