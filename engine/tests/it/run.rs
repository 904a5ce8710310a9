//! The flags of `run`, each seen from inside the container, as Docker documents them.

use crate::fixtures;
use crate::sandbox::{DHOW, Sandbox, eventually, finish, names_in};
use std::fs;
use std::process::Command;

/// `dhow run --rm FLAGS busybox COMMAND`, successful.
#[track_caller]
fn run(sandbox: &Sandbox, flags: &[&str], command: &[&str]) -> String {
    sandbox.ok([&["run", "--rm"], flags, &["busybox"], command].concat())
}

#[test]
fn streams_stay_apart_and_exit_codes_pass_through() {
    let sandbox = Sandbox::with_busybox();
    let ended = sandbox.dhow([
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 42",
    ]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str(), ended.code), ("out\n", "err\n", 42));
    for (script, code) in
        [("kill -TERM $$; sleep 0.1", 0), ("sh -c 'kill -9 $$'; exit $?", 137), ("exit 255", 255)]
    {
        let ended = sandbox.dhow(["run", "--rm", "busybox", "sh", "-c", script]);
        if code == 0 {
            // A first process without a handler is not killed by its own TERM: it runs to its end.
            assert_eq!(ended.code, 0, "{ended:?}");
        } else {
            assert_eq!(ended.code, code, "{ended:?}");
        }
    }
    sandbox.assert_no_containers();
}

#[test]
fn standard_input_reaches_the_container_only_when_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let ended = sandbox.dhow_with_input(["run", "--rm", "-i", "busybox", "cat"], b"one\ntwo\n");
    assert_eq!(ended.ok(), "one\ntwo");
    let ended = sandbox.dhow_with_input(["run", "--rm", "busybox", "cat"], b"not seen\n");
    assert_eq!(ended.ok(), "");
    // Without a terminal there are no keys: these two bytes are data.
    let keys = b"before\x10\x11after\n";
    let ended = sandbox.dhow_with_input(["run", "--rm", "-i", "busybox", "cat"], keys);
    assert_eq!((ended.code, ended.stdout.as_bytes()), (0, keys.as_slice()));
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let ended = sandbox.dhow_with_input(["exec", "-i", "box", "cat"], keys);
    assert_eq!((ended.code, ended.stdout.as_bytes()), (0, keys.as_slice()));
    // More than any pipe or socket buffer holds, both ways at once, byte for byte.
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.to_string().into_bytes()).take(8 << 20).collect();
    let ended = sandbox.dhow_with_input(["run", "--rm", "-i", "busybox", "cat"], &large);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.as_bytes() == large, "{} of {} bytes came back", ended.stdout.len(), large.len());
}

#[test]
fn much_output_is_neither_lost_nor_mixed() {
    let sandbox = Sandbox::with_busybox();
    let script = "i=0; while [ $i -lt 3000 ]; do echo out-$i; echo err-$i >&2; i=$((i+1)); done";
    let ended = sandbox.dhow(["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    let lines = |prefix: &str| (0..3000).map(|i| format!("{prefix}-{i}\n")).collect::<String>();
    assert!(ended.stdout == lines("out") && ended.stderr == lines("err"), "code {}", ended.code);
    let logged = sandbox.dhow(["logs", "box"]);
    assert!(logged.stdout == lines("out") && logged.stderr == lines("err"), "the log differs");
}

#[test]
fn environment_user_directory_and_names() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.path("env");
    fs::write(&file, "# a comment\nFROM_FILE=a b\n\nTAKEN_OVER\nBOTH=file\n").unwrap();
    let mut command = sandbox.command(["run", "--rm", "-e", "ONE=1", "-e", "BOTH=flag", "-e", "UNSET_HERE"]);
    command.arg("--env-file").arg(&file).args(["busybox", "env"]).env("TAKEN_OVER", "from outside");
    let environment = crate::sandbox::finish(command, b"").ok();
    let has = |line: &str| environment.lines().any(|l| l == line);
    for line in ["ONE=1", "BOTH=flag", "FROM_FILE=a b", "TAKEN_OVER=from outside", "HOME=/root"] {
        assert!(has(line), "no {line} in {environment}");
    }
    assert!(environment.lines().any(|l| l.starts_with("PATH=/usr/local/sbin:")), "{environment}");
    assert!(environment.lines().any(|l| l.starts_with("HOSTNAME=")), "{environment}");
    assert!(!environment.contains("UNSET_HERE") && !environment.contains("TERM="), "{environment}");

    assert_eq!(run(&sandbox, &["-w", "/made/for/it"], &["pwd"]), "/made/for/it");
    assert_eq!(run(&sandbox, &["-h", "host.example"], &["hostname"]), "host.example");
    assert_eq!(run(&sandbox, &["-h", "alone"], &["cat", "/etc/hostname"]), "alone");
    assert_eq!(run(&sandbox, &["--entrypoint", "echo"], &["-n", "words"]), "words");
    assert_eq!(
        run(&sandbox, &["-u", "app"], &["sh", "-c", "id -u; id -g; id -G; echo $HOME"]),
        "1000\n1000\n1000 50\n/home/app"
    );
    assert_eq!(run(&sandbox, &["-u", "4321:50"], &["sh", "-c", "id -u; id -g; echo $HOME"]), "4321\n50\n/");
    assert_eq!(run(&sandbox, &["-u", "app:root"], &["id", "-g"]), "0");
    assert_eq!(run(&sandbox, &["-u", "4321", "--group-add", "staff"], &["id", "-G"]), "0 50");
}

#[test]
fn the_id_goes_to_standard_output_and_to_the_cidfile() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.path("cid");
    let id =
        sandbox.ok(["run", "-d", "--cidfile", file.to_str().unwrap(), "--name", "named", "busybox", "true"]);
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), id);
    assert_eq!(sandbox.inspect("named")["Id"], id.as_str());
    let again = sandbox.dhow(["run", "--cidfile", file.to_str().unwrap(), "busybox", "true"]);
    again.fails(125, "container ID file found");
    assert_eq!(sandbox.container_ids().len(), 1);
}

