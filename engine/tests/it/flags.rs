//! Flags of `exec` and `start`, kernel settings and annotations: what they do, by our command and by docker's.

use crate::live::{Live, Terminal};
use crate::sandbox::{Sandbox, eventually, finish};
use std::process::Command;

/// A sleeping container with a marked environment and a user of its own.
fn box_of(sandbox: &Sandbox, flags: &[&str]) {
    let run = ["run", "-d", "--name", "box", "-e", "OWN=container", "-w", "/etc", "--cap-drop", "CHOWN"];
    sandbox.ok([&run[..], flags, &["busybox", "sleep", "1000"]].concat());
}

#[test]
fn exec_environment_user_directory_and_privileges() {
    let sandbox = Sandbox::with_busybox();
    box_of(&sandbox, &["-u", "1000:1001", "--group-add", "7"]);
    let file = sandbox.path("env");
    std::fs::write(&file, "# a comment\nFROM=file\nBOTH=file\nFROM_HERE\n").unwrap();
    let file = file.to_str().unwrap();
    let server = sandbox.serve();
    let same = |flags: &[&str], script: &str| -> String {
        let arguments = [&["exec"][..], flags, &["box", "sh", "-c", script]].concat();
        let (mut ours, mut theirs) = (sandbox.command(&arguments), server.docker_command(&arguments));
        let (ours, theirs) =
            (finish(ours_with(&mut ours), b"").ok(), finish(ours_with(&mut theirs), b"").ok());
        assert_eq!(ours, theirs, "{flags:?}");
        ours
    };
    let show = "echo $OWN $FROM $BOTH $FROM_HERE $BARE";
    assert_eq!(same(&[], show), "container");
    let flags = ["--env-file", file, "-e", "BOTH=flag", "--env", "BARE", "-e", "OWN=exec"];
    assert_eq!(same(&flags, show), "exec file flag inherited bare");
    // A variable that is nowhere is not set; nor does one of exec reach the container.
    assert_eq!(same(&["-e", "NOWHERE"], "echo ${NOWHERE-unset}"), "unset");
    assert_eq!(
        sandbox.ok(["exec", "box", "sh", "-c", "tr '\\0' '\\n' < /proc/1/environ | grep OWN"]),
        "OWN=container"
    );
    assert_eq!(same(&[], "pwd"), "/etc");
    assert_eq!(same(&["-w", "/bin"], "pwd"), "/bin");
    sandbox.dhow(["exec", "-w", "etc", "box", "true"]).fails(1, "a relative working directory (\"etc\")");
    assert_eq!(same(&[], "id -u; id -g; id -G"), "1000\n1001\n1001 7");
    assert_eq!(same(&["-u", "0"], "id -u; id -g"), "0\n0");
    assert_eq!(same(&["--user", "5:6"], "id -u; id -g"), "5\n6");
    sandbox.dhow(["exec", "-u", "nobody-here", "box", "true"]).fails(126, "unable to find user nobody-here");
    let bounding = "grep CapBnd /proc/self/status";
    let (plain, strong) = (same(&["-u", "0"], bounding), same(&["-u", "0", "--privileged"], bounding));
    let mask = |line: &str| u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask(&plain) & 1, 0, "CHOWN is dropped: {plain}");
    assert_eq!(mask(&strong) & (1 << 21 | 1), 1 << 21 | 1, "SYS_ADMIN and CHOWN: {strong}");
}

/// With two variables that `-e NAME` and a file can take from the command's own environment.
fn ours_with(command: &mut Command) -> Command {
    let mut with = Command::new(command.get_program());
    with.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => with.env(name, value),
            None => with.env_remove(name),
        };
    }
    with.env("FROM_HERE", "inherited").env("BARE", "bare").stdin(std::process::Stdio::null());
    with
}

#[test]
fn exec_detached_interactive_and_with_a_terminal() {
    let sandbox = Sandbox::with_busybox();
    box_of(&sandbox, &[]);
    assert_eq!(sandbox.ok(["exec", "-d", "box", "sh", "-c", "cat > /read; echo done >> /read"]), "");
    eventually("it had nothing to read", || sandbox.dhow(["exec", "box", "cat", "/read"]).stdout == "done\n");
    assert_eq!(sandbox.dhow_with_input(["exec", "-i", "box", "cat"], b"given").ok(), "given");
    assert_eq!(sandbox.dhow_with_input(["exec", "box", "cat"], b"not given").ok(), "");
    sandbox.dhow(["exec", "-it", "box", "true"]).fails(1, "the input device is not a TTY");
    // With `-t` alone, there is a terminal all the same.
    assert_eq!(
        sandbox.ok(["exec", "-t", "box", "sh", "-c", "test -t 1 && echo terminal"]).trim(),
        "terminal"
    );
    let mut terminal =
        Terminal::spawn(&sandbox.command(["exec", "-it", "--detach-keys", "ctrl-x,q", "box", "sh"]), 20, 80);
    terminal.send("echo mark-$((40+2)); sleep 999\n");
    terminal.expect("mark-42");
    terminal.send("\u{18}q");
    terminal.expect("read escape sequence");
    terminal.wait();
    assert!(sandbox.ok(["top", "box"]).contains("sleep 999"), "what was left goes on");
    sandbox.dhow(["exec", "--detach-keys", "ctrl-€", "box", "true"]).fails(125, "ctrl-€");
}

