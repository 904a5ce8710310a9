//! Every limit of `run` and `create` beyond those of `limits`: the value in the container's cgroup, and its effect
//! as the kernel shows it. What takes time is only ever asserted to take at least so long.

use crate::fixtures;
use crate::leaks::CGROUPS;
use crate::limits::{cgroup_file, value};
use crate::sandbox::{Sandbox, eventually};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Whether limits are in the v2 hierarchy.
pub(crate) fn is_v2() -> bool {
    Path::new(CGROUPS).join("cgroup.controllers").exists()
}

/// A disk of 64 MiB: a file behind a loop device. Dropping it detaches the device.
pub(crate) struct Disk {
    pub(crate) node: String,
}

impl Disk {
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let file = sandbox.path("disk");
        std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
        Self::attach(&file, "off")
    }

    /// A disk whose requests go to `other`, in the cgroup of who makes them: what slows that one slows this.
    fn in_front_of(other: &Disk) -> Self {
        Self::attach(Path::new(&other.node), "on")
    }

    fn attach(file: &Path, direct: &str) -> Self {
        let direct = format!("--direct-io={direct}");
        let output = Command::new("losetup").args(["--find", "--show", &direct]).arg(file).output().unwrap();
        assert!(output.status.success(), "no loop device: {output:?}");
        Self { node: String::from_utf8(output.stdout).unwrap().trim().to_owned() }
    }

    /// `7:0`.
    pub(crate) fn number(&self) -> String {
        let name = Path::new(&self.node).file_name().unwrap();
        let path = PathBuf::from("/sys/block").join(name).join("dev");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.node]).status();
    }
}

/// Starts a container with such flags; its id.
#[track_caller]
fn start(sandbox: &Sandbox, name: &str, flags: &[&str]) -> String {
    sandbox.ok([&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat())
}

#[track_caller]
fn holds(id: &str, files: &[&str], want: &str) {
    assert_eq!(cgroup_file(id, files).0.trim(), want, "{files:?}");
}

#[test]
fn memory_swap_and_reservation_are_set() {
    let sandbox = Sandbox::with_busybox();
    let (m64, m96, m128) = ("67108864", "100663296", "134217728");
    let swap = |both: &str| {
        let only_swap = both.parse::<u64>().map(|n| (n - (64 << 20)).to_string()).unwrap_or("max".into());
        if is_v2() { only_swap } else { both.to_owned() }
    };
    let files = ["memory.memsw.limit_in_bytes", "memory.swap.max"];
    let id = start(&sandbox, "twice", &["-m", "64m", "--memory-reservation", "32m"]);
    holds(&id, &["memory.limit_in_bytes", "memory.max"], m64);
    holds(&id, &["memory.soft_limit_in_bytes", "memory.low"], "33554432");
    holds(&id, &files, &swap(m128));
    assert_eq!(sandbox.inspect("twice")["HostConfig"]["MemorySwap"], 128 << 20);
    holds(&start(&sandbox, "some", &["-m", "64m", "--memory-swap", "96m"]), &files, &swap(m96));
    let id = start(&sandbox, "any", &["-m", "64m", "--memory-swap", "-1"]);
    holds(&id, &files, if is_v2() { "max" } else { "9223372036854771712" });
    for (flags, words) in [
        (["--memory-swap", "64m"], "You should always set the Memory limit when using Memoryswap limit"),
        (["--memory-reservation", "1m"], "Minimum memory reservation allowed is 6MB"),
        (["--memory-swappiness", "101"], "memory swappiness range is 0-100"),
        (["--kernel-memory", "64m"], "Linux has no limit of kernel memory any more"),
    ] {
        sandbox.dhow([&["run", "--rm"], &flags[..], &["busybox", "true"]].concat()).fails(125, words);
    }
}

/// A disk that the kernel swaps to.
struct Swap(Disk);

impl Swap {
    fn on(sandbox: &Sandbox) -> Self {
        let swap = Self(Disk::new(sandbox));
        for tool in ["mkswap", "swapon"] {
            let output = Command::new(tool).arg(&swap.0.node).output().unwrap();
            assert!(output.status.success(), "{tool}: {output:?}");
        }
        swap
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // Not swapped to, if it is here that something failed.
        let _ = Command::new("swapoff").arg(&self.0.node).status();
    }
}

#[test]
fn swap_is_limited() {
    let sandbox = Sandbox::with_busybox();
    let _swap = Swap::on(&sandbox);
    // 48 MiB of a program's own, in a container that has 32.
    let fill = |both: &str| {
        let program = ["dd", "if=/dev/zero", "of=/dev/null", "bs=48M", "count=1"];
        let flags = ["run", "--rm", "-m", "32m", "--memory-swap", both, "busybox"];
        sandbox.dhow([&flags[..], &program].concat())
    };
    for (both, code) in [("32m", 137), ("40m", 137), ("96m", 0), ("-1", 0)] {
        let ended = fill(both);
        assert_eq!(ended.code, code, "{both}: {ended:?}");
    }
}

#[test]
fn swappiness_is_set_on_v1_and_discarded_on_v2() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["run", "-d", "--name", "box", "--memory-swappiness", "7", "busybox", "sleep", "1000"];
    let ended = sandbox.dhow(flags);
    let id = ended.stdout.trim();
    if is_v2() {
        assert!(
            ended.stderr.contains("WARNING: Your kernel does not support memory swappiness"),
            "{ended:?}"
        );
        assert!(sandbox.inspect("box")["HostConfig"]["MemorySwappiness"].is_null());
    } else {
        assert_eq!(ended.stderr.matches("swappiness").count(), 0, "{ended:?}");
        holds(id, &["memory.swappiness"], "7");
        assert_eq!(sandbox.inspect("box")["HostConfig"]["MemorySwappiness"], 7);
    }
}

