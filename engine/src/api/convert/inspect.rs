//! Everything about one container, as `inspect` shows it.

use super::extension::{self, Extension};
use super::{host, image, mounts, network, signed, unsorted};
use crate::container::inspect::Inspected;
use bollard_stubs::models as wire;
use dhow_model::Timestamp;
use dhow_model::container::ContainerConfig;
use dhow_model::health::ProbeResult;
use dhow_model::network::DEFAULT_NETWORK;
use dhow_model::state::{ContainerState, Status};
use serde::Serialize;
use std::path::Path;

/// Go's zero time: what Docker shows for what has not happened.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Shows a container.
pub(in crate::api) fn show(found: &Inspected) -> ContainerInspect {
    let record = &found.record;
    let config = &record.config;
    let mut argv = config.argv().cloned();
    let text = |path: &Path| Some(path.display().to_string());
    let known = wire::ContainerInspectResponse {
        id: Some(record.id.to_string()),
        created: Some(record.created.to_string()),
        path: Some(argv.next().unwrap_or_default()),
        args: Some(argv.collect()),
        state: Some(state(&record.state, &found.health_log)),
        image: Some(config.image_id.to_string()),
        resolv_conf_path: text(&found.resolv_conf_path),
        hostname_path: text(&found.hostname_path),
        hosts_path: text(&found.hosts_path),
        log_path: Some(found.log_path.as_deref().and_then(text).unwrap_or_default()),
        name: Some(format!("/{}", record.name)),
        restart_count: Some(i64::from(record.state.restart_count)),
        driver: Some("overlay2".to_owned()),
        platform: Some("linux".to_owned()),
        mount_label: Some(String::new()),
        process_label: Some(String::new()),
        app_armor_profile: Some(String::new()),
        host_config: Some(wire::HostConfig {
            links: (!config.host.links.is_empty()).then(|| {
                let show = |(name, alias): &(String, String)| format!("/{name}:/{}/{alias}", record.name);
                config.host.links.iter().map(show).collect()
            }),
            ..host::show(&config.host)
        }),
        graph_driver: Some(image::graph_driver(&found.lower, Some((&found.upper, &found.work)))),
        size_rw: found.size.map(|(rw, _)| signed(rw)),
        size_root_fs: found.size.map(|(_, all)| signed(all)),
        mounts: Some(mounts::mount_points(&config.host.mounts, &found.volume_paths)),
        config: Some(show_config(config)),
        ..wire::ContainerInspectResponse::default()
    };
    let exec_ids: Vec<String> = found.exec_ids.iter().map(ToString::to_string).collect();
    ContainerInspect {
        known,
        exec_ids: (!exec_ids.is_empty()).then_some(exec_ids),
        network_settings: NetworkSettings::of(found),
        dhow: extension::of(record),
    }
}

/// The generated answer, with the two fields that it shapes otherwise than Docker does.
#[derive(Serialize)]
pub(in crate::api) struct ContainerInspect {
    #[serde(flatten)]
    known: wire::ContainerInspectResponse,
    /// `null`, not absent, when there are none.
    #[serde(rename = "ExecIDs")]
    exec_ids: Option<Vec<String>>,
    #[serde(rename = "NetworkSettings")]
    network_settings: NetworkSettings,
    /// What Docker has no field for.
    #[serde(rename = "Dhow")]
    dhow: Extension,
}

/// The generated network settings, and the older fields that templates still ask for.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(flatten)]
    known: wire::NetworkSettings,
    bridge: &'static str,
    hairpin_mode: bool,
    #[serde(rename = "LinkLocalIPv6Address")]
    link_local_ipv6_address: &'static str,
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    link_local_ipv6_prefix_len: u8,
    #[serde(rename = "SecondaryIPAddresses")]
    secondary_ip_addresses: Option<()>,
    #[serde(rename = "SecondaryIPv6Addresses")]
    secondary_ipv6_addresses: Option<()>,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    global_ipv6_prefix_len: i64,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    ip_prefix_len: i64,
    #[serde(rename = "IPv6Gateway")]
    ipv6_gateway: String,
    mac_address: String,
}