#[test]
fn mounts_of_every_sort() {
    let sandbox = Sandbox::with_busybox();
    let host = sandbox.path("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "from the host").unwrap();
    let host = host.to_str().unwrap();

    let bind = format!("{host}:/in");
    assert_eq!(
        run(&sandbox, &["-v", &bind], &["sh", "-c", "cat /in/file; echo back >/in/new"]),
        "from the host"
    );
    assert_eq!(fs::read_to_string(format!("{host}/new")).unwrap(), "back\n");

    let readonly = format!("{host}:/in:ro");
    let ended = sandbox.dhow(["run", "--rm", "-v", &readonly, "busybox", "touch", "/in/other"]);
    assert!(ended.code == 1 && ended.stderr.contains("Read-only file system"), "{ended:?}");

    let long = format!("type=bind,source={host}/file,target=/one-file,readonly");
    assert_eq!(run(&sandbox, &["--mount", &long], &["cat", "/one-file"]), "from the host");
    let missing = format!("type=bind,source={host}/missing,target=/x");
    sandbox
        .dhow(["run", "--rm", "--mount", &missing, "busybox", "true"])
        .fails(125, "bind source path does not exist");
    // The short form makes the directory, as it always did.
    run(&sandbox, &["-v", &format!("{host}/made:/x")], &["true"]);
    assert!(fs::metadata(format!("{host}/made")).unwrap().is_dir());

    let tmpfs = run(
        &sandbox,
        &["--tmpfs", "/scratch:size=1m,mode=700"],
        &["sh", "-c", "grep ' /scratch ' /proc/mounts; stat -c %a /scratch"],
    );
    assert!(tmpfs.starts_with("tmpfs /scratch tmpfs ") && tmpfs.contains("size=1024k"), "{tmpfs}");
    assert!(tmpfs.contains("noexec") && tmpfs.contains("nosuid") && tmpfs.ends_with("\n700"), "{tmpfs}");

    // It takes the image's content at first, files included.
    let passwd = run(&sandbox, &[], &["cat", "/etc/passwd"]);
    assert_eq!(run(&sandbox, &["-v", "accounts:/etc"], &["cat", "/etc/passwd"]), passwd);
    assert_eq!(run(&sandbox, &["-v", "accounts:/mnt"], &["cat", "/mnt/passwd"]), passwd);
    // A named volume keeps its content.
    run(&sandbox, &["-v", "kept:/home"], &["sh", "-c", "test -d /home/app && echo 1 >/home/n"]);
    assert_eq!(run(&sandbox, &["-v", "kept:/elsewhere"], &["sh", "-c", "ls /elsewhere"]), "app\nn");
    // An anonymous one goes with `--rm`.
    let before = names_in(&sandbox.root().join("volumes"));
    run(&sandbox, &["-v", "/anonymous"], &["sh", "-c", "echo 1 >/anonymous/n"]);
    // Put aside with the container's row, deleted right after it: the client may be the faster one.
    eventually("its files are deleted", || names_in(&sandbox.root().join("volumes")) == before);
}

/// Only what goes with its container anyway is never synced.
#[test]
fn files_of_a_container_that_goes_at_its_end_are_volatile() {
    let sandbox = Sandbox::with_busybox();
    let root = ["sh", "-c", "grep ' / ' /proc/mounts"];
    let kept = sandbox.ok(["run", "busybox"].iter().chain(&root));
    assert!(kept.starts_with("overlay / overlay ") && !kept.contains("volatile"), "{kept}");
    let gone = run(&sandbox, &[], &root);
    assert!(gone.starts_with("overlay / overlay ") && gone.contains("volatile"), "{gone}");

    // What is written is there for everybody while the container is.
    let script = "echo started >>/starts; exec sleep 1000";
    sandbox.ok(["create", "--rm", "--name", "box", "busybox", "sh", "-c", script]);
    let file = sandbox.path("given");
    fs::write(&file, "given").unwrap();
    sandbox.ok(["cp", file.to_str().unwrap(), "box:/given"]);
    sandbox.ok(["start", "box"]);
    eventually("it has started", || sandbox.dhow(["exec", "box", "cat", "/starts"]).stdout == "started\n");
    sandbox.ok(["restart", "-t", "0", "box"]);
    let twice = "started\nstarted\n";
    eventually("it has started again", || sandbox.dhow(["exec", "box", "cat", "/starts"]).stdout == twice);
    assert_eq!(sandbox.ok(["exec", "box", "cat", "/given"]), "given");
}

#[test]
fn a_read_only_root_is_read_only_but_for_what_is_mounted() {
    let sandbox = Sandbox::with_busybox();
    let ended = sandbox.dhow(["run", "--rm", "--read-only", "busybox", "touch", "/x"]);
    assert!(ended.code == 1 && ended.stderr.contains("Read-only file system"), "{ended:?}");
    run(
        &sandbox,
        &["--read-only", "--tmpfs", "/tmp"],
        &["sh", "-c", "echo 1 >/tmp/x && echo 1 >/dev/shm/x && echo 1 >/dev/null"],
    );
}

#[test]
fn init_reaps_and_forwards() {
    let sandbox = Sandbox::with_busybox();
    let script = "tr '\\0' ' ' </proc/1/cmdline; (sleep 0.1 &) ; sleep 0.5; grep -l 'State:.Z' /proc/[0-9]*/status | wc -l";
    let output = run(&sandbox, &["--init"], &["sh", "-c", script]);
    let (first, zombies) = output.rsplit_once(['\n', ' ']).unwrap();
    assert!(!first.starts_with("sh "), "pid 1 is not an init: {output}");
    assert_eq!(zombies, "0", "{output}");
    let id = sandbox.ok([
        "run",
        "-d",
        "--init",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done",
    ]);
    eventually("it waits for the signal", || sandbox.ok(["logs", &id]) == "ready");
    sandbox.ok(["stop", &id]);
    assert_eq!(sandbox.container_state(&id)["ExitCode"], 7);
}

#[test]
fn limits_of_processes_by_ulimit() {
    let sandbox = Sandbox::with_busybox();
    assert_eq!(
        run(&sandbox, &["--ulimit", "nofile=123:456"], &["sh", "-c", "ulimit -Sn; ulimit -Hn"]),
        "123\n456"
    );
    assert_eq!(run(&sandbox, &["--ulimit", "core=0"], &["sh", "-c", "ulimit -c"]), "0");
}

#[test]
fn networks_none_and_host_and_one_that_is_not_there() {
    let sandbox = Sandbox::with_busybox();
    let devices = "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '";
    assert_eq!(run(&sandbox, &["--network", "none"], &["sh", "-c", devices]), "lo");
    let up = "ip addr show lo | grep -c 'inet 127.0.0.1/8'";
    assert_eq!(run(&sandbox, &["--network", "none"], &["sh", "-c", up]), "1");
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let seen = run(&sandbox, &["--network", "host"], &["readlink", "/proc/self/ns/net"]);
    assert_eq!(seen, host.to_str().unwrap());
    // There it is called as the host is, and knows the host's names.
    let name = nix::unistd::gethostname().unwrap();
    assert_eq!(run(&sandbox, &["--network", "host"], &["hostname"]), name.to_str().unwrap());
    assert_eq!(run(&sandbox, &["--network", "host", "-h", "other"], &["hostname"]), "other");
    let names = run(&sandbox, &["--network", "host"], &["cat", "/etc/hosts"]);
    assert_eq!(names.trim(), fs::read_to_string("/etc/hosts").unwrap().trim());
    let added = ["--network", "host", "--add-host", "a:1.2.3.4"];
    assert!(run(&sandbox, &added, &["cat", "/etc/hosts"]).ends_with("1.2.3.4\ta"));
    sandbox
        .dhow(["run", "--rm", "--network", "mine", "busybox", "true"])
        .fails(125, "network mine not found");
    sandbox.assert_no_containers();
}

#[test]
fn devices_and_special_filesystems_are_where_programs_look() {
    let sandbox = Sandbox::with_busybox();
    let script = "for f in null zero full random urandom tty; do test -c /dev/$f || echo no $f; done; \
                  for f in fd stdin stdout stderr ptmx; do test -L /dev/$f || echo no link $f; done; \
                  ls /dev/pts/ptmx; grep -c -E ' /(proc|sys|dev|dev/pts|dev/shm|dev/mqueue) ' /proc/mounts; \
                  head -c 3 /dev/zero | wc -c; readlink /dev/fd; df -k /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(run(&sandbox, &[], &["sh", "-c", script]), "/dev/pts/ptmx\n6\n3\n/proc/self/fd\n65536");
    let mounted =
        run(&sandbox, &["--shm-size", "8m"], &["sh", "-c", "df -k /dev/shm | tail -1 | awk '{print $2}'"]);
    assert_eq!(mounted, "8192");
}

#[test]
fn hosts_and_resolver_files_are_made() {
    let sandbox = Sandbox::with_busybox();
    let hosts = run(&sandbox, &["-h", "me", "--add-host", "db:10.1.2.3"], &["cat", "/etc/hosts"]);
    assert!(hosts.contains("127.0.0.1\tlocalhost") && hosts.contains("10.1.2.3\tdb"), "{hosts}");
    for (flags, ending) in [
        (&["-h", "me"][..], "\tme"),
        (&["-h", "me.example.org"], "\tme.example.org me"),
        (&["-h", "me", "--domainname", "example.org"], "\tme.example.org me"),
    ] {
        let own = run(&sandbox, flags, &["tail", "-n", "1", "/etc/hosts"]);
        assert!(own.ends_with(ending), "{flags:?}: {own}");
    }
    let resolver =
        run(&sandbox, &["--dns", "192.0.2.1", "--dns-search", "example.org"], &["cat", "/etc/resolv.conf"]);
    assert!(
        resolver.contains("nameserver 192.0.2.1") && resolver.contains("search example.org"),
        "{resolver}"
    );
}

#[test]
fn a_mount_point_that_a_program_swaps_does_not_redirect_script_files() {
    let sandbox = Sandbox::with_busybox();
    let script = sandbox.path("script");
    fixtures::script(&script, "#!/bin/sh\necho \"$0 ran with $*\"\n");
    let volume = format!("{}:/script:ro", script.display());
    assert_eq!(
        run(&sandbox, &["-v", &volume, "--entrypoint", "/script"], &["a", "b"]),
        "/script ran with a b"
    );
}

#[test]
fn the_time_of_a_start_is_accounted_for() {
    let sandbox = Sandbox::with_busybox();
    let ended =
        sandbox.dhow(["run", "--rm", "--network", "none", "--trace-startup", "busybox", "echo", "hello"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "hello\n"), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let total = lines[0].strip_prefix("startup: ").and_then(|rest| rest.split_once(" ms from the command"));
    let total: f64 = total.unwrap_or_else(|| panic!("{ended:?}")).0.parse().unwrap();
    let row = |who: &str, what: &str| -> (f64, f64) {
        let line = lines.iter().find(|line| {
            let mut words = line.split_whitespace().skip(2);
            words.next() == Some(who) && words.collect::<Vec<_>>().join(" ").starts_with(what)
        });
        let mut words = line.unwrap_or_else(|| panic!("no {who} {what}: {ended:?}")).split_whitespace();
        (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap())
    };
    let moments = [
        row("command", "load and link"),
        row("command", "create the container"),
        row("engine", "write the intent"),
        row("engine", "plan the launch"),
        row("monitor", "load and read the plan"),
        row("monitor", "make the cgroup"),
        row("monitor", "clone"),
        row("container", "exec"),
    ];
    assert!(moments.windows(2).all(|pair| pair[0].0 <= pair[1].0), "in order: {ended:?}");
    let (at, took) = moments[moments.len() - 1];
    assert!((at + took - total).abs() < 0.01, "exec is the end: {ended:?}");
    // Detached: once it runs. Over a socket: the same, for it is the same machine.
    let server = sandbox.serve();
    let mut remote = Command::new(DHOW);
    remote.args(["-H", &server.address, "run", "-d", "--trace-startup", "busybox", "sleep", "100"]);
    sandbox.isolate(&mut remote);
    let ended = finish(remote, b"");
    assert!(
        ended.code == 0 && ended.stderr.contains("startup: ") && ended.stderr.contains(" engine "),
        "{ended:?}"
    );
}
