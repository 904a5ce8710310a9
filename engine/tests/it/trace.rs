//! Tracing: exactly the events of the containers that were asked for, whatever others do at the same time.

use crate::fixtures::script;
use crate::leaks::hierarchies;
use crate::live::Live;
use crate::sandbox::{Sandbox, eventually, finish};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Forks, executes, opens what is there and what is not, and exits 3.
const BUSY: &str = "#!/bin/sh\n/bin/true\n/bin/cat /etc/group /etc/missing\n(exit 5)\nexit 3\n";

/// The lines of a trace as JSON.
#[track_caller]
fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("event {line:?}: {e}"))).collect()
}

/// An event without what differs from run to run, after that was checked.
#[track_caller]
fn stripped(mut event: Value, id: &str, name: &str) -> Value {
    let object = event.as_object_mut().unwrap();
    assert_eq!(object.remove("container"), Some(json!(id)));
    assert_eq!(object.remove("name"), Some(json!(name)));
    let time = object.remove("time").unwrap();
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    for key in ["host_pid", "host_ppid"] {
        assert!(object.remove(key).unwrap().as_u64().unwrap() > 1, "{key}");
    }
    event
}

/// Adds what all processes of these tests have.
fn of_root(pid: u32, ppid: u32, comm: &str, mut more: Value) -> Value {
    let more = more.as_object_mut().unwrap();
    more.extend([
        ("pid".to_owned(), json!(pid)),
        ("ppid".to_owned(), json!(ppid)),
        ("comm".to_owned(), json!(comm)),
        ("uid".to_owned(), json!(0)),
        ("gid".to_owned(), json!(0)),
    ]);
    Value::Object(std::mem::take(more))
}

fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["kind"] == kind).collect()
}

/// Starts `dhow trace` and waits until its filter is in place: its thread is started after that.
#[track_caller]
fn tracing(sandbox: &Sandbox, arguments: &[&str]) -> Live {
    let live = sandbox.live([&["trace", "--format", "json"], arguments].concat());
    wait_until_attached(&live);
    live
}

#[track_caller]
fn wait_until_attached(live: &Live) {
    let tasks = PathBuf::from(format!("/proc/{}/task", live.pid()));
    eventually("the trace is attached", || {
        std::fs::read_dir(&tasks).is_ok_and(|mut entries| {
            entries.any(|task| {
                let comm = std::fs::read_to_string(task.unwrap().path().join("comm"));
                comm.is_ok_and(|comm| comm.trim() == "dhow-trace")
            })
        })
    });
}

/// The container's directory in the version 2 hierarchy.
fn unified(id: &str) -> PathBuf {
    let directories = hierarchies().into_iter().filter(|h| h.join("cgroup.controllers").exists());
    let mut found = directories.map(|h| h.join("dhow").join(id));
    found.find(|d| d.is_dir()).unwrap_or_else(|| panic!("{id} has no cgroup of version 2"))
}

/// How many attachments of probes a process holds.
fn attachments(pid: nix::unistd::Pid) -> usize {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    links
        .filter(|link| {
            link.to_string_lossy().contains("bpf_link") || link.to_string_lossy().contains("bpf-link")
        })
        .count()
}

/// Three containers that do what the traced ones do, as fast as they can.
fn noisy_neighbours(sandbox: &Sandbox, shared: &Path) {
    let mount = format!("{}:/t", shared.display());
    for name in ["noisy1", "noisy2", "noisy3"] {
        let endless = "while :; do /t/busy; tail /dev/zero; done";
        let arguments = ["run", "-d", "--network", "none", "-m", "16m", "--name", name, "-v", &mount];
        sandbox.ok(arguments.into_iter().chain(["busybox", "sh", "-c", endless]));
    }
}

