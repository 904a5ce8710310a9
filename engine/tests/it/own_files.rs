//! What the engine itself puts into a container's root: whatever the image has there, nothing of it lands elsewhere,
//! and `diff` and `commit` do not show it.

use crate::sandbox::{Sandbox, finish, names_in};
use crate::security::image;
use std::process::Command;

/// What the layer that a commit of `container` adds has in it.
fn committed(sandbox: &Sandbox, container: &str) -> Vec<String> {
    sandbox.ok(["commit", container, "committed"]);
    let layers = sandbox.inspect("committed")["RootFS"]["Layers"].as_array().unwrap().clone();
    let top = layers.last().unwrap().as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let (archive, files) = (sandbox.path("committed.tar"), sandbox.path("committed"));
    sandbox.ok(["save", "-o", archive.to_str().unwrap(), "committed"]);
    std::fs::create_dir(&files).unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-C").arg(&files).arg("-xf").arg(&archive);
    finish(unpack, b"").ok();
    let mut list = Command::new("tar");
    list.arg("-tf").arg(files.join("blobs/sha256").join(top));
    finish(list, b"").ok().lines().map(str::to_owned).collect()
}

#[test]
fn links_of_an_image_in_the_place_of_our_files_lead_nowhere() {
    let sandbox = Sandbox::with_busybox();
    image(&sandbox, "linked", |tar| {
        tar.directory("etc");
        tar.directory("run");
        tar.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
        tar.link("etc/hosts", "/dev/null");
        tar.link("etc/hostname", "/run/name");
        tar.link("etc/mtab", "../proc/self/mounts");
    });
    let run = sandbox.path("run");
    std::fs::create_dir(&run).unwrap();
    let mount = format!("{}:/run", run.display());
    let look = "grep -q nameserver /etc/resolv.conf && grep -q localhost /etc/hosts && cat /etc/hostname && test -c /dev/null && touch /new";
    let seen = sandbox.ok(["run", "--name", "box", "-h", "me", "-v", &mount, "linked", "sh", "-c", look]);
    assert_eq!(seen, "me");
    assert_eq!(names_in(&run), Vec::<String>::new(), "a file of ours in the user's directory");
    assert_eq!(sandbox.ok(["diff", "box"]), "A /new");
    sandbox.ok(["start", "box"]);
    assert_eq!(sandbox.ok(["diff", "box"]), "A /new", "the second start finds what the first has made");
    assert_eq!(committed(&sandbox, "box"), ["new"], "a committed image keeps the image's links");
}

#[test]
fn an_image_without_etc_gets_one() {
    let sandbox = Sandbox::with_busybox();
    image(&sandbox, "bare", |tar| {
        tar.directory("proc");
    });
    let look = "readlink /etc/mtab; cat /etc/hostname; grep -c localhost /etc/hosts";
    let seen = sandbox.ok(["run", "--name", "box", "-h", "me", "bare", "sh", "-c", look]);
    assert!(seen.starts_with("/proc/mounts\nme\n"), "{seen}");
    assert_eq!(sandbox.ok(["diff", "box"]), "");
}

#[test]
fn every_container_has_dockerenv_and_no_image_gets_it() {
    let sandbox = Sandbox::with_busybox();
    let seen = sandbox.ok(["run", "--name", "box", "busybox", "stat", "-c", "%a %u %s", "/.dockerenv"]);
    assert_eq!(seen, "755 0 0");
    assert_eq!(sandbox.ok(["diff", "box"]), "");
    sandbox.ok(["run", "--name", "writer", "busybox", "touch", "/new"]);
    assert_eq!(committed(&sandbox, "writer"), ["new"]);
    sandbox.ok(["run", "--rm", "--read-only", "busybox", "test", "-e", "/.dockerenv"]);
    image(&sandbox, "own", |tar| tar.file(".dockerenv", 0o600, b"mine"));
    assert_eq!(sandbox.ok(["run", "--rm", "own", "cat", "/.dockerenv"]), "mine", "an image's own stays");
}

/// moby#42376.
#[test]
fn mounts_go_through_links_of_earlier_mounts_that_lead_to_nothing() {
    let sandbox = Sandbox::with_busybox();
    let (first, second) = (sandbox.path("first"), sandbox.path("second"));
    std::fs::create_dir(&first).unwrap();
    std::fs::create_dir(&second).unwrap();
    std::fs::write(second.join("inside"), "").unwrap();
    std::os::unix::fs::symlink("/data/real", first.join("l")).unwrap();
    let (outer, inner) = (format!("{}:/m", first.display()), format!("{}:/m/l", second.display()));
    let seen = sandbox.ok(["run", "--rm", "-v", &outer, "-v", &inner, "busybox", "ls", "/m/l", "/data/real"]);
    assert_eq!(seen.matches("inside").count(), 2, "{seen}");
    let tmpfs =
        ["run", "--rm", "-v", &outer, "--tmpfs", "/m/l", "busybox", "grep", "-c", " /data/real tmpfs"];
    assert_eq!(sandbox.ok([&tmpfs[..], &["/proc/mounts"]].concat()), "1");
    assert_eq!(names_in(&first), ["l"], "nothing was made in the user's directory");
}

#[test]
fn a_users_own_cgroup_directory_comes_in_place_of_ours() {
    let sandbox = Sandbox::with_busybox();
    let bind = "/sys/fs/cgroup:/sys/fs/cgroup:ro";
    let host = names_in(std::path::Path::new("/sys/fs/cgroup"));
    let seen = sandbox.ok(["run", "--rm", "-v", bind, "busybox", "ls", "/sys/fs/cgroup"]);
    assert_eq!(seen.lines().next(), host.first().map(String::as_str), "{seen}");
    let tmpfs = ["run", "--rm", "--tmpfs", "/sys/fs/cgroup", "busybox", "ls", "-A", "/sys/fs/cgroup"];
    assert_eq!(sandbox.ok(tmpfs), "");
}
