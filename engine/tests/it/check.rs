//! `system check`: what is spoilt is found and named, what is left over goes, and a sound engine is left alone.

use crate::sandbox::{Sandbox, names_in};
use std::path::{Path, PathBuf};

/// The largest file below a directory.
fn largest(directory: &Path) -> PathBuf {
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() {
                files.push((metadata.len(), entry.path()));
            }
        }
    }
    files.into_iter().max().unwrap().1
}

fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn layer_of(sandbox: &Sandbox, image: &str) -> String {
    sandbox.ok(["image", "inspect", "-f", "{{index .RootFS.Layers 0}}", image])
}

#[test]
fn a_sound_engine_is_left_alone() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["volume", "create", "data"]);
    sandbox.ok(["run", "-d", "--name", "up", "--network", "none", "busybox", "sleep", "1000"]);
    for arguments in [&["system", "check"][..], &["system", "check", "--repair"]] {
        let checked = sandbox.ok(arguments);
        assert!(checked.starts_with("Checked "), "{checked}");
        assert!(checked.ends_with(", 1 images, 1 containers, 1 volumes: nothing is broken"), "{checked}");
    }
    assert_eq!(sandbox.ok(["exec", "up", "echo", "alive"]), "alive");
}

#[test]
fn a_spoilt_layer_is_named_and_its_image_goes_when_no_container_needs_it() {
    let sandbox = Sandbox::with_busybox();
    let layer = layer_of(&sandbox, "busybox");
    let hex = layer.strip_prefix("sha256:").unwrap();
    sandbox.ok(["create", "--name", "user", "--network", "none", "busybox", "true"]);
    spoil(&largest(&sandbox.root().join("layers").join(hex)));

    let found = sandbox.dhow(["system", "check"]);
    assert_eq!(found.code, 1);
    assert!(found.stdout.starts_with(&format!("layer {layer}: ")), "{}", found.stdout);
    assert!(found.stdout.contains("(needed by busybox:latest): broken\n"), "{}", found.stdout);
    assert!(found.stdout.ends_with(": 1 broken\n"), "{}", found.stdout);

    let kept = sandbox.dhow(["system", "check", "--repair", "-q"]);
    assert_eq!(kept.code, 1);
    assert!(kept.stdout.contains("must be removed before a repair: broken"), "{}", kept.stdout);
    assert!(!sandbox.ok(["images", "-q"]).is_empty());

    sandbox.ok(["rm", "user"]);
    let repaired = sandbox.dhow(["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{}", repaired.stdout);
    assert!(
        repaired.stdout.contains("removed with the images that need it: pull them again"),
        "{}",
        repaired.stdout
    );
    assert_eq!(sandbox.ok(["images", "-q"]), "");
    assert!(names_in(&sandbox.root().join("layers")).iter().all(|name| name.len() != 64));
    assert!(sandbox.ok(["system", "check"]).ends_with(": nothing is broken"));
}

#[test]
fn what_is_missing_is_said_and_what_is_left_over_goes() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["volume", "create", "data"]);
    sandbox.ok(["run", "--name", "done", "--network", "none", "busybox", "true"]);
    let id = sandbox.ok(["inspect", "-f", "{{.Id}}", "done"]);
    std::fs::remove_dir_all(sandbox.root().join("volumes/data")).unwrap();
    std::fs::remove_dir_all(sandbox.root().join("containers").join(&id).join("upper")).unwrap();
    std::fs::create_dir_all(sandbox.root().join("volumes/lost/_data")).unwrap();
    let stranger = "f".repeat(64);
    std::fs::create_dir_all(sandbox.root().join("containers").join(&stranger)).unwrap();
    let nobodys = sandbox.root().join("content/sha256").join("0".repeat(64));
    std::fs::write(&nobodys, "nobody's").unwrap();

    let found = sandbox.dhow(["system", "check", "--repair"]);
    assert_eq!(found.code, 1);
    for (line, what) in [
        (format!("blob sha256:{}: no image needs its 8 bytes", "0".repeat(64)), "removed"),
        ("container done: its writable layer ".to_owned(), "is missing: broken"),
        (format!("container {stranger}: a directory of a container that is not there"), "removed"),
        ("volume data: its directory ".to_owned(), "is missing: broken"),
        ("volume lost: there is data in ".to_owned(), "or remove the directory: broken"),
    ] {
        let said = found.stdout.lines().any(|l| l.starts_with(&line) && l.ends_with(what));
        assert!(said, "{line} … {what} in:\n{}", found.stdout);
    }
    assert!(!nobodys.exists() && !sandbox.root().join("containers").join(&stranger).exists());
    assert!(sandbox.root().join("volumes/lost/_data").exists(), "what may be dear to somebody stays");

    // The ways out that it names.
    sandbox.ok(["rm", "done"]);
    sandbox.ok(["volume", "rm", "data"]);
    sandbox.ok(["volume", "create", "lost"]);
    assert!(sandbox.ok(["system", "check"]).ends_with(": nothing is broken"));
}

#[test]
fn a_spoilt_configuration_and_a_missing_layer() {
    let sandbox = Sandbox::with_busybox();
    let config = sandbox.ok(["images", "-q", "--no-trunc"]);
    let hex = config.strip_prefix("sha256:").unwrap();
    let layer = layer_of(&sandbox, "busybox");
    spoil(&sandbox.root().join("content/sha256").join(hex));
    std::fs::remove_dir_all(sandbox.root().join("layers").join(layer.strip_prefix("sha256:").unwrap()))
        .unwrap();
    let found = sandbox.dhow(["system", "check"]);
    assert_eq!(found.code, 1);
    assert!(found.stdout.contains(&format!("blob {config}: ")), "{}", found.stdout);
    assert!(
        found.stdout.contains(&format!("layer {layer}: it is missing (needed by busybox:latest): broken")),
        "{}",
        found.stdout
    );
    assert_eq!(sandbox.dhow(["system", "check", "--repair"]).code, 0);
    assert!(sandbox.ok(["system", "check"]).ends_with(": nothing is broken"));
}