#[test]
fn exactly_the_events_of_one_container() {
    let sandbox = Sandbox::with_busybox();
    let shared = sandbox.path("t");
    std::fs::create_dir(&shared).unwrap();
    script(&shared.join("busy"), BUSY);
    noisy_neighbours(&sandbox, &shared);
    let mount = format!("{}:/t", shared.display());
    let ended =
        sandbox.dhow(
            ["run", "--name", "one", "--network", "none", "--trace=fork,exec,exit,oom,open"]
                .into_iter()
                .chain(["--trace-format", "json", "-v", &mount, "busybox", "/t/busy"]),
        );
    assert_eq!(ended.code, 3, "{ended:?}");
    let id = sandbox.inspect("one")["Id"].as_str().unwrap().to_owned();
    let mut told = events(&ended.stderr);
    let end = told.pop().unwrap();
    assert_eq!((&end["kind"], &end["events"], &end["lost"]), (&json!("end"), &told.len().into(), &0.into()));

    let pid = u64::try_from(told[0]["host_pid"].as_i64().unwrap()).unwrap();
    assert!(told.iter().all(|e| e["pid"] != 1 || e["host_pid"] == pid), "{told:#?}");
    assert!(told.iter().all(|e| e["ppid"] != 1 || e["host_ppid"] == pid), "{told:#?}");
    let mut last = String::new();
    for event in &told {
        let time = dhow_model::Timestamp::parse(event["time"].as_str().unwrap()).unwrap().rfc3339_fixed();
        assert!(last <= time, "{told:#?}");
        last = time;
    }
    let got: Vec<Value> = told.into_iter().map(|event| stripped(event, &id, "one")).collect();
    let open = |path: &str, more: Value| {
        let mut event = json!({"kind": "open", "path": path, "flags": "O_RDONLY"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let exit = |code: i32| json!({"kind": "exit", "code": code});
    let fork = || json!({"kind": "fork"});
    let exec = |path: &str, args: &[&str]| json!({"kind": "exec", "path": path, "args": args});
    let want = [
        of_root(1, 0, "dhow-monitor", fork()),
        of_root(1, 0, "busy", exec("/t/busy", &["/bin/sh", "/t/busy"])),
        of_root(1, 0, "busy", open("/t/busy", json!({"fd": 3, "flags": "O_RDONLY|O_CLOEXEC"}))),
        of_root(2, 1, "busy", fork()),
        of_root(2, 1, "true", exec("/bin/true", &["/bin/true"])),
        of_root(2, 1, "true", exit(0)),
        of_root(3, 1, "busy", fork()),
        of_root(3, 1, "cat", exec("/bin/cat", &["/bin/cat", "/etc/group", "/etc/missing"])),
        of_root(3, 1, "cat", open("/etc/group", json!({"fd": 3}))),
        of_root(3, 1, "cat", open("/etc/missing", json!({"error": "ENOENT"}))),
        of_root(3, 1, "cat", exit(1)),
        of_root(4, 1, "busy", fork()),
        of_root(4, 1, "busy", exit(5)),
        of_root(1, 0, "busy", exit(3)),
    ];
    assert_eq!(got, want, "got {got:#?}");
}

#[test]
fn exactly_the_events_of_a_memory_hog() {
    let sandbox = Sandbox::with_busybox();
    let shared = sandbox.path("t");
    std::fs::create_dir(&shared).unwrap();
    script(&shared.join("busy"), BUSY);
    noisy_neighbours(&sandbox, &shared);
    let output = sandbox.path("trace.json");
    let ended = sandbox.dhow(
        ["run", "--name", "hog", "--network", "none", "-m", "32m", "--trace", "--trace-format=json"]
            .into_iter()
            .chain(["--trace-output", output.to_str().unwrap()])
            .chain(["busybox", "sh", "-c", "tail /dev/zero; exit 4"]),
    );
    assert_eq!((ended.code, ended.stderr.contains("kind")), (4, false), "{ended:?}");
    let id = sandbox.inspect("hog")["Id"].as_str().unwrap().to_owned();
    let mut told = events(&std::fs::read_to_string(&output).unwrap());
    let end = told.pop().unwrap();
    assert_eq!((&end["kind"], &end["events"], &end["lost"]), (&json!("end"), &told.len().into(), &0.into()));
    let mut got: Vec<Value> = told.into_iter().map(|event| stripped(event, &id, "hog")).collect();
    let oom = got.iter_mut().find(|event| event["kind"] == "oom").expect("an event of the OOM killer");
    let size = oom.as_object_mut().unwrap().remove("total_vm_bytes").unwrap().as_u64().unwrap();
    assert!((24 << 20..256 << 20).contains(&size), "{size}");
    let script = "tail /dev/zero; exit 4";
    // busybox runs its own applets by executing itself.
    let tail = json!({"kind": "exec", "path": "/proc/self/exe", "args": ["tail", "/dev/zero"]});
    let want = [
        of_root(1, 0, "dhow-monitor", json!({"kind": "fork"})),
        of_root(1, 0, "sh", json!({"kind": "exec", "path": "/bin/sh", "args": ["sh", "-c", script]})),
        of_root(2, 1, "sh", json!({"kind": "fork"})),
        of_root(2, 1, "exe", tail),
        of_root(2, 1, "tail", json!({"kind": "oom"})),
        of_root(2, 1, "tail", json!({"kind": "exit", "signal": "SIGKILL", "oom_killed": true})),
        of_root(1, 0, "sh", json!({"kind": "exit", "code": 4})),
    ];
    assert_eq!(got, want, "got {got:#?}");
}

#[test]
fn restarts_are_followed_and_the_removal_is_the_end() {
    let sandbox = Sandbox::with_busybox();
    let restarts = ["create", "--name", "again", "--network", "none", "--restart", "on-failure:2"];
    let id = sandbox.ok(restarts.into_iter().chain(["busybox", "sh", "-c", "exit 7"]));
    let mut trace = tracing(&sandbox, &["again"]);
    sandbox.ok(["start", "again"]);
    eventually("it gave up", || {
        let inspected = sandbox.inspect("again");
        inspected["RestartCount"] == 2 && inspected["State"]["Status"] == "exited"
    });
    sandbox.ok(["start", "again"]);
    eventually("it gave up again", || sandbox.container_state("again")["Status"] == "exited");
    sandbox.ok(["rm", "-f", "again"]);
    assert_eq!(trace.wait(), 0, "{}", trace.stderr());
    let told = events(&trace.stdout());
    let (starts, ends) = (of_kind(&told, "exec"), of_kind(&told, "exit"));
    assert_eq!((starts.len(), ends.len()), (6, 6), "{told:#?}");
    assert!(starts.iter().chain(&ends).all(|e| e["pid"] == 1 && e["container"] == *id), "{told:#?}");
    assert!(ends.iter().all(|e| e["code"] == 7), "{told:#?}");
    assert_eq!(told.last().unwrap()["kind"], "end");
}

#[test]
fn nested_cgroups_belong_to_their_container() {
    let sandbox = Sandbox::with_busybox();
    let shared = sandbox.path("t");
    std::fs::create_dir(&shared).unwrap();
    let mount = format!("{}:/t", shared.display());
    let waits = "while ! test -e /t/go; do sleep 0.05; done; /bin/true; exit 9";
    let arguments = ["run", "-d", "--name", "outer", "--network", "none", "-v", &mount];
    let id = sandbox.ok(arguments.into_iter().chain(["busybox", "sh", "-c", waits]));
    let mut trace = tracing(&sandbox, &["--until-exit", "--kinds", "exec,exit", "outer"]);
    let nested = unified(&id).join("inner/most");
    std::fs::create_dir_all(&nested).unwrap();
    std::fs::write(nested.join("cgroup.procs"), sandbox.pid("outer").to_string()).unwrap();
    std::fs::write(shared.join("go"), "").unwrap();
    assert_eq!(trace.wait(), 0, "{}", trace.stderr());
    let told = events(&trace.stdout());
    let find = |kind: &str, key: &str, value: Value| {
        let found = of_kind(&told, kind).into_iter().find(|e| e[key] == value);
        found.unwrap_or_else(|| panic!("no {kind} with {key} {value}: {told:#?}")).clone()
    };
    for event in [find("exec", "path", json!("/bin/true")), find("exit", "code", json!(9))] {
        assert_eq!(event["container"], *id, "{event}");
    }
}

#[test]
fn losses_are_counted_exactly() {
    const RUNS: u64 = 500;
    let sandbox = Sandbox::with_busybox();
    let script = format!("i=0; while [ $i -lt {RUNS} ]; do /bin/true; i=$((i+1)); done");
    let create = ["create", "--name", "storm", "--network", "none", "busybox", "sh", "-c", &script];
    let id = sandbox.ok(create);
    let mut trace = tracing(&sandbox, &["--until-exit", "--buffer", "4k", "storm"]);
    // The reader stalls for the whole life of the container.
    trace.signal(Signal::SIGSTOP);
    sandbox.ok(["start", "storm"]);
    sandbox.ok(["wait", "storm"]);
    trace.signal(Signal::SIGCONT);
    assert_eq!(trace.wait(), 0, "{}", trace.stderr());
    let told = events(&trace.stdout());
    let mut all_lost = 0;
    for kind in ["fork", "exec", "exit"] {
        let received = of_kind(&told, kind).len() as u64;
        let lost = of_kind(&told, "lost");
        assert!(lost.iter().all(|e| e["container"] == *id && e["place"] == "ring"), "{lost:#?}");
        let lost: u64 = lost.iter().map(|e| e["lost"][kind].as_u64().unwrap_or_default()).sum();
        assert!(received > 0 && lost > 0, "{kind}: {received} received, {lost} lost");
        assert_eq!(received + lost, RUNS + 1, "{kind}: {received} received, {lost} lost");
        all_lost += lost;
    }
    let end = told.last().unwrap();
    assert_eq!((&end["kind"], &end["lost"]), (&json!("end"), &all_lost.into()));
    assert_eq!(end["events"].as_u64().unwrap() + all_lost, 3 * (RUNS + 1));
    assert!(
        trace.stderr().contains(&format!("{all_lost} events of the trace were lost")),
        "{}",
        trace.stderr()
    );
}

#[test]
fn set_up_of_the_runtime_is_not_the_containers() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "up", "--network", "none", "busybox", "sleep", "1000"]);
    let mut trace = tracing(&sandbox, &["--kinds", "exec,open", "up"]);
    sandbox.ok(["exec", "up", "/bin/cat", "/etc/group"]);
    sandbox.ok(["rm", "-f", "up"]);
    assert_eq!(trace.wait(), 0, "{}", trace.stderr());
    let told = events(&trace.stdout());
    let paths: Vec<_> =
        told.iter().filter_map(|e| Some((e["kind"].as_str()?, e["path"].as_str()?))).collect();
    assert_eq!(paths, [("exec", "/bin/cat"), ("open", "/etc/group")], "{told:#?}");
}

