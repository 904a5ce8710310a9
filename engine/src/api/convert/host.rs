//! `HostConfig`, both ways: what concerns the host but is neither a mount, a limit nor a permission. Those
//! three have files of their own.

use super::machine::Machine;
use super::{mounts, non_empty, resources, security, sorted, unsorted, unsupported, volume_driver};
use bollard_stubs::models as wire;
use dhow_model::container::{HOST_GATEWAY, HostConfig, LogConfig, LogRequest, NetworkMode, RestartPolicy};
use dhow_model::network::PortBinding;
use dhow_model::security::{Ipc, Namespace};
use dhow_model::{Error, Result};
use std::net::IpAddr;

/// Reads a whole `HostConfig`.
pub(super) fn parse(
    host: &wire::HostConfig,
    machine: &Machine,
    warnings: &mut Vec<String>,
) -> Result<HostConfig> {
    volume_driver(host.volume_driver.as_deref())?;
    let storage = sorted(&host.storage_opt);
    crate::container::storage::check(&storage)?;
    if let Some(cgroup) = non_empty(&host.cgroup) {
        return unsupported(format!("HostConfig.Cgroup {cgroup:?}"));
    }
    match &host.isolation {
        None | Some(wire::HostConfigIsolationEnum::EMPTY | wire::HostConfigIsolationEnum::DEFAULT) => {}
        Some(other) => {
            return Err(Error::invalid(format!(
                "invalid isolation ({other}): linux only supports \"default\""
            )));
        }
    }
    let network = super::network::parse_mode(non_empty(&host.network_mode).unwrap_or(""))?;
    if matches!(network, NetworkMode::Container(_)) {
        check_joined_network(host)?;
    }
    let ports = parse_ports(host, &network, warnings)?;
    let auto_remove = host.auto_remove.unwrap_or(false);
    let restart = parse_restart(host.restart_policy.as_ref())?;
    if auto_remove && restart != RestartPolicy::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    let security = security::parse(host)?;
    let sysctls = sorted(&host.sysctls);
    for name in sysctls.keys() {
        check_sysctl(name, &network, &security.ipc, &security.uts)?;
    }
    let annotations = sorted(&host.annotations);
    if annotations.contains_key("") {
        return Err(Error::invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    Ok(HostConfig {
        mounts: mounts::parse(host)?,
        volumes_from: host.volumes_from.clone().unwrap_or_default(),
        publish_all: host.publish_all_ports.unwrap_or(false) && network != NetworkMode::Host,
        network,
        // Beside the host's configuration: see `create`.
        endpoints: Vec::new(),
        ports,
        links: super::network::parse_links(host.links.as_deref().unwrap_or_default())?,
        restart,
        auto_remove,
        console_size: super::exec::console_size(host.console_size.as_ref())?,
        resources: resources::parse(host, machine, warnings)?,
        security,
        readonly_rootfs: host.readonly_rootfs.unwrap_or(false),
        init: host.init.unwrap_or(false),
        shm_size_bytes: match host.shm_size {
            None | Some(0) => None,
            Some(size) => {
                Some(u64::try_from(size).map_err(|_| Error::invalid("SHM size can not be less than 0"))?)
            }
        },
        sysctls,
        extra_hosts: host.extra_hosts.iter().flatten().map(|h| parse_extra_host(h)).collect::<Result<_>>()?,
        dns: host.dns.iter().flatten().map(|d| parse_dns(d)).collect::<Result<_>>()?,
        dns_search: one_line_each(&host.dns_search, "--dns-search")?,
        dns_options: one_line_each(&host.dns_options, "--dns-option")?,
        group_add: one_line_each(&host.group_add, "--group-add")?,
        // Chosen by the engine: see `CreateSpec::log`.
        log: LogConfig::default(),
        container_id_file: host.container_id_file.clone().unwrap_or_default(),
        runtime: host.runtime.clone().unwrap_or_default(),
        storage,
        storage_project: 0,
        annotations,
    })
}

/// Who joins a network has its names, its name servers and its ports.
fn check_joined_network(host: &wire::HostConfig) -> Result<()> {
    fn given<T>(list: &Option<Vec<T>>) -> bool {
        list.as_ref().is_some_and(|l| !l.is_empty())
    }
    let ports = host.port_bindings.as_ref().is_some_and(|p| !p.is_empty());
    for (given, what) in [
        (given(&host.dns), "dns and the network mode"),
        (given(&host.extra_hosts), "custom host-to-IP mapping and the network mode"),
        (
            ports || host.publish_all_ports == Some(true),
            "port publishing and the container type network mode",
        ),
    ] {
        if given {
            return Err(Error::invalid(format!("conflicting options: {what}")));
        }
    }
    Ok(())
}

/// A port is published from a network that is the container's own.
fn parse_ports(
    host: &wire::HostConfig,
    network: &NetworkMode,
    warnings: &mut Vec<String>,
) -> Result<Vec<PortBinding>> {
    let ports = super::network::parse_ports(host.port_bindings.as_ref())?;
    if *network == NetworkMode::Host && (!ports.is_empty() || host.publish_all_ports == Some(true)) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
        return Ok(Vec::new());
    }
    Ok(ports)
}

pub(super) fn parse_restart(policy: Option<&wire::RestartPolicy>) -> Result<RestartPolicy> {
    use wire::RestartPolicyNameEnum as Name;
    let Some(policy) = policy else { return Ok(RestartPolicy::No) };
    let retries = policy.maximum_retry_count.unwrap_or(0);
    let plain = |parsed: RestartPolicy| match retries {
        0 => Ok(parsed),
        _ => {
            let negative = if retries < 0 { " and cannot be negative" } else { "" };
            Err(Error::invalid(format!(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
            )))
        }
    };
    match policy.name {
        // Old clients send an empty name with any count.
        None | Some(Name::EMPTY) => Ok(RestartPolicy::No),
        Some(Name::NO) => plain(RestartPolicy::No),
        Some(Name::ALWAYS) => plain(RestartPolicy::Always),
        Some(Name::UNLESS_STOPPED) => plain(RestartPolicy::UnlessStopped),
        Some(Name::ON_FAILURE) => match u32::try_from(retries) {
            Ok(max_retries) => Ok(RestartPolicy::OnFailure { max_retries }),
            Err(_) if retries < 0 => {
                Err(Error::invalid("invalid restart policy: maximum retry count cannot be negative"))
            }
            Err(_) => Err(Error::invalid("invalid restart policy: maximum retry count is too large")),
        },
    }
}

/// Kernel parameters that have a value of their own in an IPC namespace (ipc_namespaces(7)).
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

fn check_sysctl(name: &str, network: &NetworkMode, ipc: &Ipc, uts: &Namespace) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(format!("sysctl \"{name}\" {why}")));
    // The name becomes a path below /proc/sys.
    let safe =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) && !name.contains("..");
    if !safe || name.contains("//") || name.starts_with('/') {
        return refuse("is malformed");
    }
    let dotted = name.replace('/', ".");
    if dotted.starts_with("net.") {
        return if *network == NetworkMode::Host {
            refuse("not allowed in host network namespace")
        } else {
            Ok(())
        };
    }
    if IPC_SYSCTLS.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return if *ipc == Ipc::Host { refuse("is not allowed in the hosts ipc namespace") } else { Ok(()) };
    }
    if dotted == "kernel.domainname" {
        return if *uts == Namespace::Host { refuse("not allowed in host uts namespace") } else { Ok(()) };
    }
    refuse("is not in a separate kernel namespace")
}

