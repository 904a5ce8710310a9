//! Capabilities, system calls, namespaces: their fields of `HostConfig`, and [`Security`]; both ways.

use super::{non_empty, unsupported};
use bollard_stubs::models as wire;
use dhow_model::security::{
    Ipc, MASKED_PATHS, Namespace, READONLY_PATHS, SeccompProfile, Security, UserNamespace, capability_bit,
};
use dhow_model::{Error, Result};

/// Reads everything that concerns what the container may do.
pub(super) fn parse(host: &wire::HostConfig) -> Result<Security> {
    let options = host.security_opt.clone().unwrap_or_default();
    let mut security = Security {
        privileged: host.privileged.unwrap_or(false),
        cap_add: parse_capabilities(&host.cap_add, "CapAdd")?,
        cap_drop: parse_capabilities(&host.cap_drop, "CapDrop")?,
        pid: match non_empty(&host.pid_mode).map(|mode| (mode, joined(mode))) {
            None | Some(("private", _)) => Namespace::Private,
            Some(("host", _)) => Namespace::Host,
            Some((_, Some(who))) => Namespace::Container(who),
            Some((mode, None)) => return Err(Error::invalid(format!("invalid PID mode: {mode}"))),
        },
        ipc: match non_empty(&host.ipc_mode).map(|mode| (mode, joined(mode))) {
            None | Some(("private", _)) => Ipc::Private,
            Some(("shareable", _)) => Ipc::Shareable,
            Some(("none", _)) => Ipc::None,
            Some(("host", _)) => Ipc::Host,
            Some((_, Some(who))) => Ipc::Container(who),
            Some((mode, None)) => return Err(Error::invalid(format!("invalid IPC mode: {mode}"))),
        },
        uts: match non_empty(&host.uts_mode) {
            None | Some("private") => Namespace::Private,
            Some("host") => Namespace::Host,
            Some(mode) => return Err(Error::invalid(format!("invalid UTS mode: {mode}"))),
        },
        cgroup: match host.cgroupns_mode {
            Some(wire::HostConfigCgroupnsModeEnum::HOST) => Namespace::Host,
            _ => Namespace::Private,
        },
        systempaths_unconfined: parse_hidden_paths(host)?,
        ..Security::default()
    };
    for option in &options {
        parse_option(option, &mut security)?;
    }
    security.options = options;
    security.userns = match non_empty(&host.userns_mode) {
        None => UserNamespace::Default,
        Some("host") => UserNamespace::Host,
        Some("private") => UserNamespace::Private,
        Some("auto") => UserNamespace::Auto,
        Some(other) => return Err(Error::invalid(format!("invalid userns mode: {other}"))),
    };
    Ok(security)
}

/// Names with or without `CAP_`, in any case; `ALL` stays as it is.
fn parse_capabilities(names: &Option<Vec<String>>, field: &str) -> Result<Vec<String>> {
    let mut parsed: Vec<String> = Vec::new();
    for name in names.iter().flatten() {
        let upper = name.trim().to_ascii_uppercase();
        let full = match upper.as_str() {
            "ALL" | "CAP_ALL" => "ALL".to_owned(),
            known if known.starts_with("CAP_") => upper,
            _ => format!("CAP_{upper}"),
        };
        if full != "ALL" && capability_bit(&full).is_none() {
            return Err(Error::invalid(format!("invalid {field}: unknown capability: \"{full}\"")));
        }
        if !parsed.contains(&full) {
            parsed.push(full);
        }
    }
    Ok(parsed)
}

/// `container:NAME`.
fn joined(mode: &str) -> Option<String> {
    mode.strip_prefix("container:").filter(|who| !who.is_empty()).map(str::to_owned)
}

