//! A container's files from outside: `diff`, `export` and `commit`, whatever kinds of files there are.

use crate::fixtures;
use crate::sandbox::{Sandbox, finish};
use std::collections::BTreeSet;
use std::process::Command;

/// Lines of text as a set.
fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

/// What a container does to a small image: every kind of change that overlayfs knows.
const CHANGES: &str = "set -e
    mkdir -p /new/deep && echo x > /new/deep/file
    echo more >> /etc/passwd
    rm /etc/group
    chmod 700 /home/app
    chown 5:5 /etc/not-a-program
    rm -r /opt/tree && mkdir /opt/tree && echo y > /opt/tree/other
    rm -r /opt/becomes-file && echo z > /opt/becomes-file
    rm /opt/becomes-directory && mkdir /opt/becomes-directory && echo z > /opt/becomes-directory/in
    mkfifo /opt/pipe; ln -s nowhere /opt/link; ln /opt/kept /opt/second-name
    touch /opt/kept
    mv /opt/moved /opt/moved-to
    : >> /opt/only-opened";

/// An image with things to change.
fn with_things(sandbox: &Sandbox) {
    let path = sandbox.path("things.tar");
    let mut tar = fixtures::Tar::with_busybox(&path);
    for name in ["opt", "opt/tree", "opt/tree/sub", "opt/becomes-file", "home/app"] {
        tar.directory(name);
    }
    for name in ["kept", "moved", "only-opened", "becomes-directory", "tree/old", "becomes-file/in"] {
        tar.file(&format!("opt/{name}"), 0o644, b"content");
    }
    tar.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    tar.file("etc/group", 0o644, b"root:x:0:\n");
    tar.file("etc/not-a-program", 0o644, b"text\n");
    tar.finish();
    sandbox.ok(["import", path.to_str().unwrap(), "things"]);
}

const CHANGED: &[&str] = &[
    "C /etc",
    "C /etc/passwd",
    "D /etc/group",
    "C /etc/not-a-program",
    "C /home",
    "C /home/app",
    "A /new",
    "A /new/deep",
    "A /new/deep/file",
    "C /opt",
    "C /opt/becomes-directory",
    "A /opt/becomes-directory/in",
    "C /opt/becomes-file",
    "C /opt/kept",
    "A /opt/link",
    "D /opt/moved",
    "A /opt/moved-to",
    "A /opt/pipe",
    "A /opt/second-name",
    "C /opt/tree",
    "D /opt/tree/old",
    "A /opt/tree/other",
    "D /opt/tree/sub",
];

#[test]
fn diff_shows_what_changed_and_nothing_else() {
    let sandbox = Sandbox::new();
    with_things(&sandbox);
    sandbox.ok(["create", "--name", "fresh", "things", "true"]);
    assert_eq!(sandbox.ok(["diff", "fresh"]), "", "never started");
    sandbox.ok(["run", "-d", "--name", "quiet", "things", "sleep", "1000"]);
    assert_eq!(sandbox.ok(["diff", "quiet"]), "", "a start alone changes nothing");

    let script = format!("{CHANGES}\nexec sleep 1000");
    sandbox.ok(["run", "-d", "--name", "busy", "-v", "/data", "things", "sh", "-c", &script]);
    let want: BTreeSet<String> = CHANGED.iter().copied().chain(["A /data"]).map(str::to_owned).collect();
    crate::sandbox::eventually("the container changed everything", || {
        sandbox.ok(["diff", "busy"]).contains("/opt/moved-to")
            && !sandbox.ok(["exec", "busy", "ps"]).contains("mkdir")
    });
    assert_eq!(lines(&sandbox.ok(["diff", "busy"])), want, "running");
    let server = sandbox.serve();
    assert_eq!(lines(&server.docker(["diff", "busy"]).ok()), want, "docker's own command line");
    assert_eq!(server.docker(["diff", "quiet"]).ok(), "");
    sandbox.ok(["kill", "busy"]);
    assert_eq!(lines(&sandbox.ok(["container", "diff", "busy"])), want, "stopped");
    sandbox.dhow(["diff", "no-such"]).fails(1, "No such container: no-such");
    sandbox.dhow(["diff"]).fails(1, "requires 1 argument");
}

