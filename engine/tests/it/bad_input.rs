//! Bad input: each one clear line, the right code, nothing left behind.

use crate::fixtures::{self, Tar};
use crate::sandbox::{DHOW, Sandbox, assert_none, finish, names_in};
use std::fs;
use std::process::Command;

/// Arguments, exit code, what the line must say.
type Case<'c> = (&'c [&'c str], i32, &'c str);

/// Runs them all.
fn failures_of(sandbox: &Sandbox, cases: &[Case<'_>]) -> Vec<String> {
    let complaint = |(arguments, code, words): &Case<'_>| {
        let ended = sandbox.dhow(*arguments);
        // `inspect` prints an empty list, as Docker's does.
        let printed = ended.stdout.trim_matches(['\n', '[', ']']);
        let complaint = if printed.is_empty() {
            ended.why_not_failed(*code, words)
        } else {
            Some(format!("it prints on standard output: {printed}"))
        };
        complaint.map(|c| format!("dhow {}: {}", arguments.join(" "), c.trim()))
    };
    cases.iter().filter_map(complaint).collect()
}

#[test]
fn commands_that_cannot_run() {
    let sandbox = Sandbox::with_busybox();
    let run: &[Case<'_>] = &[
        (&["run", "--rm", "no-such-image", "true"], 125, "no-such-image"),
        (&["run", "--rm", "--pull", "never", "no-such-image"], 125, "No such image: no-such-image"),
        (&["run", "--rm", "case/UPPER", "true"], 125, "must be lowercase"),
        (&["run", "--rm", "bad//reference", "true"], 125, "invalid reference format"),
        (&["run", "--rm", "busybox:", "true"], 125, "invalid reference format"),
        (&["run", "--rm", "busybox@sha256:12", "true"], 125, "invalid"),
        (
            &["run", "--rm", "busybox", "no-such-program"],
            127,
            "exec: \"no-such-program\": executable file not found in $PATH",
        ),
        (&["run", "--rm", "busybox", "/no/such/program"], 127, "/no/such/program"),
        (&["run", "--rm", "busybox", "/etc"], 126, "/etc"),
        (&["run", "--rm", "busybox", "/etc/not-a-program"], 126, "permission denied"),
        (&["run", "--rm", "busybox", "script-without-interpreter"], 126, "exec format error"),
        (&["run", "--rm", "--entrypoint", "", "busybox"], 125, "command"),
        (&["run", "--rm", "-w", "relative", "busybox", "true"], 125, "relative"),
        (&["run", "--rm", "-w", "/etc/passwd", "busybox", "true"], 125, "/etc/passwd"),
        (&["run", "--rm", "-u", "nobody-here", "busybox", "true"], 125, "unable to find user nobody-here"),
        (&["run", "--rm", "-u", "app:no-group", "busybox", "true"], 125, "unable to find group no-group"),
    ];
    assert_none(&failures_of(&sandbox, run));
    sandbox.assert_no_containers();
}

#[test]
fn flags_with_bad_values() {
    let sandbox = Sandbox::with_busybox();
    let cases: &[(&str, &str, &str)] = &[
        ("--memory", "lots", "invalid size: 'lots'"),
        ("--memory", "-5", "memory"),
        ("--memory-swap", "1", "memory"),
        ("--cpus", "many", "many"),
        ("--pids-limit", "x", "pids-limit"),
        ("--restart", "sometimes", "sometimes"),
        ("--restart", "always:3", "maximum retry count"),
        ("--volume", "relative:/x:ro:more", "relative:/x:ro:more"),
        ("--volume", "/a:not/absolute", "not/absolute"),
        ("--volume", "/a:/", "destination can't be '/'"),
        ("--mount", "type=nonsense,target=/x", "nonsense"),
        ("--mount", "type=bind,target=/x", "source"),
        ("--tmpfs", "relative", "relative"),
        ("--tmpfs", "/x:nonsense=1", "nonsense"),
        ("--cap-add", "FLY", "FLY"),
        ("--cap-drop", "FLY", "FLY"),
        ("--security-opt", "nonsense", "nonsense"),
        ("--security-opt", "seccomp=/no/such/file", "/no/such/file"),
        ("--ulimit", "nofile", "nofile"),
        ("--ulimit", "nonsense=1", "nonsense"),
        ("--ulimit", "nofile=5:1", "nofile"),
        ("--env-file", "/no/such/file", "/no/such/file"),
        ("--stop-signal", "NONSENSE", "NONSENSE"),
        ("--stop-timeout", "x", "stop-timeout"),
        ("--network", "no-such-network", "no-such-network"),
        ("--publish", "80:99999", "99999"),
        ("--name", "with space", "with space"),
        ("--name", "/", "Invalid container name"),
        ("--pull", "whenever", "whenever"),
        ("--log-opt", "max-size=x", "max-size"),
        ("--log-driver", "nonsense", "nonsense"),
        ("--shm-size", "x", "invalid size"),
        ("--no-such-flag", "x", "unknown flag: --no-such-flag"),
    ];
    let complaint = |(flag, value, words): &(&str, &str, &str)| {
        let ended = sandbox.dhow(["run", flag, value, "busybox", "true"]);
        ended.why_not_failed(125, words).map(|c| format!("{flag} {value}: {}", c.trim()))
    };
    assert_none(&cases.iter().filter_map(complaint).collect::<Vec<_>>());
    sandbox.assert_no_containers();
}

