//! User namespaces: ids inside and out, what is shared between containers and what is not.

use crate::sandbox::{Ended, Sandbox, eventually, finish};
use serde_json::Value;
use std::os::unix::fs::MetadataExt;

const FIRST: u32 = 1_000_000;

/// `dhow` with a pool of ids, and more settings.
fn dhow(sandbox: &Sandbox, more: &str, arguments: &[&str]) -> Ended {
    let file = sandbox.path("dhow.json");
    let text = format!("{{\"userns-ids\": {{\"first\": {FIRST}, \"count\": 262144}}{more}}}");
    std::fs::write(&file, text).unwrap();
    finish(sandbox.command([&["--config-file", file.to_str().unwrap()][..], arguments].concat()), b"")
}

/// The user that a process is, to the host.
fn host_uid(pid: i32) -> u32 {
    std::fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

fn map(sandbox: &Sandbox, who: &str) -> Value {
    sandbox.inspect(who)["Dhow"]["IdMap"].take()
}

#[test]
fn root_inside_is_an_ordinary_user_outside() {
    let sandbox = Sandbox::with_busybox();
    let volume = ["-v", "data:/d"];
    let who = ["run", "-d", "--name", "box", "--userns", "private"];
    dhow(&sandbox, "", &[&who[..], &volume, &["busybox", "sleep", "1000"]].concat()).ok();
    assert_eq!(sandbox.ok(["exec", "box", "id", "-u"]), "0");
    assert_eq!(host_uid(sandbox.pid("box")), FIRST);
    assert_eq!(
        sandbox.ok(["exec", "box", "cat", "/proc/self/uid_map"]).split_whitespace().collect::<Vec<_>>(),
        ["0", "1000000", "65536"]
    );
    // The image's files are root's inside; what is written is the container's, to the host too.
    assert_eq!(sandbox.ok(["exec", "box", "stat", "-c", "%u:%g", "/bin/busybox"]), "0:0");
    let write = "echo x > /new && chown 5:6 /new && echo y > /d/kept && chown 7:8 /d/kept && stat -c %u:%g /new /d/kept";
    assert_eq!(sandbox.ok(["exec", "box", "sh", "-c", write]), "5:6\n7:8");
    let id = sandbox.ok(["ps", "-q", "--no-trunc"]);
    let upper = sandbox.root().join("containers").join(&id).join("upper/new");
    let about = std::fs::metadata(upper).unwrap();
    assert_eq!((about.uid(), about.gid()), (FIRST + 5, FIRST + 6));
    // A volume keeps the ids of the inside, so that any container can use it.
    let kept = std::fs::metadata(sandbox.root().join("volumes/data/_data/kept")).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (7, 8));
    let other = ["run", "--rm", "-v", "data:/d", "busybox", "stat", "-c", "%u:%g", "/d/kept"];
    assert_eq!(sandbox.ok(other), "7:8");
    // It has no power over the host's.
    let refused = sandbox.dhow(["exec", "box", "sh", "-c", "echo 1 > /proc/sys/vm/swappiness"]);
    assert_ne!(refused.code, 0);
    let id_map = map(&sandbox, "box");
    assert_eq!((&id_map["FirstUid"], &id_map["Count"]), (&FIRST.into(), &65_536.into()));
    assert_eq!(sandbox.inspect("box")["HostConfig"]["UsernsMode"], "private");
    // It restarts, and its files are still its own.
    sandbox.ok(["restart", "-t", "0", "box"]);
    assert_eq!(sandbox.ok(["exec", "box", "stat", "-c", "%u", "/new"]), "5");
    // Seen from outside, its files have the owners that it knows.
    let tar = sandbox.path("new.tar");
    std::fs::write(&tar, sandbox.dhow(["cp", "box:/new", "-"]).stdout).unwrap();
    let listed =
        std::process::Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&tar).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(" 5/6 "), "{listed}");
    sandbox.ok(["stop", "-t", "0", "box"]);
    sandbox.dhow(["cp", "box:/new", "-"]).fails(1, "a container with a user namespace while it does not run");
}

#[test]
fn auto_gives_each_container_ids_of_its_own() {
    let sandbox = Sandbox::with_busybox();
    let run = |name: &str| {
        dhow(&sandbox, "", &["run", "-d", "--name", name, "--userns", "auto", "busybox", "sleep", "1000"])
    };
    run("one").ok();
    run("two").ok();
    run("three").ok();
    let uids = ["one", "two", "three"].map(|name| host_uid(sandbox.pid(name)));
    assert_eq!(uids, [FIRST + 65_536, FIRST + 131_072, FIRST + 196_608]);
    run("four").fails(125, "no ids are left for another user namespace");
    sandbox.ok(["rm", "-f", "two"]);
    run("four").ok();
    assert_eq!(host_uid(sandbox.pid("four")), uids[1], "what is given back is given again");
}

#[test]
fn a_remap_is_for_every_container_that_does_not_say_host() {
    let sandbox = Sandbox::with_busybox();
    let remap = ", \"userns-remap\": \"default\"";
    let run = |name: &str, flags: &[&str]| {
        dhow(
            &sandbox,
            remap,
            &[&["run", "-d", "--name", name][..], flags, &["busybox", "sleep", "1000"]].concat(),
        )
    };
    run("plain", &[]).ok();
    run("hosts", &["--userns", "host"]).ok();
    assert_eq!([host_uid(sandbox.pid("plain")), host_uid(sandbox.pid("hosts"))], [FIRST, 0]);
    assert_eq!(map(&sandbox, "hosts"), Value::Null);
    run("strong", &["--privileged"]).fails(125, "privileged mode is incompatible with user namespaces");
    run("net", &["--network", "host"])
        .fails(125, "cannot share the host's network namespace when user namespaces are enabled");
    run("both", &["--privileged", "--userns", "host"]).ok();
    let info = dhow(&sandbox, remap, &["info"]).ok();
    assert!(info.contains("userns") && info.contains("User Namespace Remap: default"), "{info}");

    // Health checks and signals work across the border.
    let check = ["--health-cmd", "test $(id -u) = 0", "--health-interval", "50ms"];
    run("checked", &check).ok();
    eventually("it is healthy", || sandbox.container_state("checked")["Health"]["Status"] == "healthy");
    sandbox.ok(["stop", "-t", "0", "checked"]);
}

#[test]
fn without_ids_it_is_told_how_to_give_some() {
    let sandbox = Sandbox::with_busybox();
    if !std::fs::read_to_string("/etc/subuid").unwrap_or_default().contains("dockremap") {
        sandbox
            .dhow(["run", "--userns", "private", "busybox", "true"])
            .fails(125, "/etc/subuid has no ids for \"dockremap\"");
    }
    sandbox.dhow(["run", "--userns", "odd", "busybox", "true"]).fails(125, "--userns: invalid USER mode");
}