#[test]
fn all_containers_of_this_engine_and_of_no_other() {
    let (sandbox, other) = (Sandbox::with_busybox(), Sandbox::with_busybox());
    let mut trace = tracing(&sandbox, &["--kinds", "exec"]);
    // Gone before anybody could have looked it up.
    let run = |sandbox: &Sandbox, name: &str| {
        sandbox.ok(["run", "--rm", "--network", "none", "--name", name, "busybox", "true"]);
    };
    run(&other, "foreign");
    run(&sandbox, "short");
    run(&other, "foreign");
    run(&sandbox, "brief");
    let names = || -> Vec<String> {
        events(&trace.stdout()).iter().map(|e| e["name"].as_str().unwrap().to_owned()).collect()
    };
    eventually("both were told", || names().len() >= 2);
    trace.signal(Signal::SIGINT);
    assert_eq!(trace.wait(), 0, "{}", trace.stderr());
    let told = events(&trace.stdout());
    let names: Vec<&str> = told.iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(names, ["short", "brief"], "{told:#?}");
    assert!(told.iter().all(|e| e["args"] == json!(["true"])), "{told:#?}");
}

#[test]
fn clients_of_a_server_share_the_probes_and_get_their_own() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    for name in ["aa", "bb"] {
        let script = format!("/bin/echo {name}; exit 0");
        sandbox.ok(["create", "--name", name, "--network", "none", "busybox", "sh", "-c", &script]);
    }
    let client = |arguments: &[&str]| {
        let mut command = Command::new(crate::sandbox::DHOW);
        command
            .args(["--host", &server.address, "trace", "--format", "json", "--until-exit"])
            .args(arguments);
        sandbox.isolate(&mut command);
        Live::spawn(command)
    };
    let mut first = client(&["--kinds", "exec", "aa"]);
    wait_until_attached(&server.live);
    assert_eq!(attachments(server.live.pid()), 3, "mkdir, rmdir and exec");
    let mut second = client(&["--kinds", "exit", "bb"]);
    eventually("the second is attached", || attachments(server.live.pid()) == 4);
    let mut both = client(&["--kinds", "fork,exec,exit", "aa", "bb"]);
    eventually("all are attached", || attachments(server.live.pid()) == 5);
    // The one that came last has a fork probe; that its names are in, too, is known when it is answered.
    let refused = client(&["--buffer", "64k", "aa"]).wait();
    assert_eq!(refused, 1, "another buffer");
    sandbox.ok(["start", "aa"]);
    sandbox.ok(["start", "bb"]);
    assert_eq!((first.wait(), second.wait(), both.wait()), (0, 0, 0));
    let shown = |live: &Live| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events(&live.stdout()).iter().map(|e| (text(&e["kind"]), text(&e["name"]))).collect()
    };
    let pair = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    let exec = pair("exec", "aa");
    assert_eq!(shown(&first), [exec.clone(), exec, pair("end", "")]);
    let exit = pair("exit", "bb");
    assert_eq!(shown(&second), [exit.clone(), exit, pair("end", "")]);
    assert_eq!(shown(&both).len(), 13, "{:?}", shown(&both));
    eventually("nothing is attached any more", || attachments(server.live.pid()) == 0);
}

