//! From create to rm: names, states, logs, waiting, events, restart policies.

use crate::sandbox::{Sandbox, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::time::{Duration, Instant};

/// A first process that ends at once when asked to, with code 5.
const GRACEFUL: &str = "trap 'exit 5' TERM; while :; do sleep 0.1; done";

#[test]
fn the_states_of_a_life() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["create", "--name", "life", "busybox", "sh", "-c", GRACEFUL]);
    assert_eq!(id.len(), 64);
    let state = sandbox.container_state("life");
    assert_eq!(
        (&state["Status"], &state["Running"], &state["Pid"]),
        (&"created".into(), &false.into(), &0.into())
    );

    assert_eq!(sandbox.ok(["start", "life"]), "life");
    let state = sandbox.container_state("life");
    assert_eq!((&state["Status"], &state["Running"]), (&"running".into(), &true.into()));
    let pid = sandbox.pid("life");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    sandbox.ok(["start", "life"]);
    assert_eq!(sandbox.pid("life"), pid, "a second start changes nothing");

    assert_eq!(sandbox.ok(["stop", &id[..12]]), &id[..12]);
    let state = sandbox.container_state("life");
    assert_eq!(
        (&state["Status"], &state["ExitCode"], &state["Pid"]),
        (&"exited".into(), &5.into(), &0.into())
    );
    assert!(state["StartedAt"].as_str() < state["FinishedAt"].as_str(), "{state}");

    sandbox.ok(["restart", "life"]);
    assert_eq!(sandbox.container_state("life")["Status"], "running");
    assert_ne!(sandbox.pid("life"), pid);
    sandbox.dhow(["rm", "life"]).fails(1, "running");
    sandbox.ok(["rm", "-f", "life"]);
    sandbox.dhow(["inspect", "life"]).fails(1, "no such");
    sandbox.assert_no_containers();
}

#[test]
fn stop_waits_then_kills_and_kill_does_not_wait() {
    let sandbox = Sandbox::with_busybox();
    // As first processes, these ignore TERM: the kernel gives pid 1 no default handlers.
    sandbox.ok(["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]);
    let before = Instant::now();
    sandbox.ok(["stop", "-t", "1", "deaf"]);
    let took = before.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(9), "{took:?}");
    assert_eq!(sandbox.container_state("deaf")["ExitCode"], 137);

    let script = "trap 'echo got USR1; exit 9' USR1; while :; do sleep 0.1; done";
    sandbox.ok(["run", "-d", "--name", "by-image", "--stop-signal", "USR1", "busybox", "sh", "-c", script]);
    eventually("the trap is set", || sandbox.ok(["exec", "by-image", "true"]).is_empty());
    sandbox.ok(["stop", "by-image"]);
    assert_eq!(sandbox.container_state("by-image")["ExitCode"], 9);
    assert_eq!(sandbox.ok(["logs", "by-image"]), "got USR1");

    sandbox.ok(["start", "deaf"]);
    sandbox.ok(["kill", "deaf"]);
    sandbox.wait_for_status("deaf", "exited");
    assert_eq!(sandbox.container_state("deaf")["ExitCode"], 137);
    sandbox.dhow(["kill", "deaf"]).fails(1, "is not running");
    sandbox.dhow(["kill", "-s", "NOTASIGNAL", "deaf"]).fails(1, "NOTASIGNAL");
}

#[test]
fn names_short_ids_and_prefixes() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["create", "busybox", "true"]);
    let name = sandbox.inspect(&id)["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    let (adjective, surname) =
        name.split_once('_').unwrap_or_else(|| panic!("{name} is not adjective_surname"));
    assert!(!adjective.is_empty() && !surname.is_empty());
    for who in [&id, &id[..12], &id[..5], &name] {
        assert_eq!(sandbox.inspect(who)["Id"], id.as_str(), "{who}");
    }
    sandbox.ok(["create", "--name", "taken", "busybox", "true"]);
    let conflict = sandbox.dhow(["create", "--name", "taken", "busybox", "true"]);
    conflict.fails(1, "Conflict. The container name \"/taken\" is already in use by container");
    sandbox.dhow(["create", "--name", "-bad-", "busybox", "true"]).fails(1, "Invalid container name (-bad-)");
    sandbox.ok(["rm", "taken", &name]);
}

