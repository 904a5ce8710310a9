//! Mounts: `Binds`, `Mounts`, `Tmpfs` and `Volumes` of the wire, and the model's one list; both ways.
//!
//! Docker writes the same mount in three ways. The model keeps which one it was, so that `inspect` answers
//! with the field that was filled.

use super::{non_empty, sorted, unsorted, unsupported};
use bollard_stubs::models as wire;
use dhow_model::mount::{
    Mount, MountSource, MountSyntax, Propagation, ReadonlyBelow, VolumeDetails, parse_target,
};
use dhow_model::units::parse_bytes;
use dhow_model::{Error, Result, name};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

/// All mounts of a request, in Docker's order: binds, mounts, tmpfs.
pub(super) fn parse(host: &wire::HostConfig) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for bind in host.binds.iter().flatten() {
        mounts.push(parse_bind(bind)?);
    }
    for mount in host.mounts.iter().flatten() {
        mounts.push(parse_mount(mount)?);
    }
    let mut tmpfs: Vec<_> = host.tmpfs.iter().flatten().collect();
    // A JSON object has no order; a fixed one makes the same request the same container.
    tmpfs.sort();
    for (target, options) in tmpfs {
        mounts.push(parse_tmpfs(target, options)?);
    }
    let mut seen = BTreeSet::new();
    match mounts.iter().find(|mount| !seen.insert(mount.target.clone())) {
        Some(twice) => Err(Error::invalid(format!("Duplicate mount point: {}", twice.target))),
        None => Ok(mounts),
    }
}

fn parse_propagation(word: &str) -> Option<Propagation> {
    Some(match word {
        "rprivate" => Propagation::Rprivate,
        "private" => Propagation::Private,
        "rshared" => Propagation::Rshared,
        "shared" => Propagation::Shared,
        "rslave" => Propagation::Rslave,
        "slave" => Propagation::Slave,
        _ => return None,
    })
}

pub(super) fn propagation_word(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Rprivate => "rprivate",
        Propagation::Private => "private",
        Propagation::Rshared => "rshared",
        Propagation::Shared => "shared",
        Propagation::Rslave => "rslave",
        Propagation::Slave => "slave",
    }
}

/// The third part of `-v source:target:mode`.
#[derive(Default)]
struct BindMode {
    readonly: bool,
    nocopy: bool,
    propagation: Option<Propagation>,
}

/// Parses a mode, or says that the text is none.
fn parse_bind_mode(text: &str) -> Result<BindMode> {
    let invalid = || Error::invalid(format!("invalid mode: {text}"));
    let mut mode = BindMode::default();
    let mut seen = [false; 4];
    for word in text.split(',') {
        // Each kind of word may come once, as in Docker.
        let kind = match word {
            "ro" | "rw" => 0,
            "nocopy" => 1,
            "z" | "Z" => 2,
            "consistent" | "cached" | "delegated" | "default" => continue,
            _ if parse_propagation(word).is_some() => 3,
            _ => return Err(invalid()),
        };
        if std::mem::replace(&mut seen[kind], true) {
            return Err(invalid());
        }
        match word {
            "ro" => mode.readonly = true,
            "nocopy" => mode.nocopy = true,
            "z" | "Z" => {
                return unsupported(format!("mount option \"{word}\" (SELinux relabelling)"));
            }
            _ => mode.propagation = parse_propagation(word).or(mode.propagation),
        }
    }
    Ok(mode)
}

/// `target`, `source:target` or `source:target:mode`.
fn parse_bind(text: &str) -> Result<Mount> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        // `/data:ro` is a slip, not a mount of /data on "ro".
        [_, mode] if parse_bind_mode(mode).is_ok() => return Err(invalid()),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid()),
    };
    if target.is_empty() || (source.is_empty() && parts.len() > 1) {
        return Err(invalid());
    }
    let mode = if mode.is_empty() { BindMode::default() } else { parse_bind_mode(mode)? };
    let target = parse_target(target)
        .map_err(|e| Error::caused(e.kind(), format!("invalid volume specification: '{text}'"), e))?;
    let source = if source.starts_with('/') {
        if mode.nocopy {
            return Err(Error::invalid(format!(
                "invalid mode: nocopy: only volumes can be copied into ({text:?})"
            )));
        }
        MountSource::Bind {
            path: clean_path(source)?,
            create: true,
            recursive: true,
            propagation: mode.propagation.unwrap_or_default(),
            readonly_below: ReadonlyBelow::default(),
        }
    } else {
        if mode.propagation.is_some() {
            return Err(Error::invalid(format!(
                "invalid mode: propagation is for host paths only ({text:?})"
            )));
        }
        volume(source, mode.nocopy)?
    };
    Ok(Mount { target, readonly: mode.readonly, source, written_as: MountSyntax::Volume })
}

