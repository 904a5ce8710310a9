//! `-v` and `--mount`: what of the host, of volumes or of memory appears in the container.

use super::csv::split_csv;
use super::limits;
use bollard::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum as Propagation, MountImageOptions,
    MountTmpfsOptions, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig,
};

/// What `-v` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A path alone: a new volume without a name.
    Anonymous(String),
    /// `source:target[:options]`, for the engine to read.
    Bind(String),
}

/// Parses `-v`. Only what depends on our own working directory is settled here.
pub(crate) fn parse_volume(text: &str) -> Result<Volume, String> {
    let Some((source, rest)) = text.split_once(':') else {
        return if text.is_empty() {
            Err("invalid empty volume spec".to_owned())
        } else {
            Ok(Volume::Anonymous(text.to_owned()))
        };
    };
    if source.is_empty() || rest.split(':').any(str::is_empty) {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    Ok(Volume::Bind(format!("{}:{rest}", absolute(source))))
}

/// `.`, `./x` and `../x` are paths, not names of volumes.
fn absolute(source: &str) -> String {
    if !source.starts_with('.') {
        return source.to_owned();
    }
    let Ok(here) = std::env::current_dir() else { return source.to_owned() };
    let mut parts: Vec<String> = Vec::new();
    for part in here.join(source).to_string_lossy().split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name.to_owned()),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Parses `--mount type=…,source=…,target=…,…`.
pub(crate) fn parse_mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount { typ: Some(MountType::VOLUME), ..Default::default() };
    for field in split_csv(text)? {
        set_field(&mut mount, &field)?;
    }
    check(&mount)?;
    Ok(mount)
}