#[test]
fn ps_shows_what_docker_shows() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "up", "--label", "tier=web", "busybox", "sleep", "1000"]);
    let down = sandbox.dhow([
        "run",
        "--name",
        "down",
        "busybox",
        "sh",
        "-c",
        "exit 3; : a long command line is cut",
    ]);
    assert_eq!(down.code, 3, "{down:?}");
    sandbox.ok(["create", "--name", "new", "busybox", "true"]);

    let table = sandbox.ok(["ps"]);
    let mut lines = table.lines();
    let head: Vec<&str> =
        lines.next().unwrap().split("  ").map(str::trim).filter(|h| !h.is_empty()).collect();
    assert_eq!(head, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    let row = lines.next().unwrap();
    assert!(row.contains("busybox") && row.contains("\"sleep 1000\"") && row.contains("Up "), "{row}");
    assert!(row.trim_end().ends_with("up") && lines.next().is_none(), "{table}");

    let all = sandbox.ok(["ps", "-a"]);
    assert!(all.contains("Exited (3) ") && all.contains("Created"), "{all}");
    let newest: Vec<&str> = all.lines().skip(1).filter_map(|l| l.split_whitespace().last()).collect();
    assert_eq!(newest, ["new", "down", "up"]);
    let names = |filter: &str| sandbox.ok(["ps", "-a", "--filter", filter, "--format", "{{.Names}}"]);
    assert_eq!(names("status=exited"), "down");
    assert_eq!(names("label=tier=web"), "up");
    assert_eq!(names("name=ne"), "new");
    assert_eq!(names("exited=3"), "down");
    assert_eq!(sandbox.ok(["ps", "-q"]).len(), 12);
}

#[test]
fn logs_by_time_by_count_and_followed() {
    let sandbox = Sandbox::with_busybox();
    let script = "for i in 1 2 3; do echo line $i; sleep 1.1; done; echo partial line | tr -d '\\n'";
    let id = sandbox.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    let mut follower = sandbox.live(["logs", "-f", "box"]);
    follower.expect("line 2");
    assert!(!follower.stdout().contains("line 3"), "lines come as they are written");
    assert_eq!(follower.wait(), 0, "following ends with the container");
    assert_eq!(follower.stdout(), "line 1\nline 2\nline 3\npartial line");

    assert_eq!(sandbox.ok(["logs", "--tail", "2", "box"]), "line 3\npartial line");
    assert_eq!(sandbox.ok(["logs", "--tail", "0", "box"]), "");
    let stamped = sandbox.ok(["logs", "-t", "box"]);
    let stamps: Vec<&str> = stamped.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert!(stamps.iter().all(|s| s.len() == 30 && s.ends_with('Z')), "{stamped}");
    assert_eq!(sandbox.ok(["logs", "--since", stamps[1], "box"]), "line 2\nline 3\npartial line");
    assert_eq!(sandbox.ok(["logs", "--until", stamps[1], "box"]), "line 1\nline 2");

    let path = sandbox.inspect("box")["LogPath"].as_str().unwrap().to_owned();
    assert!(path.ends_with(&format!("{id}-json.log")), "{path}");
    let file = std::fs::read_to_string(path).unwrap();
    let first: Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    assert_eq!((&first["log"], &first["stream"]), (&"line 1\n".into(), &"stdout".into()));
    // In the file as Go writes it, without zeros at its end; in the output always with nine digits.
    let shortest = stamps[0].trim_end_matches('Z').trim_end_matches('0');
    assert_eq!(first["time"].as_str().unwrap().trim_end_matches('Z'), shortest);
}

