//! `--runtime`: Debian's runc and crun start containers under our monitor, and everything else is as without it.

use crate::live::Terminal;
use crate::sandbox::{Sandbox, eventually, finish};
use std::path::Path;
use std::process::Command;

/// Two runs of the same command, with our own runtime and with another, print the same.
#[track_caller]
fn same(sandbox: &Sandbox, runtime: &str, flags: &[&str], command: &[&str]) -> String {
    let own = sandbox.ok([&["run", "--rm"][..], flags, &["busybox"], command].concat());
    let other =
        sandbox.ok([&["run", "--rm", "--runtime", runtime][..], flags, &["busybox"], command].concat());
    assert_eq!(own, other, "{runtime}: {flags:?} {command:?}");
    own
}

/// crun looks for all the hierarchies of version 1 that it knows, also for one that this machine has no use for: so
/// this thread, and what it starts, get a view of their own of `/sys/fs/cgroup`, with that one beside the others.
/// It ends with the thread.
fn show_all_hierarchies(sandbox: &Sandbox) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() || mounts.contains(" /sys/fs/cgroup/hugetlb ")
    {
        return;
    }
    dhow_sys::process::unshare(dhow_sys::clone::NEWNS).unwrap();
    let script = "mount --make-rprivate / && mkdir $0 && mount -t tmpfs none $0 && \
        for each in /sys/fs/cgroup/*; do mkdir $0/${each##*/} && mount --bind $each $0/${each##*/} || exit; done && \
        mkdir -p $0/hugetlb && mount -t cgroup -o hugetlb none $0/hugetlb && mount --rbind $0 /sys/fs/cgroup && \
        umount -R $0 && rmdir $0";
    let made = Command::new("sh").args(["-c", script]).arg(sandbox.path("cgroup")).status().unwrap();
    assert!(made.success(), "{made:?}");
}

#[test]
fn a_container_of_runc_is_as_one_of_ours() {
    as_one_of_ours(&Sandbox::with_busybox(), "runc");
}

#[test]
fn a_container_of_crun_is_as_one_of_ours() {
    let sandbox = Sandbox::with_busybox();
    show_all_hierarchies(&sandbox);
    as_one_of_ours(&sandbox, "crun");
}

fn as_one_of_ours(sandbox: &Sandbox, runtime: &str) {
    let same = |flags: &[&str], command: &[&str]| same(sandbox, runtime, flags, command);
    assert_eq!(same(&[], &["echo", "hello"]), "hello");
    let status = "grep -E '^(Cap|Seccomp:|NoNewPrivs|Uid|Gid|Groups)' /proc/self/status";
    assert!(same(&[], &["sh", "-c", status]).contains("Seccomp:\t2"));
    same(&["-u", "1000:1001", "--group-add", "7", "--cap-drop", "ALL"], &["sh", "-c", status]);
    same(
        &["-h", "box", "-w", "/tmp", "-e", "A=1"],
        &["sh", "-c", "hostname; pwd; echo $A $HOME; cat /etc/hostname"],
    );
    same(
        &["--ulimit", "nofile=99:100", "--oom-score-adj", "77"],
        &["sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj"],
    );
    same(&["--sysctl", "net.ipv4.ip_default_ttl=9"], &["cat", "/proc/sys/net/ipv4/ip_default_ttl"]);
    let limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max 2>/dev/null || \
                  cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";
    assert!(same(&["-m", "32m", "--pids-limit", "33"], &["sh", "-c", limits]).starts_with("33554432\n33"));
    let mounts = ["--read-only", "--tmpfs", "/t", "-v", "vol:/etc"];
    let look = "touch /x 2>/dev/null || echo ro; touch /t/x && echo rw; test -e /etc/passwd && echo filled";
    assert_eq!(same(&mounts, &["sh", "-c", look]), "ro\nrw\nfilled");
    // The rules for devices are ours.
    let device = "mknod /tmp/d b 7 0 && (cat /tmp/d > /dev/null) 2>&1 | grep -o 'not permitted'";
    assert_eq!(same(&[], &["sh", "-c", device]), "not permitted");
    let status = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; mount | grep -E ' /(proc|sys) '; \
                  touch /sys/kernel/x 2>&1 | grep -o Read-only; ls -l /dev/loop-control /dev/fuse 2>&1; \
                  echo 60 > /proc/sys/vm/swappiness && echo writable";
    let strong = same(&["--privileged"], &["sh", "-c", status]);
    assert!(strong.contains("Seccomp:\t0") && strong.contains("writable"), "{strong}");
    let devices = ["--device", "/dev/null:/dev/mine/nothing:rw", "--device", "/dev/loop-control"];
    let look = "ls -l /dev/mine/nothing /dev/loop-control; echo x > /dev/mine/nothing && echo written";
    assert!(same(&devices, &["sh", "-c", look]).contains("written"));
    assert_eq!(same(&["--init"], &["sh", "-c", "test $$ -gt 1 && cat /proc/1/comm"]), "dhow-init");
    assert_eq!(
        same(&["--domainname", "example.org"], &["cat", "/proc/sys/kernel/domainname"]),
        "example.org"
    );
    assert_eq!(
        same(&["--ipc", "none"], &["sh", "-c", "grep ' /dev/shm ' /proc/mounts || echo none"]),
        "none"
    );
    for (name, wanted) in [("no-such-program", 127), ("/no/such", 127), ("/etc/passwd", 126), ("/etc", 126)] {
        let code = |flags: &[&str]| {
            let run = ["run", "--rm", "--runtime", runtime];
            sandbox.dhow([&run[..], flags, &["busybox", name]].concat()).code
        };
        assert_eq!([code(&[]), code(&["--init"])], [wanted, wanted], "{runtime} {name}");
    }
    // Its passwd file may come with a volume.
    let file = sandbox.path(&format!("passwd-{runtime}"));
    std::fs::write(&file, "someone:x:77:78::/home:/bin/sh\n").unwrap();
    let mount = format!("{}:/etc/passwd:ro", file.display());
    assert!(same(&["-u", "someone", "-v", &mount], &["id"]).starts_with("uid=77(someone) gid=78"));
    let part = "type=volume,src=vol,dst=/p,volume-subpath=group";
    assert!(same(&["--mount", part], &["cat", "/p"]).contains("staff"), "a part of a volume");
    joins_others(sandbox, runtime);
}

