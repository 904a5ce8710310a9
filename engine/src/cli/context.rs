//! What every verb gets: the way to the engine, made when first needed, and the person's configuration file.

use crate::cli::Doors;
use crate::cli::client::Client;
use crate::cli::credentials::Credentials;
use crate::cli::detach::DetachKeys;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::globals::Globals;
use crate::cli::transport::{Connector, Host};
use dhow_model::members;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// One command's surroundings.
pub(crate) struct Context {
    globals: Globals,
    doors: Doors,
}

impl Context {
    pub(crate) fn new(globals: Globals, doors: Doors) -> Self {
        if globals.trace() {
            dhow_registry::tell_debug(crate::cli::transport::trace);
        }
        Self { globals, doors }
    }

    /// Connects to the engine: `--context`, `-H`, `DOCKER_HOST`, `DOCKER_CONTEXT`, else the one in this process.
    pub(crate) async fn client(&self) -> Outcome<Arc<Client>> {
        let trace = self.globals.trace();
        let client = match self.remote()? {
            Some(host) => Client::negotiated(host.connector(), trace).await?,
            None => Client::local((self.doors.in_process)(&self.globals.engine())?, trace)?,
        };
        Ok(Arc::new(client))
    }

    /// Makes bare connections to an engine that serves; `None` when none was named.
    pub(crate) fn remote_connector(&self) -> Outcome<Option<Connector>> {
        Ok(self.remote()?.map(Host::connector))
    }

    /// The remote engine that was asked for.
    fn remote(&self) -> Outcome<Option<Host>> {
        let flag = self.globals.hosts.first().cloned();
        let named = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let host = match (&self.globals.context, flag) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage("conflicting options: cannot specify both --host and --context"));
            }
            (Some(context), None) => self.context_host(context)?,
            (None, Some(host)) => Some(host),
            // Someone who names directories means the engine that lives in them.
            (None, None) if self.globals.engine() != crate::cli::EngineOptions::default() => None,
            (None, None) => match (named("DOCKER_HOST"), named("DOCKER_CONTEXT")) {
                (Some(host), _) => Some(host),
                (None, Some(context)) => self.context_host(&context)?,
                (None, None) => None,
            },
        };
        let Some(host) = host else { return Ok(None) };
        if self.globals.engine() != crate::cli::EngineOptions::default() {
            return Err(Failure::usage(
                "conflicting options: --root, --state and --config-file are for the engine in this process, not for a remote one",
            ));
        }
        if named("DOCKER_TLS_VERIFY").is_some() {
            return Err(Failure::usage("DOCKER_TLS_VERIFY is set, but TLS is not supported by dhow yet"));
        }
        Host::parse(&host).map(Some).map_err(Failure::usage)
    }

    /// The docker endpoint of a context; `None` for `default`.
    fn context_host(&self, name: &str) -> Outcome<Option<String>> {
        if name == "default" {
            return Ok(None);
        }
        let unknown = || Failure::new(format!("context {name:?}: context not found"));
        // The directories are named by a hash; there are few, and each says its name.
        let directory = self.config_directory().ok_or_else(unknown)?.join("contexts/meta");
        for entry in std::fs::read_dir(directory).map_err(|_| unknown())?.flatten() {
            let Ok(text) = std::fs::read(entry.path().join("meta.json")) else { continue };
            let Ok(meta) = serde_json::from_slice::<Value>(&text) else { continue };
            if meta["Name"].as_str() == Some(name) {
                let host = meta["Endpoints"]["docker"]["Host"].as_str();
                return host
                    .map(|h| Some(h.to_owned()))
                    .ok_or_else(|| Failure::new(format!("context {name:?} has no docker endpoint")));
            }
        }
        Err(unknown())
    }

    /// `--config`, `DOCKER_CONFIG`, or `~/.docker`.
    pub(crate) fn config_directory(&self) -> Option<PathBuf> {
        let from_env = || std::env::var_os("DOCKER_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from);
        let home =
            || std::env::var_os("HOME").filter(|v| !v.is_empty()).map(|h| PathBuf::from(h).join(".docker"));
        self.globals.config.clone().or_else(from_env).or_else(home)
    }

    /// Who the person is at which registry.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::of(self.config_directory())
    }

    /// A text setting of the configuration file (`psFormat`, `detachKeys`, …).
    pub(crate) fn setting(&self, key: &str) -> Option<String> {
        let text = std::fs::read(self.config_directory()?.join("config.json")).ok()?;
        let settings: Value = serde_json::from_slice(&text).ok()?;
        members::get(&settings, key).and_then(Value::as_str).filter(|v| !v.is_empty()).map(str::to_owned)
    }

    /// The detach keys: the flag's, else client's configuration file's, else the engine's, else Ctrl-P Ctrl-Q.
    pub(crate) fn detach_keys(&self, flag: Option<&str>, tty: bool) -> Outcome<DetachKeys> {
        if flag.is_none() && tty {
            if let Some(keys) = self.setting("detachKeys") {
                return DetachKeys::parse(Some(&keys));
            }
            // A remote engine knows its own; the one of this process says it here.
            if self.remote()?.is_none() {
                return DetachKeys::parse(Some(&(self.doors.detach_keys)(&self.globals.engine())?));
            }
        }
        DetachKeys::parse(flag)
    }
}
