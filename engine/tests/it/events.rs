//! Events: what is told and in which words, and following them without loss, whatever dies in between.

use crate::live::Terminal;
use crate::sandbox::{Sandbox, eventually};
use serde_json::Value;
use std::time::Duration;

/// Long enough for a key to reach the foreground process of the container.
const KEYSTROKE: Duration = Duration::from_millis(400);

fn actions(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|e| format!("{} {}", e["Type"].as_str().unwrap(), e["Action"].as_str().unwrap()))
        .collect()
}

fn find<'a>(events: &'a [Value], action: &str) -> &'a Value {
    let found = events.iter().find(|e| e["Action"] == action);
    &found.unwrap_or_else(|| panic!("no {action} in {:?}", actions(events)))["Actor"]["Attributes"]
}

#[test]
fn a_life_is_told_in_dockers_words_and_order() {
    let sandbox = Sandbox::with_busybox();
    let id =
        sandbox.ok(["run", "-d", "--name", "box", "-v", "data:/d", "-l", "a=b", "busybox", "sleep", "1000"]);
    sandbox.ok(["exec", "box", "true"]);
    sandbox.ok(["stop", "-t", "0", "box"]);
    sandbox.ok(["rm", "box"]);
    let server = sandbox.serve();
    server.docker(["container", "prune", "-f"]).ok();
    let events = sandbox.events();
    assert_eq!(
        actions(&events),
        [
            "image tag",
            "image import",
            "volume create",
            "container create",
            "network connect",
            "volume mount",
            "container start",
            "container exec_create: true",
            "container exec_start: true",
            "container exec_die",
            // The signal that asks, and at once the one that does not.
            "container kill",
            "container kill",
            "network disconnect",
            "volume unmount",
            "container die",
            "container stop",
            "container destroy",
            "container prune",
        ]
    );
    let mount = find(&events, "mount");
    assert_eq!(
        (&mount["container"], &mount["destination"], &mount["read/write"], &mount["driver"]),
        (&id.clone().into(), &"/d".into(), &"true".into(), &"local".into())
    );
    let die = find(&events, "die");
    assert_eq!((&die["exitCode"], &die["a"], &die["image"]), (&"137".into(), &"b".into(), &"busybox".into()));
    assert_eq!(find(&events, "kill")["signal"], "15");
    assert_eq!(find(&events, "prune")["reclaimed"], "0");
}

#[test]
fn leaving_by_keys_and_resizing_are_told() {
    let sandbox = Sandbox::with_busybox();
    let mut terminal =
        Terminal::spawn(&sandbox.command(["run", "-it", "--name", "box", "busybox", "sh"]), 24, 80);
    terminal.expect("# ");
    std::thread::sleep(KEYSTROKE);
    terminal.send("\u{10}\u{11}");
    assert_eq!(terminal.wait(), 0, "{}", terminal.text());
    let events = sandbox.events();
    assert!(find(&events, "attach").is_object() && find(&events, "detach").is_object());
    let resize = find(&events, "resize");
    assert_eq!((&resize["height"], &resize["width"]), (&"24".into(), &"80".into()));

    let mut terminal = Terminal::spawn(&sandbox.command(["exec", "-it", "box", "sh"]), 24, 80);
    terminal.expect("# ");
    std::thread::sleep(KEYSTROKE);
    terminal.send("\u{10}\u{11}");
    assert_eq!(terminal.wait(), 1, "Docker's code: {}", terminal.text());
    let events = sandbox.events();
    assert_eq!(find(&events, "exec_detach")["execID"], find(&events, "exec_create: sh")["execID"]);
}

#[test]
fn a_cursor_resumes_without_loss() {
    let sandbox = Sandbox::with_busybox();
    let mut seen: Vec<i64> = Vec::new();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            for _ in 0..12 {
                sandbox.ok(["run", "--rm", "busybox", "true"]);
            }
        });
        // One reader after the other takes a few and is cut off, in the middle of what happens.
        while seen.len() < 36 {
            let cursor = seen.last().copied().unwrap_or(0).to_string();
            let reader = sandbox.live(["events", "--cursor", &cursor, "--format", "{{.Seq}}"]);
            let lines = || reader.stdout().matches('\n').count();
            eventually("three more are told", || lines() >= 3);
            seen.extend(reader.stdout().lines().take(3).map(|line| line.parse::<i64>().unwrap()));
        }
        work.join().unwrap();
    });
    let all: Vec<i64> = (1..).take(seen.len()).collect();
    assert_eq!(seen, all, "each number once, none left out");
    let last = sandbox.events().last().unwrap()["seq"].as_i64().unwrap();
    let beyond = (last + 1).to_string();
    sandbox
        .dhow(["events", "--cursor", &beyond])
        .fails(1, &format!("invalid cursor {beyond}: the newest event is {last}"));
}

#[test]
fn places_without_an_interface_are_joined_and_left_too() {
    let sandbox = Sandbox::with_busybox();
    for place in ["none", "host"] {
        let kind = if place == "none" { "null" } else { "host" };
        let before = sandbox.events().len();
        let run = ["run", "-d", "--name", place, "--network", place, "busybox", "sleep", "1000"];
        let id = sandbox.ok(run);
        sandbox.ok(["restart", "-t", "0", place]);
        sandbox.ok(["rm", "-f", place]);
        let events = sandbox.events().split_off(before);
        let told: Vec<String> =
            actions(&events).into_iter().filter(|action| !action.ends_with(" kill")).collect();
        let (begin, end) = (["network connect", "container start"], ["network disconnect", "container die"]);
        let mut wanted = vec!["container create"];
        wanted.extend(begin.iter().chain(&end).copied().chain(["container stop"]));
        wanted.extend(begin.iter().copied().chain(["container restart"]).chain(end));
        wanted.push("container destroy");
        assert_eq!(told, wanted, "{place}");
        for action in ["connect", "disconnect"] {
            let attributes = find(&events, action);
            assert_eq!(
                (&attributes["container"], &attributes["name"], &attributes["type"]),
                (&id.clone().into(), &place.into(), &kind.into())
            );
        }
    }
    // What was never told to have started does not leave.
    let before = sandbox.events().len();
    sandbox.dhow(["run", "--network", "none", "busybox", "/not/there"]).fails(127, "no such file");
    let told = actions(&sandbox.events().split_off(before));
    assert!(!told.iter().any(|action| action.starts_with("network")), "{told:?}");
}
