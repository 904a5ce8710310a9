//! What `inspect` tells, and when.

use super::*;
use dhow_model::container::{HostConfig, NetworkMode};
use dhow_model::signal::Signal;
use dhow_model::{ContainerId, Digest};
use dhow_store::db::ContainerRecord;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn inspected(state: ContainerState) -> Inspected {
    let id = ContainerId::from_random([0xab; 32]);
    let config = ContainerConfig {
        image: "debian:12".into(),
        image_id: Digest::from_sha256([1; 32]),
        hostname: id.short().into(),
        domainname: String::new(),
        user: String::new(),
        env: vec!["A=1".into()],
        entrypoint: vec!["/e".into()],
        cmd: vec!["c".into(), "d".into()],
        working_dir: "/w".into(),
        labels: BTreeMap::new(),
        volumes: BTreeSet::from(["/v".to_owned()]),
        exposed_ports: BTreeSet::from(["80/tcp".to_owned()]),
        tty: true,
        open_stdin: false,
        stdin_once: false,
        attach_stdin: false,
        attach_stdout: true,
        attach_stderr: true,
        stop_signal: Signal::TERM,
        stop_timeout: None,
        healthcheck: None,
        shell: vec![],
        host: HostConfig { network: NetworkMode::Host, ..HostConfig::default() },
    };
    Inspected {
        record: ContainerRecord { id, name: "calm_hopper".into(), created: Timestamp(5), config, state },
        image: None,
        log_path: None,
        hostname_path: "/r/hostname".into(),
        hosts_path: "/r/hosts".into(),
        resolv_conf_path: "/r/resolv.conf".into(),
        health_log: vec![],
        exec_ids: vec![],
        upper: "/r/upper".into(),
        work: "/r/work".into(),
        lower: vec!["/l/b".into(), "/l/a".into()],
        volume_paths: vec![],
        size: None,
        joined: vec![crate::network::Joined {
            name: "host".into(),
            container: "calm_hopper".into(),
            wanted: Default::default(),
            network: None,
            endpoint: None,
        }],
        published: vec![],
    }
}

fn shown(state: ContainerState) -> serde_json::Value {
    serde_json::to_value(show(&inspected(state))).unwrap()
}

#[test]
fn a_running_container() {
    let started_at = Some(Timestamp::from_seconds(1_700_000_000));
    let all =
        shown(ContainerState { status: Status::Running, pid: 42, started_at, ..ContainerState::default() });
    assert_eq!(all["Name"], "/calm_hopper");
    assert_eq!(all["Path"], "/e");
    assert_eq!(all["Args"], json!(["c", "d"]));
    assert_eq!(
        all["State"],
        json!({
            "Status": "running", "Running": true, "Paused": false, "Restarting": false, "OOMKilled": false,
            "Dead": false, "Pid": 42, "ExitCode": 0, "Error": "", "StartedAt": "2023-11-14T22:13:20Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        })
    );
    assert_eq!(all["GraphDriver"]["Data"]["LowerDir"], "/l/b:/l/a");
    assert_eq!(all["NetworkSettings"]["SandboxKey"], "/proc/42/ns/net");
    assert_eq!(all["NetworkSettings"]["Networks"]["host"]["IPAddress"], "");
    assert_eq!(all["NetworkSettings"]["IPAddress"], "");
    assert_eq!(all["Config"]["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!(all["Config"]["StopSignal"], "SIGTERM");
    assert_eq!(all["HostConfig"]["NetworkMode"], "host");
    assert_eq!(all["ExecIDs"], json!(null));
    assert_eq!(all["LogPath"], "");
    assert!(all["State"].get("Health").is_none());
}

#[test]
fn states_in_dockers_terms() {
    for (status, started, running, restarting, paused, word) in [
        (Status::Created, false, false, false, false, "created"),
        (Status::Starting, false, false, false, false, "created"),
        (Status::Paused, true, true, false, true, "paused"),
        (Status::Restarting, true, true, true, false, "restarting"),
        (Status::Exited, true, false, false, false, "exited"),
        (Status::Exited, false, false, false, false, "created"),
        (Status::Dead, true, false, false, false, "dead"),
    ] {
        let started_at = started.then_some(Timestamp(1));
        let state = &shown(ContainerState { status, started_at, ..ContainerState::default() })["State"];
        assert_eq!(
            (&state["Status"], &state["Running"], &state["Restarting"], &state["Paused"]),
            (&json!(word), &json!(running), &json!(restarting), &json!(paused)),
            "{status:?}"
        );
    }
}

#[test]
fn clients_can_read_it() {
    // bollard reads answers with the same generated types that it writes requests with.
    let text = serde_json::to_string(&show(&inspected(ContainerState::default()))).unwrap();
    let read: wire::ContainerInspectResponse = serde_json::from_str(&text).unwrap();
    assert_eq!(read.name.as_deref(), Some("/calm_hopper"));
    assert_eq!(text.matches("\"NetworkSettings\"").count(), 1);
    assert_eq!(text.matches("\"ExecIDs\"").count(), 1);
}
