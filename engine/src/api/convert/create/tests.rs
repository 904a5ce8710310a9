//! Requests as clients send them.

use super::*;
use crate::api::convert::machine::Caller;
use dhow_model::ErrorKind;
use dhow_runtime::cgroup::support::Support;

fn machine() -> Machine {
    Machine { cpus: "0-1".into(), nodes: "0".into(), support: Support::all(), caller: Caller::default() }
}

fn parsed(body: Value) -> Result<(CreateSpec, Vec<String>)> {
    parse(body, &machine())
}

/// What `docker -H … run -it --rm debian:12 bash` of version 28.2 sends, field by field.
fn docker_cli_request() -> Value {
    serde_json::from_str(
        r#"{
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": true, "AttachStdout": true,
        "AttachStderr": true, "Tty": true, "OpenStdin": true, "StdinOnce": true, "Env": null, "Cmd": ["bash"],
        "Image": "debian:12", "Volumes": {}, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {},
        "HostConfig": {
            "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}},
            "NetworkMode": "default", "PortBindings": {}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": true, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [24, 80], "CapAdd": null,
            "CapDrop": null, "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": null,
            "GroupAdd": null, "IpcMode": "", "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "",
            "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": null,
            "UTSMode": "", "UsernsMode": "", "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0,
            "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [],
            "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [],
            "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0,
            "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": [],
            "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
            "MemorySwappiness": -1, "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0,
            "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": null,
            "ReadonlyPaths": null
        },
        "NetworkingConfig": {"EndpointsConfig": {"default": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "DriverOpts": null, "GwPriority": 0,
            "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "MacAddress": "",
            "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null
        }}}
    }"#,
    )
    .unwrap()
}

#[test]
fn what_the_docker_cli_sends_is_understood() {
    let (spec, warnings) = parsed(docker_cli_request()).unwrap();
    assert_eq!(spec.image, "debian:12");
    assert_eq!(spec.cmd.as_deref(), Some(&["bash".to_owned()][..]));
    assert_eq!((spec.entrypoint, spec.user, spec.hostname, spec.working_dir), (None, None, None, None));
    assert!(spec.tty && spec.open_stdin && spec.stdin_once && spec.host.auto_remove);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(spec.host.endpoints[0].network, "bridge");
}

#[test]
fn forms_that_old_clients_send() {
    let (spec, _) = parsed(json!({
        "Image": "x", "Cmd": "one word", "Entrypoint": "/e", "Volumes": {"/v/": null}, "ExposedPorts": {"80": {}, "53/udp": null},
        "Unheard": {"of": 1}, "HostConfig": {"Unheard": 1},
    }))
    .unwrap();
    assert_eq!(spec.cmd.unwrap(), ["one word"]);
    assert_eq!(spec.entrypoint.unwrap(), ["/e"]);
    assert_eq!(spec.volumes, BTreeSet::from(["/v".to_owned()]));
    assert_eq!(spec.exposed_ports, BTreeSet::from(["53/udp".to_owned(), "80/tcp".to_owned()]));
}

#[test]
fn an_empty_entrypoint_is_not_an_absent_one() {
    let entrypoint = |value: Value| parsed(json!({"Image": "x", "Entrypoint": value})).unwrap().0.entrypoint;
    assert_eq!(entrypoint(json!(null)), None);
    assert_eq!(entrypoint(json!([""])), Some(vec![String::new()]));
    assert_eq!(entrypoint(json!([])), Some(vec![]));
}

#[test]
fn the_root_is_a_working_directory() {
    let dir = |text: &str| parsed(json!({"Image": "x", "WorkingDir": text})).map(|(s, _)| s.working_dir);
    assert_eq!(dir("/").unwrap().as_deref(), Some("/"));
    assert_eq!(dir("/a/../b/").unwrap().as_deref(), Some("/b"));
    assert_eq!(
        dir("a").unwrap_err().to_string(),
        "the working directory 'a' is invalid, it needs to be an absolute path"
    );
}

