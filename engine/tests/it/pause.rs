//! Frozen and thawed: what stands still, what is refused meanwhile, what ends it.

use crate::leaks::hierarchies;
use crate::sandbox::{Sandbox, eventually};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Counts, ten times a second.
const COUNTING: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

/// How far a container that counts has come, by its log.
fn reached(sandbox: &Sandbox, who: &str) -> u32 {
    sandbox.ok(["logs", "--tail", "1", who]).parse().unwrap_or(0)
}

#[track_caller]
fn assert_counts(sandbox: &Sandbox, who: &str) {
    let before = reached(sandbox, who);
    eventually("it counts on", || reached(sandbox, who) > before);
}

#[track_caller]
fn assert_stands_still(sandbox: &Sandbox, who: &str) {
    // What was written before the freeze may still be on its way through the monitor.
    std::thread::sleep(Duration::from_millis(200));
    let before = reached(sandbox, who);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(reached(sandbox, who), before, "it counts on");
}

/// Writes the opposite of what the record says, as a crash between the two steps would leave it.
fn thaw_behind_the_engine(id: &str) {
    let files: Vec<(PathBuf, &str)> = hierarchies()
        .into_iter()
        .map(|hierarchy| hierarchy.join("dhow").join(id))
        .flat_map(|group| [(group.join("freezer.state"), "THAWED"), (group.join("cgroup.freeze"), "0")])
        .filter(|(path, _)| path.exists())
        .collect();
    assert!(!files.is_empty(), "no freezer for {id}");
    for (path, value) in files {
        std::fs::write(path, value).unwrap();
    }
}

