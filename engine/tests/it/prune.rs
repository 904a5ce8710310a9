//! `prune` of containers, images and volumes, and the verbs of volumes.

use crate::sandbox::Sandbox;

#[test]
fn containers() {
    let sandbox = Sandbox::with_busybox();
    let create = |name: &str, label: &str| {
        sandbox.ok(["create", "--name", name, "--label", label, "--network", "none", "busybox", "true"])
    };
    let (kept, gone) = (create("kept", "keep=yes"), create("gone", "keep=no"));
    let up = sandbox.ok(["run", "-d", "--network", "none", "busybox", "sleep", "1000"]);

    // Without an answer nothing happens.
    let asked = sandbox.dhow(["container", "prune"]);
    assert_eq!(asked.code, 0);
    assert_eq!(
        asked.stdout,
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] \n"
    );
    assert_eq!(sandbox.container_ids().len(), 3);

    let pruned = sandbox.ok(["container", "prune", "-f", "--filter", "label!=keep=yes"]);
    assert_eq!(pruned, format!("Deleted Containers:\n{gone}\n\nTotal reclaimed space: 0B"));
    let pruned = sandbox.dhow_with_input(["container", "prune"], b"y\n").ok();
    assert!(
        pruned.ends_with(&format!("Deleted Containers:\n{kept}\n\nTotal reclaimed space: 0B")),
        "{pruned}"
    );
    assert_eq!(sandbox.container_ids(), [up]);
    sandbox.dhow(["container", "prune", "-f", "--filter", "color=red"]).fails(1, "invalid filter 'color'");

    create("third", "a=b");
    let server = sandbox.serve();
    assert!(server.docker(["container", "prune", "-f"]).ok().contains("Deleted Containers:"));
}

#[test]
fn images() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["images", "-q", "--no-trunc"]);
    assert_eq!(sandbox.ok(["image", "prune", "-f"]), "Total reclaimed space: 0B");
    sandbox.ok(["create", "--name", "user", "--network", "none", "busybox", "true"]);
    assert_eq!(sandbox.ok(["image", "prune", "-af"]), "Total reclaimed space: 0B");
    sandbox.ok(["rm", "user"]);
    let pruned = sandbox.ok(["image", "prune", "-af"]);
    assert!(pruned.starts_with("Deleted Images:\nuntagged: busybox:latest\n"), "{pruned}");
    assert!(pruned.contains(&format!("\ndeleted: {id}\n")), "{pruned}");
    assert_eq!(sandbox.ok(["images", "-q"]), "");
}

#[test]
fn volumes() {
    let sandbox = Sandbox::with_busybox();
    assert_eq!(sandbox.ok(["volume", "create", "--label", "a=b", "one"]), "one");
    assert_eq!(sandbox.ok(["volume", "create", "two"]), "two");
    let unnamed = sandbox.ok(["volume", "create"]);
    assert_eq!(unnamed.len(), 64);
    assert_eq!(sandbox.ok(["volume", "ls", "-q", "--filter", "label=a=b"]), "one");
    assert_eq!(sandbox.ok(["volume", "ls", "--filter", "name=one"]), "DRIVER    VOLUME NAME\nlocal     one");
    assert_eq!(
        sandbox.ok(["volume", "ls", "--format", "{{.Name}} {{.Scope}} {{.Label \"a\"}}", "-f", "name=one"]),
        "one local b"
    );
    assert_eq!(sandbox.ok(["volume", "inspect", "-f", "{{.Name}} {{.Labels.a}}", "one"]), "one b");
    assert_eq!(sandbox.inspect("one")["Driver"], "local");
    sandbox.dhow(["volume", "inspect", "three"]).fails(1, "no such volume");

    sandbox.ok(["create", "--name", "user", "--network", "none", "-v", "one:/one", "busybox", "true"]);
    assert_eq!(sandbox.ok(["volume", "ls", "-q", "--filter", "dangling=false"]), "one");
    sandbox.dhow(["volume", "rm", "one"]).fails(1, "volume is in use");
    let pruned = sandbox.ok(["volume", "prune", "-f"]);
    assert_eq!(pruned, format!("Deleted Volumes:\n{unnamed}\n\nTotal reclaimed space: 0B"));
    let pruned = sandbox.ok(["volume", "prune", "-af"]);
    assert_eq!(pruned, "Deleted Volumes:\ntwo\n\nTotal reclaimed space: 0B");

    let server = sandbox.serve();
    assert_eq!(server.docker(["volume", "ls", "-q"]).ok(), "one");
    assert_eq!(server.docker(["volume", "create", "four"]).ok(), "four");
    assert!(server.docker(["volume", "prune", "-af"]).ok().starts_with("Deleted Volumes:\nfour\n"));
    sandbox.ok(["rm", "user"]);
    assert_eq!(sandbox.ok(["volume", "remove", "one"]), "one");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
    sandbox
        .dhow(["volume", "create", "--scope", "multi"])
        .fails(125, "--scope is not supported by dhow: dhow has no cluster mode");
}

#[test]
fn everything() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok([
        "create",
        "--network",
        "none",
        "-v",
        "/unnamed",
        "-v",
        "named:/named",
        "busybox",
        "true",
    ]);
    let volume = sandbox.ok(["volume", "ls", "-q", "--filter", "name=", "--format", "{{.Name}}"]);
    let volume = volume.lines().find(|name| name.len() == 64).unwrap().to_owned();
    let asked = sandbox.dhow(["system", "prune", "--volumes", "-a"]);
    assert_eq!(
        asked.stdout,
        "WARNING! This will remove:\n  - all stopped containers\n  \
         - all networks not used by at least one container\n  \
         - all anonymous volumes not used by at least one container\n  \
         - all images without at least one container associated to them\n\n\
         Are you sure you want to continue? [y/N] \n"
    );
    for verb in ["system", "container", "image", "network"] {
        // Nothing is an hour old.
        let young = sandbox.ok([verb, "prune", "-f", "--filter", "until=1h"]);
        assert!(!young.contains("Deleted"), "{verb}: {young}");
        let odd = sandbox.dhow([verb, "prune", "-f", "--filter", "until=soon"]);
        odd.fails(1, "failed to parse value as time or duration: \"soon\"");
    }
    let pruned = sandbox.ok(["system", "prune", "-f"]);
    assert_eq!(pruned, format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B"));
    let pruned = sandbox.ok(["system", "prune", "-af", "--volumes"]);
    assert!(
        pruned.starts_with(&format!(
            "Deleted Volumes:\n{volume}\n\nDeleted Images:\nuntagged: busybox:latest\n"
        )),
        "{pruned}"
    );
    assert_eq!(sandbox.ok(["images", "-q"]), "");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "named");
    let until = ["system", "prune", "-f", "--volumes", "--filter", "until=1h"];
    sandbox.dhow(until).fails(1, "The \"until\" filter is not supported with \"--volumes\"");
    sandbox.ok(["volume", "rm", "named"]);
}