fn volume(name: &str, nocopy: bool) -> Result<MountSource> {
    let name = if name.is_empty() { String::new() } else { name::parse_volume_name(name)? };
    let anonymous = name.is_empty();
    Ok(MountSource::Volume { name, nocopy, anonymous, details: VolumeDetails::default() })
}

/// `.`, `..` and doubled slashes resolved as text: the form in which Docker shows a source.
fn clean_path(path: &str) -> Result<String> {
    if path.contains('\0') {
        return Err(Error::invalid(format!("invalid mount path: {path:?} contains a NUL byte")));
    }
    // Only the root itself is left to be refused, and a source may be that.
    Ok(parse_target(path).unwrap_or_else(|_| "/".to_owned()))
}

/// One object of `Mounts`.
fn parse_mount(mount: &wire::Mount) -> Result<Mount> {
    let kind = mount.typ.as_ref().map(ToString::to_string).unwrap_or_default();
    let bad = |why: String| Error::invalid(format!("invalid mount config for type {kind:?}: {why}"));
    let target = non_empty(&mount.target).ok_or_else(|| bad("field Target must not be empty".to_owned()))?;
    let target = parse_target(target).map_err(|e| bad(e.to_string()))?;
    let source_text = non_empty(&mount.source).unwrap_or("");
    let exclusive = |present: bool, field: &str| {
        if present { Err(bad(format!("field {field} must not be specified"))) } else { Ok(()) }
    };
    exclusive(mount.image_options.is_some() && mount.typ != Some(wire::MountType::IMAGE), "ImageOptions")?;
    let source = match mount.typ {
        Some(wire::MountType::BIND) => {
            exclusive(mount.volume_options.is_some(), "VolumeOptions")?;
            exclusive(mount.tmpfs_options.is_some(), "TmpfsOptions")?;
            if source_text.is_empty() {
                return Err(bad("field Source must not be empty".to_owned()));
            }
            if !source_text.starts_with('/') {
                return Err(bad(format!("invalid mount path: '{source_text}' mount path must be absolute")));
            }
            bind_source(source_text, mount.bind_options.as_ref())?
        }
        Some(wire::MountType::VOLUME) => {
            exclusive(mount.bind_options.is_some(), "BindOptions")?;
            exclusive(mount.tmpfs_options.is_some(), "TmpfsOptions")?;
            let options = mount.volume_options.clone().unwrap_or_default();
            volume_source(source_text, options).map_err(|error| bad(error.to_string()))?
        }
        Some(wire::MountType::TMPFS) => {
            exclusive(mount.bind_options.is_some(), "BindOptions")?;
            exclusive(mount.volume_options.is_some(), "VolumeOptions")?;
            exclusive(!source_text.is_empty(), "Source")?;
            tmpfs_source(mount.tmpfs_options.as_ref())?
        }
        Some(wire::MountType::IMAGE) => {
            exclusive(mount.bind_options.is_some(), "BindOptions")?;
            exclusive(mount.volume_options.is_some(), "VolumeOptions")?;
            exclusive(mount.tmpfs_options.is_some(), "TmpfsOptions")?;
            if source_text.is_empty() {
                return Err(bad("field Source must not be empty".to_owned()));
            }
            let options = mount.image_options.clone().unwrap_or_default();
            let subpath = subpath(options.subpath.as_deref(), "image").map_err(|e| bad(e.to_string()))?;
            let name = source_text.to_owned();
            let source = MountSource::Image { name, id: None, subpath };
            return Ok(Mount { target, readonly: true, source, written_as: MountSyntax::Mount });
        }
        Some(wire::MountType::CLUSTER | wire::MountType::NPIPE) => {
            return unsupported(format!("--mount type={kind}"));
        }
        None => return Err(bad("mount type unknown".to_owned())),
    };
    Ok(Mount { target, readonly: mount.read_only.unwrap_or(false), source, written_as: MountSyntax::Mount })
}