#[test]
fn text_for_people() {
    let sandbox = Sandbox::with_busybox();
    let ended = sandbox.dhow(
        ["run", "--rm", "--name", "shown", "--network", "none", "--trace=exec,exit", "busybox"]
            .into_iter()
            .chain(["sh", "-c", "/bin/true 'a b'; exit 3"]),
    );
    assert_eq!(ended.code, 3, "{ended:?}");
    let lines: Vec<&str> =
        ended.stderr.lines().filter_map(|line| Some(line.split_once(" shown ")?.1)).collect();
    assert_eq!(
        lines,
        [
            r#"1 sh exec /bin/sh "sh" "-c" "/bin/true 'a b'; exit 3""#,
            r#"2 true exec /bin/true "/bin/true" "a b""#,
            "2 true exit 0",
            "1 sh exit 3"
        ],
        "{}",
        ended.stderr
    );
}

#[test]
fn without_the_privilege_one_clear_error_and_the_rest_works() {
    let sandbox = Sandbox::with_busybox();
    let unprivileged = |arguments: &[&str]| {
        let dhow = sandbox.command(arguments);
        let mut command = Command::new("setpriv");
        let caps = "-sys_admin,-bpf,-perfmon";
        command
            .args(["--bounding-set", caps, "--inh-caps", caps])
            .arg(dhow.get_program())
            .args(dhow.get_args());
        sandbox.isolate(&mut command);
        finish(command, b"")
    };
    unprivileged(&["trace"]).fails(1, "tracing needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN");
    unprivileged(&["trace", "--probe"]).fails(1, "CAP_BPF");
    unprivileged(&["run", "--network", "none", "--trace", "busybox", "true"]).fails(125, "CAP_BPF");
    sandbox.assert_no_containers();
    unprivileged(&["ps"]).ok();
}

#[test]
fn wrong_requests_are_refused() {
    let sandbox = Sandbox::with_busybox();
    sandbox.dhow(["trace", "nobody"]).fails(1, "No such container: nobody");
    sandbox.dhow(["trace", "--kinds", "exec,nothing"]).fails(125, "unknown kind of event \"nothing\"");
    sandbox.dhow(["trace", "--until-exit"]).fails(1, "wants a container");
    sandbox.dhow(["trace", "--buffer", "5000"]).fails(125, "power of two");
    sandbox.dhow(["run", "--trace", "-d", "busybox", "true"]).fails(125, "--detach");
    sandbox.dhow(["run", "--trace-format", "json", "busybox", "true"]).fails(125, "without --trace");
    sandbox
        .dhow(["run", "--trace", "--trace-output", "/no/dir/f", "busybox", "true"])
        .fails(125, "/no/dir/f");
    sandbox.assert_no_containers();
    let probes = sandbox.ok(["trace", "--probe"]);
    assert_eq!(probes.lines().filter(|line| line.ends_with(" works")).count(), 6, "{probes}");
}
