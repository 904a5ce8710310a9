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
}

/// Names and owners of an archive's members, sorted.
fn owners(archive: &[u8]) -> Vec<String> {
    let mut tar = tar::Archive::new(archive);
    let mut found: Vec<String> = tar
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let (uid, gid) = (entry.header().uid().unwrap(), entry.header().gid().unwrap());
            format!("{uid}:{gid} {}", entry.path().unwrap().display())
        })
        .collect();
    found.sort();
    found
}

/// What a command writes, byte for byte.
fn bytes(sandbox: &Sandbox, arguments: &[&str]) -> Vec<u8> {
    let out = sandbox.command(arguments).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// What `cp`, `export`, `diff` and `commit` show of a container that has written in every way.
fn assert_seen_as_inside(sandbox: &Sandbox, when: &str) {
    let copied = owners(&bytes(sandbox, &["cp", "box:/made", "-"]));
    assert_eq!(copied, ["0:0 made/", "5:6 made/new", "7:8 made/sub/"], "{when}");
    assert_eq!(owners(&bytes(sandbox, &["cp", "box:/d/kept", "-"])), ["9:10 kept"], "{when}");
    let all = owners(&bytes(sandbox, &["export", "box"]));
    for member in ["0:0 bin/busybox", "5:6 made/new", "11:12 etc/passwd", "0:0 etc/group"] {
        assert!(all.iter().any(|seen| seen == member), "{when}: {member} in {all:?}");
    }
    let diff = sandbox.ok(["diff", "box"]);
    let mut lines: Vec<&str> = diff.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A /d", "A /made", "A /made/new", "A /made/sub", "C /etc", "C /etc/passwd"], "{when}");
}

/// An archive with one file of another user.
fn member(name: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    header.set_uid(21);
    header.set_gid(22);
    archive.append_data(&mut header, name, &b"z\n"[..]).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn its_files_have_the_ids_of_the_inside() {
    let sandbox = Sandbox::with_busybox();
    let who = ["run", "-d", "--name", "box", "--userns", "private", "-v", "data:/d", "busybox"];
    let write = "mkdir -p /made/sub && echo x > /made/new && chown 5:6 /made/new && chown 7:8 /made/sub && \
                 echo y > /d/kept && chown 9:10 /d/kept && chown 11:12 /etc/passwd && sleep 1000";
    dhow(&sandbox, "", &[&who[..], &["sh", "-c", write]].concat()).ok();
    eventually("it has written", || {
        sandbox.dhow(["exec", "box", "stat", "-c", "%u", "/etc/passwd"]).stdout == "11\n"
    });
    assert_seen_as_inside(&sandbox, "running");
    sandbox.ok(["commit", "box", "from-running"]);
    sandbox.dhow_with_input(["cp", "-a", "-", "box:/d"], &member("early")).ok();
    assert_eq!(sandbox.ok(["exec", "box", "stat", "-c", "%u:%g", "/d/early"]), "21:22");
    sandbox.ok(["stop", "-t", "0", "box"]);
    assert_seen_as_inside(&sandbox, "stopped");
    sandbox.ok(["commit", "box", "from-stopped"]);
    let archive = member("put");
    sandbox.dhow_with_input(["cp", "-a", "-", "box:/d"], &archive).ok();
    sandbox.dhow_with_input(["cp", "-a", "-", "box:/made"], &archive).ok();
    let id = sandbox.ok(["ps", "-aq", "--no-trunc"]);
    let upper = sandbox.root().join("containers").join(&id).join("upper/made/put");
    let volume = sandbox.root().join("volumes/data/_data/put");
    let at =
        |path| std::fs::metadata(path).map(|about: std::fs::Metadata| (about.uid(), about.gid())).unwrap();
    assert_eq!((at(upper), at(volume)), ((FIRST + 21, FIRST + 22), (21, 22)));
    sandbox.ok(["start", "box"]);
    assert_eq!(sandbox.ok(["exec", "box", "stat", "-c", "%u:%g", "/made/put", "/d/put"]), "21:22\n21:22");
    for image in ["from-running", "from-stopped"] {
        let look = ["run", "--rm", image, "stat", "-c", "%u:%g %n", "/made/new", "/made/sub", "/etc/passwd"];
        assert_eq!(sandbox.ok(look), "5:6 /made/new\n7:8 /made/sub\n11:12 /etc/passwd", "{image}");
    }
}

#[test]
fn one_that_never_ran_can_be_looked_into() {
    let sandbox = Sandbox::with_busybox();
    let make = ["create", "--name", "new", "--userns", "auto", "-v", "fresh:/etc", "busybox", "true"];
    dhow(&sandbox, "", &make).ok();
    assert_eq!(owners(&bytes(&sandbox, &["cp", "new:/bin/busybox", "-"])), ["0:0 busybox"]);
    // What the image has at a volume's place is copied with the ids of the inside.
    assert_eq!(owners(&bytes(&sandbox, &["cp", "new:/etc/passwd", "-"])), ["0:0 passwd"]);
    let kept = std::fs::metadata(sandbox.root().join("volumes/fresh/_data/passwd")).unwrap();
    assert_eq!((kept.uid(), kept.gid()), (0, 0));
    assert_eq!(sandbox.ok(["diff", "new"]), "");
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