/// What `tree` prints of an image, for all but what a start puts there.
fn tree_of(sandbox: &Sandbox, image: &str) -> String {
    let programs = fixtures::tree_program().parent().unwrap();
    let volume = format!("{}:/mnt:ro", programs.display());
    let skipped = [
        "dev",
        "mnt",
        "proc",
        "sys",
        ".dockerenv",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "etc/mtab",
    ];
    let run =
        ["run", "--rm", "-w", "/", "--cap-add", "DAC_READ_SEARCH", "-v", &volume, image, "/mnt/tree", "/"];
    let listing = sandbox.ok(run.iter().chain(&skipped));
    let skipped = |line: &&str| {
        // The root and /etc have the times of the start.
        let path = line.split(' ').next().unwrap_or_default();
        !["/", "/etc"].contains(&path) && !skipped.contains(&path.trim_start_matches('/'))
    };
    listing.lines().filter(skipped).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_exported_and_imported_is_the_same_tree() {
    let nested = fixtures::nested();
    let sandbox = Sandbox::new();
    let told = sandbox.ok(["load", "-i", nested.directory.join("oci.tar").to_str().unwrap()]);
    let image = told.rsplit_once(": ").unwrap().1.to_owned();
    let original = tree_of(&sandbox, &image);
    assert!(original.lines().count() > 100, "{original}");

    let archive = sandbox.path("export.tar");
    for (name, verb) in [("never", "create"), ("ended", "run"), ("running", "run")] {
        let command: &[&str] = match name {
            "running" => &["-d", "--name", name, "-v", "/deep/volume", &image, "sleep", "1000"],
            _ => &["--name", name, &image, "true"],
        };
        sandbox.ok([verb].iter().chain(command));
        sandbox.ok(["export", "-o", archive.to_str().unwrap(), name]);
        sandbox.ok(["import", archive.to_str().unwrap(), &format!("again:{name}")]);
        let again = tree_of(&sandbox, &format!("again:{name}"));
        let (ours, theirs) = (lines(&again), lines(&original));
        let extra: Vec<_> = ours.difference(&theirs).filter(|l| !l.starts_with("/deep")).collect();
        let missing: Vec<_> = theirs.difference(&ours).filter(|l| !l.starts_with("/deep ")).collect();
        assert!(extra.is_empty() && missing.is_empty(), "{name}: more {extra:#?}\nless {missing:#?}");
    }

    // What is mounted is not exported, only its place; GNU tar reads it; standard output is as good as a file.
    sandbox.ok(["exec", "running", "sh", "-c", "echo secret > /deep/volume/file"]);
    let piped = sandbox.command(["export", "running"]).output().unwrap();
    assert!(piped.status.success());
    let mut list = Command::new("tar");
    list.arg("-t").stdin(std::process::Stdio::piped());
    let names = finish(list, &piped.stdout).ok();
    assert!(names.lines().any(|n| n == "deep/volume/") && !names.contains("volume/file"), "{names}");
    assert!(names.lines().any(|n| n == "proc/") && !names.contains("proc/1"), "{names}");

    // Docker's own command line gets the same bytes.
    let server = sandbox.serve();
    let theirs = sandbox.path("docker.tar");
    server.docker(["export", "-o", theirs.to_str().unwrap(), "ended"]).ok();
    sandbox.ok(["export", "-o", archive.to_str().unwrap(), "ended"]);
    assert_eq!(fixtures::sha256_of(&theirs), fixtures::sha256_of(&archive));
    sandbox.dhow(["export", "no-such"]).fails(1, "No such container: no-such");
    sandbox.dhow(["export", "-o", "/no/such/place", "ended"]).fails(1, "invalid output path");
}

#[test]
fn holes_stay_holes_and_sockets_are_left_out() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let script = "truncate -s 1024G /big && echo end | dd of=/big bs=1 seek=5000000000 conv=notrunc 2>/dev/null && ls /";
    assert!(sandbox.ok(["exec", "box", "sh", "-c", script]).contains("big"));
    let inside = format!("/proc/{}/root/socket", sandbox.pid("box"));
    let _socket = std::os::unix::net::UnixListener::bind(inside).unwrap();
    assert!(sandbox.ok(["exec", "box", "ls", "/"]).contains("socket"));
    let archive = sandbox.path("sparse.tar");
    sandbox.ok(["export", "-o", archive.to_str().unwrap(), "box"]);
    let size = archive.metadata().unwrap().len();
    assert!(size < 64 << 20, "{size} bytes for a file that is all holes");
    let mut list = Command::new("tar");
    list.arg("-tf").arg(&archive);
    assert!(!finish(list, b"").ok().contains("socket"), "an archive has no place for sockets");
    let out = sandbox.path("out");
    std::fs::create_dir(&out).unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(&archive).arg("-C").arg(&out).arg("big");
    finish(unpack, b"").ok();
    let big = std::fs::File::open(out.join("big")).unwrap();
    let mut end = [0; 5];
    std::os::unix::fs::FileExt::read_exact_at(&big, &mut end, 5_000_000_000).unwrap();
    assert_eq!((&end[..4], big.metadata().unwrap().len()), (&b"end\n"[..], 1 << 40));
}

