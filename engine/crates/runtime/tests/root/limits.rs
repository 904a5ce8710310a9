//! cgroups: limits bite, counters count, nothing is left.

use crate::fixture::{Box, eventually, finish};
use dhow_model::ErrorKind;
use dhow_model::resources::Device;
use std::time::Instant;

#[test]
fn memory_runs_out_and_is_counted() {
    let mut b = Box::new("x=x; while :; do x=$x$x; done");
    b.spec.config.host.resources.memory_bytes = Some(16 << 20);
    b.spec.config.host.resources.memory_swap_bytes = Some(16 << 20);
    let launched = b.start().unwrap();
    let event = launched.cgroup.as_ref().unwrap().oom_event_fd().unwrap().expect("a memory controller");
    let outcome = finish(launched);
    assert_eq!((outcome.code, outcome.oom_kills > 0), (137, true), "{outcome:?}");
    let mut buffer = [0; 256];
    assert!(nix::unistd::read(&event, &mut buffer).unwrap() > 0);
    assert_eq!(Box::new("true").run().unwrap().oom_kills, 0);
}

#[test]
fn processes_run_out() {
    let mut b = Box::new("for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait");
    b.spec.config.host.resources.pids_limit = Some(5);
    let outcome = b.run().unwrap();
    assert!(outcome.err.contains("can't fork"), "{outcome:?}");
}

#[test]
fn a_quarter_of_a_cpu() {
    let mut b = Box::new(
        "i=0; while [ $i -lt 3000000 ]; do i=$((i+1)); done & p=$!; sleep 1; awk '{print $14+$15}' /proc/$p/stat; kill $p",
    );
    b.spec.config.host.resources.nano_cpus = Some(250_000_000);
    let ticks: u64 = b.output().parse().unwrap();
    assert!((10..=45).contains(&ticks), "{ticks} ticks of 100 in about a second");
}

#[test]
fn values_arrive() {
    let mut b = Box::new(
        "cd /sys/fs/cgroup; cat */cpu.shares */memory.soft_limit_in_bytes */memory.memsw.limit_in_bytes */cpuset.cpus */pids.max 2>/dev/null; cat cpu.weight memory.low memory.swap.max cpuset.cpus pids.max 2>/dev/null; :",
    );
    let r = &mut b.spec.config.host.resources;
    (r.cpu_shares, r.memory_bytes, r.memory_reservation_bytes) = (Some(512), Some(64 << 20), Some(32 << 20));
    (r.cpuset_cpus, r.pids_limit) = ("0".into(), Some(77));
    let out = b.output();
    if b.facts.cgroup.is_v2() {
        assert_eq!(out, format!("20\n{}\n{}\n0\n77", 32 << 20, 64 << 20));
    } else {
        assert_eq!(out, format!("512\n{}\n{}\n0\n77", 32 << 20, 128 << 20));
    }
    b.spec.config.host.resources.cpuset_cpus = "4000".into();
    let error = b.run().unwrap_err();
    assert!(error.to_string().contains("set the CPU set"), "{error}");
}

#[test]
fn a_missing_controller_is_said() {
    let mut b = Box::new("true");
    b.spec.config.host.resources.pids_limit = Some(10);
    for hierarchy in &mut b.facts.cgroup.v1 {
        hierarchy.controllers.retain(|c| c != "pids");
    }
    b.facts.cgroup.v1.retain(|h| !h.controllers.is_empty());
    b.facts.cgroup.unified_controllers.retain(|c| c != "pids");
    let error = b.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("no cgroup controller \"pids\""), "{error}");
}

#[test]
fn devices_are_guarded() {
    let mut b = Box::new(
        "mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg 2>&1; mknod /tmp/null c 1 3 && echo > /tmp/null && echo fine; ls /dev/kmsg-copy /dev/mem 2>/dev/null",
    );
    let outcome = b.run().unwrap();
    assert_eq!(outcome.out, "head: /tmp/kmsg: Operation not permitted\nfine\n", "{outcome:?}");
    b.spec.config.host.resources.devices = vec![Device {
        host_path: "/dev/zero".into(),
        container_path: "/dev/sub/z".into(),
        permissions: "r".into(),
    }];
    b.cmd(&["sh", "-c", "head -c 2 /dev/sub/z | wc -c"]);
    assert_eq!(b.output(), "2");
    b.spec.config.host.resources.devices[0].host_path = "/etc".into();
    assert_eq!(b.run().unwrap_err().to_string(), "/etc: not a device node");
}

#[test]
fn freezing_stops_and_killing_works_while_frozen() {
    let b = Box::new("while :; do echo x; sleep 0.01; done");
    let launched = b.start().unwrap();
    let cgroup = launched.cgroup.as_ref().unwrap();
    eventually("it runs", || cgroup.pids().unwrap().contains(&launched.pid));
    cgroup.freeze().unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", launched.pid)).unwrap();
    let before = state();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(before, state(), "no CPU time while frozen");
    cgroup.thaw().unwrap();
    cgroup.freeze().unwrap();
    let start = Instant::now();
    cgroup.kill_all();
    assert_eq!(finish(launched).code, 137);
    assert!(start.elapsed().as_secs() < 5);
    let paths = b.facts.cgroup.paths_for("dhow-test", b.spec.id.as_str());
    assert!(paths.v1.iter().all(|v1| !v1.path.exists()) && paths.unified.is_none_or(|path| !path.exists()));
}

#[test]
fn everything_joins_the_v2_cgroup_too() {
    let b = Box::new("sleep 100");
    let launched = b.start().unwrap();
    let unified = launched.cgroup.as_ref().unwrap().paths().unified.clone().expect("a v2 hierarchy");
    let procs = || std::fs::read_to_string(unified.join("cgroup.procs")).unwrap();
    assert_eq!(procs().trim(), launched.pid.to_string());
    let outcome = b
        .exec(&b.exec_spec(&launched, &["sh", "-c", "cat /proc/self/cgroup | sed 's/.*://' | sort -u"]))
        .unwrap();
    assert_eq!(outcome.out, "/\n");
    launched.cgroup.as_ref().unwrap().kill_all();
    finish(launched);
}
