//! `HostConfig` in both directions: what a client sends, and that `inspect` gives back what was kept.

use super::*;
use crate::api::convert::machine::Caller;
use dhow_model::ErrorKind;
use dhow_model::mount::{Mount, MountSource, MountSyntax, Propagation, ReadonlyBelow, VolumeDetails};
use dhow_model::resources::{Device, DeviceRate, DeviceWeight, RateKind, Resources, Ulimit};
use dhow_model::security::{SeccompProfile, Security, UserNamespace};
use dhow_runtime::cgroup::support::Support;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn machine() -> Machine {
    Machine { cpus: "0-3".into(), nodes: "0".into(), support: Support::all(), caller: Caller::default() }
}

fn some_ports() -> bollard_stubs::models::PortMap {
    serde_json::from_value(json!({"80/tcp": [{"HostIp": "::1", "HostPort": "80-90"}], "5/udp": [{}]}))
        .unwrap()
}

fn parsed(value: Value) -> Result<(HostConfig, Vec<String>)> {
    let mut warnings = Vec::new();
    parse(&serde_json::from_value(value).unwrap(), &machine(), &mut warnings).map(|host| (host, warnings))
}

#[test]
fn networks() {
    assert_eq!(parsed(json!({"NetworkMode": "host"})).unwrap().0.network, NetworkMode::Host);
    for (typed, name) in [("", "bridge"), ("default", "bridge"), ("bridge", "bridge"), ("mine", "mine")] {
        let (host, warnings) = parsed(json!({ "NetworkMode": typed })).unwrap();
        assert_eq!(host.network, NetworkMode::Network(name.into()));
        assert!(warnings.is_empty());
    }
    assert_eq!(parsed(json!({"NetworkMode": "none"})).unwrap().0.network, NetworkMode::None);
}

#[test]
fn ports() {
    let bindings = json!({"80/tcp": [{"HostPort": "8080"}]});
    let (host, _) = parsed(json!({ "PortBindings": bindings })).unwrap();
    assert_eq!((host.ports[0].port, host.ports[0].host_ports), (80, (8080, 8080)));
    assert!(parsed(json!({"PublishAllPorts": true})).unwrap().0.publish_all);
    assert!(parsed(json!({"PortBindings": {}})).unwrap().0.ports.is_empty());
    let (_, warnings) = parsed(json!({"PortBindings": bindings, "NetworkMode": "host"})).unwrap();
    assert_eq!(warnings, ["Published ports are discarded when using host network mode"]);
}

#[test]
fn restart_policies() {
    let policy = |name: &str, count: i64| {
        parsed(json!({"RestartPolicy": {"Name": name, "MaximumRetryCount": count}})).map(|(h, _)| h.restart)
    };
    assert_eq!(policy("", 5).unwrap(), RestartPolicy::No);
    assert_eq!(policy("on-failure", 3).unwrap(), RestartPolicy::OnFailure { max_retries: 3 });
    assert_eq!(policy("unless-stopped", 0).unwrap(), RestartPolicy::UnlessStopped);
    assert_eq!(
        policy("always", 1).unwrap_err().to_string(),
        "invalid restart policy: maximum retry count can only be used with 'on-failure'"
    );
    assert_eq!(
        policy("always", -1).unwrap_err().to_string(),
        "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative"
    );
    assert_eq!(
        policy("on-failure", -1).unwrap_err().to_string(),
        "invalid restart policy: maximum retry count cannot be negative"
    );
    let error = parsed(json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}})).unwrap_err();
    assert_eq!(error.to_string(), "can't create 'AutoRemove' container with restart policy");
}