#[test]
fn without_the_oom_killer_who_is_over_the_limit_waits() {
    let sandbox = Sandbox::with_busybox();
    // Who asks for memory in a system call is told that there is none; who touches it waits.
    let script = "x=xxxxxxxxxx; while :; do x=$x$x; done";
    let flags = ["run", "-d", "--name", "hungry", "-m", "16m", "--memory-swap", "16m", "--oom-kill-disable"];
    let ended = sandbox.dhow([&flags[..], &["busybox", "sh", "-c", script]].concat());
    if is_v2() {
        assert!(ended.stderr.contains("WARNING: Your kernel does not support OomKillDisable"), "{ended:?}");
        sandbox.wait_for_status("hungry", "exited");
        assert_eq!(sandbox.container_state("hungry")["OOMKilled"], true);
        return;
    }
    let id = ended.stdout.trim().to_owned();
    let control = || cgroup_file(&id, &["memory.oom_control"]).0;
    eventually("it is over its limit", || value(&control(), "under_oom") == Some(1));
    assert_eq!((value(&control(), "oom_kill_disable"), value(&control(), "oom_kill")), (Some(1), Some(0)));
    assert_eq!(sandbox.container_state("hungry")["Status"], "running");
    sandbox.ok(["rm", "-f", "hungry"]);
    let warned = sandbox.dhow(["create", "--oom-kill-disable", "busybox", "true"]);
    assert!(
        warned.stderr.contains("WARNING: OOM killer is disabled for the container, but no memory limit"),
        "{warned:?}"
    );
}

#[test]
fn period_and_quota_throttle() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["run", "-d", "--name", "busy", "--cpu-period", "20000", "--cpu-quota", "4000", "busybox"];
    let id = sandbox.ok([&flags[..], &["sh", "-c", "while :; do :; done"]].concat());
    if is_v2() {
        holds(&id, &["cpu.max"], "4000 20000");
    } else {
        holds(&id, &["cpu.cfs_period_us"], "20000");
        holds(&id, &["cpu.cfs_quota_us"], "4000");
    }
    let stat = || cgroup_file(&id, &["cpu.stat"]).0;
    eventually("thirty periods went by", || value(&stat(), "nr_periods") >= Some(30));
    let stat = stat();
    let (periods, throttled) = (value(&stat, "nr_periods"), value(&stat, "nr_throttled"));
    assert!(throttled.unwrap() * 2 > periods.unwrap(), "{stat}");
    assert!(value(&stat, "throttled_time").or(value(&stat, "throttled_usec")) > Some(0), "{stat}");
    for (flag, bad, words) in [
        ("--cpu-period", "999", "CPU cfs period can not be less than 1ms"),
        ("--cpu-quota", "999", "CPU cfs quota can not be less than 1ms"),
    ] {
        sandbox.dhow(["run", "--rm", flag, bad, "busybox", "true"]).fails(125, words);
    }
    let both = ["run", "--rm", "--cpus", "1", "--cpu-quota", "5000", "busybox", "true"];
    sandbox.dhow(both).fails(125, "Nano CPUs and CPU Quota cannot both be set");
}

