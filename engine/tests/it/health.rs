//! Health checks: a server that breaks and recovers, probes that hang, and what follows from both.

use crate::sandbox::{Sandbox, eventually};
use serde_json::Value;

fn health(sandbox: &Sandbox, who: &str) -> String {
    sandbox.container_state(who)["Health"]["Status"].as_str().unwrap_or("none").to_owned()
}

#[track_caller]
fn wait_for_health(sandbox: &Sandbox, who: &str, status: &str) {
    eventually(&format!("{who} is {status}"), || health(sandbox, who) == status);
}

/// What happened to one container, oldest first.
fn actions(sandbox: &Sandbox, name: &str) -> Vec<String> {
    let all = sandbox.events().into_iter();
    let of = all.filter(|e| e["Type"] == "container" && e["Actor"]["Attributes"]["name"] == name);
    of.filter_map(|e| e["Action"].as_str().map(str::to_owned)).collect()
}

fn last_probe(sandbox: &Sandbox, who: &str) -> Value {
    let state = sandbox.container_state(who);
    state["Health"]["Log"].as_array().and_then(|log| log.last().cloned()).unwrap_or_default()
}

const SERVER: &str = "mkdir -p /www && echo fine > /www/index.html && exec httpd -f -p 8080 -h /www";
const ASK: &str = "wget -q -O - http://127.0.0.1:8080/index.html";

#[test]
fn a_server_that_is_broken_turns_unhealthy_and_recovers() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok([
        "run",
        "-d",
        "--name",
        "web",
        "--health-cmd",
        ASK,
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "busybox",
        "sh",
        "-c",
        SERVER,
    ]);
    wait_for_health(&sandbox, "web", "healthy");
    assert_eq!(last_probe(&sandbox, "web")["Output"], "fine\n");
    assert!(sandbox.ok(["ps", "--format", "{{.Status}}"]).ends_with(" (healthy)"));
    assert_eq!(sandbox.ok(["ps", "-q", "--no-trunc", "--filter", "health=healthy"]), id);
    assert_eq!(sandbox.ok(["ps", "-q", "--filter", "health=unhealthy"]), "");

    sandbox.ok(["exec", "web", "mv", "/www/index.html", "/www/gone"]);
    wait_for_health(&sandbox, "web", "unhealthy");
    let state = sandbox.container_state("web");
    assert_eq!(state["Status"], "running", "it is not stopped for it");
    assert!(state["Health"]["FailingStreak"].as_i64() >= Some(2), "{state}");
    let probe = last_probe(&sandbox, "web");
    assert_eq!(probe["ExitCode"], 1, "{probe}");
    assert!(probe["Output"].as_str().unwrap().contains("404"), "{probe}");
    assert!(sandbox.ok(["ps", "--format", "{{.Status}}"]).ends_with(" (unhealthy)"));

    sandbox.ok(["exec", "web", "mv", "/www/gone", "/www/index.html"]);
    wait_for_health(&sandbox, "web", "healthy");
    eventually("the log is full", || {
        sandbox.container_state("web")["Health"]["Log"].as_array().map(Vec::len) == Some(5)
    });
    let told: Vec<String> =
        actions(&sandbox, "web").into_iter().filter(|a| a.starts_with("health_status")).collect();
    assert_eq!(told, ["health_status: healthy", "health_status: unhealthy", "health_status: healthy"]);

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let until = format!("{}", now + 1);
    let filter = ["events", "--since", "0", "--until", &until, "--filter", "event=health_status"];
    assert_eq!(sandbox.ok(filter).lines().count(), 3);
    // Probes are told as Docker tells them, and leave no sessions behind.
    let first: Vec<String> =
        actions(&sandbox, "web").into_iter().filter(|a| a.starts_with("exec_")).collect();
    let line = format!("/bin/sh -c {ASK}");
    assert_eq!(
        first[..3],
        [format!("exec_create: {line}"), format!("exec_start: {line}"), "exec_die".to_owned()]
    );
    sandbox.ok(["stop", "-t", "0", "web"]);
    assert_eq!(health(&sandbox, "web"), "unhealthy", "what does not run is not healthy");
    assert_eq!(sandbox.inspect("web")["ExecIDs"], Value::Null);
    sandbox.ok(["start", "web"]);
    wait_for_health(&sandbox, "web", "healthy");
}

