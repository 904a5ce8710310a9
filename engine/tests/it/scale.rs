//! Many attaches and execs to one container, and much output: memory stays, no line is lost or torn.

use crate::http::Api;
use crate::sandbox::{Sandbox, eventually};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// The process that keeps a container: the parent of its first one.
fn monitor_of(sandbox: &Sandbox, who: &str) -> i32 {
    let status = fs::read_to_string(format!("/proc/{}/status", sandbox.pid(who))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}

/// What a process has written of memory, and how many descriptors. Pages of the program's file are not its own: they
/// turn from shared to private ones, and back, as other processes of the same program end and begin.
fn weight(pid: i32) -> (u64, usize) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = |field: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    (kib("Anonymous:"), descriptors)
}

/// Attaches and execs so often, one after the other, by the API.
fn attach_and_exec(rounds: usize, sandbox: &Sandbox, api: &mut Api) {
    for round in 0..rounds {
        if round % 2 == 0 {
            let mut stream = api.hijack("/containers/box/attach?stream=1&stdout=1&stderr=1", b"");
            // The stream is open: the monitor has us among its clients. Then we go without a word.
            stream.set_nonblocking(true).unwrap();
            let _ = stream.read(&mut [0; 16]);
            continue;
        }
        let body = br#"{"AttachStdout":true,"Cmd":["true"]}"#;
        let (status, answer) = api.ask("POST", "/containers/box/exec", body);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let id = answer["Id"].as_str().unwrap().to_owned();
        let mut stream = api.hijack(&format!("/exec/{id}/start"), b"{\"Detach\":false}");
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    // The last one that went has been noticed.
    assert_eq!(sandbox.ok(["exec", "box", "echo", "alive"]), "alive");
}

/// The monitor's memory and descriptors, before and after `rounds` of them.
fn memory_stays(rounds: usize) {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "100000"]);
    let monitor = monitor_of(&sandbox, "box");
    let _server = sandbox.serve();
    let mut api = Api::new(&sandbox.path("api.sock"));
    // What the first clients make it allocate is kept for the next.
    attach_and_exec(50, &sandbox, &mut api);
    let idle = weight(monitor).1;
    attach_and_exec(4, &sandbox, &mut api);
    eventually("the monitor has no clients left", || weight(monitor).1 <= idle);
    let before = weight(monitor);
    attach_and_exec(rounds, &sandbox, &mut api);
    eventually("all descriptors are closed", || weight(monitor).1 == before.1);
    let after = weight(monitor);
    assert_eq!(monitor_of(&sandbox, "box"), monitor, "it is the same monitor");
    // An allocator may take a page or two more; a leak of a byte for each would show in the long run.
    assert!(after.0 <= before.0 + 64, "{} KiB before, {} KiB after {rounds} rounds", before.0, after.0);
}

#[test]
fn a_monitor_stays_as_small_after_hundreds_of_attaches_and_execs() {
    memory_stays(150);
}

#[test]
#[ignore = "takes minutes: the full number, by `cargo xtask test -- --ignored`"]
fn a_monitor_stays_as_small_after_ten_thousand_attaches_and_execs() {
    memory_stays(10_000);
}

/// Asserts that there are the lines 1 to `last`, each whole and in order.
fn check_numbers(what: &str, text: impl Read, last: u64) {
    let mut text = BufReader::with_capacity(1 << 20, text);
    let (mut want, mut line) = (0, Vec::new());
    while text.read_until(b'\n', &mut line).unwrap() > 0 {
        want += 1;
        let number = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
        assert_eq!(number, Some(want), "{what}: line {want} is {:?}", String::from_utf8_lossy(&line));
        line.clear();
    }
    assert_eq!(want, last, "{what}: lines are missing at the end");
}

/// `seq` to a client, a follower of the log, and the log.
fn output_is_whole(last: u64) {
    let sandbox = Sandbox::with_busybox();
    let count = last.to_string();
    // Nobody's log is to be rotated away from under this test.
    let run = ["run", "--log-opt", "max-size=100g", "--name", "box", "busybox", "seq", "1", &count];
    let start = |mut command: Command| command.stdout(Stdio::piped()).spawn().unwrap();
    let mut client = start(sandbox.command(run));
    eventually("it is there", || sandbox.dhow(["inspect", "box"]).code == 0);
    let mut follower = start(sandbox.command(["logs", "-f", "box"]));
    let (attached, followed) = (client.stdout.take().unwrap(), follower.stdout.take().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| check_numbers("attached", attached, last));
        scope.spawn(|| check_numbers("followed", followed, last));
    });
    assert!(client.wait().unwrap().success() && follower.wait().unwrap().success());
    let mut logs = start(sandbox.command(["logs", "box"]));
    check_numbers("log", logs.stdout.take().unwrap(), last);
    assert!(logs.wait().unwrap().success());
}

#[test]
fn no_line_of_much_output_is_lost_or_torn() {
    output_is_whole(400_000);
}

#[test]
#[ignore = "takes minutes and 20 GB: the full amount, by `cargo xtask test --release -- --ignored`"]
fn no_line_of_two_gibibytes_is_lost_or_torn() {
    // 2 GiB of lines of up to ten bytes each.
    output_is_whole(220_000_000);
}
