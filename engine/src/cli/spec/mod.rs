//! From the flags of `run` and `create` to the API's description of a container.
//!
//! `flags` declares them and checks each alone; this file checks them together and puts them where the API
//! wants them, as Docker's client does (`cli/command/container/opts.go`). Nothing is decided here that the
//! engine can decide: what it refuses, it refuses in its own words.

mod csv;
mod devices;
pub(crate) mod env;
mod flags;
mod health;
mod limited;
pub(crate) mod limits;
mod mounts;
mod names;
mod networks;
mod ports;
mod security;

pub(crate) use flags::{REFUSED, SpecArgs};
pub(crate) use limited::LIMITED;
pub(crate) use networks::driver_option;

use crate::cli::exit::{Failure, Outcome};
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    ResourcesBlkioWeightDevice, RestartPolicy, RestartPolicyNameEnum,
};
use std::collections::{BTreeSet, HashMap};

/// A container to create, and what the client itself does with it.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) body: ContainerCreateBody,
    pub(crate) attach_stdin: bool,
    pub(crate) attach_stdout: bool,
    pub(crate) attach_stderr: bool,
    pub(crate) tty: bool,
}

impl Spec {
    /// Nothing of it is attached: `run -d`.
    pub(crate) fn detach(&mut self) {
        (self.attach_stdin, self.attach_stdout, self.attach_stderr) = (false, false, false);
        self.body.attach_stdin = Some(false);
        self.body.attach_stdout = Some(false);
        self.body.attach_stderr = Some(false);
        self.body.stdin_once = Some(false);
    }
}

/// Builds the description.
pub(crate) fn build(args: &SpecArgs) -> Outcome<Spec> {
    let has = |name: &str| args.attach.iter().any(|a| a == name);
    let explicit = !args.attach.is_empty();
    let attach_stdin = has("stdin") || (!explicit && args.interactive);
    let attach_stdout = has("stdout") || !explicit;
    let attach_stderr = has("stderr") || !explicit;
    let labels = env::collect_labels(&args.label_file, &args.label)?;
    let mut bindings = ports::Bindings::new();
    for text in &args.publish {
        ports::publish(&mut bindings, text).map_err(Failure::usage)?;
    }
    let mut exposed: BTreeSet<String> = bindings.keys().cloned().collect();
    for text in &args.expose {
        exposed.extend(ports::expose(text).map_err(Failure::usage)?);
    }
    let anonymous = args.volume.iter().filter_map(|v| match v {
        mounts::Volume::Anonymous(path) => Some(path.clone()),
        mounts::Volume::Bind(_) => None,
    });
    let networks = networks::build(args)?;
    let host_config = build_host(args, bindings, &networks.mode)?;
    let body = ContainerCreateBody {
        hostname: args.hostname.clone(),
        domainname: args.domainname.clone(),
        user: args.user.clone(),
        attach_stdin: Some(attach_stdin),
        attach_stdout: Some(attach_stdout),
        attach_stderr: Some(attach_stderr),
        exposed_ports: some_list(exposed.into_iter().collect()),
        tty: Some(args.tty),
        open_stdin: Some(args.interactive),
        // The container's input ends with ours.
        stdin_once: Some(args.interactive && attach_stdin),
        env: some_list(env::collect(&args.env_file, &args.env)?),
        cmd: some_list(args.command.clone()),
        healthcheck: health::config(args)?,
        image: Some(args.image.clone()),
        volumes: some_list(anonymous.collect()),
        working_dir: args.workdir.clone(),
        // An empty one clears the image's.
        entrypoint: args.entrypoint.clone().map(|e| vec![e]),
        labels: some_map(labels.into_iter().collect()),
        stop_signal: args.stop_signal.clone(),
        stop_timeout: args.stop_timeout,
        host_config: Some(host_config),
        networking_config: networks.config,
        ..Default::default()
    };
    Ok(Spec { body, attach_stdin, attach_stdout, attach_stderr, tty: args.tty })
}