#[test]
fn logs_are_rotated() {
    let sandbox = Sandbox::with_busybox();
    let options = ["--log-opt", "max-size=10k", "--log-opt", "max-file=3"];
    let script = "i=0; while [ $i -lt 2000 ]; do echo number $i; i=$((i+1)); done";
    sandbox.ok([&["run", "--name", "box"], &options[..], &["busybox", "sh", "-c", script]].concat());
    let path = sandbox.inspect("box")["LogPath"].as_str().unwrap().to_owned();
    let directory = std::path::Path::new(&path).parent().unwrap();
    let logs: Vec<String> =
        crate::sandbox::names_in(directory).into_iter().filter(|n| n.contains("-json.log")).collect();
    assert_eq!(logs.len(), 3, "{logs:?}");
    for name in &logs {
        assert!(directory.join(name).metadata().unwrap().len() <= 10_240, "{name} is too large");
    }
    let kept = sandbox.ok(["logs", "box"]);
    assert!(kept.ends_with("number 1999"), "the newest lines are kept");
    let numbers: Vec<u32> =
        kept.lines().map(|l| l.strip_prefix("number ").unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "whole and in order");
}

#[test]
fn wait_reports_every_code_even_of_one_that_is_gone() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["create", "--name", "one", "busybox", "sh", "-c", "sleep 0.3; exit 3"]);
    sandbox.ok(["create", "--name", "two", "busybox", "sh", "-c", "exit 4"]);
    sandbox.ok(["start", "one", "two"]);
    assert_eq!(sandbox.ok(["wait", "one", "two"]), "3\n4");
    assert_eq!(sandbox.ok(["wait", "one"]), "3");
    sandbox.ok(["run", "-d", "--rm", "--name", "gone", "busybox", "sh", "-c", "sleep 3; exit 6"]);
    assert_eq!(sandbox.ok(["wait", "gone"]), "6");
    eventually("--rm removes it", || sandbox.container_ids().len() == 2);
}

#[test]
fn attach_joins_several_clients_and_start_attaches() {
    let sandbox = Sandbox::with_busybox();
    let script = "read line; echo got $line; exit 8";
    sandbox.ok(["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", script]);
    let mut watching = sandbox.live(["attach", "--no-stdin", "box"]);
    let mut typing = sandbox.live(["attach", "box"]);
    // Both must be there before the line is sent; nothing tells so but the sockets.
    std::thread::sleep(Duration::from_millis(500));
    typing.send("hello\n");
    assert_eq!((typing.wait(), watching.wait()), (8, 8));
    assert_eq!((typing.stdout(), watching.stdout()), ("got hello\n".to_owned(), "got hello\n".to_owned()));

    sandbox.ok(["create", "--name", "later", "busybox", "sh", "-c", "echo now; exit 2"]);
    let ended = sandbox.dhow(["start", "-a", "later"]);
    assert_eq!((ended.stdout.as_str(), ended.code), ("now\n", 2));
}

#[test]
fn exec_runs_beside_the_first_process() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok([
        "run",
        "-d",
        "--name",
        "box",
        "-e",
        "OF=container",
        "-w",
        "/home",
        "busybox",
        "sleep",
        "1000",
    ]);
    let ended = sandbox.dhow(["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 33"]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str(), ended.code), ("out\n", "err\n", 33));
    let seen = sandbox.ok([
        "exec",
        "-e",
        "OF_EXEC=1",
        "box",
        "sh",
        "-c",
        "echo $OF $OF_EXEC; pwd; id -u; ps | grep -c '[s]leep 1000'",
    ]);
    assert_eq!(seen, "container 1\n/home\n0\n1");
    assert_eq!(sandbox.ok(["exec", "-u", "app", "-w", "/", "box", "sh", "-c", "id -un; pwd"]), "app\n/");
    assert_eq!(sandbox.dhow_with_input(["exec", "-i", "box", "cat"], b"through\n").ok(), "through");
    assert_eq!(sandbox.ok(["exec", "-d", "box", "sh", "-c", "echo 1 >/tmp/detached"]), "");
    eventually("it ran", || sandbox.dhow(["exec", "box", "test", "-s", "/tmp/detached"]).code == 0);
    sandbox.dhow(["exec", "box", "no-such-program"]).fails(127, "executable file not found in $PATH");
    sandbox.dhow(["exec", "box", "/etc"]).fails(126, "/etc");
    for namespace in ["mnt", "pid", "net", "uts", "ipc", "cgroup"] {
        let link = format!("/proc/{{}}/ns/{namespace}");
        let of_exec = sandbox.ok(["exec", "box", "readlink", &link.replace("{}", "self")]);
        let of_first = std::fs::read_link(link.replace("{}", &sandbox.pid("box").to_string())).unwrap();
        assert_eq!(of_exec, of_first.to_str().unwrap());
    }
    sandbox.ok(["stop", "-t", "0", "box"]);
    sandbox.dhow(["exec", "box", "true"]).fails(1, "is not running");
}