/// The names in the topmost layer of an image, as `diff` would show them: whiteouts as deleted.
fn layer_as_diff(sandbox: &Sandbox, image: &str) -> BTreeSet<String> {
    let saved = sandbox.path("saved");
    std::fs::create_dir_all(&saved).unwrap();
    let archive = saved.join("image.tar");
    sandbox.ok(["save", "-o", archive.to_str().unwrap(), image]);
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(&archive).arg("-C").arg(&saved);
    finish(unpack, b"").ok();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(saved.join("manifest.json")).unwrap()).unwrap();
    let layer = manifest[0]["Layers"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let mut list = Command::new("tar");
    list.arg("-tf").arg(saved.join(layer));
    let names = finish(list, b"").ok();
    let shown = |name: &str| match name.rsplit_once("/.wh.") {
        Some((parent, name)) => format!("D /{parent}/{name}"),
        None => format!("  /{}", name.trim_end_matches('/')),
    };
    names.lines().map(shown).collect()
}

#[test]
fn commit_and_diff_agree_with_the_file_system() {
    let sandbox = Sandbox::new();
    with_things(&sandbox);
    let script = format!("{CHANGES}\nexec sleep 1000");
    sandbox.ok(["run", "-d", "--name", "busy", "-v", "/data", "things", "sh", "-c", &script]);
    crate::sandbox::eventually("the container changed everything", || {
        !sandbox.ok(["exec", "busy", "ps"]).contains("mkdir")
    });
    let id = sandbox.ok(["commit", "-a", "Somebody <a@b>", "-m", "why not", "busy", "made:1"]);
    assert_eq!(sandbox.inspect("made:1")["Id"], id.as_str());
    assert_eq!(sandbox.container_state("busy")["Status"], "running", "it goes on");

    // The layer holds what `diff` shows, no more and no less.
    let diff = sandbox.ok(["diff", "busy"]);
    let want: BTreeSet<String> = diff
        .lines()
        .map(|line| if line.starts_with("D ") { line.to_owned() } else { format!("  {}", &line[2..]) })
        .collect();
    assert!(want.len() > 20, "{diff}");
    assert_eq!(layer_as_diff(&sandbox, "made:1"), want);
    // A container of the new image has the same files, and nothing to show.
    sandbox.ok(["run", "-d", "--name", "again", "made:1", "sleep", "1000"]);
    assert_eq!(sandbox.ok(["diff", "again"]), "");
    let trees: Vec<String> = ["busy", "again"]
        .map(|name| {
            let (archive, out) = (sandbox.path(&format!("{name}.tar")), sandbox.path(name));
            sandbox.ok(["export", "-o", archive.to_str().unwrap(), name]);
            std::fs::create_dir(&out).unwrap();
            let mut unpack = Command::new("tar");
            unpack.args(["--numeric-owner", "-xpf"]).arg(&archive).arg("-C").arg(&out);
            finish(unpack, b"").ok();
            let mut list = Command::new(fixtures::tree_program());
            list.arg(&out).args([
                ".dockerenv",
                "dev",
                "etc/hosts",
                "etc/hostname",
                "etc/resolv.conf",
                "etc/mtab",
            ]);
            // A start makes places in the root and in /etc, which changes their times.
            let lines = finish(list, b"").ok();
            let lines = lines.lines().filter(|l| !l.starts_with("/ ") && !l.starts_with("/etc "));
            lines.collect::<Vec<_>>().join("\n")
        })
        .into();
    assert_eq!(trees[0], trees[1]);

    // The layers below are shared; the history says what was done.
    let layers = |image: &str| sandbox.inspect(image)["RootFS"]["Layers"].as_array().unwrap().clone();
    let (below, made) = (layers("things"), layers("made:1"));
    assert_eq!((made.len(), &made[..below.len()]), (below.len() + 1, &below[..]));
    let image = sandbox.inspect("made:1");
    assert_eq!((&image["Author"], &image["Comment"]), (&"Somebody <a@b>".into(), &"why not".into()));
    assert_eq!(image["Config"]["Cmd"], serde_json::json!(["sh", "-c", script]));
    assert!(sandbox.ok(["history", "--no-trunc", "made:1"]).contains("why not"));
    let actions: Vec<String> =
        sandbox.events().iter().map(|e| e["Action"].as_str().unwrap_or_default().to_owned()).collect();
    for action in ["pause", "unpause", "commit", "tag"] {
        assert!(actions.iter().any(|a| a == action), "{action}: {actions:?}");
    }
}

