//! A real server from Debian packages, on the host's network: logs, exec, graceful stop, restart after a
//! kill, and Docker's own command line on the socket of `dhow serve`.

use crate::fixtures;
use crate::sandbox::{Sandbox, eventually, finish};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// A port of the loopback interface that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One request in redis's own protocol; the first line of its answer.
fn ask(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(format!("{request}\r\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[test]
fn redis_serves_is_watched_stopped_and_restarted() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", fixtures::debian_tar().to_str().unwrap(), "debian:12"]);
    let port = free_port();
    let text = port.to_string();
    sandbox.ok([
        "run",
        "-d",
        "--name",
        "redis",
        "--network",
        "host",
        "--restart",
        "unless-stopped",
        "-u",
        "redis",
    ]
    .into_iter()
    .chain(["-w", "/var/lib/redis", "debian:12", "redis-server", "--bind", "127.0.0.1", "--port", &text]));
    let mut follower = sandbox.live(["logs", "-f", "redis"]);
    follower.expect("Ready to accept connections");
    assert_eq!(ask(port, "SET key value").unwrap(), "+OK");
    assert_eq!(sandbox.ok(["exec", "redis", "redis-cli", "-p", &text, "GET", "key"]), "value");

    // The policy starts it again after a kill.
    let pid = sandbox.pid("redis");
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("it serves again", || ask(port, "PING").is_ok_and(|a| a == "+PONG"));
    assert_eq!(sandbox.inspect("redis")["RestartCount"], 1);
    assert_ne!(sandbox.pid("redis"), pid);
    eventually("the follower goes on", || follower.stdout().matches("Ready to accept").count() == 2);

    // Docker's own command line sees the same.
    let server = sandbox.serve();
    let (ours, theirs) = (sandbox.dhow(["logs", "redis"]), server.docker(["logs", "redis"]));
    assert_eq!((theirs.code, &theirs.stdout, &theirs.stderr), (0, &ours.stdout, &ours.stderr));

    sandbox.ok(["stop", "redis"]);
    assert_eq!(follower.wait(), 0, "following ends when it is stopped");
    assert!(follower.stdout().contains("User requested shutdown"), "not graceful: {}", follower.stdout());
    let state = sandbox.container_state("redis");
    assert_eq!((&state["ExitCode"], &state["Status"]), (&0.into(), &"exited".into()));
    assert!(ask(port, "PING").is_err());
}

#[test]
fn docker_itself_runs_containers_through_the_socket() {
    let sandbox = Sandbox::with_busybox();
    let mut server = sandbox.serve();
    let version = server.docker(["version", "--format", "{{.Server.Version}} {{.Server.Os}}"]).ok();
    assert!(version.ends_with(" linux"), "{version}");

    let ended = server.docker([
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 5",
    ]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str(), ended.code), ("out\n", "err\n", 5));
    let mut piped = server.docker_command(["run", "--rm", "-i", "busybox", "tr", "a-z", "A-Z"]);
    piped.stdin(std::process::Stdio::piped());
    assert_eq!(crate::sandbox::finish(piped, b"through docker\n").ok(), "THROUGH DOCKER");
    assert!(server.docker(["run", "--rm", "hello-world"]).ok().contains("Hello from inside a container!"));

    let id = server.docker(["run", "-d", "--name", "box", "-m", "64m", "busybox", "sleep", "1000"]).ok();
    assert_eq!(sandbox.inspect("box")["Id"], id.as_str(), "both doors lead to one engine");
    let labels = (0..9).flat_map(|number| ["--label".to_owned(), format!("label{number}=x")]);
    server
        .docker(
            ["create", "--name", "made"]
                .map(str::to_owned)
                .into_iter()
                .chain(labels)
                .chain(["busybox".to_owned(), "true".to_owned()]),
        )
        .ok();
    let shown = server.docker(["inspect", "made"]).ok();
    let places: Vec<_> = (0..9).map(|number| shown.find(&format!("\"label{number}\"")).unwrap()).collect();
    assert!(places.is_sorted(), "maps are sorted: {shown}");
    // Docker's own order, and what JSON leaves out.
    let ours = sandbox.ok(["inspect", "made"]);
    let fields = [
        "\"State\"",
        "\"HostConfig\"",
        "\"Binds\": null",
        "\"CapAdd\": null",
        "\"GraphDriver\"",
        "\"Hostname\"",
        "\"Entrypoint\": null",
        "\"NetworkSettings\"",
    ];
    // The API itself has them: not every program asks whether a field is there.
    for text in [&ours, &shown] {
        let places: Vec<_> = fields
            .iter()
            .map(|field| text.find(field).unwrap_or_else(|| panic!("{field}: {text}")))
            .collect();
        assert!(places.is_sorted() && !text.contains("\"Healthcheck\""), "{text}");
    }
    for (what, field) in [
        (&["network", "inspect", "none"][..], "\"Options\": "),
        (&["image", "inspect", "busybox"], "\"Metadata\": {"),
        (&["info", "--format", "{{json .}}"], "\"RegistryConfig\":"),
    ] {
        let text = server.docker(what).ok();
        assert!(text.contains(field), "{what:?}: {text}");
    }
    server.docker(["rm", "made"]).ok();
    assert_eq!(server.docker(["exec", "-e", "A=1", "box", "sh", "-c", "echo $A; exit 4"]).code, 4);
    assert_eq!(server.docker(["ps", "--format", "{{.Names}} {{.Image}}"]).ok(), "box busybox");
    assert_eq!(server.docker(["inspect", "box", "--format", "{{.HostConfig.Memory}}"]).ok(), "67108864");
    assert_eq!(server.docker(["stop", "-t", "0", "box"]).ok(), "box");
    assert_eq!(server.docker(["wait", "box"]).ok(), "137");
    assert_eq!(server.docker(["rm", "box"]).ok(), "box");
    let images = server.docker(["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    assert!(images.lines().any(|l| l == "busybox:latest"), "{images}");
    server.docker(["tag", "busybox", "other:1"]).ok();
    server.docker(["rmi", "other:1"]).ok();
    let archive = sandbox.path("saved.tar");
    server.docker(["save", "-o", archive.to_str().unwrap(), "busybox"]).ok();
    server.docker(["load", "-i", archive.to_str().unwrap()]).ok();
    for (arguments, code, words) in [
        (&["run", "--rm", "no-such-image:x", "true"][..], 125, "no-such-image"),
        (&["run", "--rm", "busybox", "no-such-program"], 127, "executable file not found in $PATH"),
        (&["run", "--rm", "busybox", "/etc"], 126, "/etc"),
        (&["inspect", "no-such-thing"], 1, "No such object: no-such-thing"),
        (&["start", "no-such-thing"], 1, "No such container: no-such-thing"),
    ] {
        let ended = server.docker(arguments);
        assert!(ended.code == code && ended.stderr.contains(words), "{ended:#?}");
    }
    server.live.signal(Signal::SIGTERM);
    assert_eq!(server.live.wait(), 0, "serve ends gracefully: {}", server.live.stderr());
}

#[test]
fn docker_comes_by_ssh_through_dial_stdio() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with_busybox();
    sandbox.dhow(["system", "dial-stdio"]).fails(1, "dial-stdio needs an engine that serves");
    // What stands for ssh runs on this side what would run on the other.
    let server = sandbox.serve();
    let ssh = sandbox.path("bin/ssh");
    std::fs::create_dir_all(ssh.parent().unwrap()).unwrap();
    let said = sandbox.path("said");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{}\nexec {} -H {} system dial-stdio\n",
        said.display(),
        crate::sandbox::DHOW,
        server.address
    );
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", ssh.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let docker = |arguments: &[&str], input: &[u8]| {
        let mut command = std::process::Command::new("docker");
        sandbox.isolate(&mut command);
        command.args(arguments).env("PATH", &path).env("DOCKER_HOST", "ssh://someone@example.invalid");
        finish(command, input)
    };
    assert_eq!(docker(&["version", "--format", "{{.Server.Os}}"], b"").ok(), "linux");
    let run = ["run", "-i", "--rm", "--network", "none", "busybox", "sh", "-c", "cat; exit 7"];
    let ended = docker(&run, b"through ssh\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (7, "through ssh\n"), "{}", ended.stderr);
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.contains("docker system dial-stdio") && said.contains("someone"), "{said}");
}
