//! Log drivers: files with their options, syslog in all its forms, and daemons that are slow, stuck or gone.

use crate::sandbox::{Sandbox, eventually, names_in};
use serde_json::Value;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

fn datagram(receive: impl Fn(&mut [u8]) -> std::io::Result<usize>) -> String {
    let mut buffer = [0; 4096];
    let count = receive(&mut buffer).expect("a message");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn json_files_carry_labels_variables_and_a_tag() {
    let sandbox = Sandbox::with_busybox();
    let options =
        ["--log-opt", "labels=tier,no", "--log-opt", "env=MODE", "--log-opt", "tag={{.Name}}/{{.ImageName}}"];
    let who = ["run", "--name", "box", "-l", "tier=db", "-e", "MODE=fast"];
    sandbox.ok([&who[..], &options, &["busybox", "echo", "hello"]].concat());
    let path = sandbox.inspect("box")["LogPath"].as_str().unwrap().to_owned();
    let line: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(line["attrs"], serde_json::json!({"tier": "db", "MODE": "fast", "tag": "box/busybox"}));
    assert_eq!(sandbox.ok(["logs", "box"]), "hello");
    assert_eq!(sandbox.ok(["logs", "--details", "box"]), "MODE=fast,tag=box%2Fbusybox,tier=db hello");
    let server = sandbox.serve();
    let both = ["logs", "--details", "-t", "box"];
    assert_eq!(server.docker(both).ok(), sandbox.ok(both));
    assert!(sandbox.ok(both).ends_with("Z MODE=fast,tag=box%2Fbusybox,tier=db hello"));

    let options =
        ["--log-opt", "labels-regex=^com[.]", "--log-opt", "env-regex=^(A|B)$", "--log-opt", "env=C"];
    let labels = ["-l", "com.x=a b", "-l", "org.y=2"];
    let env = ["-e", "A=1", "-e", "B=\u{fc}&", "-e", "AB=3", "-e", "C=4"];
    sandbox.ok([&["run", "--name", "more"][..], &options, &labels, &env, &["busybox", "echo", "x"]].concat());
    assert_eq!(sandbox.ok(["logs", "--details", "more"]), "A=1,B=%C3%BC%26,C=4,com.x=a+b x");
    sandbox.ok(["run", "--name", "bare", "--log-driver", "local", "busybox", "echo", "x"]);
    assert_eq!(sandbox.ok(["logs", "--details", "bare"]), " x");
    sandbox
        .dhow(["create", "--log-opt", "env-regex=(", "busybox", "true"])
        .fails(1, "invalid log opt env-regex=(");
}

#[test]
fn rotated_files_are_compressed_and_read_back_whole() {
    let sandbox = Sandbox::with_busybox();
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line-$i; done";
    let want: Vec<String> = (1..=3000).map(|n| format!("line-{n}")).collect();
    for (name, driver, compress) in [
        ("json", "json-file", "compress=true"),
        ("own", "local", "compress=true"),
        ("bare", "local", "compress=false"),
    ] {
        let sizes = ["--log-opt", "max-size=20k", "--log-opt", "max-file=100", "--log-opt", compress];
        let who = ["run", "-d", "--name", name, "--log-driver", driver];
        let id = sandbox.ok([&who[..], &sizes, &["busybox", "sh", "-c", script]].concat());
        let follower = sandbox.live(["logs", "-f", name]);
        sandbox.wait_for_status(name, "exited");
        let read: Vec<String> = sandbox.ok(["logs", name]).lines().map(str::to_owned).collect();
        assert!(read == want, "{name}: {} lines", read.len());
        let tail = sandbox.ok(["logs", "--tail", "1500", name]);
        assert!(tail.lines().eq(want[1500..].iter().map(String::as_str)), "{name}");
        eventually("the follower saw them all", || follower.stdout().lines().count() == 3000);
        assert!(follower.stdout().lines().eq(want.iter().map(String::as_str)), "{name}");
        let home = sandbox.root().join("containers").join(&id);
        let files = [names_in(&home), names_in(&home.join("local-logs"))].concat();
        let packed = files.iter().filter(|file| file.ends_with(".gz")).count();
        assert_eq!(packed > 3, compress == "compress=true", "{files:?}");
        assert!(!files.iter().any(|file| file.ends_with(".tmp")), "{files:?}");
    }
    assert_eq!(sandbox.inspect("own")["LogPath"], "", "the files of local are the engine's own");
}

#[test]
fn syslog_by_unix_socket_udp_and_tcp() {
    let sandbox = Sandbox::with_busybox();
    let hostname = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let run = |name: &str, address: &str, format: &str| {
        let options = ["--log-opt", address, "--log-opt", format, "--log-opt", "tag={{.Name}}"];
        let what = ["busybox", "sh", "-c", "echo out; echo err >&2"];
        sandbox.ok([&["run", "--name", name, "--log-driver", "syslog"][..], &options, &what].concat());
    };
    let path = sandbox.path("log");
    let unix = UnixDatagram::bind(&path).unwrap();
    unix.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    run("one", &format!("syslog-address=unix://{}", path.display()), "syslog-facility=local1");
    let mut seen = [datagram(|b| unix.recv(b)), datagram(|b| unix.recv(b))];
    seen.sort();
    // local1 is 17; errors are 3, information is 6.
    assert!(seen[0].starts_with("<139>") && seen[0].ends_with("]: err\n"), "{seen:?}");
    assert!(
        seen[1].starts_with("<142>") && seen[1].contains(" one[") && seen[1].ends_with("]: out\n"),
        "{seen:?}"
    );

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    run("two", &format!("syslog-address=udp://{}", udp.local_addr().unwrap()), "syslog-format=rfc5424micro");
    let seen = [datagram(|b| udp.recv(b)), datagram(|b| udp.recv(b))];
    let out = seen.iter().find(|m| m.ends_with(" two - out\n")).unwrap_or_else(|| panic!("{seen:?}"));
    assert!(out.starts_with("<30>1 2") && out.contains(&format!(" {hostname} two ")), "{out}");

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("syslog-address=tcp://{}", tcp.local_addr().unwrap());
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        tcp.accept().unwrap().0.read_to_string(&mut all).unwrap();
        all
    });
    run("three", &address, "syslog-format=rfc3164");
    let all = reader.join().unwrap();
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(all.contains(&format!(" {hostname} three[")) && all.contains("]: out\n"), "{all}");

    // What went away is kept here too, as Docker does, unless that is not wanted.
    let kept = sandbox.dhow(["logs", "three"]);
    assert_eq!((kept.stdout.as_str(), kept.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(sandbox.inspect("three")["LogPath"], "");
    let address = format!("syslog-address=unix://{}", path.display());
    run("four", &address, "cache-disabled=true");
    assert!(datagram(|b| unix.recv(b)).contains(" four["));
    sandbox.dhow(["logs", "four"]).fails(1, "configured logging driver does not support reading");
    assert_eq!(sandbox.inspect("three")["Dhow"]["LogLost"], 0);
}

#[test]
fn a_daemon_that_is_stuck_or_goes_does_not_hang_a_container() {
    let sandbox = Sandbox::with_busybox();
    let path = sandbox.path("log");
    // Nobody reads from it: it takes a few hundred messages.
    let stuck = UnixDatagram::bind(&path).unwrap();
    let address = format!("syslog-address=unix://{}", path.display());
    let run = |name: &str, mode: &[&str]| {
        let what = ["busybox", "sh", "-c", "seq 600000; echo done > /done; sleep 1000"];
        let driver = ["run", "-d", "--name", name, "--log-driver", "syslog", "--log-opt", &address];
        sandbox.ok([&driver[..], mode, &what].concat());
    };
    let is_done = |name: &str| sandbox.dhow(["exec", name, "test", "-e", "/done"]).code == 0;
    run("lax", &["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=64k"]);
    eventually("it went on", || is_done("lax"));
    eventually("its losses are counted", || {
        sandbox.inspect("lax")["Dhow"]["LogLost"].as_u64().is_some_and(|lost| lost > 500_000)
    });

    run("strict", &[]);
    // It is held up, and can be looked at, entered and ended all the same.
    assert!(!is_done("strict"));
    assert_eq!(sandbox.ok(["exec", "strict", "echo", "works"]), "works");
    assert!(!is_done("strict"), "it waits for the daemon");
    // The daemon goes: messages are lost, the container is not.
    drop(stuck);
    std::fs::remove_file(&path).unwrap();
    eventually("it went on", || is_done("strict"));
    sandbox.ok(["stop", "-t", "0", "strict", "lax"]);
    assert!(sandbox.inspect("strict")["Dhow"]["LogLost"].as_u64() > Some(0));

    let stuck = UnixDatagram::bind(&path).unwrap();
    run("ended", &[]);
    sandbox.ok(["rm", "-f", "ended"]);
    drop(stuck);
}

#[test]
fn what_is_not_there_is_refused_at_the_start() {
    let sandbox = Sandbox::with_busybox();
    let nobody = format!("syslog-address=unix://{}", sandbox.path("nobody").display());
    sandbox
        .dhow(["run", "--log-driver", "syslog", "--log-opt", &nobody, "busybox", "true"])
        .fails(125, "failed to initialize logging driver: syslog: No such file or directory");
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        sandbox
            .dhow(["run", "--log-driver", "journald", "busybox", "true"])
            .fails(125, "failed to initialize logging driver: journald is not enabled on this host");
    }
    sandbox
        .dhow(["run", "--log-driver", "gelf", "busybox", "true"])
        .fails(125, "not supported by dhow: --log-driver \"gelf\"");
    sandbox
        .dhow(["run", "--log-opt", "max-buffer-size=1m", "busybox", "true"])
        .fails(125, "max-buffer-size option is only supported with 'mode=non-blocking'");
}

#[test]
fn docker_itself_reads_what_local_keeps() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let what = ["--log-driver", "local", "--log-opt", "mode=non-blocking", "busybox", "seq", "3"];
    assert_eq!(server.docker([&["run", "--name", "box"][..], &what].concat()).ok(), "1\n2\n3");
    assert_eq!(server.docker(["logs", "--tail", "2", "box"]).ok(), "2\n3");
    assert_eq!(server.docker(["inspect", "-f", "{{.HostConfig.LogConfig.Type}}", "box"]).ok(), "local");
}
