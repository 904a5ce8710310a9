//! `--runtime`: which program starts a container in place of this engine, and with what it is called.

use crate::Engine;
use crate::settings::{RuntimeSettings, Settings};
use dhow_model::container::ContainerConfig;
use dhow_model::security::SeccompProfile;
use dhow_model::{Error, Result};
use dhow_runtime::monitor::ExternalSpec;
use dhow_store::db::ContainerRecord;
use std::path::{Path, PathBuf};

/// This engine's own name as a runtime.
const OWN: &str = "dhow";
/// Where programs are looked for that are named without a path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Records who is to start a container, and checks that it can.
pub(super) fn choose(settings: &Settings, config: &mut ContainerConfig) -> Result<()> {
    if config.host.runtime.is_empty() {
        config.host.runtime.clone_from(&settings.default_runtime);
    }
    if config.host.runtime == OWN {
        config.host.runtime.clear();
    }
    find(settings, &config.host.runtime)?;
    Ok(())
}

/// The program behind a name; `None` for this engine.
fn find(settings: &Settings, name: &str) -> Result<Option<(PathBuf, Vec<String>)>> {
    if name.is_empty() {
        return Ok(None);
    }
    let unknown = || Error::invalid(format!("unknown or invalid runtime name: {name}"));
    // runc and crun are known by their names, as runc is to Docker.
    let by_name = ["runc", "crun"].contains(&name) || name.starts_with('/');
    let known = settings.runtimes.get(name).cloned();
    let runtime = match known {
        Some(runtime) => runtime,
        None if by_name => RuntimeSettings { path: name.to_owned(), args: Vec::new() },
        None => return Err(unknown()),
    };
    let program = if runtime.path.contains('/') {
        Some(PathBuf::from(&runtime.path))
    } else {
        PATH.split(':').map(|directory| Path::new(directory).join(&runtime.path)).find(|path| path.is_file())
    };
    match program.filter(|path| path.is_file()) {
        Some(program) => Ok(Some((program, runtime.args))),
        None => Err(Error::invalid(format!("runtime {name}: there is no program {:?}", runtime.path))),
    }
}

/// What the monitor is told of the runtime.
pub(super) fn external(engine: &Engine, record: &ContainerRecord) -> Result<Option<ExternalSpec>> {
    let host = &record.config.host;
    let Some((program, args)) = find(engine.settings(), &host.runtime)? else { return Ok(None) };
    let security = &host.security;
    // Privileged means unconfined, unless the user gave a profile of their own.
    let seccomp = if security.privileged && !matches!(security.seccomp, SeccompProfile::Custom(_)) {
        None
    } else {
        let mask = security.capability_mask();
        dhow_runtime::seccomp::to_oci(&security.seccomp, mask, engine.facts()?.kernel)?
    };
    Ok(Some(ExternalSpec {
        program,
        args,
        bundle: engine.layout().container_state(&record.id).join("oci"),
        cgroups_path: format!("/{}/{}", super::cgroup_parent(record).trim_matches('/'), record.id),
        seccomp,
    }))
}