/// The docker CLI turns `systempaths=unconfined` into two empty lists; absent lists are the default.
fn parse_hidden_paths(host: &wire::HostConfig) -> Result<bool> {
    let verdict = |list: &Option<Vec<String>>, default: &[&str], field: &str| match list {
        None => Ok(false),
        Some(paths) if paths.is_empty() => Ok(true),
        Some(paths)
            if paths.iter().all(|p| default.contains(&p.as_str())) && paths.len() == default.len() =>
        {
            Ok(false)
        }
        Some(_) => unsupported(format!("HostConfig.{field} other than the default or an empty list")),
    };
    let masked = verdict(&host.masked_paths, &MASKED_PATHS, "MaskedPaths")?;
    let readonly = verdict(&host.readonly_paths, &READONLY_PATHS, "ReadonlyPaths")?;
    if masked == readonly {
        return Ok(masked);
    }
    unsupported("only one of HostConfig.MaskedPaths and HostConfig.ReadonlyPaths empty")
}

fn parse_option(option: &str, security: &mut Security) -> Result<()> {
    let invalid = |n: u8| Error::invalid(format!("invalid --security-opt {n}: {option:?}"));
    if option == "no-new-privileges" {
        security.no_new_privileges = true;
        return Ok(());
    }
    // The colon is Docker's older form of the sign.
    let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(|| invalid(1))?;
    match (key, value) {
        ("no-new-privileges", word) => {
            security.no_new_privileges = parse_bool(word).ok_or_else(|| invalid(2))?;
        }
        ("seccomp", "unconfined") => security.seccomp = SeccompProfile::Unconfined,
        ("seccomp", "builtin") => security.seccomp = SeccompProfile::Default,
        // The docker CLI sends the profile's text, not its path.
        ("seccomp", text) => {
            let object: serde_json::Value = serde_json::from_str(text)
                .map_err(|error| Error::invalid(format!("Decoding seccomp profile failed: {error}")))?;
            if !object.is_object() {
                return Err(Error::invalid("Decoding seccomp profile failed: it is not a JSON object"));
            }
            security.seccomp = SeccompProfile::Custom(text.to_owned());
        }
        ("systempaths", "unconfined") => security.systempaths_unconfined = true,
        ("apparmor", "unconfined") => {}
        ("apparmor", profile) => return unsupported(format!("--security-opt apparmor={profile}: AppArmor")),
        ("label", "disable") => {}
        ("label", label) => return unsupported(format!("--security-opt label={label}: SELinux")),
        _ => return Err(invalid(2)),
    }
    Ok(())
}

/// Go's `strconv.ParseBool`.
fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Fills the security fields of an `inspect` answer.
pub(super) fn show(security: &Security, host: &mut wire::HostConfig) {
    let list = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
    let paths = |defaults: &[&str]| match (security.systempaths_unconfined, security.privileged) {
        (true, _) => Some(Vec::new()),
        (false, true) => None,
        (false, false) => Some(defaults.iter().map(|p| (*p).to_owned()).collect()),
    };
    let mode = |namespace: &Namespace| {
        Some(match namespace {
            Namespace::Private => String::new(),
            Namespace::Host => "host".to_owned(),
            Namespace::Container(id) => format!("container:{id}"),
        })
    };
    host.privileged = Some(security.privileged);
    host.cap_add = list(&security.cap_add);
    host.cap_drop = list(&security.cap_drop);
    host.security_opt = list(&security.options);
    host.pid_mode = mode(&security.pid);
    host.ipc_mode = Some(match &security.ipc {
        Ipc::Private => "private".to_owned(),
        Ipc::Shareable => "shareable".to_owned(),
        Ipc::None => "none".to_owned(),
        Ipc::Host => "host".to_owned(),
        Ipc::Container(id) => format!("container:{id}"),
    });
    host.uts_mode = mode(&security.uts);
    host.userns_mode = Some(security.userns.as_str().to_owned());
    host.cgroupns_mode = Some(match security.cgroup {
        Namespace::Host => wire::HostConfigCgroupnsModeEnum::HOST,
        _ => wire::HostConfigCgroupnsModeEnum::PRIVATE,
    });
    host.masked_paths = paths(&MASKED_PATHS);
    host.readonly_paths = paths(&READONLY_PATHS);
}

#[cfg(test)]
mod tests;