fn actions(sandbox: &Sandbox) -> Vec<String> {
    let words = sandbox.events().into_iter().filter(|e| e["Type"] == "container");
    words.filter_map(|e| e["Action"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_paused_container_stands_still_until_it_is_unpaused() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", COUNTING]);
    assert_counts(&sandbox, "box");
    assert_eq!(sandbox.ok(["pause", "box"]), "box");
    assert_stands_still(&sandbox, "box");

    let state = sandbox.container_state("box");
    assert_eq!(
        (&state["Status"], &state["Paused"], &state["Running"]),
        (&"paused".into(), &true.into(), &true.into()),
        "{state}"
    );
    let row = sandbox.ok(["ps", "--format", "{{.Status}}"]);
    assert!(row.starts_with("Up ") && row.ends_with(" (Paused)"), "{row}");
    assert_eq!(sandbox.ok(["ps", "-q", "--filter", "status=paused", "--no-trunc"]), id);
    assert_eq!(sandbox.ok(["info", "--format", "{{.ContainersPaused}}"]), "1");

    sandbox.dhow(["pause", "box"]).fails(1, &format!("Container {id} is already paused"));
    sandbox
        .dhow(["exec", "box", "true"])
        .fails(1, &format!("Container {id} is paused, unpause the container before exec"));
    sandbox.dhow(["start", "box"]).fails(1, "cannot start a paused container, try unpause instead");
    sandbox.dhow(["attach", "box"]).fails(1, "You cannot attach to a paused container, unpause it first");
    sandbox.dhow(["rm", "box"]).fails(1, "container is paused");

    assert_eq!(sandbox.ok(["container", "unpause", &id[..12]]), &id[..12]);
    assert_counts(&sandbox, "box");
    assert_eq!(sandbox.container_state("box")["Status"], "running");
    assert_eq!(sandbox.ok(["exec", "box", "echo", "works"]), "works");
    sandbox.dhow(["unpause", "box"]).fails(1, &format!("Container {id} is not paused"));
    let actions = actions(&sandbox);
    let told: Vec<&str> = actions.iter().map(String::as_str).filter(|a| a.ends_with("pause")).collect();
    assert_eq!(told, ["pause", "unpause"]);
}

#[test]
fn only_what_runs_can_be_paused_and_each_is_tried() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["create", "--name", "new", "busybox", "true"]);
    sandbox.ok(["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
    sandbox.ok(["run", "-d", "--name", "two", "busybox", "sleep", "1000"]);
    let ended = sandbox.dhow(["pause", "new", "one", "nobody", "two"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, "one\ntwo\n"), "{ended:?}");
    assert!(ended.stderr.contains(" is not running") && ended.stderr.contains("No such container: nobody"));
    let ended = sandbox.dhow(["unpause", "one", "new", "two"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, "one\ntwo\n"), "{ended:?}");
    assert!(ended.stderr.contains(" is not paused"), "{ended:?}");
    sandbox.dhow(["pause"]).fails(1, "requires at least 1 argument");
}

#[test]
fn what_ends_a_paused_container() {
    let sandbox = Sandbox::with_busybox();
    let graceful = "trap 'exit 5' TERM; trap 'echo heard' USR1; echo ready; while :; do sleep 0.1; done";
    let start_paused = |name: &str| {
        sandbox.ok(["run", "-d", "--name", name, "busybox", "sh", "-c", graceful]);
        eventually("the traps are set", || sandbox.ok(["logs", name]) == "ready");
        sandbox.ok(["pause", name]);
    };
    let code = |name: &str| sandbox.container_state(name)["ExitCode"].as_i64().unwrap();

    start_paused("stopped");
    let before = Instant::now();
    sandbox.ok(["stop", "-t", "60", "stopped"]);
    assert!(before.elapsed() < Duration::from_secs(50), "its own end was waited for");
    assert_eq!(code("stopped"), 5);

    start_paused("killed");
    // A signal that does not end it waits until it goes on.
    sandbox.ok(["kill", "-s", "USR1", "killed"]);
    assert_stands_still(&sandbox, "killed");
    assert_eq!(sandbox.container_state("killed")["Status"], "paused");
    sandbox.ok(["unpause", "killed"]);
    eventually("it hears", || sandbox.ok(["logs", "killed"]).ends_with("heard"));
    sandbox.ok(["pause", "killed"]);
    sandbox.ok(["kill", "killed"]);
    sandbox.wait_for_status("killed", "exited");
    assert_eq!(code("killed"), 137);
    sandbox.ok(["start", "killed"]);
    assert_eq!(sandbox.container_state("killed")["Status"], "running");
    eventually("it is not frozen", || sandbox.ok(["logs", "killed"]).matches("ready").count() == 2);

    start_paused("restarted");
    let pid = sandbox.pid("restarted");
    sandbox.ok(["restart", "restarted"]);
    assert_eq!(sandbox.container_state("restarted")["Status"], "running");
    assert_ne!(sandbox.pid("restarted"), pid);

    start_paused("removed");
    sandbox.ok(["rm", "-f", "removed"]);
    sandbox.dhow(["inspect", "removed"]).fails(1, "no such");
}

#[test]
fn all_processes_are_frozen_and_a_restart_policy_starts_a_thawed_one() {
    let sandbox = Sandbox::with_busybox();
    let script = format!("({COUNTING}) & while :; do sleep 1; done");
    sandbox.ok(["run", "-d", "--name", "box", "--restart", "always", "busybox", "sh", "-c", &script]);
    assert_counts(&sandbox, "box");
    sandbox.ok(["pause", "box"]);
    assert_stands_still(&sandbox, "box");
    // Killed from outside, as the kernel's OOM killer would: a frozen v1 process only dies when it is thawed.
    let pid = nix::unistd::Pid::from_raw(sandbox.pid("box"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    if sandbox.container_state("box")["Status"] == "paused" {
        // It may have died since; then there is nothing to unpause.
        sandbox.dhow(["unpause", "box"]);
    }
    eventually("it runs again", || {
        let state = sandbox.container_state("box");
        state["Status"] == "running" && state["Pid"].as_i64() != Some(pid.as_raw().into())
    });
    assert_counts(&sandbox, "box");
}

#[test]
fn crashes_while_a_container_is_paused_are_settled() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", COUNTING]);
    assert_counts(&sandbox, "box");
    sandbox.ok(["pause", "box"]);
    // The record says paused, the processes run: whoever comes next freezes them.
    thaw_behind_the_engine(&id);
    sandbox.ok(["ps"]);
    assert_stands_still(&sandbox, "box");
    assert_eq!(sandbox.container_state("box")["Status"], "paused");
    sandbox.ok(["unpause", "box"]);
    assert_counts(&sandbox, "box");

    // The monitor of a paused container dies: its processes must, too.
    sandbox.ok(["pause", "box"]);
    let pid = sandbox.pid("box");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor: i32 = status.lines().find_map(|l| l.strip_prefix("PPid:")?.trim().parse().ok()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::Signal::SIGKILL).unwrap();
    sandbox.wait_for_status("box", "exited");
    assert_eq!(sandbox.container_state("box")["ExitCode"], 137);
    eventually("its process is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    sandbox.ok(["start", "box"]);
    assert_counts(&sandbox, "box");
}

#[test]
fn docker_itself_pauses_through_the_socket() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let id = server.docker(["run", "-d", "--name", "box", "busybox", "sh", "-c", COUNTING]).ok();
    assert_counts(&sandbox, "box");
    assert_eq!(server.docker(["pause", "box"]).ok(), "box");
    assert_stands_still(&sandbox, "box");
    assert!(server.docker(["ps", "--format", "{{.Status}}"]).ok().ends_with(" (Paused)"));
    assert_eq!(
        server.docker(["inspect", "-f", "{{.State.Paused}} {{.State.Running}}", "box"]).ok(),
        "true true"
    );
    server.docker(["pause", "box"]).fails(1, &format!("Container {id} is already paused"));
    server
        .docker(["exec", "box", "true"])
        .fails(1, &format!("Container {id} is paused, unpause the container"));
    assert_eq!(server.docker(["unpause", "box"]).ok(), "box");
    assert_counts(&sandbox, "box");
    server.docker(["unpause", "box"]).fails(1, &format!("Container {id} is not paused"));
    server.docker(["pause", "box"]).ok();
    server.docker(["rm", "-f", "box"]).ok();
    server.docker(["pause", "box"]).fails(1, "No such container: box");
}