#[test]
fn shares_divide_a_contended_cpu() {
    let sandbox = Sandbox::with_busybox();
    let busy = |shares: &str| {
        let flags = ["run", "-d", "--cpuset-cpus", "0", "--cpu-shares", shares, "busybox"];
        sandbox.ok([&flags[..], &["sh", "-c", "while :; do :; done"]].concat())
    };
    let used = |id: &str| {
        let micros = value(&cgroup_file(id, &["cpu.stat"]).0, "usage_usec");
        micros.unwrap_or_else(|| cgroup_file(id, &["cpuacct.usage"]).0.trim().parse::<u64>().unwrap() / 1000)
    };
    let (little, much) = (busy("128"), busy("2048"));
    let (little_before, much_before) = (used(&little), used(&much));
    eventually("two seconds of CPU time went by", || used(&much) - much_before > 2_000_000);
    // Sixteen to one; what else runs on that CPU takes from both alike.
    let (little, much) = (used(&little) - little_before, used(&much) - much_before);
    assert!(much > little * 4, "{much} µs and {little} µs");
}

#[test]
fn memory_nodes_are_set() {
    let sandbox = Sandbox::with_busybox();
    let id = start(&sandbox, "box", &["--cpuset-mems", "0"]);
    holds(&id, &["cpuset.mems"], "0");
    let allowed = sandbox.ok(["exec", "box", "grep", "Mems_allowed_list", "/proc/self/status"]);
    assert_eq!(allowed.split_whitespace().last(), Some("0"));
    sandbox
        .dhow(["run", "--rm", "--cpuset-mems", "99", "busybox", "true"])
        .fails(125, "memory nodes are not available");
}

/// Without runtime of its own a v1 cgroup takes no real-time process at all.
#[test]
fn real_time_needs_its_runtime() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", fixtures::debian_tar().to_str().unwrap(), "debian"]);
    let run = |flags: &[&str]| {
        let command = ["debian", "sh", "-c", "chrt --fifo 10 echo in real time"];
        sandbox.dhow([&["run", "--rm", "--cap-add", "SYS_NICE"], flags, &command].concat())
    };
    let flags = ["--cpu-rt-period", "1000000", "--cpu-rt-runtime", "100000"];
    let given = run(&flags);
    if is_v2() || !Path::new(CGROUPS).join("cpu/cpu.rt_runtime_us").exists() {
        given.fails(125, "Your kernel does not support CPU real-time scheduler");
        return;
    }
    assert_eq!((given.stdout.as_str(), given.code), ("in real time\n", 0), "{given:?}");
    let refused = run(&[]);
    assert!(refused.code != 0 && refused.stderr.contains("Operation not permitted"), "{refused:?}");
    run(&["--cpu-rt-period", "1", "--cpu-rt-runtime", "2"])
        .fails(125, "cannot be higher than cpu real-time period");
    let id = sandbox.ok([&["run", "-d"], &flags[..], &["debian", "sleep", "1000"]].concat());
    holds(&id, &["cpu.rt_runtime_us"], "100000");
}

