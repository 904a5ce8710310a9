//! `create`: merges a request with its image into a complete configuration, and records it.

use crate::{Engine, events, image, network, random, volume};
use dhow_model::container::{ContainerConfig, CreateSpec, HostConfig, NetworkMode};
use dhow_model::image::{Image, ImageConfig};
use dhow_model::mount::{Mount, MountSource, MountSyntax, VolumeDetails, parse_target};
use dhow_model::signal::Signal;
use dhow_model::state::ContainerState;
use dhow_model::{ContainerId, Error, ErrorKind, Result, name};
use dhow_store::db::{ContainerRecord, VolumeRecord};
use std::collections::{HashMap, HashSet};

/// A container that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Random names are drawn this often before a number is appended.
const NAME_ATTEMPTS: u32 = 6;

/// Makes a container; `name` of `None` draws one.
///
/// # Errors
/// `NotFound` for the image, `Conflict` for the name, `InvalidArgument` for what image and request together
/// leave incomplete.
pub fn create(
    engine: &Engine,
    name: Option<&str>,
    spec: CreateSpec,
    platform: Option<&str>,
) -> Result<Created> {
    let image = image::find_or_embedded(engine, &spec.image)?;
    check_platform(&image, platform)?;
    let id = random::id()?;
    let settings = engine.settings();
    let log = settings.log(spec.log.driver.as_deref(), spec.log.options.clone())?;
    super::log::check(&log)?;
    let mut config = merge(&id, spec, &image)?;
    config.host.log = log;
    let resources = &mut config.host.resources;
    resources.ulimits = settings.with_ulimits(std::mem::take(&mut resources.ulimits));
    if resources.cgroup_parent.is_empty() {
        resources.cgroup_parent.clone_from(&settings.cgroup_parent);
    }
    super::volumes_from::add(&mut *engine.db()?, &mut config)?;
    super::join::name_by_id(&mut *engine.db()?, &mut config.host)?;
    network::request::settle(engine, &mut config.host)?;
    super::health::check(&config)?;
    super::userns::choose(settings, &mut config)?;
    super::oci::choose(settings, &mut config)?;
    let volumes = name_volumes(&mut config)?;
    find_mounted_images(engine, &mut config)?;
    let record = ContainerRecord {
        id: id.clone(),
        name: match name {
            Some(name) => name::parse_container_name(name)?,
            None => String::new(),
        },
        created: events::now(),
        config,
        state: ContainerState::default(),
    };
    // Nothing but rows: the directories are made by the start, so that there is nothing to undo.
    insert(engine, record, &volumes, name.is_none())?;
    Ok(Created { id, warnings: Vec::new() })
}

/// Inserts row, volumes and event in one transaction, drawing names while they collide.
fn insert(engine: &Engine, mut record: ContainerRecord, volumes: &[VolumeRecord], draw: bool) -> Result<()> {
    let mut attempt = 0;
    loop {
        if draw {
            record.name = name::random_name(random::seed()?);
            if attempt >= NAME_ATTEMPTS {
                record.name.push_str(&attempt.to_string());
            }
        }
        let inserted = engine.db()?.write(|txn| {
            // The image may have been removed since it was looked up.
            if txn.image(&record.config.image_id)?.is_none() {
                return Err(Error::not_found(format!("No such image: {}", record.config.image)));
            }
            network::request::check(txn, &mut record.config.host)?;
            super::userns::allot(engine.settings(), txn, &mut record.config.host)?;
            super::storage::allot(engine, txn, &mut record.config.host)?;
            for volume in volumes {
                if txn.volume(&volume.name)?.is_none() {
                    crate::volume::insert(txn, volume)?;
                }
            }
            txn.insert_container(&record)?;
            txn.append_event(&events::container("create", &record, []), record.created)
        });
        match inserted {
            Err(error) if draw && error.kind() == ErrorKind::Conflict && attempt < 1000 => attempt += 1,
            other => return other.map(|_| ()),
        }
    }
}

fn check_platform(image: &Image, platform: Option<&str>) -> Result<()> {
    let Some(wanted) = platform.filter(|p| !p.is_empty()) else { return Ok(()) };
    let mut parts = wanted.split('/');
    let (os, architecture) = (parts.next().unwrap_or(""), parts.next());
    let found = format!("{}/{}", image.os, image.architecture);
    if os != image.os || architecture.is_some_and(|a| a != image.architecture) {
        return Err(Error::not_found(format!(
            "image {} was found but its platform ({found}) does not match the specified platform ({wanted})",
            image.id.short()
        )));
    }
    Ok(())
}