#[test]
fn the_same_changes_are_the_same_layer_whenever_they_are_committed() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "-e", "A=1", "--network", "none", "busybox", "sleep", "1000"]);
    sandbox.ok(["exec", "box", "sh", "-c", "touch /new; rm /etc/passwd; mkdir /made"]);
    sandbox.ok(["commit", "box", "one"]);
    sandbox.ok(["commit", "-c", "ENV B=$A C=${D:-d}", "-c", "ENV E=$B A=2", "box", "two"]);
    let layers = |image: &str| sandbox.ok(["image", "inspect", "--format", "{{json .RootFS.Layers}}", image]);
    assert_eq!(layers("one"), layers("two"));
    let env = sandbox.ok(["image", "inspect", "--format", "{{json .Config.Env}}", "two"]);
    let own: Vec<String> = serde_json::from_str(&env).unwrap();
    let own: Vec<&String> = own.iter().filter(|entry| !entry.starts_with("PATH=")).collect();
    assert_eq!(own, ["A=2", "B=1", "C=d", "E=1"], "each instruction sees those before it");
    sandbox.ok(["rm", "-f", "box"]);
}

#[test]
fn commit_changes_the_configuration() {
    let sandbox = Sandbox::with_busybox();
    let flags = ["-e", "A=old", "-e", "B=kept", "-l", "from=container", "-w", "/home", "--name", "box"];
    sandbox.ok(["create"].iter().chain(&flags).chain(&["busybox", "echo", "container"]));
    let changes = [
        "CMD [\"echo\", \"changed\"]",
        "ENV A=new C=\"two words\"",
        "LABEL by=commit",
        "EXPOSE 80 53/udp",
        "USER app",
        "WORKDIR sub",
        "VOLUME /data",
        "ONBUILD RUN make",
        "STOPSIGNAL SIGINT",
    ];
    let flags: Vec<&str> = changes.iter().flat_map(|change| ["-c", change]).collect();
    sandbox.ok(["commit"].iter().chain(&flags).chain(&["box", "changed"]));
    let image = sandbox.inspect("changed");
    let config = &image["Config"];
    let want = serde_json::json!({
        "Cmd": ["echo", "changed"], "User": "app", "WorkingDir": "/sub", "OnBuild": ["RUN make"],
        "Labels": {"from": "container", "by": "commit"}, "Volumes": {"/data": {}},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "StopSignal": "SIGINT",
    });
    for (field, want) in want.as_object().unwrap() {
        assert_eq!(&config[field], want, "{field}");
    }
    let env: BTreeSet<&str> = config["Env"].as_array().unwrap().iter().filter_map(|e| e.as_str()).collect();
    assert!(env.is_superset(&["A=new", "B=kept", "C=two words"].into()) && !env.contains("A=old"), "{env:?}");
    // Nothing was changed in the file system: no layer.
    assert_eq!(image["RootFS"], sandbox.inspect("busybox")["RootFS"]);
    assert_eq!(sandbox.ok(["run", "--rm", "changed"]), "changed");
    // A new entrypoint drops the old command.
    sandbox.ok(["commit", "-c", "ENTRYPOINT [\"echo\", \"entry\"]", "box", "entry"]);
    assert_eq!(sandbox.ok(["run", "--rm", "entry"]), "entry");

    let server = sandbox.serve();
    sandbox.ok(["run", "-d", "--name", "live", "busybox", "sh", "-c", "echo x > /made; exec sleep 1000"]);
    crate::sandbox::eventually("the file is there", || sandbox.ok(["diff", "live"]).contains("/made"));
    let id = server.docker(["commit", "-c", "CMD [\"cat\", \"/made\"]", "live", "docker/made:2"]).ok();
    assert_eq!(sandbox.inspect("docker/made:2")["Id"], id.as_str());
    assert_eq!(sandbox.ok(["run", "--rm", "docker/made:2"]), "x");
    let without_name = sandbox.ok(["commit", "--no-pause", "live"]);
    assert_eq!(sandbox.ok(["run", "--rm", &without_name, "cat", "/made"]), "x");
    sandbox.ok(["commit", "-p=false", "live", "other"]);
    for (arguments, words) in [
        (&["-c", "FROM x", "live"][..], "from is not a valid change command"),
        (&["-c", "EXPOSE http", "live"], "invalid containerPort: http"),
        (&["no-such"], "No such container: no-such"),
        (&["live", "Bad:Name"], "invalid reference format"),
        (&["live", "a@sha256:0000000000000000000000000000000000000000000000000000000000000000"], "digest"),
    ] {
        sandbox.dhow(["commit"].iter().chain(arguments)).fails(1, words);
    }
}