#[test]
fn oom_score_and_shared_memory() {
    let sandbox = Sandbox::with_busybox();
    let read = ["busybox", "cat", "/proc/self/oom_score_adj"];
    assert_eq!(sandbox.ok([&["run", "--rm", "--oom-score-adj", "321"], &read[..]].concat()), "321");
    sandbox.dhow(["run", "--rm", "--oom-score-adj", "1001", "busybox"]).fails(125, "range for oom score adj");
    let fill = [
        "busybox",
        "sh",
        "-c",
        "df -k /dev/shm | tail -1 | awk '{print $2}'; dd if=/dev/zero of=/dev/shm/x bs=1k count=2000 2>&1",
    ];
    let ended = sandbox.dhow([&["run", "--rm", "--shm-size", "1m"], &fill[..]].concat());
    assert!(
        ended.stdout.starts_with("1024\n") && ended.stdout.contains("No space left on device"),
        "{ended:?}"
    );
    let ended = sandbox.dhow([&["run", "--rm"], &fill[..]].concat());
    assert!(ended.stdout.starts_with("65536\n") && ended.code == 0, "{ended:?}");
    assert_eq!(sandbox.ok(["create", "--name", "big", "--shm-size", "2g", "busybox", "true"]).len(), 64);
    assert_eq!(sandbox.inspect("big")["HostConfig"]["ShmSize"], 2_i64 << 30);
}

/// A megabyte at a rate that makes it last a second; four requests at two in a second.
#[test]
fn devices_carry_what_they_may_in_a_second() {
    let sandbox = Sandbox::with_busybox();
    let disk = Disk::new(&sandbox);
    let node = disk.node.as_str();
    let script = |direction: &str, bs: &str, count: &str| {
        let (from, to, flag) = match direction {
            "read" => ("/dev/disk", "/dev/null", "iflag=direct"),
            _ => ("/dev/zero", "/dev/disk", "oflag=direct"),
        };
        format!("dd if={from} of={to} bs={bs} count={count} {flag} 2>&1 | tail -1")
    };
    for (flag, rate, v1, v2, work) in [
        ("--device-read-bps", "1mb", "read_bps_device", "rbps=1048576", script("read", "64k", "32")),
        ("--device-write-bps", "1mb", "write_bps_device", "wbps=1048576", script("write", "64k", "32")),
        ("--device-read-iops", "10", "read_iops_device", "riops=10", script("read", "4k", "20")),
        ("--device-write-iops", "10", "write_iops_device", "wiops=10", script("write", "4k", "20")),
    ] {
        let limit = format!("{node}:{rate}");
        let device = format!("{node}:/dev/disk");
        let id = start(&sandbox, "box", &[flag, &limit, "--device", &device]);
        let (text, path) = cgroup_file(&id, &[&format!("blkio.throttle.{v1}"), "io.max"]);
        let number = disk.number();
        if path.ends_with("io.max") {
            assert!(text.contains(&number) && text.contains(v2), "{text}");
        } else {
            let rate = v2.split('=').next_back().unwrap();
            assert_eq!(text.trim(), format!("{number} {rate}"));
        }
        let begin = Instant::now();
        let said = sandbox.ok(["exec", "box", "sh", "-c", &work]);
        // Two seconds' worth, of which the kernel may let the first burst pass.
        assert!(begin.elapsed() >= Duration::from_millis(1000), "{flag}: {said} after {:?}", begin.elapsed());
        assert!(said.contains("records out"), "{flag}: {said}");
        sandbox.ok(["rm", "-f", "box"]);
    }
    for bad in ["/dev/no-such-disk:1mb", "/dev/null:1mb"] {
        let ended = sandbox.dhow(["run", "--rm", "--device-read-bps", bad, "busybox", "true"]);
        let (code, words) = if bad.contains("null") {
            (125, "not a block device")
        } else {
            (127, "stat /dev/no-such-disk: no such file or directory")
        };
        ended.fails(code, words);
    }
    sandbox.assert_no_containers();
}