fn volume_source(name: &str, options: wire::MountVolumeOptions) -> Result<MountSource> {
    let subpath = subpath(options.subpath.as_deref(), "volume")?;
    if !subpath.is_empty() && name.is_empty() {
        return Err(Error::invalid("must not set Subpath when using anonymous volumes"));
    }
    let driver = options.driver_config.unwrap_or_default();
    super::volume_driver(driver.name.as_deref())?;
    let mut source = volume(name, options.no_copy.unwrap_or(false))?;
    if let MountSource::Volume { details, .. } = &mut source {
        let (labels, options) = (sorted(&options.labels), sorted(&driver.options));
        *details = VolumeDetails { subpath, labels, options };
    }
    Ok(source)
}

/// What of a volume or an image is mounted.
fn subpath(text: Option<&str>, whole: &str) -> Result<String> {
    let text = text.unwrap_or_default();
    if text.starts_with('/') || text.contains('\0') || climbs(text) {
        return Err(Error::invalid(format!("subpath must be a relative path within the {whole}")));
    }
    Ok(text.to_owned())
}

/// Whether a relative path goes above its beginning, as text.
fn climbs(path: &str) -> bool {
    let mut depth = 0;
    path.split('/').any(|part| {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        depth < 0
    })
}

fn bind_source(path: &str, options: Option<&wire::MountBindOptions>) -> Result<MountSource> {
    let options = options.cloned().unwrap_or_default();
    let wants = |flag: Option<bool>| flag == Some(true);
    let readonly_below = match (
        wants(options.read_only_non_recursive),
        wants(options.read_only_force_recursive),
    ) {
        (true, true) => {
            return Err(Error::invalid(
                "invalid mount config for type \"bind\": ReadOnlyNonRecursive and ReadOnlyForceRecursive exclude each other",
            ));
        }
        (true, false) => ReadonlyBelow::Never,
        (false, true) => ReadonlyBelow::Forced,
        (false, false) => ReadonlyBelow::Possible,
    };
    let word = options.propagation.as_ref().map(AsRef::as_ref).unwrap_or("");
    let propagation = parse_propagation(word).unwrap_or_default();
    Ok(MountSource::Bind {
        path: clean_path(path)?,
        create: options.create_mountpoint.unwrap_or(false),
        recursive: !options.non_recursive.unwrap_or(false),
        propagation,
        readonly_below,
    })
}

fn tmpfs_source(options: Option<&wire::MountTmpfsOptions>) -> Result<MountSource> {
    let options = options.cloned().unwrap_or_default();
    let size_bytes = match options.size_bytes {
        None | Some(0) => None,
        Some(size) => {
            Some(u64::try_from(size).map_err(|_| Error::invalid(format!("invalid tmpfs size: {size}")))?)
        }
    };
    let mode = match options.mode {
        None | Some(0) => None,
        Some(mode) => Some(
            u32::try_from(mode)
                .ok()
                .filter(|m| *m <= 0o7777)
                .ok_or_else(|| Error::invalid(format!("invalid tmpfs mode: {mode:o}")))?,
        ),
    };
    let mut parsed = Tmpfs { size_bytes, mode, ..Tmpfs::default() };
    for option in options.options.iter().flatten() {
        parsed.add(&option.join("="))?;
    }
    if parsed.readonly {
        return Err(Error::invalid("invalid tmpfs option \"ro\": use the mount's own readonly field"));
    }
    Ok(parsed.into_source())
}

/// What the options of a tmpfs add up to.
#[derive(Default)]
struct Tmpfs {
    readonly: bool,
    size_bytes: Option<u64>,
    mode: Option<u32>,
    exec: bool,
    options: Vec<String>,
}