/// In the host's network a container is called as the host is, elsewhere by its id.
fn default_hostname(id: &ContainerId, host: &HostConfig) -> String {
    let own = (host.network == NetworkMode::Host).then(nix::unistd::gethostname);
    let own = own.and_then(|name| name.ok()?.into_string().ok()).filter(|name| !name.is_empty());
    own.unwrap_or_else(|| id.short().to_owned())
}

/// The request over the image's defaults. Pure, but for the host's name.
fn merge(id: &ContainerId, spec: CreateSpec, image: &Image) -> Result<ContainerConfig> {
    let from: &ImageConfig = &image.config;
    // A given entrypoint replaces the image's command too: its arguments were meant for the old one. An empty
    // list is no entrypoint at all, and keeps the command.
    let (entrypoint, cmd) = match (spec.entrypoint, spec.cmd.filter(|cmd| !cmd.is_empty())) {
        (Some(entrypoint), cmd) if entrypoint.is_empty() => {
            (entrypoint, cmd.unwrap_or_else(|| from.cmd.clone()))
        }
        (Some(entrypoint), cmd) => (entrypoint, cmd.unwrap_or_default()),
        (None, Some(cmd)) => (from.entrypoint.clone(), cmd),
        (None, None) => (from.entrypoint.clone(), from.cmd.clone()),
    };
    // `--entrypoint ""` is sent as one empty string and means none.
    let entrypoint: Vec<String> = if entrypoint == [""] { Vec::new() } else { entrypoint };
    if entrypoint.iter().chain(&cmd).next().is_none() {
        return Err(Error::invalid("no command specified"));
    }
    let stop_signal = match spec.stop_signal {
        Some(signal) => signal,
        None if from.stop_signal.is_empty() => Signal::TERM,
        None => Signal::parse(&from.stop_signal)?,
    };
    let mut labels = from.labels.clone();
    labels.extend(spec.labels);
    let mut volumes = from.volumes.clone();
    volumes.extend(spec.volumes);
    let mut exposed_ports = from.exposed_ports.clone();
    exposed_ports.extend(spec.exposed_ports);
    let working_dir = spec.working_dir.filter(|d| !d.is_empty()).unwrap_or_else(|| from.working_dir.clone());
    if !working_dir.is_empty() && !working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{working_dir}' is invalid, it needs to be an absolute path"
        )));
    }
    let healthcheck = match spec.healthcheck {
        Some(check) => Some(check.over(from.healthcheck.as_ref())),
        None => from.healthcheck.clone(),
    };
    Ok(ContainerConfig {
        image: spec.image,
        image_id: image.id.clone(),
        hostname: spec.hostname.filter(|h| !h.is_empty()).unwrap_or_else(|| default_hostname(id, &spec.host)),
        domainname: spec.domainname,
        user: spec.user.filter(|u| !u.is_empty()).unwrap_or_else(|| from.user.clone()),
        env: merge_env(&from.env, &spec.env),
        entrypoint,
        cmd,
        working_dir,
        labels,
        volumes,
        exposed_ports,
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stdin_once: spec.stdin_once,
        attach_stdin: spec.attach_stdin,
        attach_stdout: spec.attach_stdout,
        attach_stderr: spec.attach_stderr,
        stop_signal,
        stop_timeout: spec.stop_timeout,
        healthcheck,
        shell: from.shell.clone(),
        host: spec.host,
    })
}

/// The image's variables, overridden or removed by name; the user's order after the image's.
pub(super) fn merge_env(image: &[String], user: &[String]) -> Vec<String> {
    fn name(entry: &str) -> &str {
        entry.split('=').next().unwrap_or("")
    }
    let mut merged: Vec<Option<&String>> = image.iter().map(Some).collect();
    // Where a name is; the first of several.
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(image.len() + user.len());
    for (at, entry) in image.iter().enumerate() {
        places.entry(name(entry)).or_insert(at);
    }
    for entry in user {
        match (places.get(name(entry)).copied(), entry.contains('=')) {
            (Some(at), true) => merged[at] = Some(entry),
            (Some(at), false) => {
                merged[at] = None;
                places.remove(name(entry));
            }
            (None, true) => {
                places.insert(name(entry), merged.len());
                merged.push(Some(entry));
            }
            (None, false) => {}
        }
    }
    merged.into_iter().flatten().cloned().collect()
}