#[test]
fn a_probe_that_hangs_is_killed_with_all_that_it_started() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok([
        "run",
        "-d",
        "--name",
        "box",
        "--health-cmd",
        "echo begun; sleep 1234 | cat",
        "--health-interval",
        "50ms",
        "--health-timeout",
        "300ms",
        "--health-retries",
        "1",
        "busybox",
        "sh",
        "-c",
        "while :; do echo tick; sleep 0.1; done",
    ]);
    eventually("the container is served meanwhile", || sandbox.ok(["logs", "box"]).lines().count() > 2);
    wait_for_health(&sandbox, "box", "unhealthy");
    let probe = last_probe(&sandbox, "box");
    assert_eq!(probe["ExitCode"], -1, "{probe}");
    assert_eq!(probe["Output"], "Health check exceeded timeout (300ms): begun\n");
    // One may run at this moment; those before it must be gone.
    eventually("several were tried", || {
        sandbox.container_state("box")["Health"]["FailingStreak"].as_i64() >= Some(4)
    });
    let sleepers = sandbox.ok(["exec", "box", "sh", "-c", "pgrep -f 'sleep 123[4]' | wc -l"]);
    assert!(sleepers.trim().parse::<u32>().unwrap() <= 2, "{sleepers} are left");
}

#[test]
fn what_a_probe_says_is_capped_and_what_cannot_run_is_told() {
    let sandbox = Sandbox::with_busybox();
    let check = |name: &str, command: &str| {
        let interval = ["--health-interval", "50ms", "--health-cmd", command];
        sandbox.ok([&["run", "-d", "--name", name][..], &interval, &["busybox", "sleep", "1000"]].concat());
        eventually("a probe ended", || !last_probe(&sandbox, name).is_null());
        last_probe(&sandbox, name)
    };
    let probe = check("loud", "yes | head -c 100000; exit 3");
    let output = probe["Output"].as_str().unwrap();
    assert_eq!((output.len(), output.ends_with("..."), &probe["ExitCode"]), (4099, true, &3.into()));
    let probe = check("odd", "no-such-program");
    assert_eq!(probe["ExitCode"], 127, "{probe}");
    assert!(probe["Output"].as_str().unwrap().contains("not found"), "{probe}");
}

#[test]
fn the_images_check_holds_and_can_be_taken_away() {
    let sandbox = Sandbox::new();
    let change = r#"HEALTHCHECK --interval=50ms --retries=2 CMD ["test", "-e", "/ok"]"#;
    let tar = crate::fixtures::busybox_tar();
    sandbox.ok(["import", "-c", change, tar.to_str().unwrap(), "busybox"]);
    let seen = sandbox.inspect("busybox")["Config"]["Healthcheck"].take();
    assert_eq!(seen["Test"], serde_json::json!(["CMD", "test", "-e", "/ok"]), "{seen}");
    sandbox.ok(["run", "-d", "--name", "own", "busybox", "sleep", "1000"]);
    wait_for_health(&sandbox, "own", "unhealthy");
    sandbox.ok(["exec", "own", "touch", "/ok"]);
    wait_for_health(&sandbox, "own", "healthy");

    sandbox.ok(["run", "-d", "--name", "none", "--no-healthcheck", "busybox", "sleep", "1000"]);
    assert_eq!(health(&sandbox, "none"), "none");
    assert_eq!(sandbox.ok(["ps", "--filter", "health=none", "--format", "{{.Names}}"]), "none");
    // The command is the user's, the times are the image's.
    sandbox.ok(["run", "-d", "--name", "mixed", "--health-cmd", "true", "busybox", "sleep", "1000"]);
    wait_for_health(&sandbox, "mixed", "healthy");
    assert_eq!(sandbox.inspect("mixed")["Config"]["Healthcheck"]["Retries"], 2);
}