impl Tmpfs {
    fn add(&mut self, option: &str) -> Result<()> {
        let invalid = || Error::invalid(format!("invalid tmpfs option {option:?}"));
        match option.split_once('=').map_or((option, None), |(k, v)| (k, Some(v))) {
            ("ro", None) => self.readonly = true,
            ("rw", None) => self.readonly = false,
            ("exec", None) => self.exec = true,
            ("noexec", None) => self.exec = false,
            // Always so.
            ("nosuid" | "nodev", None) => {}
            ("suid" | "dev", None) => return unsupported(format!("tmpfs option {option:?}")),
            ("size", Some(percent)) if percent.ends_with('%') => {
                return unsupported(format!("tmpfs option {option:?}: give the size in bytes, k, m or g"));
            }
            ("size", Some(size)) => self.size_bytes = Some(parse_bytes(size)?).filter(|s| *s > 0),
            ("mode", Some(mode)) => {
                let octal = u32::from_str_radix(mode, 8).map_err(|_| invalid())?;
                self.mode = Some(octal).filter(|m| *m <= 0o7777);
                self.mode.ok_or_else(invalid)?;
            }
            ("uid" | "gid" | "nr_inodes", Some(number)) => {
                let _: u32 = number.parse().map_err(|_| invalid())?;
                self.options.push(option.to_owned());
            }
            _ => return Err(invalid()),
        }
        Ok(())
    }

    fn into_source(self) -> MountSource {
        MountSource::Tmpfs {
            size_bytes: self.size_bytes,
            mode: self.mode,
            exec: self.exec,
            options: self.options,
        }
    }
}

/// One entry of `Tmpfs`: a target and options as mount(8) has them.
fn parse_tmpfs(target: &str, options: &str) -> Result<Mount> {
    let target = parse_target(target)?;
    let mut parsed = Tmpfs::default();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        parsed.add(option)?;
    }
    let readonly = parsed.readonly;
    Ok(Mount { target, readonly, source: parsed.into_source(), written_as: MountSyntax::Tmpfs })
}

/// Fills `Binds`, `Mounts` and `Tmpfs` for `inspect`. Anonymous volumes of the image are in none of them.
pub(super) fn show(mounts: &[Mount], host: &mut wire::HostConfig) {
    let of = |syntax: MountSyntax| mounts.iter().filter(move |m| m.written_as == syntax);
    let some = |count: usize| count > 0;
    let binds: Vec<String> = of(MountSyntax::Volume).map(show_bind).collect();
    let shown: Vec<wire::Mount> = of(MountSyntax::Mount).map(show_mount).collect();
    let tmpfs: HashMap<String, String> =
        of(MountSyntax::Tmpfs).map(|m| (m.target.clone(), show_tmpfs_options(m))).collect();
    host.binds = some(binds.len()).then_some(binds);
    host.mounts = some(shown.len()).then_some(shown);
    host.tmpfs = some(tmpfs.len()).then_some(tmpfs);
}

fn show_bind(mount: &Mount) -> String {
    let mut mode = Vec::new();
    if mount.readonly {
        mode.push("ro");
    }
    let source = match &mount.source {
        MountSource::Bind { path, propagation, .. } => {
            if *propagation != Propagation::Rprivate {
                mode.push(propagation_word(*propagation));
            }
            path.as_str()
        }
        MountSource::Volume { name, nocopy, anonymous, .. } => {
            if *nocopy {
                mode.push("nocopy");
            }
            // The engine gave the name; the user wrote the target alone.
            if *anonymous { "" } else { name.as_str() }
        }
        MountSource::Image { .. } | MountSource::Tmpfs { .. } => "",
    };
    match (source, mode.is_empty()) {
        ("", _) => mount.target.clone(),
        (_, true) => format!("{source}:{}", mount.target),
        (_, false) => format!("{source}:{}:{}", mount.target, mode.join(",")),
    }
}