fn build_host(args: &SpecArgs, bindings: ports::Bindings, mode: &str) -> Outcome<HostConfig> {
    check_modes(args)?;
    let restart_policy = args.restart.as_deref().map(parse_restart).transpose()?;
    let restarts = |p: &RestartPolicy| {
        !matches!(p.name, None | Some(RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY))
    };
    if args.rm && restart_policy.as_ref().is_some_and(restarts) {
        return Err(Failure::usage("conflicting options: cannot specify both --restart and --rm"));
    }
    let security = security::parse(&args.security_opt)?;
    let mut binds: Vec<String> = Vec::new();
    for volume in &args.volume {
        // The same words twice are one.
        if let mounts::Volume::Bind(text) = volume
            && !binds.contains(text)
        {
            binds.push(text.clone());
        }
    }
    let tmpfs = args
        .tmpfs
        .iter()
        .map(|t| t.split_once(':').map_or((t.clone(), String::new()), |(p, o)| (p.to_owned(), o.to_owned())));
    let rates = |list: &[limits::Rate]| some_list(list.iter().cloned().map(Into::into).collect());
    let weight_devices = args
        .blkio_weight_device
        .iter()
        .map(|(path, weight)| ResourcesBlkioWeightDevice { path: Some(path.clone()), weight: Some(*weight) });
    Ok(HostConfig {
        cpu_shares: args.cpu_shares,
        memory: args.memory,
        cgroup_parent: args.cgroup_parent.clone(),
        blkio_weight: args.blkio_weight,
        blkio_weight_device: some_list(weight_devices.collect()),
        blkio_device_read_bps: rates(&args.device_read_bps),
        blkio_device_write_bps: rates(&args.device_write_bps),
        blkio_device_read_iops: rates(&args.device_read_iops),
        blkio_device_write_iops: rates(&args.device_write_iops),
        cpu_period: args.cpu_period,
        cpu_quota: args.cpu_quota,
        cpu_realtime_period: args.cpu_rt_period,
        cpu_realtime_runtime: args.cpu_rt_runtime,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        devices: some_list(args.device.clone()),
        device_cgroup_rules: some_list(args.device_cgroup_rule.clone()),
        memory_reservation: args.memory_reservation,
        memory_swap: args.memory_swap,
        memory_swappiness: parse_swappiness(args.memory_swappiness)?,
        nano_cpus: args.cpus.and_then(|n| i64::try_from(n).ok()),
        oom_kill_disable: args.oom_kill_disable.then_some(true),
        init: args.init.then_some(true),
        pids_limit: args.pids_limit,
        ulimits: some_list(args.ulimit.clone()),
        binds: some_list(binds),
        container_id_file: args.cidfile.clone(),
        log_config: parse_log(args)?,
        network_mode: Some(mode.to_owned()),
        // On the default bridge they are lines of a hosts file; elsewhere they are the endpoint's.
        links: some_list(args.link.clone()).filter(|_| matches!(mode, "default" | "bridge")),
        port_bindings: some_map(bindings),
        restart_policy,
        auto_remove: Some(args.rm),
        volumes_from: some_list(args.volumes_from.clone()),
        volume_driver: args.volume_driver.clone(),
        mounts: some_list(args.mount.clone()),
        console_size: crate::cli::exec::console_size(args.tty),
        annotations: some_map(args.annotation.iter().cloned().chain(health::annotation(args)).collect()),
        cap_add: some_list(args.cap_add.clone()),
        cap_drop: some_list(args.cap_drop.clone()),
        cgroupns_mode: match args.cgroupns.as_deref() {
            Some("host") => Some(HostConfigCgroupnsModeEnum::HOST),
            Some("private") => Some(HostConfigCgroupnsModeEnum::PRIVATE),
            _ => None,
        },
        dns: some_list(args.dns.clone()),
        dns_options: some_list(args.dns_option.clone()),
        dns_search: some_list(args.dns_search.clone()),
        extra_hosts: some_list(args.add_host.clone()),
        group_add: some_list(args.group_add.clone()),
        ipc_mode: args.ipc.clone(),
        oom_score_adj: args.oom_score_adj,
        pid_mode: args.pid.clone(),
        privileged: Some(args.privileged),
        publish_all_ports: args.publish_all.then_some(true),
        readonly_rootfs: Some(args.read_only),
        security_opt: some_list(security.options),
        storage_opt: some_map(parse_storage(&args.storage_opt)?),
        tmpfs: some_map(tmpfs.collect()),
        uts_mode: args.uts.clone(),
        userns_mode: args.userns.clone(),
        shm_size: args.shm_size,
        sysctls: some_map(args.sysctl.iter().cloned().collect()),
        runtime: args.runtime.clone(),
        // Empty lists, where the engine's own would be the default.
        masked_paths: security.bare_system_paths.then(Vec::new),
        readonly_paths: security.bare_system_paths.then(Vec::new),
        ..Default::default()
    })
}

