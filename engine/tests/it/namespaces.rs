//! Namespaces that containers share with the host or with each other, and what follows from that.

use crate::sandbox::{Sandbox, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running container that sleeps.
#[track_caller]
fn start(sandbox: &Sandbox, name: &str, flags: &[&str]) -> String {
    sandbox.ok([&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat())
}

/// Which namespace of a kind a container's first process is in.
#[track_caller]
fn namespace(sandbox: &Sandbox, name: &str, kind: &str) -> String {
    let path = format!("/proc/{}/ns/{kind}", sandbox.pid(name));
    std::fs::read_link(path).unwrap().to_string_lossy().into_owned()
}

fn own_namespace(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

#[test]
fn each_has_its_own_unless_it_asks_for_the_hosts() {
    let sandbox = Sandbox::with_busybox();
    start(&sandbox, "own", &[]);
    let flags =
        ["--pid", "host", "--ipc", "host", "--uts", "host", "--network", "host", "--cgroupns", "host"];
    start(&sandbox, "hosts", &flags);
    for kind in ["pid", "ipc", "uts", "net", "cgroup"] {
        assert_ne!(namespace(&sandbox, "own", kind), own_namespace(kind), "{kind}");
        assert_eq!(namespace(&sandbox, "hosts", kind), own_namespace(kind), "{kind}");
    }
    let host = sandbox.inspect("hosts")["HostConfig"].take();
    let modes = ["PidMode", "IpcMode", "UTSMode", "NetworkMode", "CgroupnsMode"];
    assert!(modes.iter().all(|mode| host[mode] == "host"), "{host}");
    let joined = sandbox.dhow(["run", "--rm", "--uts", "host", "--hostname", "x", "busybox", "true"]);
    joined.fails(125, "conflicting options: hostname and the UTS mode");
}

#[test]
fn processes_of_another_container_are_seen_and_signalled() {
    let sandbox = Sandbox::with_busybox();
    let id = start(&sandbox, "donor", &[]);
    let seen = [
        "run",
        "--rm",
        "--pid",
        "container:donor",
        "busybox",
        "sh",
        "-c",
        "tr '\\0' ' ' < /proc/1/cmdline; echo $$",
    ];
    let text = sandbox.ok(seen);
    let (first, own) = text.split_once("1000 ").unwrap();
    assert!(first.starts_with("sleep") && own != "1", "{text}");
    start(&sandbox, "guest", &["--pid", "container:donor"]);
    assert_eq!(namespace(&sandbox, "guest", "pid"), namespace(&sandbox, "donor", "pid"));
    assert_eq!(sandbox.inspect("guest")["HostConfig"]["PidMode"], format!("container:{id}"));
    assert_ne!(sandbox.ok(["exec", "guest", "sh", "-c", "echo $$"]), "1");
    // The first process of a namespace takes all others with it.
    sandbox.ok(["kill", "donor"]);
    sandbox.wait_for_status("guest", "exited");
    sandbox.dhow(["start", "guest"]).fails(1, "is not running");
    sandbox.ok(["rename", "donor", "other"]);
    sandbox.ok(["start", "other"]);
    sandbox.ok(["start", "guest"]);
    assert_eq!(namespace(&sandbox, "guest", "pid"), namespace(&sandbox, "other", "pid"));
    sandbox
        .dhow(["run", "--rm", "--pid", "container:nobody", "busybox", "true"])
        .fails(125, "No such container: nobody");
    sandbox
        .dhow(["run", "--rm", "--pid", "container:", "busybox", "true"])
        .fails(125, "--pid: invalid PID mode");
}

#[test]
fn shared_memory_is_shared_by_who_says_so() {
    let sandbox = Sandbox::with_busybox();
    let id = start(&sandbox, "donor", &["--ipc", "shareable", "--shm-size", "1m"]);
    start(&sandbox, "closed", &["--ipc", "private"]);
    sandbox.ok(["exec", "donor", "sh", "-c", "echo from the donor > /dev/shm/file"]);
    let read = [
        "busybox",
        "sh",
        "-c",
        "cat /dev/shm/file; df -k /dev/shm | tail -1 | awk '{print $2}'; echo back > /dev/shm/file",
    ];
    let text = sandbox.ok([&["run", "--rm", "--ipc", "container:donor"], &read[..]].concat());
    assert_eq!(text, "from the donor\n1024");
    assert_eq!(sandbox.ok(["exec", "donor", "cat", "/dev/shm/file"]), "back");
    start(&sandbox, "guest", &["--ipc", "container:donor"]);
    assert_eq!(namespace(&sandbox, "guest", "ipc"), namespace(&sandbox, "donor", "ipc"));
    assert_eq!(sandbox.inspect("guest")["HostConfig"]["IpcMode"], format!("container:{id}"));
    let refused = sandbox.dhow(["run", "--rm", "--ipc", "container:closed", "busybox", "true"]);
    refused.fails(125, "non-shareable IPC (hint: use IpcMode:shareable for the donor container)");
    let mounts = sandbox.ok([
        "run",
        "--rm",
        "--ipc",
        "none",
        "busybox",
        "sh",
        "-c",
        "grep -c ' /dev/shm ' /proc/mounts; true",
    ]);
    assert_eq!(mounts, "0");
    sandbox.dhow(["run", "--rm", "--ipc", "bogus", "busybox", "true"]).fails(125, "invalid IPC mode");
}

/// A link in the donor's place of the shared memory leads nowhere.
#[test]
fn a_donor_cannot_give_something_else() {
    let sandbox = Sandbox::with_busybox();
    start(&sandbox, "donor", &["--ipc", "shareable", "--privileged"]);
    sandbox.ok([
        "exec",
        "--privileged",
        "donor",
        "sh",
        "-c",
        "umount /dev/shm && rmdir /dev/shm && ln -s /etc /dev/shm",
    ]);
    let ended = sandbox.dhow(["run", "--rm", "--ipc", "container:donor", "busybox", "ls", "/dev/shm"]);
    ended.fails(125, "share the other container's /dev/shm");
}

#[test]
fn a_network_is_joined_with_its_names() {
    let sandbox = Sandbox::with_busybox();
    let id =
        start(&sandbox, "donor", &["--hostname", "web", "--add-host", "db:10.0.0.1", "--network", "none"]);
    start(&sandbox, "guest", &["--network", "container:donor"]);
    assert_eq!(namespace(&sandbox, "guest", "net"), namespace(&sandbox, "donor", "net"));
    assert_eq!(sandbox.ok(["exec", "guest", "hostname"]), "web");
    assert_eq!(sandbox.ok(["exec", "guest", "grep", "-c", "db", "/etc/hosts"]), "1");
    // They talk over the loopback that they have in common.
    let server = "echo hello | nc -l -p 8080";
    sandbox.ok(["exec", "-d", "donor", "sh", "-c", server]);
    eventually("it listens", || sandbox.ok(["exec", "guest", "netstat", "-ltn"]).contains(":8080"));
    assert_eq!(sandbox.ok(["exec", "guest", "nc", "127.0.0.1", "8080"]), "hello");
    let guest = sandbox.inspect("guest");
    assert_eq!(guest["HostConfig"]["NetworkMode"], format!("container:{id}"));
    for (flags, words) in [
        (&["--hostname", "x"][..], "conflicting options: hostname and the network mode"),
        (&["--dns", "10.0.0.1"], "conflicting options: dns and the network mode"),
        (
            &["--add-host", "a:10.0.0.1"],
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (&["-p", "80:80"], "conflicting options: port publishing and the container type network mode"),
    ] {
        let command = ["busybox", "true"];
        let all = [&["run", "--rm", "--network", "container:donor"], flags, &command].concat();
        sandbox.dhow(all).fails(125, words);
    }
    sandbox.ok(["stop", "-t", "0", "donor"]);
    let ended = sandbox.dhow(["run", "--rm", "--network", "container:donor", "busybox", "true"]);
    ended.fails(125, "cannot join network of a non running container");
}

/// A restart by policy joins whoever runs then.
#[test]
fn a_restart_joins_the_new_process() {
    let sandbox = Sandbox::with_busybox();
    start(&sandbox, "donor", &["--ipc", "shareable", "--restart", "always"]);
    let flags = ["--ipc", "container:donor", "--network", "container:donor", "--restart", "always"];
    start(&sandbox, "guest", &flags);
    let again = |name: &str, pid: i32| {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        eventually("it was started again", || {
            let state = sandbox.container_state(name);
            state["Status"] == "running" && state["Pid"] != pid
        });
    };
    again("donor", sandbox.pid("donor"));
    assert_ne!(namespace(&sandbox, "guest", "net"), namespace(&sandbox, "donor", "net"));
    again("guest", sandbox.pid("guest"));
    for kind in ["ipc", "net"] {
        assert_eq!(namespace(&sandbox, "guest", kind), namespace(&sandbox, "donor", kind), "{kind}");
    }
}

#[test]
fn docker_joins_too() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let docker = |arguments: &[&str]| server.docker(arguments).ok();
    docker(&[
        "run",
        "-d",
        "--name",
        "donor",
        "--network",
        "none",
        "--ipc",
        "shareable",
        "busybox",
        "sleep",
        "1000",
    ]);
    let joins = ["--pid", "container:donor", "--ipc", "container:donor", "--network", "container:donor"];
    docker(&[&["run", "-d", "--name", "guest"], &joins[..], &["busybox", "sleep", "1000"]].concat());
    for kind in ["pid", "ipc", "net"] {
        assert_eq!(namespace(&sandbox, "guest", kind), namespace(&sandbox, "donor", kind), "{kind}");
    }
}
