//! `update`: other limits for containers that run, that are stopped, and that their policy starts again.

use crate::limits::cgroup_file;
use crate::resources::is_v2;
use crate::sandbox::{Sandbox, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[track_caller]
fn holds(id: &str, files: &[&str], want: &str) {
    assert_eq!(cgroup_file(id, files).0.trim(), want, "{files:?}");
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];

#[test]
fn what_runs_has_its_new_limits_at_once() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["run", "-d", "--name", "box", "-m", "64m", "--pids-limit", "5", "busybox", "sleep", "1000"];
    let id = sandbox.ok(flags);
    let pid = sandbox.pid("box");
    // Both up, and both down again: v1 wants them in different orders.
    for (memory, both, bytes) in [("256m", "512m", "268435456"), ("32m", "64m", "33554432")] {
        assert_eq!(sandbox.ok(["update", "-m", memory, "--memory-swap", both, "box"]), "box");
        holds(&id, &MEMORY, bytes);
    }
    let forks =
        ["exec", "box", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 2 & done; wait; echo all of them"];
    assert!(sandbox.dhow(forks).stderr.contains("can't fork"));
    sandbox.ok(["container", "update", "--pids-limit", "100", "--cpu-shares", "512", "--cpus", "0.5", "box"]);
    holds(&id, &["pids.max"], "100");
    assert_eq!(sandbox.ok(forks), "all of them");
    let (shares, path) = cgroup_file(&id, &["cpu.shares", "cpu.weight"]);
    assert_eq!(shares.trim(), if path.ends_with("cpu.shares") { "512" } else { "20" });
    holds(&id, &["cpu.cfs_quota_us", "cpu.max"], if is_v2() { "50000 100000" } else { "50000" });
    sandbox.ok(["update", "--cpuset-cpus", "0", "--memory-reservation", "16m", "--pids-limit", "-1", "box"]);
    holds(&id, &["cpuset.cpus"], "0");
    holds(&id, &["pids.max"], "max");
    let host = sandbox.inspect("box")["HostConfig"].take();
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&(32 << 20).into(), &(64 << 20).into()));
    assert_eq!((&host["NanoCpus"], &host["CpusetCpus"]), (&500_000_000.into(), &"0".into()));
    assert_eq!((host["CpuShares"].as_i64(), host["PidsLimit"].as_i64().unwrap_or(0)), (Some(512), 0));
    assert_eq!(sandbox.pid("box"), pid, "it ran on");
    // It bites: a process that needs more than it has now is killed.
    let ended = sandbox.dhow(["exec", "box", "tail", "/dev/zero"]);
    assert_eq!(ended.code, 137, "{ended:?}");
    let updates = sandbox.events().iter().filter(|e| e["Action"] == "update").count();
    assert_eq!(updates, 4);
}

#[test]
fn a_restart_by_policy_keeps_them() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["run", "-d", "--name", "box", "-m", "64m", "busybox", "sleep", "1000"]);
    assert_eq!(sandbox.ok(["update", "--restart", "always", "-m", "48m", "--pids-limit", "9", "box"]), "box");
    assert_eq!(sandbox.inspect("box")["HostConfig"]["RestartPolicy"]["Name"], "always");
    let pid = sandbox.pid("box");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("it was started again", || {
        let state = sandbox.container_state("box");
        state["Status"] == "running" && state["Pid"] != pid
    });
    holds(&id, &MEMORY, "50331648");
    holds(&id, &["pids.max"], "9");
    // The new policy holds for the next end: none.
    sandbox.ok(["update", "--restart", "no", "box"]);
    kill(Pid::from_raw(sandbox.pid("box")), Signal::SIGKILL).unwrap();
    sandbox.wait_for_status("box", "exited");
    // What is stopped has them at its next start.
    sandbox.ok(["update", "-m", "40m", "box"]);
    sandbox.ok(["start", "box"]);
    holds(&id, &MEMORY, "41943040");
}

#[test]
fn what_cannot_be_changes_nothing() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox
        .ok(["run", "-d", "--rm", "--name", "box", "-m", "64m", "--cpus", "1", "busybox", "sleep", "1000"]);
    for (flags, words) in [
        (&["-m", "1m"][..], "Minimum memory limit allowed is 6MB"),
        (&["-m", "256m"], "Memory limit should be smaller than already set memoryswap limit"),
        (
            &["--cpu-quota", "5000"],
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (&["--cpuset-cpus", "999"], "Requested CPUs are not available"),
        (&["--restart", "always"], "Restart policy cannot be updated because AutoRemove is enabled"),
        (&["--kernel-memory", "64m"], "Linux has no limit of kernel memory any more"),
        (&[], "you must provide one or more flags when using this command"),
    ] {
        let ended = sandbox.dhow([&["update"], flags, &["box"]].concat());
        let code = if flags.first() == Some(&"--kernel-memory") { 125 } else { 1 };
        ended.fails(code, words);
    }
    sandbox.dhow(["update", "-m", "64m", "nobody"]).fails(1, "No such container: nobody");
    // One that the kernel refuses: nothing of the others stays.
    let ended = sandbox.dhow(["update", "--cpu-shares", "512", "--pids-limit", "9999999999999", "box"]);
    ended.fails(1, "Cannot update container");
    let (shares, path) = cgroup_file(&id, &["cpu.shares", "cpu.weight"]);
    assert_eq!(shares.trim(), if path.ends_with("cpu.shares") { "1024" } else { "100" }, "not put back");
    let host = sandbox.inspect("box")["HostConfig"].take();
    assert_eq!((&host["CpuShares"], &host["Memory"]), (&0.into(), &(64 << 20).into()));
}

#[test]
fn docker_updates_too() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["run", "-d", "--name", "box", "-m", "64m", "busybox", "sleep", "1000"]);
    let server = sandbox.serve();
    assert_eq!(
        server.docker(["update", "-m", "48m", "--pids-limit", "7", "--restart", "on-failure:3", "box"]).ok(),
        "box"
    );
    holds(&id, &MEMORY, "50331648");
    holds(&id, &["pids.max"], "7");
    let restart = sandbox.inspect("box")["HostConfig"]["RestartPolicy"].take();
    assert_eq!((&restart["Name"], &restart["MaximumRetryCount"]), (&"on-failure".into(), &3.into()));
    let ended = server.docker(["update", "-m", "1m", "box"]);
    assert!(ended.code == 1 && ended.stderr.contains("Minimum memory limit allowed is 6MB"), "{ended:?}");
}
