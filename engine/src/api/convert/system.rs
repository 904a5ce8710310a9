//! `version` and `info`.

use super::signed;
use crate::Settings;
use crate::api::{API_VERSION, MIN_API_VERSION};
use crate::container::DEFAULT_CGROUP_PARENT;
use crate::system::info::Info;
use crate::system::version::Version;
use bollard_stubs::models as wire;
use dhow_model::log::LogDriver;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// `GET /version`.
pub(in crate::api) fn version(version: &Version) -> wire::SystemVersion {
    let details = HashMap::from([
        ("ApiVersion".to_owned(), API_VERSION.to_string()),
        ("MinAPIVersion".to_owned(), MIN_API_VERSION.to_string()),
        ("Os".to_owned(), version.os.clone()),
        ("Arch".to_owned(), version.architecture.clone()),
        ("KernelVersion".to_owned(), version.kernel.clone()),
        ("Experimental".to_owned(), "false".to_owned()),
    ]);
    wire::SystemVersion {
        platform: Some(wire::SystemVersionPlatform { name: "dhow".to_owned() }),
        components: Some(vec![wire::SystemVersionComponents {
            // The docker CLI heads the server's part with this component.
            name: "Engine".to_owned(),
            version: version.version.clone(),
            details: Some(details),
        }]),
        version: Some(version.version.clone()),
        api_version: Some(API_VERSION.to_string()),
        min_api_version: Some(MIN_API_VERSION.to_string()),
        git_commit: Some(String::new()),
        go_version: Some(String::new()),
        os: Some(version.os.clone()),
        arch: Some(version.architecture.clone()),
        kernel_version: Some(version.kernel.clone()),
        experimental: None,
        build_time: Some(String::new()),
    }
}

/// Uname's word for an architecture, which `info` uses where everything else uses Go's.
fn machine(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

/// `GET /info`.
pub(in crate::api) fn info(info: &Info, now: String) -> SystemInfo {
    let some = |text: &str| Some(text.to_owned());
    let cgroup = &info.facts.cgroup;
    let has = |controller: &str| Some(cgroup.has(controller));
    let words = |list: &[&str]| Some(list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    let settings = &info.settings;
    let layers = if info.indexes_layers { "indexed" } else { "unpacked" };
    let or = |text: &str, default: &str| some(if text.is_empty() { default } else { text });
    let mut runtimes = HashMap::from([("dhow".to_owned(), wire::Runtime::default())]);
    runtimes.extend(settings.runtimes.iter().map(|(name, runtime)| {
        let path = Some(runtime.path.clone());
        (name.clone(), wire::Runtime { path, runtime_args: Some(runtime.args.clone()), ..Default::default() })
    }));
    let known = wire::SystemInfo {
        id: some(&info.id),
        containers: Some(signed(info.running + info.paused + info.stopped)),
        containers_running: Some(signed(info.running)),
        containers_paused: Some(signed(info.paused)),
        containers_stopped: Some(signed(info.stopped)),
        images: Some(signed(info.images)),
        driver: some("overlay2"),
        driver_status: Some(vec![vec!["Layers".to_owned(), layers.to_owned()]]),
        docker_root_dir: Some(info.root.display().to_string()),
        plugins: Some(wire::PluginsInfo {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "ipvlan", "macvlan", "null"]),
            authorization: None,
            log: words(&LogDriver::ALL.map(LogDriver::as_str)),
        }),
        memory_limit: has("memory"),
        swap_limit: has("memory"),
        cpu_cfs_period: has("cpu"),
        cpu_cfs_quota: has("cpu"),
        cpu_shares: has("cpu"),
        cpu_set: has("cpuset"),
        pids_limit: has("pids"),
        // v2 has no such switch.
        oom_kill_disable: Some(cgroup.has("memory") && !cgroup.is_v2()),
        debug: Some(false),
        n_events_listener: Some(0),
        system_time: Some(now),
        logging_driver: or(&settings.log_driver, "json-file"),
        cgroup_driver: Some(wire::SystemInfoCgroupDriverEnum::CGROUPFS),
        cgroup_version: Some(if cgroup.is_v2() {
            wire::SystemInfoCgroupVersionEnum::_2
        } else {
            wire::SystemInfoCgroupVersionEnum::_1
        }),
        kernel_version: some(&info.version.kernel),
        operating_system: some(&info.operating_system),
        os_version: some(&info.os_version),
        os_type: some(&info.version.os),
        architecture: some(machine(&info.version.architecture)),
        ncpu: Some(signed(info.cpus)),
        mem_total: Some(signed(info.memory_bytes)),
        index_server_address: some(""),
        name: some(&info.name),
        labels: Some(Vec::new()),
        experimental_build: Some(false),
        server_version: some(&info.version.version),
        runtimes: Some(runtimes),
        default_runtime: or(&settings.default_runtime, "dhow"),
        swarm: Some(wire::SwarmInfo {
            node_id: some(""),
            node_addr: some(""),
            local_node_state: Some(wire::LocalNodeState::INACTIVE),
            control_available: Some(false),
            error: some(""),
            ..wire::SwarmInfo::default()
        }),
        // Containers live on when `dhow serve` stops: that is how dhow is built.
        live_restore_enabled: Some(true),
        init_binary: some("dhow-init"),
        security_options: words(if settings.userns_remap.is_empty() {
            &["name=seccomp,profile=builtin"]
        } else {
            &["name=seccomp,profile=builtin", "name=userns"]
        }),
        warnings: Some(info.warnings.clone()),
        ..wire::SystemInfo::default()
    };
    SystemInfo { known, ipv4_forwarding: info.ipv4_forwarding, dhow: InForce::of(settings) }
}

/// The generated answer, and what Docker has no field for.
#[derive(Serialize)]
pub(in crate::api) struct SystemInfo {
    #[serde(flatten)]
    known: wire::SystemInfo,
    /// Left out of the generated type.
    #[serde(rename = "IPv4Forwarding")]
    ipv4_forwarding: bool,
    #[serde(rename = "Dhow")]
    dhow: InForce,
}

/// `Dhow` in `info`: what holds unless a command says otherwise, and where that was read.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InForce {
    config_file: String,
    cgroup_parent: String,
    log_opts: BTreeMap<String, String>,
    default_ulimits: Vec<String>,
    detach_keys: String,
    userns_remap: String,
}

impl InForce {
    fn of(settings: &Settings) -> Self {
        let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
        let file = settings.file.as_ref();
        Self {
            config_file: file.map_or_else(String::new, |file| file.display().to_string()),
            cgroup_parent: or(&settings.cgroup_parent, DEFAULT_CGROUP_PARENT),
            log_opts: settings.log_opts.clone(),
            default_ulimits: settings
                .ulimits
                .iter()
                .map(|u| format!("{}={}:{}", u.name, u.soft, u.hard))
                .collect(),
            detach_keys: or(&settings.detach_keys, "ctrl-p,ctrl-q"),
            userns_remap: settings.userns_remap.clone(),
        }
    }
}
