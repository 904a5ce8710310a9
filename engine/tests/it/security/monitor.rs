//! A monitor that is taken over from inside its container: what it has of the host then.

use crate::sandbox::{Sandbox, eventually};
use std::fs;

/// A line of `/proc/PID/status`.
#[track_caller]
fn status(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.trim_start_matches(':').trim().to_owned()
}

#[track_caller]
fn capabilities(pid: i32, name: &str) -> u64 {
    u64::from_str_radix(&status(pid, name), 16).unwrap()
}

fn parent(pid: i32) -> i32 {
    status(pid, "PPid").parse().unwrap()
}

/// The process with exactly these arguments.
fn process(arguments: &[&str]) -> Option<i32> {
    let wanted: String = arguments.iter().map(|argument| format!("{argument}\0")).collect();
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted.as_bytes())
    })
}

/// Loading kernel modules, raw input and output, reboot, the clock, the kernel's log, performance counters.
const NOT_FOR_LAUNCHES: u64 = 1 << 16 | 1 << 17 | 1 << 22 | 1 << 25 | 1 << 34 | 1 << 38;

#[test]
fn a_monitor_gives_up_what_no_launch_takes() {
    let sandbox = Sandbox::with_busybox();
    let own = capabilities(i32::try_from(std::process::id()).unwrap(), "CapBnd");
    sandbox.ok(["run", "-d", "--restart", "on-failure:1", "--name", "box", "busybox", "sleep", "1000"]);
    let monitor = parent(sandbox.pid("box"));
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh"] {
        assert_eq!(capabilities(monitor, set) & NOT_FOR_LAUNCHES, 0, "{set}");
    }
    // It launches again with what is left.
    let first = sandbox.pid("box");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("it was started again", || {
        sandbox.container_state("box")["Pid"].as_i64() != Some(first.into())
            && sandbox.container_state("box")["Status"] == "running"
    });
    assert_eq!(capabilities(sandbox.pid("box"), "CapEff"), 0xa804_25fb & own);

    // A container that has them gets them from its monitor.
    sandbox.ok(["run", "-d", "--privileged", "--name", "all", "busybox", "sleep", "1000"]);
    assert_eq!(capabilities(sandbox.pid("all"), "CapEff"), own);
    let one = ["run", "--rm", "--cap-add", "SYS_TIME", "busybox", "grep", "CapEff", "/proc/self/status"];
    assert_eq!(sandbox.ok(one), format!("CapEff:\t{:016x}", (0xa804_25fb_u64 | 1 << 25) & own));
    assert_eq!(
        sandbox.ok(["exec", "--privileged", "box", "grep", "CapEff", "/proc/self/status"]),
        format!("CapEff:\t{own:016x}")
    );
}

#[test]
fn the_monitor_of_a_session_keeps_three_capabilities_and_has_a_filter() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    sandbox.ok(["exec", "-d", "box", "sleep", "98761"]);
    let inside = process(&["sleep", "98761"]).expect("the session runs");
    let monitor = parent(inside);
    // The answer to the command goes out first.
    eventually("it has a filter", || status(monitor, "Seccomp") == "2");
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        // CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL
        assert_eq!(capabilities(monitor, set), 0b10_0011, "{set}");
    }
    assert_eq!(status(monitor, "NoNewPrivs"), "1");
    // What it launched has nothing of that.
    assert_eq!(status(inside, "NoNewPrivs"), "0");
    assert_eq!(capabilities(inside, "CapEff"), capabilities(sandbox.pid("box"), "CapEff"));

    // Codes, output, input, terminals and other users' processes come through.
    let ended =
        sandbox.dhow(["exec", "-u", "1000", "box", "sh", "-c", "sleep 0.2; echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (7, "out\n", "err\n"),
        "{ended:?}"
    );
    let long = "sleep 0.2; cat | wc -c";
    let input = vec![b'x'; 300_000];
    assert_eq!(
        sandbox.dhow_with_input(["exec", "-i", "box", "sh", "-c", long], &input).ok().trim(),
        "300000"
    );
    sandbox.ok(["rm", "-f", "box"]);
    eventually("the session's monitor is gone", || {
        !std::path::Path::new(&format!("/proc/{monitor}")).exists()
    });
}