#[test]
fn refusals() {
    use ErrorKind::{InvalidArgument, Unsupported};
    for (body, kind, words) in [
        (json!([]), InvalidArgument, "config cannot be empty"),
        (json!(null), InvalidArgument, "config cannot be empty"),
        (json!({}), InvalidArgument, "no image specified"),
        (json!({"Image": 1}), InvalidArgument, "invalid JSON"),
        (json!({"Image": "x", "Env": ["=a"]}), InvalidArgument, "invalid environment variable: =a"),
        (json!({"Image": "x", "Env": [""]}), InvalidArgument, "invalid environment variable"),
        (json!({"Image": "x", "Env": ["A=\u{0}"]}), InvalidArgument, "NUL"),
        (json!({"Image": "x", "Cmd": ["a\u{0}b"]}), InvalidArgument, "NUL"),
        (json!({"Image": "x", "Hostname": "a b"}), InvalidArgument, "invalid hostname format: a b"),
        (json!({"Image": "x", "Hostname": "a\n127.0.0.1 evil"}), InvalidArgument, "invalid hostname"),
        (json!({"Image": "x", "Hostname": "a".repeat(65)}), InvalidArgument, "invalid hostname"),
        (json!({"Image": "x", "StopSignal": "BOGUS"}), InvalidArgument, "invalid signal: BOGUS"),
        (
            json!({"Image": "x", "ExposedPorts": {"http": {}}}),
            InvalidArgument,
            "invalid port specification: \"http\"",
        ),
        (
            json!({"Image": "x", "ExposedPorts": {"80/icmp": {}}}),
            InvalidArgument,
            "invalid port specification",
        ),
        (json!({"Image": "x", "Volumes": {"/a:/b": {}}}), InvalidArgument, "bind mounts are not allowed"),
        (json!({"Image": "x", "Volumes": {"a": {}}}), InvalidArgument, "must be absolute"),
        (
            json!({"Image": "x", "HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}),
            InvalidArgument,
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            json!({"Image": "x", "HostConfig": {"CgroupnsMode": "odd"}}),
            InvalidArgument,
            "invalid cgroup namespace mode: odd",
        ),
        (json!({"Image": "x", "HostConfig": {"Isolation": "hyperv"}}), InvalidArgument, "invalid isolation"),
        (
            json!({"Image": "x", "HostConfig": {"Mounts": [{"Type": "odd", "Target": "/a"}]}}),
            InvalidArgument,
            "mount type unknown",
        ),
        (
            json!({"Image": "x", "HostConfig": {"Mounts": [{"Type": "bind", "BindOptions": {"Propagation": "odd"}}]}}),
            InvalidArgument,
            "invalid propagation mode: odd",
        ),
        (
            json!({"Image": "x", "MacAddress": "01:11:22:33:44:55"}),
            InvalidArgument,
            "not a valid mac address",
        ),
        (json!({"Image": "x", "HostConfig": {"KernelMemory": 1}}), Unsupported, "KernelMemory"),
        (
            json!({"Image": "x", "Healthcheck": {"Interval": 10}}),
            InvalidArgument,
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (
            json!({"Image": "x", "Healthcheck": {"Timeout": -1}}),
            InvalidArgument,
            "Timeout in Healthcheck cannot be less than 1ms",
        ),
        (
            json!({"Image": "x", "Healthcheck": {"Retries": -1}}),
            InvalidArgument,
            "Retries in Healthcheck cannot be negative",
        ),
        (
            json!({"Image": "x", "Healthcheck": {"Test": ["true"]}}),
            InvalidArgument,
            "unknown type \"true\" in Healthcheck.Test",
        ),
        (
            json!({"Image": "x", "HostConfig": {"NetworkMode": "host"},
                   "NetworkingConfig": {"EndpointsConfig": {"mine": {}}}}),
            InvalidArgument,
            "cannot attach both user-defined network mine",
        ),
        (
            json!({"Image": "x", "NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["a b"]}}}}),
            InvalidArgument,
            "invalid alias",
        ),
    ] {
        let error = parsed(body.clone()).map(|s| panic!("{body}: {s:?}")).unwrap_or_else(|e| e);
        assert_eq!(error.kind(), kind, "{body}: {error}");
        assert!(error.to_string().contains(words), "{body}: {error}");
    }
    assert!(parsed(json!({"Image": "x", "Healthcheck": {"Test": ["NONE"]}})).is_ok());
    assert!(parsed(json!({"Image": "x", "Healthcheck": {}})).is_ok());
    let check = json!({"Test": ["CMD", "true"], "Interval": 2_000_000_000, "Retries": 4});
    let (spec, _) = parsed(json!({"Image": "x", "Healthcheck": check})).unwrap();
    let check = spec.healthcheck.unwrap();
    assert_eq!((check.test.len(), check.interval.as_secs(), check.retries), (2, 2, 4));
    let (spec, warnings) = parsed(json!({"Image": "x", "NetworkDisabled": true})).unwrap();
    assert_eq!(spec.host.network, dhow_model::container::NetworkMode::None);
    assert!(warnings.is_empty());
}

fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("\\PC{0,8}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn nothing_that_a_client_sends_panics(field in 0usize..64, value in any_json()) {
        // One field of an otherwise good request becomes nonsense.
        let mut body = docker_cli_request();
        let host = body["HostConfig"].as_object_mut().unwrap();
        let names: Vec<String> = host.keys().cloned().collect();
        let name = &names[field % names.len()];
        host.insert(name.clone(), value.clone());
        let _ = parsed(body);
        let mut body = docker_cli_request();
        let names: Vec<String> = body.as_object().unwrap().keys().cloned().collect();
        body[&names[field % names.len()]] = value;
        let _ = parsed(body);
    }
}