#[test]
fn objects_that_are_not_there_or_not_one() {
    let sandbox = Sandbox::with_busybox();
    let missing = ["start", "stop", "restart", "kill", "rm", "wait", "logs", "attach"];
    for verb in missing {
        sandbox.dhow([verb, "no-such"]).fails(1, "No such container: no-such");
    }
    let cases: &[Case<'_>] = &[
        (&["exec", "no-such", "true"], 1, "No such container: no-such"),
        (&["inspect", "no-such"], 1, "No such object: no-such"),
        (&["rmi", "no-such"], 1, "No such image: no-such"),
        (&["tag", "no-such", "other"], 1, "No such image: no-such"),
        (&["tag", "busybox", "Bad/Name"], 1, "Bad/Name"),
        (&["history", "no-such"], 1, "No such image: no-such"),
        (&["save", "no-such"], 1, "No such image: no-such"),
        (&["no-such-verb"], 1, "no-such-verb"),
        (&["run"], 1, "requires at least 1 argument"),
        (&["create"], 1, "requires at least 1 argument"),
        (&["start"], 1, "requires at least 1 argument"),
    ];
    assert_none(&failures_of(&sandbox, cases));

    let mut elsewhere = Command::new(DHOW);
    elsewhere.args(["-H", "unix:///no/such/socket", "ps"]);
    sandbox.isolate(&mut elsewhere);
    finish(elsewhere, b"").fails(1, "/no/such/socket");

    // Seventeen ids cannot all begin with different digits.
    let mut ids: Vec<String> = (0..17).map(|_| sandbox.ok(["create", "busybox", "true"])).collect();
    ids.sort();
    let twice = ids.windows(2).find(|w| w[0][..1] == w[1][..1]).unwrap()[0][..1].to_owned();
    sandbox.dhow(["start", &twice]).fails(1, "multiple IDs found with provided prefix");
    sandbox.dhow(["rmi", "busybox"]).fails(1, "conflict");
    sandbox.dhow(["rm", "-f", "no-such"]).fails(0, "");
}

#[test]
fn archives_that_are_broken() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path("broken");
    fs::create_dir(&directory).unwrap();
    let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();

    // A layer that is not what the configuration promises.
    let layer = directory.join("layer.tar");
    Tar::with_busybox(&layer).finish();
    let other = format!("sha256:{}", "ab".repeat(32));
    let corrupt = fixtures::docker_archive(&directory, &layer, &other);
    sandbox.dhow(["load", "-i", corrupt.to_str().unwrap()]).fails(1, "sha256:abab");

    // Cut at several places: in a header, in a layer, just before the end.
    let good = fixtures::docker_archive(&directory, &layer, &fixtures::sha256_of(&layer));
    let bytes = fs::read(&good).unwrap();
    for length in [100, 700, bytes.len() / 2, bytes.len() - 5_000] {
        fs::write(at("cut"), &bytes[..length]).unwrap();
        let ended = sandbox.dhow(["load", "-i", &at("cut")]);
        assert_eq!(ended.code, 1, "cut at {length}: {ended:#?}");
        ended.fails(1, "");
    }
    fs::write(at("noise"), [0x5a; 4096]).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("gzip"), [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]).unwrap();
    for name in ["noise", "empty", "gzip"] {
        let ended = sandbox.dhow(["load", "-i", &at(name)]);
        assert_eq!(ended.code, 1, "{name}: {ended:#?}");
        ended.fails(1, "");
    }
    sandbox.dhow(["load", "-i", "/no/such/archive"]).fails(1, "/no/such/archive");
    sandbox.dhow(["import", "/no/such/archive"]).fails(1, "/no/such/archive");
    fs::write(at("cut.tar"), &fs::read(&layer).unwrap()[..100_000]).unwrap();
    sandbox.dhow(["import", &at("cut.tar"), "cut"]).fails(1, "");
    sandbox.dhow(["import", &at("noise"), "noise"]).fails(1, "");

    assert_eq!(sandbox.ok(["images", "-aq"]), "", "no image came of it");
    for place in ["layers", "layers/tmp", "content/sha256", "content/tmp"] {
        let mut left = names_in(&sandbox.root().join(place));
        left.retain(|name| !["tmp", "lock"].contains(&name.as_str()));
        assert_eq!(left, Vec::<String>::new(), "left in {place}");
    }
    // The good one is good.
    assert_eq!(sandbox.ok(["load", "-i", good.to_str().unwrap()]), "Loaded image: made:by-hand");
}
