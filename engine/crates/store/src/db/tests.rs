//! The database as several processes see it, and what each noun promises.

mod artifacts;
mod containers;
mod events;
mod images;
mod intents;
mod measure;
mod networks;
mod opening;
mod referrers;
mod sharing;
mod the_log;

use super::*;
use crate::watch::EventWatch;
use dhow_model::container::{ContainerConfig, CreateSpec};
use dhow_model::event::{EventType, NewEvent};
use dhow_model::image::Image;
use dhow_model::mount::{Mount, MountSource, MountSyntax};
use dhow_model::state::{Move, Status};
use dhow_model::{ContainerId, Digest, Reference, Timestamp};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

fn place() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
    (dir, layout)
}

fn opened() -> (tempfile::TempDir, Layout, StateDb) {
    let (dir, layout) = place();
    let db = StateDb::open(&layout).unwrap();
    (dir, layout, db)
}

fn digest(n: u8) -> Digest {
    Digest::from_sha256([n; 32])
}

fn id_of(n: u64) -> ContainerId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    ContainerId::from_random(bytes)
}

fn image(n: u8, layers: &[Digest]) -> Image {
    Image {
        id: digest(n),
        manifest: None,
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: String::new(),
        created: Some(Timestamp(i64::from(n))),
        author: String::new(),
        config: Default::default(),
        layers: layers.to_vec(),
        history: Vec::new(),
        size_bytes: 7,
        installed: Timestamp(1),
    }
}

fn config(image: &Digest) -> ContainerConfig {
    ContainerConfig {
        image: "debian:12".into(),
        image_id: image.clone(),
        hostname: "h".into(),
        domainname: String::new(),
        user: String::new(),
        env: (0..10).map(|n| format!("VARIABLE_{n}=value")).collect(),
        entrypoint: vec!["/entry".into()],
        cmd: vec!["sh".into(), "-c".into(), "true".into()],
        working_dir: "/".into(),
        labels: BTreeMap::from([("a".into(), "b".into())]),
        volumes: Default::default(),
        exposed_ports: Default::default(),
        tty: false,
        open_stdin: false,
        stdin_once: false,
        attach_stdin: false,
        attach_stdout: true,
        attach_stderr: true,
        stop_signal: Default::default(),
        stop_timeout: None,
        healthcheck: None,
        shell: vec![],
        host: CreateSpec::default().host,
    }
}

fn record(n: u64, name: &str) -> ContainerRecord {
    ContainerRecord {
        id: id_of(n),
        name: name.into(),
        created: Timestamp(i64::try_from(n & 0xffff).unwrap()),
        config: config(&digest(1)),
        state: Default::default(),
    }
}

fn event(actor: &str) -> NewEvent {
    NewEvent {
        kind: EventType::Container,
        action: "create".into(),
        actor: actor.into(),
        attributes: BTreeMap::from([("name".into(), actor.into())]),
    }
}

/// A database that has image 1.
fn with_image() -> (tempfile::TempDir, Layout, StateDb) {
    let (dir, layout, mut db) = opened();
    db.write(|t| t.insert_image(&image(1, &[]))).unwrap();
    (dir, layout, db)
}

#[test]
fn who_claims_to_run_is_found_without_a_look_at_the_rows() {
    let (_dir, _layout, mut db) = opened();
    let plan = db
        .read(|txn| {
            txn.rows(
                || "explain".to_owned(),
                "EXPLAIN QUERY PLAN SELECT id, status FROM containers
                 WHERE status IN (SELECT value FROM json_each('[\"running\"]'))",
                [],
                |row| super::text_column(row, 3, |text| Ok(text.to_owned())),
            )
        })
        .unwrap();
    assert!(plan.iter().any(|step| step.contains("USING COVERING INDEX containers_by_status")), "{plan:?}");
}
