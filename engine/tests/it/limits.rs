//! Limits bite, as the kernel accounts them: read from the container's cgroup, not guessed from the clock.

use crate::leaks::hierarchies;
use crate::sandbox::{Sandbox, eventually};
use std::path::PathBuf;

/// The file of a container's cgroup, in whichever hierarchy has it.
pub(crate) fn cgroup_file(id: &str, names: &[&str]) -> (String, PathBuf) {
    let below = hierarchies().into_iter().map(|h| h.join("dhow").join(id));
    let paths = below.flat_map(|d| names.iter().map(move |n| d.join(n)));
    let path = paths.into_iter().find(|p| p.is_file()).unwrap_or_else(|| panic!("no {names:?} for {id}"));
    (std::fs::read_to_string(&path).unwrap(), path)
}

/// A number of a `key value` file.
pub(crate) fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn memory_is_limited_and_the_oom_killer_is_on_record() {
    let sandbox = Sandbox::with_busybox();
    let ended = sandbox.dhow([
        "run",
        "--name",
        "hungry",
        "-m",
        "32m",
        "--memory-swap",
        "32m",
        "busybox",
        "tail",
        "/dev/zero",
    ]);
    assert_eq!(ended.code, 137, "{ended:?}");
    let state = sandbox.container_state("hungry");
    assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&true.into(), &137.into()), "{state}");
    let events = sandbox.events();
    let actions: Vec<&str> = events.iter().filter_map(|e| e["Action"].as_str()).collect();
    let at = |action: &str| actions.iter().position(|a| *a == action);
    assert!(at("oom").is_some() && at("oom") < at("die"), "{actions:?}");

    // A child that the kernel kills is on record too; the container goes on.
    let script = "tail /dev/zero; echo survived with $?";
    let ended = sandbox.dhow(["run", "--name", "parent", "-m", "32m", "busybox", "sh", "-c", script]);
    assert!(ended.stdout.contains("survived with 137"), "{ended:?}");
    assert_eq!(sandbox.container_state("parent")["OOMKilled"], true);

    let id = sandbox.ok(["run", "-d", "--name", "set", "-m", "64m", "busybox", "sleep", "1000"]);
    assert_eq!(cgroup_file(&id, &["memory.limit_in_bytes", "memory.max"]).0.trim(), "67108864");
    assert_eq!(sandbox.inspect("set")["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(sandbox.container_state("set")["OOMKilled"], false);
    sandbox.dhow(["run", "--rm", "-m", "1m", "busybox", "true"]).fails(125, "6MB");
}

#[test]
fn processes_are_limited() {
    let sandbox = Sandbox::with_busybox();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 3 & done; wait; echo unlimited";
    let ended = sandbox.dhow(["run", "--rm", "--pids-limit", "8", "busybox", "sh", "-c", script]);
    assert!(ended.stderr.contains("can't fork: Resource temporarily unavailable"), "{ended:?}");
    assert!(!ended.stdout.contains("unlimited"), "{ended:?}");
    let id = sandbox.ok(["run", "-d", "--pids-limit", "8", "busybox", "sleep", "1000"]);
    assert_eq!(cgroup_file(&id, &["pids.max"]).0.trim(), "8");
}

#[test]
fn cpu_time_is_limited() {
    let sandbox = Sandbox::with_busybox();
    // Two busy loops want 2 CPUs; the quota is a quarter of one: 25 ms in every period of 100 ms.
    let script = "while :; do :; done & while :; do :; done";
    let id = sandbox.ok(["run", "-d", "--cpus", "0.25", "busybox", "sh", "-c", script]);
    // On a busy machine it does not get its quota in each of them.
    eventually("it was held back in ten periods", || {
        value(&cgroup_file(&id, &["cpu.stat"]).0, "nr_throttled").unwrap() >= 10
    });
    let (stat, _) = cgroup_file(&id, &["cpu.stat"]);
    let used_us = value(&stat, "usage_usec")
        .unwrap_or_else(|| cgroup_file(&id, &["cpuacct.usage"]).0.trim().parse::<u64>().unwrap() / 1000);
    let periods = value(&stat, "nr_periods").unwrap() + 1;
    // A CPU's slice of 5 ms may be overdrawn in each period, and is paid back in the next.
    let granted_us = periods * 25_000;
    assert!(used_us <= granted_us + granted_us / 5 + 20_000, "used {used_us} µs of {granted_us}");
}

#[test]
fn shares_and_cpu_sets_are_set() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["--cpu-shares", "512", "--cpuset-cpus", "0"];
    let id =
        sandbox.ok([&["run", "-d", "--name", "box"], &flags[..], &["busybox", "sleep", "1000"]].concat());
    let (weight, path) = cgroup_file(&id, &["cpu.shares", "cpu.weight"]);
    // runc's conversion: 1 + ((shares - 2) * 9999) / 262142.
    assert_eq!(weight.trim(), if path.ends_with("cpu.shares") { "512" } else { "20" });
    assert_eq!(cgroup_file(&id, &["cpuset.cpus"]).0.trim(), "0");
    assert_eq!(
        sandbox.ok(["exec", "box", "sh", "-c", "grep Cpus_allowed_list /proc/self/status | cut -f2"]),
        "0"
    );
    for (flag, bad) in [("--cpuset-cpus", "999"), ("--cpus", "-1"), ("--cpus", "999"), ("--cpu-shares", "x")]
    {
        let ended = sandbox.dhow(["run", "--rm", flag, bad, "busybox", "true"]);
        ended.fails(125, "cpu");
    }
}

#[test]
fn every_controller_of_the_machine_holds_the_container() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let pid = sandbox.pid("box");
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    // A hierarchy that someone mounted elsewhere, for himself, is none of ours.
    let mounted: Vec<PathBuf> = hierarchies();
    let is_mounted = |controllers: &str| {
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        controllers.is_empty() || mounted.iter().any(|h| h.ends_with(name) && h.join("cgroup.procs").exists())
    };
    for line in table.lines() {
        // In hybrid mode also the v2 hierarchy, by whose ids tracing tells containers apart; it has no name.
        let controllers = line.split(':').nth(1).unwrap();
        let held = line.ends_with(&format!("/dhow/{id}"));
        assert!(held || controllers.starts_with("name=") || !is_mounted(controllers), "{table}");
    }
    assert_eq!(
        sandbox.ok(["exec", "box", "sh", "-c", "grep -v :/$ /proc/self/cgroup | grep -v name= | wc -l"]),
        "0"
    );
}

/// A process beside the first is killed for memory: told at once, not with the next kill.
#[test]
fn the_end_of_any_process_for_memory_is_told_at_once() {
    let sandbox = Sandbox::with_busybox();
    let run = ["run", "-d", "--name", "box", "--network", "none", "-m", "16m", "--memory-swap", "16m"];
    sandbox.ok([&run[..], &["busybox", "sleep", "1000"]].concat());
    for round in 1..=3 {
        let eat = ["exec", "box", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
        assert_eq!(sandbox.dhow(eat).code, 137, "killed");
        let told = || sandbox.events().iter().filter(|event| event["Action"] == "oom").count();
        crate::sandbox::eventually(&format!("{round} kills are told"), || told() == round);
        assert_eq!(sandbox.container_state("box")["OOMKilled"], true);
    }
}
