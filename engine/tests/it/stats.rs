//! `stats`: what a container uses, as the kernel counts it; with Docker's columns, and to Docker's own command.

use crate::sandbox::{Sandbox, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Burns CPU time, and has 8 MiB of memory that is not page cache: a variable.
const BUSY: &str = "x=$(head -c 8388608 /dev/zero | tr '\\0' x); echo ready; while :; do :; done";

/// One row as JSON.
#[track_caller]
fn row(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let text = sandbox.ok([&["stats", "--no-stream", "--format", "json"], arguments].concat());
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn number(value: &Value, unit: &str) -> f64 {
    let text = value.as_str().unwrap();
    let text = text.split(" / ").next().unwrap();
    text.strip_suffix(unit).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no {unit} in {text}"))
}

#[test]
fn a_busy_container_is_told_from_an_idle_and_a_stopped_one() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok([
        "run",
        "-d",
        "--name",
        "busy",
        "--network",
        "none",
        "-m",
        "64m",
        "busybox",
        "sh",
        "-c",
        BUSY,
    ]);
    sandbox.ok(["run", "-d", "--name", "idle", "busybox", "sleep", "1000"]);
    sandbox.ok(["create", "--name", "never", "busybox", "true"]);
    eventually("it has its memory", || sandbox.ok(["logs", "busy"]).contains("ready"));

    let busy = row(&sandbox, &["busy"]);
    assert_eq!(
        (&busy["Name"], &busy["Container"], &busy["ID"]),
        (&"busy".into(), &"busy".into(), &id[..12].into())
    );
    assert!(number(&busy["CPUPerc"], "%") > 0.0, "{busy}");
    let memory = number(&busy["MemUsage"], "MiB");
    assert!(
        (8.0..64.0).contains(&memory) && busy["MemUsage"].as_str().unwrap().ends_with(" / 64MiB"),
        "{busy}"
    );
    let percent = number(&busy["MemPerc"], "%");
    assert!((percent - memory / 64.0 * 100.0).abs() < 0.1, "{busy}");
    assert_eq!((&busy["PIDs"], &busy["NetIO"]), (&"1".into(), &"0B / 0B".into()));

    let idle = row(&sandbox, &["idle", "--no-trunc"]);
    assert_eq!((&idle["CPUPerc"], idle["ID"].as_str().map(str::len)), (&"0.00%".into(), Some(64)));
    let stopped = row(&sandbox, &["never"]);
    assert_eq!((&stopped["MemUsage"], &stopped["PIDs"]), (&"0B / 0B".into(), &"0".into()));

    let table = sandbox.ok(["stats", "--no-stream"]);
    let mut lines = table.lines();
    let head: Vec<&str> =
        lines.next().unwrap().split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    let want =
        ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
    assert_eq!(head, want);
    assert_eq!(lines.count(), 2, "only what runs: {table}");
    let names = sandbox.ok(["container", "stats", "-a", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"]);
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["busy 1", "idle 1", "never 0"]);
    sandbox.dhow(["stats", "--no-stream", "nobody"]).fails(1, "No such container: nobody");
    sandbox.ok(["rm", "-f", "busy", "idle"]);
    assert_eq!(sandbox.ok(["stats", "--no-stream"]).lines().count(), 1, "the head alone");
}

#[test]
fn it_goes_on_until_it_is_interrupted() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "first", "busybox", "sleep", "1000"]);
    let mut live = sandbox.live(["stats", "--format", "{{.Name}}={{.PIDs}}"]);
    live.expect("first=1\nfirst=1\n");
    sandbox.ok(["run", "-d", "--name", "second", "busybox", "sleep", "1000"]);
    live.expect("second=1");
    sandbox.ok(["rm", "-f", "first"]);
    eventually("the removed one is not shown", || live.stdout().ends_with("\nsecond=1\nsecond=1\n"));
    sandbox.ok(["pause", "second"]);
    assert_eq!(row(&sandbox, &["second"])["PIDs"], "1", "a paused container has its processes");
    live.signal(Signal::SIGINT);
    assert_eq!(live.wait(), 130);
}

#[test]
fn docker_reads_it_too() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok([
        "run",
        "-d",
        "--name",
        "busy",
        "--network",
        "none",
        "-m",
        "64m",
        "busybox",
        "sh",
        "-c",
        BUSY,
    ]);
    eventually("it has its memory", || sandbox.ok(["logs", "busy"]).contains("ready"));
    let server = sandbox.serve();
    let format = ["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}} {{.NetIO}}"];
    let (ours, theirs) = (sandbox.ok(format), server.docker(format).ok());
    // Memory may change between the two; its unit, its limit and all else are the same.
    let shape = |text: &str| text.split_once("MiB / ").map(|(_, rest)| rest.to_owned());
    assert_eq!(
        (shape(&ours), shape(&theirs)),
        (Some("64MiB 1 0B / 0B".into()), Some("64MiB 1 0B / 0B".into()))
    );
    let percent = server.docker(["stats", "--no-stream", "--format", "{{.CPUPerc}}", "busy"]).ok();
    assert!(percent.trim_end_matches('%').parse::<f64>().unwrap() > 0.0, "{percent}");

    // The whole body: two readings a second apart in one answer, one with one-shot, endless ones in a stream.
    let get = |query: &str| {
        let mut curl = std::process::Command::new("curl");
        let socket = server.address.strip_prefix("unix://").unwrap();
        curl.args(["-s", "--unix-socket", socket, &format!("http://d/v1.50/containers/busy/stats{query}")]);
        crate::sandbox::finish(curl, b"").ok()
    };
    let both: Value = serde_json::from_str(&get("?stream=false")).unwrap();
    let total = |stats: &Value| stats["cpu_usage"]["total_usage"].as_u64().unwrap();
    assert!(total(&both["precpu_stats"]) < total(&both["cpu_stats"]), "{both}");
    assert!(
        both["precpu_stats"]["system_cpu_usage"].as_u64() < both["cpu_stats"]["system_cpu_usage"].as_u64()
    );
    assert_eq!((&both["name"], &both["pids_stats"]["current"]), (&"/busy".into(), &1.into()));
    assert_eq!(both["memory_stats"]["limit"], 64 << 20);
    assert!(both["preread"].as_str() < both["read"].as_str(), "{both}");
    let one: Value = serde_json::from_str(&get("?stream=false&one-shot=true")).unwrap();
    assert_eq!((&one["preread"], total(&one["precpu_stats"])), (&"0001-01-01T00:00:00Z".into(), 0));
    assert!(get("?one-shot=1").contains("cannot have stream=true and one-shot=true"));
    // A stream ends when the container is removed.
    let streamed = std::thread::scope(|scope| {
        let stream = scope.spawn(|| get(""));
        sandbox.ok(["rm", "-f", "busy"]);
        stream.join().unwrap()
    });
    assert!(streamed.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{streamed}");
}
