//! How a run ended and by whose hand, and its times, as `inspect` tells them.

use crate::sandbox::{Sandbox, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Who ended it, and by which signal it died.
fn cause(sandbox: &Sandbox, who: &str) -> (String, Option<String>) {
    let all = sandbox.inspect(who);
    let text = |field: &str| all["Dhow"][field].as_str().map(str::to_owned);
    (text("EndedBy").unwrap_or_default(), text("EndSignal"))
}

fn by(who: &str, signal: Option<&str>) -> (String, Option<String>) {
    (who.to_owned(), signal.map(str::to_owned))
}

fn sleeper(sandbox: &Sandbox, name: &str) {
    sandbox.ok(["run", "-d", "--name", name, "busybox", "sleep", "1000"]);
}

#[test]
fn every_hand_that_can_end_a_run_is_told_apart() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["create", "--name", "new", "busybox", "true"]);
    assert_eq!(cause(&sandbox, "new"), by("", None), "it has not ended yet");
    assert_eq!(sandbox.dhow(["run", "--name", "own", "busybox", "sh", "-c", "exit 3"]).code, 3);
    assert_eq!(cause(&sandbox, "own"), by("itself", None));

    let polite = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    sandbox.ok(["run", "-d", "--name", "stopped", "busybox", "sh", "-c", polite]);
    eventually("the trap is set", || sandbox.ok(["logs", "stopped"]) == "ready");
    sandbox.ok(["stop", "stopped"]);
    assert_eq!(cause(&sandbox, "stopped"), by("stop", None));
    assert!(sandbox.inspect("stopped")["Dhow"]["EndAskedAt"].is_string());

    sleeper(&sandbox, "hard");
    sandbox.ok(["stop", "-t", "0", "hard"]);
    assert_eq!(cause(&sandbox, "hard"), by("stop", Some("SIGKILL")));

    sleeper(&sandbox, "killed");
    sandbox.ok(["kill", "killed"]);
    sandbox.wait_for_status("killed", "exited");
    assert_eq!(cause(&sandbox, "killed"), by("kill", Some("SIGKILL")));

    sleeper(&sandbox, "shot");
    kill(Pid::from_raw(sandbox.pid("shot")), Signal::SIGKILL).unwrap();
    sandbox.wait_for_status("shot", "exited");
    assert_eq!(cause(&sandbox, "shot"), by("signal", Some("SIGKILL")));

    sandbox.ok(["restart", "-t", "0", "killed"]);
    assert_eq!(cause(&sandbox, "killed"), by("kill", Some("SIGKILL")), "until it ends again");
    sandbox.ok(["restart", "-t", "0", "killed"]);
    assert_eq!(cause(&sandbox, "killed"), by("restart", Some("SIGKILL")));

    sandbox.dhow(["run", "--name", "bad", "busybox", "/no/such"]).fails(127, "no such file");
    assert_eq!(cause(&sandbox, "bad"), by("start-failed", None));
}

#[test]
fn want_of_memory_and_a_lost_monitor_are_causes() {
    let sandbox = Sandbox::with_busybox();
    let limits = ["-m", "8m", "--memory-swap", "8m"];
    let ended =
        sandbox.dhow([&["run", "--name", "hungry"][..], &limits, &["busybox", "tail", "/dev/zero"]].concat());
    assert_eq!(ended.code, 137, "{ended:?}");
    assert_eq!(cause(&sandbox, "hungry"), by("out-of-memory", Some("SIGKILL")));
    assert_eq!(sandbox.container_state("hungry")["OOMKilled"], true);

    sleeper(&sandbox, "orphan");
    let pid = sandbox.pid("orphan");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor: i32 = status.lines().find_map(|l| l.strip_prefix("PPid:")?.trim().parse().ok()).unwrap();
    kill(Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
    sandbox.wait_for_status("orphan", "exited");
    assert_eq!(cause(&sandbox, "orphan"), by("monitor-lost", Some("SIGKILL")));
}

#[test]
fn times_are_in_order_and_the_first_output_is_one() {
    let sandbox = Sandbox::with_busybox();
    let times = |who: &str| -> Vec<Value> {
        let all = sandbox.inspect(who);
        vec![
            all["Created"].clone(),
            all["State"]["StartedAt"].clone(),
            all["Dhow"]["FirstOutputAt"].clone(),
            all["State"]["FinishedAt"].clone(),
        ]
    };
    let moment = |value: &Value| dhow_model::Timestamp::parse(value.as_str().unwrap()).unwrap();
    sandbox.ok(["run", "--name", "short", "busybox", "echo", "hello"]);
    let short: Vec<_> = times("short").iter().map(moment).collect();
    assert!(short.is_sorted(), "{short:?}");

    sandbox.ok(["run", "--name", "mute", "busybox", "true"]);
    assert_eq!(times("mute")[2], Value::Null);

    // One that goes on is told of while it runs, whether it falls silent or not.
    sandbox.ok(["run", "-d", "--name", "quiet", "busybox", "sh", "-c", "echo once; sleep 1000"]);
    let chatter = "while :; do echo again; sleep 0.1; done";
    sandbox.ok(["run", "-d", "--name", "loud", "busybox", "sh", "-c", chatter]);
    for who in ["quiet", "loud"] {
        eventually("its first output is recorded", || times(who)[2].is_string());
        let first = times(who)[2].clone();
        assert!(moment(&first) >= moment(&times(who)[1]));
    }
    // The next run begins anew.
    sandbox.ok(["restart", "-t", "0", "quiet"]);
    eventually("the second run's is recorded", || {
        let now = times("quiet");
        now[2].is_string() && moment(&now[2]) >= moment(&now[1])
    });
}

#[test]
fn restarts_are_counted() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 4"]);
    eventually("it gave up", || {
        let all = sandbox.inspect("box");
        all["RestartCount"] == 2 && all["State"]["Status"] == "exited"
    });
    assert_eq!(cause(&sandbox, "box"), by("itself", None));
}