fn some_list<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn some_map<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}

fn check_modes(args: &SpecArgs) -> Outcome<()> {
    let container = |mode: &str| mode.strip_prefix("container:").is_some_and(|c| !c.is_empty());
    let ok = |mode: &Option<String>, valid: &dyn Fn(&str) -> bool| {
        mode.as_deref().is_none_or(|m| m.is_empty() || valid(m))
    };
    if !ok(&args.pid, &|m| m == "host" || container(m)) {
        return Err(Failure::usage("--pid: invalid PID mode"));
    }
    if !ok(&args.uts, &|m| m == "host") {
        return Err(Failure::usage("--uts: invalid UTS mode"));
    }
    if !ok(&args.userns, &|m| ["host", "private", "auto"].contains(&m)) {
        return Err(Failure::usage("--userns: invalid USER mode"));
    }
    if !ok(&args.cgroupns, &|m| m == "host" || m == "private") {
        return Err(Failure::usage("--cgroupns: invalid CGROUP mode"));
    }
    if !matches!(args.pull.as_str(), "always" | "missing" | "never") {
        return Err(Failure::usage(format!(
            "invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"",
            args.pull
        )));
    }
    Ok(())
}

pub(crate) fn parse_restart(text: &str) -> Outcome<RestartPolicy> {
    let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
    let name = match name {
        "" if count.is_some() => {
            return Err(Failure::usage("invalid restart policy format: no policy provided before colon"));
        }
        "" => RestartPolicyNameEnum::EMPTY,
        "no" => RestartPolicyNameEnum::NO,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => return Err(Failure::usage(format!("invalid restart policy '{name}'"))),
    };
    let count = match count {
        None => None,
        Some(count) => Some(count.parse::<i64>().map_err(|_| {
            Failure::usage("invalid restart policy format: maximum retry count must be an integer")
        })?),
    };
    Ok(RestartPolicy { name: Some(name), maximum_retry_count: count })
}

fn parse_swappiness(value: Option<i64>) -> Outcome<Option<i64>> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value @ 0..=100) => Ok(Some(value)),
        Some(value) => {
            Err(Failure::usage(format!("invalid value: {value}. Valid memory swappiness range is 0-100")))
        }
    }
}

fn parse_log(args: &SpecArgs) -> Outcome<Option<HostConfigLogConfig>> {
    let driver = args.log_driver.clone().unwrap_or_default();
    if driver == "none" && !args.log_opt.is_empty() {
        return Err(Failure::usage(format!("invalid logging opts for driver {driver}")));
    }
    if driver.is_empty() && args.log_opt.is_empty() {
        return Ok(None);
    }
    let options = args.log_opt.iter().map(|o| {
        o.split_once('=')
            .map_or((o.clone(), String::new()), |(name, value)| (name.to_owned(), value.to_owned()))
    });
    Ok(Some(HostConfigLogConfig { typ: Some(driver), config: Some(options.collect()) }))
}

fn parse_storage(options: &[String]) -> Outcome<HashMap<String, String>> {
    options
        .iter()
        .map(|option| match option.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::usage("invalid storage option")),
        })
        .collect()
}

#[cfg(test)]
mod tests;