#[test]
fn events_tell_the_whole_story_in_order() {
    let sandbox = Sandbox::with_busybox();
    let mut follower = sandbox.live(["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
    // Until the subscription stands, nothing is promised; a container of its own tells when it does.
    for attempt in 0.. {
        sandbox.ok(["create", "--name", &format!("probe{attempt}"), "busybox", "true"]);
        std::thread::sleep(Duration::from_millis(50));
        if follower.stdout().contains("create probe") {
            break;
        }
    }
    sandbox.dhow(["run", "--name", "box", "busybox", "sh", "-c", "exit 3"]);
    sandbox.ok(["rm", "box"]);
    follower.expect("destroy box");
    let told: Vec<String> =
        follower.stdout().lines().filter(|l| l.ends_with(" box")).map(|l| l.replace(" box", "")).collect();
    let mut wanted = ["create", "attach", "start", "die", "destroy"].iter();
    let mut next = wanted.next();
    for action in &told {
        if next.is_some_and(|n| n == action) {
            next = wanted.next();
        }
    }
    assert_eq!(next, None, "missing in {told:?}");

    let events = sandbox.events();
    let die = events.iter().find(|e| e["Action"] == "die").unwrap();
    assert_eq!(die["Actor"]["Attributes"]["exitCode"], "3", "{die}");
    assert_eq!(die["Actor"]["Attributes"]["image"], "busybox", "{die}");
    assert_eq!(die["Type"], "container");
    follower.signal(Signal::SIGINT);
    follower.wait();
}

#[test]
fn restart_policies_restart_what_they_say() {
    let sandbox = Sandbox::with_busybox();
    let run = |name: &str, policy: &str, script: &str| {
        sandbox.ok(["run", "-d", "--name", name, "--restart", policy, "busybox", "sh", "-c", script]);
    };
    run("thrice", "on-failure:3", "exit 1");
    run("once", "on-failure", "exit 0");
    run("always", "always", "exit 0");
    run("killed", "unless-stopped", "while :; do sleep 0.1; done");

    eventually("it gives up after three restarts", || {
        let inspected = sandbox.inspect("thrice");
        inspected["RestartCount"] == 3 && inspected["State"]["Status"] == "exited"
    });
    let once = sandbox.inspect("once");
    assert_eq!((&once["RestartCount"], &once["State"]["Status"]), (&0.into(), &"exited".into()));
    eventually("it is restarted again and again", || {
        sandbox.inspect("always")["RestartCount"].as_i64() >= Some(3)
    });

    let pid = sandbox.pid("killed");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("it runs again", || {
        let inspected = sandbox.inspect("killed");
        inspected["RestartCount"] == 1 && inspected["State"]["Status"] == "running"
    });
    assert_ne!(sandbox.pid("killed"), pid);
    // What a user stopped stays stopped, also in the middle of a back-off.
    sandbox.ok(["stop", "-t", "0", "killed", "always"]);
    std::thread::sleep(Duration::from_millis(700));
    for name in ["killed", "always"] {
        assert_eq!(sandbox.container_state(name)["Status"], "exited", "{name}");
    }
    sandbox.dhow(["run", "--rm", "--restart", "always", "busybox"]).fails(125, "--restart");
}