/// Networks are connected before the runtime is asked to start the program, and stay when it has gone.
#[test]
fn runtimes_are_on_networks_as_ours() {
    let sandbox = Sandbox::with_busybox();
    show_all_hierarchies(&sandbox);
    sandbox.ok(["network", "create", "--ipv6", "mine"]);
    sandbox.ok(["run", "-d", "--name", "other", "--network", "mine", "busybox", "sleep", "1000"]);
    for runtime in ["runc", "crun"] {
        let script = "echo $(ls /sys/class/net); cat /proc/sys/net/ipv6/conf/eth0/accept_ra; ip route | grep -c default; \
                      ping -c 1 -W 3 other | grep -o ' 0% packet loss'; cat /etc/resolv.conf";
        let flags = ["--network", "mine", "--sysctl", "net.ipv4.ip_default_ttl=9"];
        assert!(same(&sandbox, runtime, &flags, &["sh", "-c", script]).contains(" 0% packet loss"));
        let serve = "while true; do nc -l -p 80 -e echo served; done";
        let run =
            ["run", "-d", "--init", "--name", "web", "--runtime", runtime, "-p", "127.0.0.1::80", "busybox"];
        sandbox.ok([&run[..], &["sh", "-c", serve]].concat());
        let at = sandbox.ok(["port", "web", "80"]);
        eventually("it is reached by its published port", || {
            let mut text = String::new();
            let stream = std::net::TcpStream::connect(at.trim()).ok();
            stream.is_some_and(|mut s| std::io::Read::read_to_string(&mut s, &mut text).is_ok())
                && text == "served\n"
        });
        sandbox.ok(["network", "connect", "mine", "web"]);
        sandbox.ok(["exec", "web", "ping", "-c", "1", "-W", "3", "other"]);
        sandbox.ok(["restart", "-t", "0", "web"]);
        sandbox.ok(["exec", "web", "ping", "-c", "1", "-W", "3", "other"]);
        sandbox.ok(["rm", "-f", "web"]);
    }
}

