//! The body of `POST /containers/create`, as sent → [`CreateSpec`].

use super::machine::Machine;
use super::{health, host, network, non_empty, sorted, unsupported};
use bollard_stubs::models as wire;
use dhow_model::container::CreateSpec;
use dhow_model::mount::parse_target;
use dhow_model::signal::Signal;
use dhow_model::{Error, Result, members};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Validates a request to create a container. Also returns what its user should be warned of.
///
/// # Errors
/// `InvalidArgument` in Docker's words where Docker has them; `Unsupported` naming what the engine does not
/// do.
pub(in crate::api) fn parse(mut body: Value, machine: &Machine) -> Result<(CreateSpec, Vec<String>)> {
    if !body.is_object() {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    members::rename::<wire::ContainerCreateBody>(&mut body);
    normalise(&mut body);
    check_words(&body)?;
    // The generated type lacks this older field.
    let mac = members::get(&body, "MacAddress").and_then(Value::as_str).map(str::to_owned);
    let body: wire::ContainerCreateBody =
        members::from_value(body).map_err(|error| Error::invalid(format!("invalid JSON: {error}")))?;
    let mut warnings = Vec::new();
    let mut host_config = body.host_config.clone().unwrap_or_default();
    if body.network_disabled == Some(true)
        && matches!(non_empty(&host_config.network_mode), None | Some("default"))
    {
        host_config.network_mode = Some("none".to_owned());
    }
    if non_empty(&body.hostname).is_some() {
        check_hostname(&host_config)?;
    }
    let mut spec = CreateSpec {
        image: body.image.clone().unwrap_or_default(),
        hostname: non_empty(&body.hostname).map(|n| parse_hostname(n, "hostname")).transpose()?,
        domainname: parse_hostname(non_empty(&body.domainname).unwrap_or(""), "domainname")?,
        user: body.user.clone().filter(|u| !u.is_empty()),
        env: parse_env(body.env.clone().unwrap_or_default())?,
        // An empty one takes the image's away; an empty command is what clients send when nothing was typed.
        entrypoint: body.entrypoint.clone(),
        cmd: body.cmd.clone().filter(|c| !c.is_empty()),
        working_dir: non_empty(&body.working_dir).map(parse_working_dir).transpose()?,
        labels: sorted(&body.labels),
        volumes: parse_volumes(body.volumes.as_deref().unwrap_or_default())?,
        exposed_ports: parse_ports(body.exposed_ports.as_deref().unwrap_or_default())?,
        tty: body.tty.unwrap_or(false),
        open_stdin: body.open_stdin.unwrap_or(false),
        stdin_once: body.stdin_once.unwrap_or(false),
        attach_stdin: body.attach_stdin.unwrap_or(false),
        attach_stdout: body.attach_stdout.unwrap_or(false),
        attach_stderr: body.attach_stderr.unwrap_or(false),
        stop_signal: non_empty(&body.stop_signal).map(Signal::parse).transpose()?,
        stop_timeout: body.stop_timeout,
        healthcheck: body.healthcheck.as_ref().map(health::parse).transpose()?,
        log: host::parse_log(host_config.log_config.as_ref()),
        host: host::parse(&host_config, machine, &mut warnings)?,
    };
    spec.host.endpoints =
        network::parse_endpoints(&spec.host.network, body.networking_config.as_ref(), mac.as_deref())?;
    for text in spec.entrypoint.iter().chain(&spec.cmd).flatten().chain(&spec.user) {
        no_nul(text)?;
    }
    if spec.image.is_empty() {
        return Err(Error::invalid("no image specified: Config.Image is empty"));
    }
    machine.caller.warn(&spec.host.security, &mut warnings);
    Ok((spec, warnings))
}

/// A host name of its own is for who has a namespace for it, and is not told the network's.
fn check_hostname(host: &wire::HostConfig) -> Result<()> {
    let conflict =
        |what: &str| Err(Error::invalid(format!("conflicting options: hostname and the {what} mode")));
    if host.uts_mode.as_deref() == Some("host") {
        return conflict("UTS");
    }
    if host.network_mode.as_deref().is_some_and(|mode| mode.starts_with("container:")) {
        return conflict("network");
    }
    Ok(())
}

/// Forms that Docker's own decoder takes and the generated one does not.
fn normalise(body: &mut Value) {
    // A command may be one string.
    for field in ["Cmd", "Entrypoint"] {
        if let Some(word @ Value::String(_)) = body.get_mut(field) {
            *word = json!([word.take()]);
        }
    }
    // Sets are objects with empty values: {} or null.
    for field in ["Volumes", "ExposedPorts"] {
        for value in
            body.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(|o| o.values_mut())
        {
            *value = json!({});
        }
    }
}

/// Words of which the generated types know only the right ones, refused in Docker's words; and fields that
/// the generated types lack.
fn check_words(body: &Value) -> Result<()> {
    let host = body.get("HostConfig").unwrap_or(&Value::Null);
    let word = |value: &Value, path: &str| {
        let found = path.split('/').skip(1).try_fold(value, members::get);
        found.and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let policy = word(host, "/RestartPolicy/Name");
    if !["", "no", "always", "on-failure", "unless-stopped"].contains(&policy.as_str()) {
        return Err(Error::invalid(format!(
            "invalid restart policy: unknown policy '{policy}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )));
    }
    let cgroupns = word(host, "/CgroupnsMode");
    if !["", "private", "host"].contains(&cgroupns.as_str()) {
        return Err(Error::invalid(format!("invalid cgroup namespace mode: {cgroupns}")));
    }
    let isolation = word(host, "/Isolation");
    if !["", "default"].contains(&isolation.as_str()) {
        return Err(Error::invalid(format!(
            "invalid isolation ({isolation}): linux only supports \"default\""
        )));
    }
    for mount in members::get(host, "Mounts").and_then(Value::as_array).into_iter().flatten() {
        let kind = word(mount, "/Type");
        if !["bind", "volume", "tmpfs", "image", "cluster", "npipe"].contains(&kind.as_str()) {
            return Err(Error::invalid(format!(
                "invalid mount config for type {kind:?}: mount type unknown"
            )));
        }
        let propagation = word(mount, "/BindOptions/Propagation");
        if !["", "private", "rprivate", "shared", "rshared", "slave", "rslave"]
            .contains(&propagation.as_str())
        {
            return Err(Error::invalid(format!(
                "invalid mount config for type {kind:?}: invalid propagation mode: {propagation}"
            )));
        }
    }
    for field in ["KernelMemory", "KernelMemoryTCP"] {
        if members::get(host, field).and_then(Value::as_i64).is_some_and(|n| n != 0) {
            return unsupported(format!("HostConfig.{field}, which kernels no longer have"));
        }
    }
    Ok(())
}

/// A name that is written into /etc/hosts and given to sethostname(2), which takes 64 bytes.
fn parse_hostname(text: &str, what: &str) -> Result<String> {
    let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if clean && text.len() <= 64 && !text.starts_with('-') {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(format!("invalid {what} format: {text}")))
    }
}

fn parse_env(env: Vec<String>) -> Result<Vec<String>> {
    for entry in &env {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {entry}")));
        }
        no_nul(entry)?;
    }
    Ok(env)
}

/// execve(2) takes strings that end at a NUL.
fn no_nul(text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(format!("invalid argument {text:?}: contains a NUL byte")));
    }
    Ok(())
}

fn parse_working_dir(text: &str) -> Result<String> {
    no_nul(text)?;
    if !text.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{text}' is invalid, it needs to be an absolute path"
        )));
    }
    // The root is a fine working directory, and the only path that `parse_target` has no word for.
    Ok(parse_target(text).unwrap_or_else(|_| "/".to_owned()))
}

fn parse_volumes(paths: &[String]) -> Result<BTreeSet<String>> {
    paths
        .iter()
        .map(|path| {
            if path.contains(':') {
                return Err(Error::invalid(format!("bind mounts are not allowed in Config.Volumes: {path}")));
            }
            parse_target(path)
        })
        .collect()
}

/// `80` or `80/tcp`; told to users, nothing more.
fn parse_ports(ports: &[String]) -> Result<BTreeSet<String>> {
    ports
        .iter()
        .map(|text| {
            let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let known = ["tcp", "udp", "sctp"].contains(&protocol);
            match number.parse::<u16>() {
                Ok(number) if known => Ok(format!("{number}/{protocol}")),
                _ => Err(Error::invalid(format!("invalid port specification: \"{text}\""))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