#[test]
fn a_start_period_forgives_and_a_pause_suspends() {
    let sandbox = Sandbox::with_busybox();
    let times =
        ["--health-interval", "50ms", "--health-start-period", "1h", "--health-start-interval", "50ms"];
    let rest = ["--health-retries", "1", "--health-cmd", "test -e /ok", "busybox", "sleep", "1000"];
    sandbox.ok([&["run", "-d", "--name", "box"][..], &times, &rest].concat());
    eventually("some failed", || {
        sandbox.container_state("box")["Health"]["Log"].as_array().is_some_and(|log| log.len() > 2)
    });
    assert_eq!(health(&sandbox, "box"), "starting");
    assert!(sandbox.ok(["ps", "--format", "{{.Status}}"]).ends_with(" (health: starting)"));
    sandbox.ok(["exec", "box", "touch", "/ok"]);
    wait_for_health(&sandbox, "box", "healthy");

    sandbox.ok(["pause", "box"]);
    // One may have been under way, which then is frozen with the container.
    let before = actions(&sandbox, "box").len();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let more = actions(&sandbox, "box").len() - before;
    assert!(more <= 3, "probes go on while it is paused: {more} events");
    sandbox.ok(["unpause", "box"]);
    sandbox.ok(["exec", "box", "rm", "/ok"]);
    wait_for_health(&sandbox, "box", "unhealthy");
}

#[test]
fn unhealthy_containers_are_restarted_when_that_is_wanted() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["--restart-unhealthy", "--restart", "on-failure", "--health-interval", "100ms"];
    // It breaks in its first life only, and leaves politely.
    let script = "trap 'exit 0' TERM; n=$(cat /n || echo 0); echo $((n+1)) > /n; while :; do sleep 0.1; done";
    let check = ["--health-retries", "1", "--health-cmd", "test $(cat /n) -gt 1"];
    sandbox
        .ok([&["run", "-d", "--name", "box"][..], &flags, &check, &["busybox", "sh", "-c", script]].concat());
    eventually("it was restarted and is well", || {
        let all = sandbox.inspect("box");
        all["RestartCount"] == 1 && all["State"]["Health"]["Status"] == "healthy"
    });
    assert_eq!(sandbox.inspect("box")["Dhow"]["EndedBy"], "health");
    let told = actions(&sandbox, "box");
    assert!(
        told.iter().any(|a| a == "health_status: unhealthy") && told.iter().any(|a| a == "die"),
        "{told:?}"
    );
    sandbox
        .dhow(["run", "--restart-unhealthy", "--restart", "always", "busybox", "true"])
        .fails(125, "--restart-unhealthy needs a health check");
    sandbox
        .dhow(["run", "--restart-unhealthy", "--health-cmd", "true", "busybox", "true"])
        .fails(125, "--restart-unhealthy needs a restart policy");
}

#[test]
fn docker_itself_checks_through_the_socket() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let check = ["--health-cmd", "test ! -e /bad", "--health-interval", "100ms", "--health-retries", "1"];
    server.docker([&["run", "-d", "--name", "box"][..], &check, &["busybox", "sleep", "1000"]].concat()).ok();
    let is =
        |status: &str| server.docker(["inspect", "-f", "{{.State.Health.Status}}", "box"]).ok() == status;
    eventually("it is healthy", || is("healthy"));
    assert!(server.docker(["ps", "--format", "{{.Status}}"]).ok().ends_with(" (healthy)"));
    server.docker(["exec", "box", "touch", "/bad"]).ok();
    eventually("it is unhealthy", || is("unhealthy"));
    assert_eq!(server.docker(["ps", "--filter", "health=unhealthy", "--format", "{{.Names}}"]).ok(), "box");
}