fn set_field(mount: &mut Mount, field: &str) -> Result<(), String> {
    let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
    let key = key.to_lowercase();
    // These may stand alone.
    if value.is_none()
        && !matches!(
            key.as_str(),
            "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src"
        )
    {
        return Err(format!("invalid field '{field}' must be a key=value pair"));
    }
    let truth = || match value {
        None => Ok(true),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}")),
    };
    let text = || value.unwrap_or_default().to_owned();
    match key.as_str() {
        "type" => mount.typ = Some(parse_type(&text())?),
        "source" | "src" => mount.source = Some(absolute(&text())),
        "target" | "dst" | "destination" => mount.target = Some(text()),
        "readonly" | "ro" => mount.read_only = Some(truth()?),
        "consistency" => mount.consistency = Some(text().to_lowercase()),
        "bind-propagation" => bind(mount).propagation = Some(parse_propagation(&text())?),
        "bind-nonrecursive" => bind(mount).non_recursive = Some(truth()?),
        "bind-create-src" => bind(mount).create_mountpoint = Some(truth()?),
        "bind-recursive" => match text().as_str() {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = Some(true),
            "writable" => bind(mount).read_only_non_recursive = Some(true),
            "readonly" => bind(mount).read_only_force_recursive = Some(true),
            other => {
                return Err(format!(
                    "invalid value for {key}: {other} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        },
        "volume-subpath" => volume(mount).subpath = Some(text()),
        "volume-nocopy" => volume(mount).no_copy = Some(truth()?),
        "volume-label" => {
            let (name, value) = pair(&text());
            volume(mount).labels.get_or_insert_default().insert(name, value);
        }
        "volume-driver" => driver(mount).name = Some(text()),
        "volume-opt" => {
            let (name, value) = pair(&text());
            driver(mount).options.get_or_insert_default().insert(name, value);
        }
        "image-subpath" => {
            mount.image_options.get_or_insert_with(MountImageOptions::default).subpath = Some(text());
        }
        "tmpfs-size" => {
            let size =
                limits::parse_bytes(&text()).map_err(|_| format!("invalid value for {key}: {}", text()))?;
            tmpfs(mount).size_bytes = Some(size);
        }
        "tmpfs-mode" => {
            let mode = i64::from_str_radix(&text(), 8)
                .map_err(|_| format!("invalid value for {key}: {}", text()))?;
            tmpfs(mount).mode = Some(mode);
        }
        "tmpfs-opt" => {
            let (name, value) = pair(&text());
            let option = if value.is_empty() { vec![name] } else { vec![name, value] };
            tmpfs(mount).options.get_or_insert_default().push(option);
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut MountBindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut MountVolumeOptions {
    mount.volume_options.get_or_insert_default()
}

fn driver(mount: &mut Mount) -> &mut MountVolumeOptionsDriverConfig {
    volume(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut MountTmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn pair(text: &str) -> (String, String) {
    text.split_once('=')
        .map_or((text.to_owned(), String::new()), |(name, value)| (name.to_owned(), value.to_owned()))
}

fn parse_type(text: &str) -> Result<MountType, String> {
    match text.to_lowercase().as_str() {
        "bind" => Ok(MountType::BIND),
        "volume" => Ok(MountType::VOLUME),
        "tmpfs" => Ok(MountType::TMPFS),
        "image" => Ok(MountType::IMAGE),
        "cluster" => Ok(MountType::CLUSTER),
        "npipe" => Ok(MountType::NPIPE),
        other => Err(format!("mount type unknown: {other:?}")),
    }
}

fn parse_propagation(text: &str) -> Result<Propagation, String> {
    match text.to_lowercase().as_str() {
        "private" => Ok(Propagation::PRIVATE),
        "rprivate" => Ok(Propagation::RPRIVATE),
        "shared" => Ok(Propagation::SHARED),
        "rshared" => Ok(Propagation::RSHARED),
        "slave" => Ok(Propagation::SLAVE),
        "rslave" => Ok(Propagation::RSLAVE),
        other => Err(format!("invalid propagation mode {other:?}")),
    }
}

fn check(mount: &Mount) -> Result<(), String> {
    if mount.target.as_deref().is_none_or(str::is_empty) {
        return Err("target is required".to_owned());
    }
    let kind = mount.typ.unwrap_or(MountType::VOLUME);
    let mixed = |options: &str| Err(format!("cannot mix '{options}-*' options with mount type '{kind}'"));
    if mount.volume_options.is_some() && kind != MountType::VOLUME {
        return mixed("volume");
    }
    if mount.bind_options.is_some() && kind != MountType::BIND {
        return mixed("bind");
    }
    if mount.tmpfs_options.is_some() && kind != MountType::TMPFS {
        return mixed("tmpfs");
    }
    if mount.image_options.is_some() && kind != MountType::IMAGE {
        return mixed("image");
    }
    let needs = |what: &str, other: &str| {
        Err(format!("option 'bind-recursive={what}' requires '{other}' to be specified in conjunction"))
    };
    if let Some(bind) = &mount.bind_options {
        let readonly = mount.read_only == Some(true);
        if bind.read_only_non_recursive == Some(true) && !readonly {
            return needs("writable", "readonly");
        }
        if bind.read_only_force_recursive == Some(true) {
            if !readonly {
                return needs("readonly", "readonly");
            }
            if bind.propagation != Some(Propagation::RPRIVATE) {
                return needs("readonly", "bind-propagation=rprivate");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        assert_eq!(parse_volume("/data").unwrap(), Volume::Anonymous("/data".into()));
        assert_eq!(parse_volume("name:/data:ro").unwrap(), Volume::Bind("name:/data:ro".into()));
        let here = std::env::current_dir().unwrap().display().to_string();
        assert_eq!(parse_volume(".:/x").unwrap(), Volume::Bind(format!("{here}:/x")));
        assert_eq!(parse_volume("./a/../b:/x").unwrap(), Volume::Bind(format!("{here}/b:/x")));
        assert_eq!(parse_volume("a:b:c:d").unwrap(), Volume::Bind("a:b:c:d".into()));
        for bad in ["", ":/x", "a:", "a::ro"] {
            assert!(parse_volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts() {
        let m = parse_mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").unwrap();
        assert_eq!(
            (m.typ, m.source.as_deref(), m.target.as_deref()),
            (Some(MountType::BIND), Some("/a"), Some("/b"))
        );
        assert_eq!(m.read_only, Some(true));
        assert_eq!(m.bind_options.unwrap().propagation, Some(Propagation::RSLAVE));
        let m = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        let options = m.tmpfs_options.unwrap();
        assert_eq!((options.size_bytes, options.mode), (Some(1 << 20), Some(0o1770)));
        let m =
            parse_mount("source=v,target=/v,volume-nocopy,volume-label=a=b,\"volume-opt=o=x,y\"").unwrap();
        let options = m.volume_options.unwrap();
        assert_eq!(options.no_copy, Some(true));
        assert_eq!(options.labels.unwrap()["a"], "b");
        assert_eq!(options.driver_config.unwrap().options.unwrap()["o"], "x,y");
    }

    #[test]
    fn mounts_that_make_no_sense() {
        for (text, why) in [
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("type=bind,source=/a", "target is required"),
            ("foo=bar,target=/x", "unexpected key 'foo' in 'foo=bar'"),
            ("type=foo,target=/x", "mount type unknown: \"foo\""),
            ("type=bind,target=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
            ("type=tmpfs,target=/x,tmpfs-mode=99", "invalid value for tmpfs-mode: 99"),
            ("target=/x,readonly=maybe", "invalid value for readonly: maybe"),
        ] {
            assert_eq!(parse_mount(text).unwrap_err(), why);
        }
        assert!(parse_mount("\"target=/x").is_err() && parse_mount("").is_err());
    }
}