#[test]
fn weights_divide_a_contended_disk() {
    let sandbox = Sandbox::with_busybox();
    // A disk in memory is as fast as its readers, and nothing to contend for. This one takes milliseconds for a
    // request, and one at a time: who is next is all there is to win.
    let plate = Disk::new(&sandbox);
    let disk = Disk::in_front_of(&plate);
    let name = Path::new(&disk.node).file_name().unwrap().to_str().unwrap().to_owned();
    // Weights mean something to bfq alone.
    for (setting, value) in [
        ("scheduler", "bfq"),
        ("iosched/strict_guarantees", "1"),
        ("iosched/low_latency", "0"),
        ("iosched/slice_idle", "50"),
    ] {
        let file = format!("/sys/block/{name}/queue/{setting}");
        std::fs::write(&file, value).unwrap_or_else(|e| panic!("{file}: {e}: this kernel has no bfq"));
    }
    let device = format!("{}:/dev/disk", disk.node);
    let rate = format!("{}:16mb", plate.node);
    let weight_device = format!("{}:{}", disk.node, 1000);
    let reader = "for reader in 1 2 3 4; do \
                  while :; do dd if=/dev/disk of=/dev/null bs=64k iflag=direct 2>/dev/null; done & done; wait";
    let busy = |flags: &[&str]| {
        let command = ["--device", &device, "--device-read-bps", &rate, "busybox", "sh", "-c", reader];
        sandbox.ok([&["run", "-d"], flags, &command].concat())
    };
    let little = busy(&["--blkio-weight", "10"]);
    let much = busy(&["--blkio-weight", "10", "--blkio-weight-device", &weight_device]);
    let weights = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight"];
    let first =
        |text: String| text.lines().next().unwrap_or_default().trim_start_matches("default ").to_owned();
    assert_eq!(first(cgroup_file(&little, &weights).0), "10");
    let devices = ["blkio.weight_device", "blkio.bfq.weight_device", "io.bfq.weight"];
    let set = cgroup_file(&much, &devices).0;
    assert!(set.contains(&format!("{} 1000", disk.number())), "{set}");
    let read = |id: &str| {
        let files = ["blkio.bfq.io_service_bytes", "io.stat"];
        let text = cgroup_file(id, &files).0;
        let words = text.replace("rbytes=", "Read ");
        let mut words = words.split_whitespace().skip_while(|w| *w != "Read").skip(1);
        words.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = (read(&little), read(&much));
    eventually("much was read", || read(&much) - before.1 > 32 << 20);
    let (little, much) = (read(&little) - before.0, read(&much) - before.1);
    assert!(much > little * 2, "{much} bytes and {little}");
    sandbox
        .dhow(["run", "--rm", "--blkio-weight", "9", "busybox", "true"])
        .fails(125, "blkio weight is from 10 to 1000");
}

/// What Docker's own command sends arrives as what ours does.
#[test]
fn dockers_own_command_sets_them_too() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let disk = Disk::new(&sandbox);
    let rate = format!("{}:1mb", disk.node);
    let weight = format!("{}:300", disk.node);
    let flags = [
        "create",
        "--name",
        "NAME",
        "-m",
        "64m",
        "--memory-reservation",
        "32m",
        "--memory-swap",
        "96m",
        "--cpu-shares",
        "512",
        "--cpu-period",
        "20000",
        "--cpu-quota",
        "4000",
        "--cpuset-cpus",
        "0",
        "--cpuset-mems",
        "0",
        "--pids-limit",
        "50",
        "--blkio-weight",
        "300",
        "--blkio-weight-device",
        &weight,
        "--device-read-bps",
        &rate,
        "--device-write-bps",
        &rate,
        "--device-read-iops",
        &format!("{}:10", disk.node),
        "--device-write-iops",
        &format!("{}:20", disk.node),
        "--oom-score-adj",
        "5",
        "--shm-size",
        "1m",
        "--ulimit",
        "nofile=10:20",
        "busybox",
        "true",
    ];
    let named = |name: &'static str| flags.map(|word| if word == "NAME" { name } else { word });
    sandbox.ok(named("ours"));
    server.docker(named("theirs")).ok();
    let config = |name: &str| {
        let mut config = sandbox.inspect(name)["HostConfig"].take();
        // What the terminal's size was, of which each tells what it knows.
        config["ConsoleSize"].take();
        config
    };
    assert_eq!(config("ours"), config("theirs"));
    assert_eq!(config("ours")["BlkioDeviceWriteIOps"][0]["Rate"], 20);
}
