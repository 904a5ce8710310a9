//! What the engine itself puts into a container's root: whatever the image has there, nothing of it lands elsewhere,
//! and `diff` and `commit` do not show it.

use crate::fixtures::Tar;
use crate::sandbox::{Sandbox, names_in};

/// An image made by hand on top of busybox, without `/etc`.
fn image(sandbox: &Sandbox, name: &str, make: impl FnOnce(&mut Tar)) {
    let path = sandbox.path(&format!("{name}.tar"));
    let mut tar = Tar::create(&path);
    tar.busybox();
    make(&mut tar);
    tar.finish();
    sandbox.ok(["import", path.to_str().unwrap(), name]);
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
    let look = "grep -q nameserver /etc/resolv.conf && grep -q localhost /etc/hosts && cat /etc/hostname && test -c /dev/null";
    let seen = sandbox.ok(["run", "--name", "box", "-h", "me", "-v", &mount, "linked", "sh", "-c", look]);
    assert_eq!(seen, "me");
    assert_eq!(names_in(&run), Vec::<String>::new(), "a file of ours in the user's directory");
    assert_eq!(sandbox.ok(["diff", "box"]), "");
    // A committed image has what the image had.
    sandbox.ok(["commit", "box", "again"]);
    let layers = |name: &str| sandbox.inspect(name)["RootFS"]["Layers"].as_array().unwrap().len();
    let links = ["run", "--rm", "--network", "none", "again", "true"];
    sandbox.ok(links);
    sandbox.ok(["start", "box"]);
    assert!(layers("again") >= layers("linked"));
    let exported = sandbox.path("again.tar");
    sandbox.ok(["save", "-o", exported.to_str().unwrap(), "again"]);
    sandbox.ok(["rm", "-f", "box"]);
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
    let layers = sandbox.inspect("busybox")["RootFS"]["Layers"].clone();
    sandbox.ok(["commit", "box", "again"]);
    let again = sandbox.inspect("again")["RootFS"]["Layers"].clone();
    let new = again.as_array().unwrap().len() - layers.as_array().unwrap().len();
    // What a commit adds, if it adds a layer, is an empty one.
    assert!(new <= 1, "{again}");
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