/// Images to mount are those that the names mean now.
fn find_mounted_images(engine: &Engine, config: &mut ContainerConfig) -> Result<()> {
    for mount in &mut config.host.mounts {
        if let MountSource::Image { name, id, .. } = &mut mount.source {
            // Not as something that is not found: clients would take the container's own image for it, and pull that.
            let found = image::find_or_embedded(engine, name)
                .map_err(|error| error.with_kind(ErrorKind::InvalidArgument))?;
            *id = Some(found.id);
        }
    }
    Ok(())
}

/// Gives every `VOLUME` without a mount an anonymous volume, and every volume a name and a row.
fn name_volumes(config: &mut ContainerConfig) -> Result<Vec<VolumeRecord>> {
    let mut taken: HashSet<_> = config.host.mounts.iter().map(|mount| mount.target.clone()).collect();
    for path in &config.volumes {
        let target = parse_target(path)?;
        if taken.insert(target.clone()) {
            let source = MountSource::Volume {
                name: String::new(),
                nocopy: false,
                anonymous: true,
                details: VolumeDetails::default(),
            };
            config.host.mounts.push(Mount {
                target,
                readonly: false,
                source,
                written_as: MountSyntax::Image,
            });
        }
    }
    let mut records = Vec::new();
    let mut targets = std::collections::BTreeSet::new();
    for mount in &mut config.host.mounts {
        if !targets.insert(mount.target.clone()) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", mount.target)));
        }
        if let MountSource::Volume { name, anonymous, details, .. } = &mut mount.source {
            if name.is_empty() {
                *name = random::id()?.to_string();
                *anonymous = true;
            }
            volume::local::check(name, &details.options)?;
            records.push(VolumeRecord {
                name: name.clone(),
                created: events::now(),
                labels: crate::volume::labels(details.labels.clone(), *anonymous),
                anonymous: *anonymous,
                options: details.options.clone(),
            });
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhow_model::{Digest, Timestamp};

    fn image(config: ImageConfig) -> Image {
        Image {
            id: Digest::from_sha256([1; 32]),
            manifest: None,
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: String::new(),
            created: None,
            author: String::new(),
            config,
            layers: vec![],
            history: vec![],
            size_bytes: 0,
            installed: Timestamp(0),
        }
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn an_entrypoint_drops_the_images_command() {
        let image =
            image(ImageConfig { entrypoint: words(&["/e"]), cmd: words(&["c"]), ..ImageConfig::default() });
        let id = ContainerId::from_random([0xab; 32]);
        let argv = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
            let spec = CreateSpec {
                entrypoint: entrypoint.map(words),
                cmd: cmd.map(words),
                ..CreateSpec::default()
            };
            merge(&id, spec, &image).map(|c| c.argv().cloned().collect::<Vec<_>>())
        };
        assert_eq!(argv(None, None).unwrap(), ["/e", "c"]);
        assert_eq!(argv(None, Some(&["x"])).unwrap(), ["/e", "x"]);
        assert_eq!(argv(Some(&["/n"]), None).unwrap(), ["/n"]);
        assert_eq!(argv(Some(&[""]), Some(&["x"])).unwrap(), ["x"]);
        assert_eq!(argv(Some(&[]), None).unwrap(), ["c"]);
        assert_eq!(argv(None, Some(&[])).unwrap(), ["/e", "c"]);
        assert_eq!(argv(Some(&[""]), None).unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn variables_override_by_name() {
        let merged = merge_env(&words(&["A=1", "B=2", "C=3"]), &words(&["B=9", "C", "D=4", "E"]));
        assert_eq!(merged, ["A=1", "B=9", "D=4"]);
    }

    /// Each looked for among all others, these would take hours.
    #[test]
    fn many_variables_are_merged_in_one_pass() {
        let list = |from: usize| (from..from + 200_000).map(|n| format!("V{n}={from}")).collect::<Vec<_>>();
        let merged = merge_env(&list(0), &list(100_000));
        assert_eq!(merged.len(), 300_000);
        assert_eq!((merged[99_999].as_str(), merged[100_000].as_str()), ("V99999=0", "V100000=100000"));
        let gone: Vec<String> = (0..200_000).map(|n| format!("V{n}")).collect();
        assert_eq!(merge_env(&list(0), &gone), Vec::<String>::new());
        // Taken away and given again, it comes last.
        assert_eq!(merge_env(&words(&["A=1", "B=2"]), &words(&["A", "A=3"])), ["B=2", "A=3"]);
    }

    #[test]
    fn platforms_must_match() {
        let image = image(ImageConfig::default());
        assert!(check_platform(&image, None).is_ok());
        assert!(check_platform(&image, Some("linux/amd64")).is_ok());
        assert_eq!(check_platform(&image, Some("linux/arm64")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