#[test]
fn start_attached_interactive_and_several() {
    let sandbox = Sandbox::with_busybox();
    let script = "read line; echo got $line; echo err >&2; exit 4";
    sandbox.ok(["create", "-i", "--name", "box", "busybox", "sh", "-c", script]);
    let ended = sandbox.dhow_with_input(["start", "-ai", "box"], b"one\n");
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (4, "got one\n", "err\n"));
    // `-i` alone attaches the outputs, too; `-a` alone gives no input, and the container waits for some.
    let ended = sandbox.dhow_with_input(["start", "-i", "box"], b"two\n");
    assert_eq!((ended.code, &*ended.stdout), (4, "got two\n"));
    let mut attached = Live::spawn(sandbox.command(["start", "-a", "box"]));
    sandbox.wait_for_status("box", "running");
    attached.signal(nix::sys::signal::Signal::SIGKILL);
    attached.wait();
    assert_eq!(sandbox.container_state("box")["Status"], "running");
    sandbox.ok(["kill", "box"]);
    // Signals reach the container: a proxy is always there.
    let polite = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    sandbox.ok(["create", "--name", "polite", "busybox", "sh", "-c", polite]);
    let mut attached = Live::spawn(sandbox.command(["start", "--attach", "polite"]));
    attached.expect("ready");
    attached.signal(nix::sys::signal::Signal::SIGTERM);
    attached.expect("bye");
    assert_eq!(attached.wait(), 9);

    sandbox.ok(["create", "-it", "--name", "keys", "busybox", "sh"]);
    let mut terminal =
        Terminal::spawn(&sandbox.command(["start", "-ai", "--detach-keys", "ctrl-x,q", "keys"]), 20, 80);
    terminal.send("echo mark-$((40+2))\n");
    terminal.expect("mark-42");
    terminal.send("\u{18}q");
    terminal.wait();
    assert_eq!(sandbox.container_state("keys")["Status"], "running");

    sandbox.ok(["create", "--name", "other", "busybox", "sleep", "1000"]);
    assert_eq!(sandbox.ok(["start", "keys", "other"]), "keys\nother", "one that runs is fine");
    let ended = sandbox.dhow(["start", "nobody", "polite"]);
    assert_eq!((ended.code, &*ended.stdout), (1, "polite\n"));
    assert!(ended.stderr.contains("No such container: nobody"), "{ended:?}");
    assert!(ended.stderr.contains("failed to start containers: nobody"), "{ended:?}");
    sandbox
        .dhow(["start", "-a", "keys", "other"])
        .fails(1, "you cannot start and attach multiple containers at once");
}

#[test]
fn sysctls_of_the_containers_own_namespaces() {
    let sandbox = Sandbox::with_busybox();
    let before = std::fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    let flags = [
        "--sysctl",
        "kernel.shmmni=77",
        "--sysctl",
        "fs.mqueue.msg_max=33",
        "--sysctl",
        "net.ipv4.ip_default_ttl=55",
    ];
    box_of(&sandbox, &flags);
    let files = ["kernel/shmmni", "fs/mqueue/msg_max", "net/ipv4/ip_default_ttl"];
    let files = files.map(|file| format!("/proc/sys/{file}"));
    let cat = || sandbox.ok(["exec", "box", "cat"].into_iter().chain(files.iter().map(String::as_str)));
    assert_eq!(cat(), "77\n33\n55");
    sandbox.ok(["restart", "-t", "0", "box"]);
    assert_eq!(cat(), "77\n33\n55");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), before, "the host's stays");
    assert_eq!(sandbox.inspect("box")["HostConfig"]["Sysctls"]["kernel.shmmni"], "77");
    for (flags, why) in [
        (&["--sysctl", "vm.swappiness=1"][..], "vm.swappiness"),
        (&["--sysctl", "kernel.shmmni"], "kernel.shmmni"),
        (&["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"], "net.ipv4.ip_forward"),
        (&["--ipc", "host", "--sysctl", "kernel.shmmni=1"], "kernel.shmmni"),
        (&["--sysctl", "kernel.shmmni=-5x"], "shmmni"),
    ] {
        sandbox.dhow([&["run", "--rm"][..], flags, &["busybox", "true"]].concat()).fails(125, why);
    }
    // As Docker's code has it, for the words "no such file".
    let missing = ["run", "--rm", "--sysctl", "net.ipv4.no_such_thing=1", "busybox", "true"];
    sandbox.dhow(missing).fails(127, "/proc/sys/net/ipv4/no_such_thing: no such file");
}

#[test]
fn annotations_are_kept_and_shown() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["--annotation", "com.example/one=1", "--annotation", "two=a=b", "--annotation", "three="];
    sandbox.ok([&["create", "--name", "box"][..], &flags, &["busybox", "true"]].concat());
    let server = sandbox.serve();
    let template = ["inspect", "-f", "{{json .HostConfig.Annotations}}", "box"];
    let wanted = r#"{"com.example/one":"1","three":"","two":"a=b"}"#;
    assert_eq!([sandbox.ok(template), server.docker(template).ok()], [wanted, wanted]);
    assert_eq!(sandbox.inspect("box")["Config"]["Labels"], serde_json::json!({}));
    let listed = sandbox.ok(["ps", "-a", "--filter", "label=two", "-q"]);
    assert_eq!(listed, "", "an annotation is no label");
}