/// What another container has is shared with it, whoever started either.
fn joins_others(sandbox: &Sandbox, runtime: &str) {
    let command = ["busybox", "sh", "-c", "echo kept > /dev/shm/file; hostname donor; exec sleep 1000"];
    for (owner, guest) in [("dhow", runtime), (runtime, "dhow"), (runtime, runtime)] {
        let run = ["run", "-d", "--name", "donor", "--ipc", "shareable", "--runtime", owner];
        sandbox.ok([&run[..], &command].concat());
        eventually("the donor has written", || {
            sandbox.dhow(["exec", "donor", "cat", "/dev/shm/file"]).stdout == "kept\n"
        });
        let namespaces = ["pid", "ipc", "net"];
        let own = format!("/proc/{}/ns", sandbox.pid("donor"));
        let wanted = namespaces.map(|name| std::fs::read_link(format!("{own}/{name}")).unwrap());
        let join = ["--pid", "container:donor", "--ipc", "container:donor", "--network", "container:donor"];
        let look = "cat /dev/shm/file; for n in pid ipc net; do readlink /proc/self/ns/$n; done; ps | grep -c '[s]leep 1000'";
        let seen =
            sandbox
                .ok([&["run", "--rm", "--runtime", guest][..], &join, &["busybox", "sh", "-c", look]]
                    .concat());
        let wanted: Vec<String> = wanted.iter().map(|link| link.display().to_string()).collect();
        assert_eq!(seen, format!("kept\n{}\n1", wanted.join("\n")), "{guest} in a container of {owner}");
        sandbox.ok(["rm", "-f", "donor"]);
    }
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
}

/// A user namespace is the same from inside and outside, whoever makes it.
#[test]
fn runtimes_start_containers_in_user_namespaces() {
    let sandbox = Sandbox::with_busybox();
    show_all_hierarchies(&sandbox);
    let file = sandbox.path("dhow.json");
    std::fs::write(&file, r#"{"userns-ids": {"first": 1000000, "count": 262144}}"#).unwrap();
    let dhow = |arguments: &[&str]| {
        let flags = ["--config-file", file.to_str().unwrap()];
        finish(sandbox.command([&flags, arguments].concat()), b"").ok()
    };
    sandbox.ok(["network", "create", "mine"]);
    let source = sandbox.path("source");
    std::fs::write(&source, "of the host\n").unwrap();
    let bind = format!("{}:/source", source.display());
    let look = "id -u; awk '{ print $1, $3 }' /proc/self/uid_map; stat -c %u:%g /bin/busybox /v /p /etc/hosts /img; \
                stat -c %u:%g /source; cat /source /p/group | head -2; echo kept > /v/file && chown 7:8 /v/file && stat -c %u:%g /v/file; \
                touch /etc/new && stat -c %u /etc/new; echo x > /dev/mine/null && echo device; ls /sys/class/net; \
                echo 1 > /proc/sys/vm/swappiness || echo no power";
    let mut seen = Vec::new();
    for (runtime, volume) in [("dhow", "v0"), ("runc", "v1"), ("crun", "v2")] {
        let volume_flag = format!("{volume}:/v");
        dhow(&["run", "--rm", "--network", "none", "-v", &format!("{volume}:/etc"), "busybox", "true"]);
        let part = format!("type=volume,src={volume},dst=/p/group,volume-subpath=group");
        let flags = [
            "run",
            "--rm",
            "--userns",
            "private",
            "--runtime",
            runtime,
            "--network",
            "mine",
            "-v",
            &volume_flag,
            "-v",
            &bind,
            "--mount",
            &part,
            "--mount",
            "type=image,src=busybox,dst=/img",
            "--device",
            "/dev/null:/dev/mine/null",
            "busybox",
            "sh",
            "-c",
            look,
        ];
        seen.push(dhow(&flags));
        let run = [
            "run",
            "-d",
            "--name",
            "box",
            "--userns",
            "private",
            "--runtime",
            runtime,
            "busybox",
            "sleep",
            "1000",
        ];
        dhow(&run);
        let uid = |pid: i32| {
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}")).unwrap())
        };
        assert!(uid(sandbox.pid("box")) >= 1_000_000, "{runtime}");
        assert_eq!(dhow(&["exec", "box", "id", "-u"]), "0");
        dhow(&["restart", "-t", "0", "box"]);
        assert_eq!(dhow(&["exec", "box", "id", "-u"]), "0");
        dhow(&["rm", "-f", "box"]);
    }
    assert!(
        seen[0].contains("7:8") && seen[0].contains("device") && seen[0].contains("no power"),
        "{}",
        seen[0]
    );
    assert_eq!(seen[0], seen[1], "runc");
    assert_eq!(seen[0], seen[2], "crun");
}
