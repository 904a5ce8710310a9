//! `top`: the processes of a container, by `/proc` alone.

use crate::sandbox::{Sandbox, eventually};

#[test]
fn processes_as_ps_shows_them() {
    let sandbox = Sandbox::with_busybox();
    let script = "sleep 1001 & exec sleep 1002";
    sandbox.ok(["run", "-d", "--name", "two", "--network", "none", "busybox", "sh", "-c", script]);
    eventually("both processes are there", || {
        let shown = sandbox.ok(["top", "two", "-o", "pid,args"]);
        shown.contains("sleep 1001") && shown.contains("sleep 1002")
    });
    let shown = sandbox.ok(["top", "two"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    assert_eq!(lines.len(), 3, "{shown}");
    // Columns of at least twenty, as Docker's.
    assert_eq!(lines[0].find("PID"), Some(20));
    let pid = sandbox.pid("two");
    let first = lines.iter().find(|line| line.contains("sleep 1002")).unwrap();
    let cells: Vec<&str> = first.split_whitespace().collect();
    assert_eq!((cells[0], cells[1], cells[5]), ("root", pid.to_string().as_str(), "?"));

    assert_eq!(sandbox.ok(["container", "top", "two", "-o", "pid=NUMBER"]).lines().next(), Some("NUMBER"));
    assert!(sandbox.ok(["top", "two", "aux"]).starts_with("USER  "));
    // An exec'ed process counts, and a frozen container is still looked at.
    let exec = sandbox.live(["exec", "two", "sleep", "1003"]);
    eventually("the third process is there", || {
        sandbox.ok(["top", "two", "-eo", "pid,cmd"]).contains("sleep 1003")
    });
    sandbox.ok(["pause", "two"]);
    assert!(sandbox.ok(["top", "two"]).contains("sleep 1002"));
    sandbox.ok(["unpause", "two"]);

    let server = sandbox.serve();
    let docker = |arguments: &[&str]| server.docker(arguments).ok();
    let plain = |text: String| {
        text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(
        plain(docker(&["top", "two", "-o", "pid,args"])),
        plain(sandbox.ok(["top", "two", "-o", "pid,args"]))
    );
    drop(server);
    drop(exec);
}

#[test]
fn what_is_refused() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["create", "--name", "still", "--network", "none", "busybox", "true"]);
    sandbox.dhow(["top", "still"]).fails(1, "is not running");
    sandbox.dhow(["top", "no-such"]).fails(1, "No such container: no-such");
    sandbox.ok(["run", "-d", "--name", "up", "--network", "none", "busybox", "sleep", "1000"]);
    sandbox.dhow(["top", "up", "--sort", "pid"]).fails(1, "ps option \"--sort\" is not supported by dhow");
    sandbox.dhow(["top", "up", "-o", "comm"]).fails(1, "Couldn't find PID field in ps output");
}

/// A process may call itself anything: no byte of it reaches a terminal as a command to it.
#[test]
fn names_of_processes_are_only_text() {
    let sandbox = Sandbox::with_busybox();
    let name = "evil\u{1b}[31m\nroot 1";
    sandbox.ok([
        "run",
        "-d",
        "--name",
        "up",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "read x < /proc/self/fd/1; :",
        name,
    ]);
    let shown = sandbox.ok(["top", "up", "-o", "pid,args"]);
    assert_eq!(shown.lines().count(), 2, "{shown:?}");
    assert!(shown.contains("evil?[31m?root 1"), "{shown:?}");
}