/// `name:address`, where the address may be an IPv6 one, in brackets or not.
fn parse_extra_host(text: &str) -> Result<String> {
    let bad = || Error::invalid(format!("bad format for add-host: \"{text}\""));
    let (name, address) = text.split_once(':').ok_or_else(bad)?;
    let clean = |c: char| c.is_ascii_graphic() && c != '#';
    if name.is_empty() || !name.chars().all(clean) {
        return Err(bad());
    }
    if address == HOST_GATEWAY {
        return Ok(text.to_owned());
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let parsed: IpAddr =
        bare.parse().map_err(|_| Error::invalid(format!("invalid IP address in add-host: \"{address}\"")))?;
    Ok(format!("{name}:{parsed}"))
}

fn parse_dns(text: &str) -> Result<String> {
    let address: IpAddr =
        text.trim().parse().map_err(|_| Error::invalid(format!("{text} is not an ip address")))?;
    Ok(address.to_string())
}

/// Words that end up on a line of a configuration file, or in an argument.
fn one_line_each(list: &Option<Vec<String>>, flag: &str) -> Result<Vec<String>> {
    let words = list.clone().unwrap_or_default();
    match words.iter().find(|w| w.is_empty() || w.chars().any(|c| c.is_control() || c.is_whitespace())) {
        Some(bad) => Err(Error::invalid(format!("invalid value {bad:?} for {flag}"))),
        None => Ok(words),
    }
}

/// What was said of the log; the engine's settings say the rest.
pub(super) fn parse_log(config: Option<&wire::HostConfigLogConfig>) -> LogRequest {
    let Some(config) = config else { return LogRequest::default() };
    LogRequest { driver: non_empty(&config.typ).map(str::to_owned), options: sorted(&config.config) }
}

/// The `HostConfig` of an `inspect` answer.
pub(super) fn show(config: &HostConfig) -> wire::HostConfig {
    let some_list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let mut host = wire::HostConfig {
        container_id_file: Some(config.container_id_file.clone()),
        log_config: Some(wire::HostConfigLogConfig {
            typ: Some(config.log.driver.as_str().to_owned()),
            config: Some(unsorted(&config.log.options)),
        }),
        network_mode: Some(config.network.word().into_owned()),
        port_bindings: Some(super::network::show_bindings(&config.ports)),
        // Whose they are is known to `inspect`.
        links: (!config.links.is_empty())
            .then(|| config.links.iter().map(|(name, alias)| format!("/{name}:/{alias}")).collect()),
        restart_policy: Some(show_restart(config.restart)),
        auto_remove: Some(config.auto_remove),
        volume_driver: Some(String::new()),
        console_size: {
            let (rows, columns) = config.console_size.unwrap_or_default();
            Some(vec![usize::from(rows), usize::from(columns)])
        },
        annotations: (!config.annotations.is_empty()).then(|| unsorted(&config.annotations)),
        storage_opt: (!config.storage.is_empty()).then(|| unsorted(&config.storage)),
        volumes_from: some_list(&config.volumes_from),
        dns: Some(config.dns.clone()),
        dns_options: Some(config.dns_options.clone()),
        dns_search: Some(config.dns_search.clone()),
        extra_hosts: some_list(&config.extra_hosts),
        group_add: some_list(&config.group_add),
        cgroup: Some(String::new()),
        publish_all_ports: Some(config.publish_all),
        readonly_rootfs: Some(config.readonly_rootfs),
        shm_size: Some(super::signed(config.shm_size_bytes.unwrap_or(SHM_DEFAULT_BYTES))),
        sysctls: (!config.sysctls.is_empty()).then(|| unsorted(&config.sysctls)),
        runtime: Some(if config.runtime.is_empty() { "dhow".to_owned() } else { config.runtime.clone() }),
        isolation: Some(wire::HostConfigIsolationEnum::EMPTY),
        init: config.init.then_some(true),
        ..wire::HostConfig::default()
    };
    mounts::show(&config.mounts, &mut host);
    resources::show(&config.resources, &mut host);
    security::show(&config.security, &mut host);
    host
}

/// 64 MiB, Docker's `/dev/shm`.
const SHM_DEFAULT_BYTES: u64 = 64 << 20;

fn show_restart(policy: RestartPolicy) -> wire::RestartPolicy {
    use wire::RestartPolicyNameEnum as Name;
    let (name, retries) = match policy {
        RestartPolicy::No => (Name::NO, 0),
        RestartPolicy::OnFailure { max_retries } => (Name::ON_FAILURE, i64::from(max_retries)),
        RestartPolicy::Always => (Name::ALWAYS, 0),
        RestartPolicy::UnlessStopped => (Name::UNLESS_STOPPED, 0),
    };
    wire::RestartPolicy { name: Some(name), maximum_retry_count: Some(retries) }
}

#[cfg(test)]
mod tests;