fn show_mount(mount: &Mount) -> wire::Mount {
    let mut shown = wire::Mount {
        target: Some(mount.target.clone()),
        read_only: mount.readonly.then_some(true),
        ..wire::Mount::default()
    };
    match &mount.source {
        MountSource::Bind { path, create, recursive, propagation, readonly_below } => {
            shown.typ = Some(wire::MountType::BIND);
            shown.source = Some(path.clone());
            let private = *propagation == Propagation::Rprivate;
            let options = wire::MountBindOptions {
                propagation: (!private).then(|| propagation_word(*propagation).parse().ok()).flatten(),
                non_recursive: (!recursive).then_some(true),
                create_mountpoint: create.then_some(true),
                read_only_non_recursive: (*readonly_below == ReadonlyBelow::Never).then_some(true),
                read_only_force_recursive: (*readonly_below == ReadonlyBelow::Forced).then_some(true),
            };
            shown.bind_options = (options != wire::MountBindOptions::default()).then_some(options);
        }
        MountSource::Volume { name, nocopy, anonymous, details } => {
            shown.typ = Some(wire::MountType::VOLUME);
            shown.source = (!anonymous).then(|| name.clone());
            let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| unsorted(map));
            let options = wire::MountVolumeOptions {
                no_copy: nocopy.then_some(true),
                labels: some(&details.labels),
                driver_config: some(&details.options).map(|options| wire::MountVolumeOptionsDriverConfig {
                    name: Some("local".to_owned()),
                    options: Some(options),
                }),
                subpath: (!details.subpath.is_empty()).then(|| details.subpath.clone()),
            };
            shown.volume_options = (options != wire::MountVolumeOptions::default()).then_some(options);
        }
        MountSource::Image { name, subpath, .. } => {
            shown.typ = Some(wire::MountType::IMAGE);
            shown.source = Some(name.clone());
            shown.image_options =
                (!subpath.is_empty()).then(|| wire::MountImageOptions { subpath: Some(subpath.clone()) });
        }
        MountSource::Tmpfs { size_bytes, mode, exec, options } => {
            shown.typ = Some(wire::MountType::TMPFS);
            let mut words: Vec<Vec<String>> = Vec::new();
            if *exec {
                words.push(vec!["exec".to_owned()]);
            }
            words.extend(options.iter().map(|o| o.split('=').map(str::to_owned).collect()));
            let options = wire::MountTmpfsOptions {
                size_bytes: size_bytes.and_then(|s| i64::try_from(s).ok()),
                mode: mode.map(i64::from),
                options: (!words.is_empty()).then_some(words),
            };
            shown.tmpfs_options = (options != wire::MountTmpfsOptions::default()).then_some(options);
        }
    }
    shown
}

fn show_tmpfs_options(mount: &Mount) -> String {
    let mut words = Vec::new();
    if mount.readonly {
        words.push("ro".to_owned());
    }
    if let MountSource::Tmpfs { size_bytes, mode, exec, options } = &mount.source {
        if *exec {
            words.push("exec".to_owned());
        }
        words.extend(size_bytes.map(|s| format!("size={s}")));
        words.extend(mode.map(|m| format!("mode={m:o}")));
        words.extend(options.iter().cloned());
    }
    words.join(",")
}

/// `Mounts` at the top of an inspect answer: what is mounted where, with volumes' host paths filled in.
pub(super) fn mount_points(mounts: &[Mount], host_paths: &[(String, PathBuf)]) -> Vec<wire::MountPoint> {
    let host_path = |mount: &Mount| {
        host_paths.iter().find(|(t, _)| *t == mount.target).map(|(_, path)| path.display().to_string())
    };
    mounts
        .iter()
        // `--tmpfs` is told in HostConfig only, as Docker does.
        .filter(|mount| mount.written_as != MountSyntax::Tmpfs)
        .map(|mount| {
            let mut point = wire::MountPoint {
                destination: Some(mount.target.clone()),
                rw: Some(!mount.readonly),
                mode: Some(String::new()),
                propagation: Some(String::new()),
                ..wire::MountPoint::default()
            };
            match &mount.source {
                MountSource::Bind { path, propagation, .. } => {
                    point.typ = Some("bind".to_owned());
                    point.source = Some(path.clone());
                    point.propagation = Some(propagation_word(*propagation).to_owned());
                    if mount.written_as == MountSyntax::Volume && mount.readonly {
                        point.mode = Some("ro".to_owned());
                    }
                }
                MountSource::Volume { name, .. } => {
                    point.typ = Some("volume".to_owned());
                    point.name = Some(name.clone());
                    point.source = host_path(mount).or(Some(String::new()));
                    point.driver = Some("local".to_owned());
                    point.mode = Some(if mount.readonly { "ro" } else { "z" }.to_owned());
                    if mount.written_as != MountSyntax::Volume {
                        point.mode = Some(String::new());
                    }
                }
                MountSource::Image { name, .. } => {
                    point.typ = Some("image".to_owned());
                    point.source = Some(name.clone());
                }
                MountSource::Tmpfs { .. } => {
                    point.typ = Some("tmpfs".to_owned());
                    point.source = Some(String::new());
                }
            }
            point
        })
        .collect()
}

#[cfg(test)]
mod tests;
