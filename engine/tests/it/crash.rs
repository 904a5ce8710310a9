//! `kill -9` of whatever is not the container: nothing stops, nothing is lost, everything still answers.

use crate::sandbox::{Sandbox, eventually};
use nix::sys::signal::Signal;

/// Counts aloud, ten times a second.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

/// The count that the log has reached.
fn reached(sandbox: &Sandbox, who: &str) -> u32 {
    sandbox.ok(["logs", "--tail", "1", who]).trim().parse().unwrap_or(0)
}

/// Asserts that the log has every number.
#[track_caller]
fn assert_counted_without_gap(sandbox: &Sandbox, who: &str) {
    let log = sandbox.ok(["logs", who]);
    let counted: Vec<u32> = log.lines().map(|l| l.parse().unwrap()).collect();
    assert!(counted.iter().copied().eq(1..=u32::try_from(counted.len()).unwrap()), "{log}");
}

#[test]
fn containers_outlive_a_killed_server() {
    let sandbox = Sandbox::with_busybox();
    let mut server = sandbox.serve();
    server.docker(["run", "-d", "--name", "box", "busybox", "sh", "-c", COUNT]).ok();
    server.docker(["run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 2; exit 9"]).ok();
    let pid = sandbox.pid("box");
    server.live.signal(Signal::SIGKILL);
    assert_eq!(server.live.wait(), 137);

    let before = reached(&sandbox, "box");
    eventually("it goes on counting", || reached(&sandbox, "box") > before + 3);
    assert_eq!(sandbox.pid("box"), pid);
    assert_eq!(sandbox.ok(["wait", "ends"]), "9", "an exit that no server saw is on record");
    assert_eq!(sandbox.ok(["exec", "box", "echo", "still here"]), "still here");

    let server = sandbox.serve();
    assert_eq!(server.docker(["ps", "--format", "{{.Names}}"]).ok(), "box");
    assert_eq!(server.docker(["inspect", "--format", "{{.State.Pid}}", "box"]).ok(), pid.to_string());
    server.docker(["stop", "-t", "0", "box"]).ok();
    assert_counted_without_gap(&sandbox, "box");
    let actions: Vec<String> =
        sandbox.events().iter().filter_map(|e| e["Action"].as_str().map(str::to_owned)).collect();
    assert_eq!(actions.iter().filter(|a| *a == "die").count(), 2, "{actions:?}");
}

#[test]
fn containers_outlive_a_killed_command_line() {
    let sandbox = Sandbox::with_busybox();
    let mut attached = sandbox.live(["run", "--rm", "--name", "box", "busybox", "sh", "-c", COUNT]);
    attached.expect("3\n");
    attached.signal(Signal::SIGKILL);
    assert_eq!(attached.wait(), 137);
    let before = reached(&sandbox, "box");
    eventually("it goes on counting", || reached(&sandbox, "box") > before + 3);
    let mut joined = sandbox.live(["attach", "box"]);
    eventually("one can attach again", || joined.stdout().lines().count() > 2);
    joined.signal(Signal::SIGKILL);
    joined.wait();
    assert_counted_without_gap(&sandbox, "box");
    // `--rm` is the monitor's affair, not the client's.
    sandbox.ok(["stop", "-t", "0", "box"]);
    eventually("--rm removes it", || sandbox.container_ids().is_empty());
    sandbox.assert_no_containers();
}

#[test]
fn commands_killed_at_any_moment_leave_nothing_half_made() {
    let sandbox = Sandbox::with_busybox();
    // From before the first byte of the database to after the start: a new moment each time.
    for milliseconds in 0..40 {
        let mut command = sandbox.live(["run", "--rm", "busybox", "sleep", "0.2"]);
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        command.signal(Signal::SIGKILL);
        command.wait();
    }
    // Those that had started end by themselves; the others were only made, and say so.
    eventually("none runs any more", || sandbox.ok(["ps", "-q"]).is_empty());
    let left = sandbox.container_ids();
    for id in &left {
        let status = sandbox.dhow(["inspect", "--format", "{{.State.Status}}", id]);
        let ended = sandbox.dhow(["start", id]);
        // One that had run may be on its way out, by its own `--rm`.
        let gone = ended.stderr.contains("No such container") || ended.stderr.contains("marked for removal");
        assert!(ended.code == 0 || gone, "{} and {ended:?}", status.stdout);
    }
    eventually("their --rm works still", || sandbox.container_ids().is_empty());
    sandbox.assert_no_containers();
}

#[test]
fn a_container_whose_monitor_was_killed_is_settled() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let pid = sandbox.pid("box");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|l| l.strip_prefix("PPid:\t")).unwrap().parse().unwrap();
    let command = std::fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap();
    assert!(command.split('\0').any(|word| word == "monitor"), "{command}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(parent), Signal::SIGKILL).unwrap();
    eventually("the engine notices", || sandbox.container_state("box")["Status"] == "exited");
    eventually("its process is gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    sandbox.ok(["start", "box"]);
    assert_eq!(sandbox.container_state("box")["Status"], "running");
}

/// Whether a container's monitor is on the roll of those that live: 128 bytes for each, its word first, its name last.
fn on_the_roll(sandbox: &Sandbox, id: &str) -> bool {
    const OWNER_DIED: u32 = 0x4000_0000;
    let roll = std::fs::read(sandbox.state().join("monitors")).unwrap();
    roll.chunks_exact(128).any(|place| {
        let word = u32::from_ne_bytes(place[..4].try_into().unwrap());
        word != 0 && word & OWNER_DIED == 0 && &place[64..] == id.as_bytes()
    })
}

#[test]
fn the_kernel_strikes_a_killed_monitor_off_the_roll() {
    let sandbox = Sandbox::with_busybox();
    let run = |name| sandbox.ok(["run", "-d", "--name", name, "busybox", "sleep", "1000"]);
    let (killed, stopped, lives) = (run("killed"), run("stopped"), run("lives"));
    for id in [&killed, &stopped, &lives] {
        assert!(on_the_roll(&sandbox, id));
    }
    // Commands that find a container there do not ask for its lock; whoever is not there is asked.
    let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.pid("killed"))).unwrap();
    let parent = status.lines().find_map(|l| l.strip_prefix("PPid:\t")).unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(parent), Signal::SIGKILL).unwrap();
    sandbox.ok(["stop", "-t", "0", "stopped"]);
    eventually("the kernel has seen its end", || !on_the_roll(&sandbox, &killed));
    eventually("the other gave its place back", || !on_the_roll(&sandbox, &stopped));
    eventually("the engine notices", || sandbox.ok(["ps", "--format", "{{.Names}}"]) == "lives");
    sandbox.ok(["restart", "-t", "0", "lives"]);
    assert!(on_the_roll(&sandbox, &lives));
    // Without the roll, nothing is missing but time.
    std::fs::remove_file(sandbox.state().join("monitors")).unwrap();
    assert_eq!(sandbox.ok(["ps", "--format", "{{.Names}}"]), "lives");
    sandbox.ok(["start", "killed"]);
    assert!(on_the_roll(&sandbox, &killed) && !on_the_roll(&sandbox, &lives));
    assert_eq!(sandbox.ok(["ps", "--format", "{{.Names}}"]), "lives\nkilled");
}