#[test]
fn sysctls_are_those_of_own_namespaces() {
    let sysctl = |name: &str, more: Value| {
        let mut host = json!({ "Sysctls": { name: "1" } });
        host.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parsed(host).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(sysctl("net.ipv4.ip_forward", json!({})), Ok(()));
    assert_eq!(sysctl("net/ipv4/ip_forward", json!({})), Ok(()));
    assert_eq!(sysctl("kernel.shmmax", json!({})), Ok(()));
    assert_eq!(sysctl("fs.mqueue.msg_max", json!({})), Ok(()));
    for (name, more, words) in [
        ("net.ipv4.ip_forward", json!({"NetworkMode": "host"}), "not allowed in host network namespace"),
        ("kernel.shmmax", json!({"IpcMode": "host"}), "is not allowed in the hosts ipc namespace"),
        ("kernel.domainname", json!({"UTSMode": "host"}), "not allowed in host uts namespace"),
        ("vm.swappiness", json!({}), "is not in a separate kernel namespace"),
        ("kernel.panic", json!({}), "is not in a separate kernel namespace"),
        ("net.../../kernel.panic", json!({}), "is malformed"),
        ("net/../kernel/panic", json!({}), "is malformed"),
        ("/net/ipv4", json!({}), "is malformed"),
        ("net.a b", json!({}), "is malformed"),
    ] {
        let message = sysctl(name, more).unwrap_err();
        assert!(message.contains(words), "{name}: {message}");
    }
}

#[test]
fn names_and_addresses() {
    let (host, _) = parsed(json!({
        "ExtraHosts": ["db:10.0.0.1", "six:[::1]", "six:fe80::1"], "Dns": ["1.1.1.1"], "DnsSearch": ["a.b"],
        "DnsOptions": ["ndots:2"], "GroupAdd": ["audio", "44"],
    }))
    .unwrap();
    assert_eq!(host.extra_hosts, ["db:10.0.0.1", "six:::1", "six:fe80::1"]);
    for (value, words) in [
        (json!({"ExtraHosts": ["db"]}), "bad format for add-host: \"db\""),
        (json!({"ExtraHosts": ["db:nowhere"]}), "invalid IP address in add-host: \"nowhere\""),
        (json!({"ExtraHosts": ["a b:1.1.1.1"]}), "bad format for add-host"),
        (json!({"ExtraHosts": ["a\n1.2.3.4 b:1.1.1.1"]}), "bad format for add-host"),
        (json!({"Dns": ["x"]}), "x is not an ip address"),
        (json!({"DnsSearch": ["a\nnameserver 6.6.6.6"]}), "--dns-search"),
    ] {
        let message = parsed(value.clone()).unwrap_err().to_string();
        assert!(message.contains(words), "{value}: {message}");
    }
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (value, name) in
        [(json!({"VolumeDriver": "nfs"}), "nfs"), (json!({"Cgroup": "container:x"}), "Cgroup")]
    {
        let error = parsed(value.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{value}");
        assert!(error.to_string().contains(name), "{value}: {error}");
    }
    assert!(parsed(json!({"Runtime": "runc", "VolumeDriver": "local", "Isolation": "default"})).is_ok());
    assert!(parsed(json!({"ShmSize": -1})).is_err());
    assert!(parsed(json!({"Annotations": {"": "x"}})).is_err());
}

fn any_mount(target: String) -> impl Strategy<Value = Mount> {
    let propagation = prop_oneof![
        Just(Propagation::Rprivate),
        Just(Propagation::Private),
        Just(Propagation::Rshared),
        Just(Propagation::Shared),
        Just(Propagation::Rslave),
        Just(Propagation::Slave),
    ];
    let volume_syntax = prop_oneof![
        propagation.clone().prop_map(|propagation| MountSource::Bind {
            path: "/src".into(),
            create: true,
            recursive: true,
            propagation,
            readonly_below: ReadonlyBelow::default()
        }),
        any::<bool>().prop_map(|nocopy| MountSource::Volume {
            name: "vol".into(),
            nocopy,
            anonymous: false,
            details: VolumeDetails::default()
        }),
    ];
    let tmpfs = (proptest::option::of(1u64..1 << 40), proptest::option::of(1u32..0o7777), any::<bool>())
        .prop_map(|(size_bytes, mode, exec)| MountSource::Tmpfs {
            size_bytes,
            mode,
            exec,
            options: vec!["uid=7".into()],
        });
    let mount_syntax = prop_oneof![
        (any::<bool>(), any::<bool>(), propagation).prop_map(|(create, recursive, propagation)| {
            MountSource::Bind {
                path: "/src".into(),
                create,
                recursive,
                propagation,
                readonly_below: ReadonlyBelow::default(),
            }
        }),
        any::<bool>().prop_map(|nocopy| MountSource::Volume {
            name: "vol".into(),
            nocopy,
            anonymous: false,
            details: VolumeDetails::default()
        }),
        tmpfs.clone(),
    ];
    let source = prop_oneof![
        volume_syntax.prop_map(|s| (s, MountSyntax::Volume)),
        mount_syntax.prop_map(|s| (s, MountSyntax::Mount)),
        tmpfs.prop_map(|s| (s, MountSyntax::Tmpfs)),
    ];
    (source, any::<bool>()).prop_map(move |((source, written_as), readonly)| Mount {
        target: target.clone(),
        readonly,
        source,
        written_as,
    })
}

fn any_resources() -> impl Strategy<Value = Resources> {
    let memory = proptest::option::of(6u64 << 20..1 << 40);
    let cpu = prop_oneof![
        (1u64..4_000_000_000).prop_map(|n| (Some(n), None, None)),
        (1_000i64..1_000_000, 1_000u64..=1_000_000).prop_map(|(q, p)| (None, Some(q), Some(p))),
        Just((None, None, None)),
    ];
    let rest = (
        proptest::option::of(1u64..1_000_000),
        proptest::option::of(10u16..=1000),
        proptest::option::of(2u64..262_144),
        -1000i32..=1000,
        any::<bool>(),
    );
    (memory, cpu, rest).prop_map(|(memory_bytes, (nano_cpus, cpu_quota_us, cpu_period_us), rest)| {
        let (pids_limit, blkio_weight, cpu_shares, oom_score_adj, oom_kill_disable) = rest;
        Resources {
            memory_bytes,
            memory_swap_bytes: memory_bytes.map(|_| -1),
            memory_reservation_bytes: memory_bytes,
            oom_kill_disable,
            oom_score_adj,
            nano_cpus,
            cpu_quota_us,
            cpu_period_us,
            cpu_shares,
            cpuset_cpus: "0,2-3".into(),
            cpuset_mems: String::new(),
            pids_limit,
            blkio_weight,
            blkio_weight_devices: blkio_weight
                .map(|weight| DeviceWeight { path: "/dev/sda".into(), weight })
                .into_iter()
                .collect(),
            blkio_rates: pids_limit
                .map(|rate| DeviceRate { path: "/dev/sda".into(), kind: RateKind::WriteBytes, rate })
                .into_iter()
                .collect(),
            memory_swappiness: memory_bytes.map(|_| 7),
            cpu_rt_period_us: pids_limit,
            cpu_rt_runtime_us: None,
            ulimits: vec![Ulimit { name: "core".into(), soft: 0, hard: -1 }],
            cgroup_parent: String::new(),
            devices: vec![Device {
                host_path: "/dev/a".into(),
                container_path: "/dev/b".into(),
                permissions: "rw".into(),
            }],
            device_cgroup_rules: vec!["c 1:* r".into()],
        }
    })
}

fn any_security() -> impl Strategy<Value = Security> {
    let namespace = prop_oneof![Just(Namespace::Private), Just(Namespace::Host)];
    (any::<[bool; 4]>(), namespace.clone(), namespace.clone(), namespace).prop_map(
        |([privileged, no_new_privileges, systempaths_unconfined, unconfined], pid, uts, cgroup)| {
            let mut options = Vec::new();
            if no_new_privileges {
                options.push("no-new-privileges".to_owned());
            }
            if unconfined {
                options.push("seccomp=unconfined".to_owned());
            }
            Security {
                privileged,
                cap_add: vec!["CAP_NET_ADMIN".into()],
                cap_drop: vec!["ALL".into()],
                no_new_privileges,
                seccomp: if unconfined { SeccompProfile::Unconfined } else { SeccompProfile::Default },
                systempaths_unconfined,
                options,
                pid,
                ipc: Ipc::Shareable,
                uts,
                cgroup,
                userns: UserNamespace::Auto,
                // Allotted by the engine.
                ids: None,
            }
        },
    )
}

proptest! {
    /// What `inspect` shows, sent back, is the same container: nothing is lost on the way out or in.
    #[test]
    fn a_host_config_survives_the_wire(
        binds in any_mount("/b".into()),
        more in any_mount("/a".into()),
        resources in any_resources(),
        security in any_security(),
        flags in any::<[bool; 3]>(),
        shm in 1u64..1 << 30,
    ) {
        let mut mounts = vec![binds, more];
        // The three wire fields come in this order.
        mounts.sort_by_key(|m| (match m.written_as {
            MountSyntax::Volume => 0,
            MountSyntax::Mount => 1,
            _ => 2,
        }, m.target.clone()));
        let host = HostConfig {
            mounts,
            volumes_from: vec!["other:ro".into()],
            network: if flags[0] { NetworkMode::Host } else { NetworkMode::Network("mine".into()) },
            // Beside the host's configuration.
            endpoints: vec![],
            ports: if flags[0] { vec![] } else { super::super::network::parse_ports(Some(&some_ports())).unwrap() },
            publish_all: !flags[0] && flags[1],
            links: vec![("db".into(), "sql".into())],
            restart: if flags[1] { RestartPolicy::No } else { RestartPolicy::OnFailure { max_retries: 2 } },
            auto_remove: flags[1],
            console_size: flags[1].then_some((28, 113)),
            resources,
            security,
            readonly_rootfs: flags[2],
            init: flags[2],
            shm_size_bytes: Some(shm),
            sysctls: BTreeMap::from([("kernel.msgmax".to_owned(), "1".to_owned())]),
            extra_hosts: vec!["a:::1".into()],
            dns: vec!["::1".into()],
            dns_search: vec!["x".into()],
            dns_options: vec![],
            group_add: vec!["5".into()],
            // Chosen by the engine.
            log: LogConfig::default(),
            container_id_file: "/tmp/id".into(),
            runtime: "crun".into(),
            storage: BTreeMap::from([("size".to_owned(), "1g".to_owned())]),
            storage_project: 0,
            annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        };
        let wire = serde_json::to_value(show(&host)).unwrap();
        let (back, _) = parsed(wire).unwrap();
        prop_assert_eq!(back, host);
    }
}