impl NetworkSettings {
    /// The older fields tell of the default bridge alone.
    fn of(found: &Inspected) -> Self {
        let state = &found.record.state;
        // The namespace has no name of its own; while the process lives, this is it.
        let key =
            if state.status.has_process() { format!("/proc/{}/ns/net", state.pid) } else { String::new() };
        let endpoints = network::show_endpoints(&found.joined);
        let old = endpoints.get(DEFAULT_NETWORK).cloned().unwrap_or_default();
        let text = |value: Option<String>| value.unwrap_or_default();
        Self {
            known: wire::NetworkSettings {
                sandbox_id: Some(String::new()),
                sandbox_key: Some(key),
                ports: Some(network::show_ports(found)),
                networks: Some(endpoints),
            },
            bridge: "",
            hairpin_mode: false,
            link_local_ipv6_address: "",
            link_local_ipv6_prefix_len: 0,
            secondary_ip_addresses: None,
            secondary_ipv6_addresses: None,
            endpoint_id: text(old.endpoint_id),
            gateway: text(old.gateway),
            global_ipv6_address: text(old.global_ipv6_address),
            global_ipv6_prefix_len: old.global_ipv6_prefix_len.unwrap_or(0),
            ip_address: text(old.ip_address),
            ip_prefix_len: old.ip_prefix_len.unwrap_or(0),
            ipv6_gateway: text(old.ipv6_gateway),
            mac_address: text(old.mac_address),
        }
    }
}

fn state(state: &ContainerState, health_log: &[ProbeResult]) -> wire::ContainerState {
    let time = |time: Option<Timestamp>| Some(time.map_or_else(|| NEVER.to_owned(), |t| t.to_string()));
    let is = |status: Status| Some(state.status == status);
    wire::ContainerState {
        status: state.shown_status().parse().ok(),
        // To Docker a container is running while it waits for its restart, and while it is paused.
        running: Some(state.status.has_process() || state.status == Status::Restarting),
        paused: is(Status::Paused),
        restarting: is(Status::Restarting),
        oom_killed: Some(state.oom_killed),
        dead: is(Status::Dead),
        pid: Some(i64::from(state.pid)),
        exit_code: Some(i64::from(state.exit_code)),
        error: Some(state.error.clone()),
        started_at: time(state.started_at),
        finished_at: time(state.finished_at),
        health: state.life.health.map(|health| super::health::state(&health, health_log)),
    }
}

fn show_config(config: &ContainerConfig) -> wire::ContainerConfig {
    let some_list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    wire::ContainerConfig {
        hostname: Some(config.hostname.clone()),
        domainname: Some(config.domainname.clone()),
        user: Some(config.user.clone()),
        attach_stdin: Some(config.attach_stdin),
        attach_stdout: Some(config.attach_stdout),
        attach_stderr: Some(config.attach_stderr),
        exposed_ports: Some(config.exposed_ports.iter().cloned().collect()),
        tty: Some(config.tty),
        open_stdin: Some(config.open_stdin),
        stdin_once: Some(config.stdin_once),
        env: Some(config.env.clone()),
        cmd: some_list(&config.cmd),
        image: Some(config.image.clone()),
        volumes: Some(config.volumes.iter().cloned().collect()),
        working_dir: Some(config.working_dir.clone()),
        entrypoint: some_list(&config.entrypoint),
        labels: Some(unsorted(&config.labels)),
        stop_signal: Some(config.stop_signal.to_string()),
        stop_timeout: config.stop_timeout,
        healthcheck: config.healthcheck.as_ref().map(super::health::show),
        shell: some_list(&config.shell),
        ..wire::ContainerConfig::default()
    }
}

#[cfg(test)]
mod tests;
