//! `--runtime`: Debian's runc starts containers under our monitor, and everything else is as without it.

use crate::live::Terminal;
use crate::sandbox::{Sandbox, eventually, finish};

/// Two runs of the same command, with our own runtime and with runc, print the same.
#[track_caller]
fn same(sandbox: &Sandbox, flags: &[&str], command: &[&str]) -> String {
    let own = sandbox.ok([&["run", "--rm"][..], flags, &["busybox"], command].concat());
    let other =
        sandbox.ok([&["run", "--rm", "--runtime", "runc"][..], flags, &["busybox"], command].concat());
    assert_eq!(own, other, "{flags:?} {command:?}");
    own
}

#[test]
fn a_container_of_runc_is_as_one_of_ours() {
    let sandbox = Sandbox::with_busybox();
    assert_eq!(same(&sandbox, &[], &["echo", "hello"]), "hello");
    let status = "grep -E '^(Cap|Seccomp:|NoNewPrivs|Uid|Gid|Groups)' /proc/self/status";
    assert!(same(&sandbox, &[], &["sh", "-c", status]).contains("Seccomp:\t2"));
    same(&sandbox, &["-u", "1000:1001", "--group-add", "7", "--cap-drop", "ALL"], &["sh", "-c", status]);
    same(
        &sandbox,
        &["-h", "box", "-w", "/tmp", "-e", "A=1"],
        &["sh", "-c", "hostname; pwd; echo $A $HOME; cat /etc/hostname"],
    );
    same(
        &sandbox,
        &["--ulimit", "nofile=99:100", "--oom-score-adj", "77"],
        &["sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj"],
    );
    same(&sandbox, &["--sysctl", "net.ipv4.ip_default_ttl=9"], &["cat", "/proc/sys/net/ipv4/ip_default_ttl"]);
    let limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max 2>/dev/null || \
                  cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";
    assert!(
        same(&sandbox, &["-m", "32m", "--pids-limit", "33"], &["sh", "-c", limits])
            .starts_with("33554432\n33")
    );
    let mounts = ["--read-only", "--tmpfs", "/t", "-v", "vol:/etc"];
    let look = "touch /x 2>/dev/null || echo ro; touch /t/x && echo rw; test -e /etc/passwd && echo filled";
    assert_eq!(same(&sandbox, &mounts, &["sh", "-c", look]), "ro\nrw\nfilled");
    // The rules for devices are ours.
    let device = "mknod /tmp/d b 7 0 && (cat /tmp/d > /dev/null) 2>&1 | grep -o 'not permitted'";
    assert_eq!(same(&sandbox, &[], &["sh", "-c", device]), "not permitted");
}

#[test]
fn it_lives_and_ends_as_any_other() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok([
        "run",
        "-d",
        "--name",
        "box",
        "--runtime",
        "runc",
        "busybox",
        "sh",
        "-c",
        "echo up; exec sleep 1000",
    ]);
    assert_eq!(sandbox.inspect("box")["HostConfig"]["Runtime"], "runc");
    eventually("its log is kept", || sandbox.ok(["logs", "box"]) == "up");
    assert_eq!(sandbox.ok(["exec", "box", "echo", "inside"]), "inside");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&id), "the host's mount table has it");
    sandbox.ok(["pause", "box"]);
    sandbox.ok(["unpause", "box"]);
    sandbox.ok(["restart", "-t", "0", "box"]);
    eventually("its second run is logged", || sandbox.ok(["logs", "box"]) == "up\nup");
    sandbox.ok(["kill", "box"]);
    sandbox.wait_for_status("box", "exited");
    assert_eq!(sandbox.container_state("box")["ExitCode"], 137);
    sandbox.ok(["start", "box"]);
    sandbox.ok(["rm", "-f", "box"]);

    let ended = sandbox.dhow_with_input(
        ["run", "-i", "--rm", "--runtime", "runc", "busybox", "sh"],
        b"cat /dev/null; exit 9\n",
    );
    assert_eq!(ended.code, 9, "{ended:?}");
    let policy = ["run", "-d", "--name", "again", "--runtime", "runc", "--restart", "on-failure:2"];
    sandbox.ok([&policy[..], &["busybox", "sh", "-c", "exit 3"]].concat());
    eventually("it gave up", || {
        let all = sandbox.inspect("again");
        all["RestartCount"] == 2 && all["State"]["Status"] == "exited"
    });
    let ended = sandbox.dhow(["run", "--rm", "--runtime", "runc", "busybox", "no-such-program"]);
    assert_eq!(ended.code, 127, "{ended:?}");
    assert!(ended.stderr.contains("executable file not found"), "{ended:?}");

    // Whoever finds a dead monitor ends what it held.
    sandbox.ok(["run", "-d", "--name", "orphan", "--runtime", "runc", "busybox", "sleep", "1000"]);
    let pid = sandbox.pid("orphan");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor: i32 = status.lines().find_map(|l| l.strip_prefix("PPid:")?.trim().parse().ok()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::Signal::SIGKILL).unwrap();
    sandbox.wait_for_status("orphan", "exited");
    eventually("its process is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    sandbox.ok(["start", "orphan"]);
}

#[test]
fn a_terminal_comes_through_runc() {
    let sandbox = Sandbox::with_busybox();
    let arguments = ["run", "-it", "--rm", "--runtime", "runc", "busybox", "sh"];
    let mut terminal = Terminal::spawn(&sandbox.command(arguments), 33, 99);
    terminal.expect("# ");
    terminal.send("stty size; echo tty-$((1))\n");
    terminal.expect("33 99");
    terminal.expect("tty-1");
    terminal.send("exit 7\n");
    assert_eq!(terminal.wait(), 7);
}

#[test]
fn runtimes_are_named_in_the_file() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.path("dhow.json");
    let text = r#"{"default-runtime": "mine", "runtimes": {"mine": {"path": "runc", "runtimeArgs": ["--systemd-cgroup=false"]}}}"#;
    std::fs::write(&file, text).unwrap();
    let dhow = |arguments: &[&str]| {
        finish(sandbox.command([&["--config-file", file.to_str().unwrap()][..], arguments].concat()), b"")
    };
    assert_eq!(dhow(&["run", "--name", "box", "busybox", "echo", "by mine"]).ok(), "by mine");
    assert_eq!(sandbox.inspect("box")["HostConfig"]["Runtime"], "mine");
    assert_eq!(dhow(&["run", "--rm", "--runtime", "dhow", "busybox", "echo", "by us"]).ok(), "by us");
    assert_eq!(dhow(&["info", "-f", "{{.DefaultRuntime}} {{.Runtimes.mine.path}}"]).ok(), "mine runc");
    sandbox
        .dhow(["run", "--runtime", "odd", "busybox", "true"])
        .fails(125, "unknown or invalid runtime name: odd");
    sandbox.dhow(["run", "--runtime", "/no/such", "busybox", "true"]).fails(125, "there is no program");
    sandbox
        .dhow(["run", "--runtime", "runc", "--privileged", "busybox", "true"])
        .fails(125, "not supported by dhow: --privileged with --runtime runc");
}
