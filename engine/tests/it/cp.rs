//! `cp` both ways: Docker's rules for paths, every file type, volumes and read-only places, by `dhow` and by
//! Docker's own command line; and what a container does not achieve by swapping names meanwhile.

use crate::fixtures;
use crate::sandbox::{Ended, Sandbox, assert_none, finish};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Source below `s`, destination below a case's own directory, and what is other there afterwards; or the error.
///
/// | there before | |
/// |---|---|
/// | `s` | `file`, `dir/x`, `dir/sub/y`, `link` to `file`, `dirlink` to `dir` |
/// | a case's directory | `d/`, `f`, `dl` to `d`, `fl` to `f`, `dangling` to `made`, `taken/dir` (a file) |
type Case = (&'static str, &'static str, Result<&'static [&'static str], &'static str>);

const TREE: &[&str] = &["/", "/x=x", "/sub/", "/sub/y=y"];
const CASES: &[Case] = &[
    ("file", "d", Ok(&["d/file=file"])),
    ("file", "d/", Ok(&["d/file=file"])),
    ("file", "d/.", Ok(&["d/file=file"])),
    ("file", "d/new", Ok(&["d/new=file"])),
    ("file", "f", Ok(&["f=file"])),
    ("file", "new", Ok(&["new=file"])),
    ("file", "new/", Err("no such directory")),
    ("file", "missing/new", Err("missing")),
    ("file", "dl", Ok(&["d/file=file"])),
    ("file", "dl/", Ok(&["d/file=file"])),
    ("file", "fl", Ok(&["f=file"])),
    ("file", "dangling", Ok(&["made=file"])),
    ("dir", "d", Ok(&["d/dir+"])),
    ("dir/", "d", Ok(&["d/dir+"])),
    ("dir/", "d/", Ok(&["d/dir+"])),
    ("dir/.", "d", Ok(&["d+"])),
    ("dir", "new", Ok(&["new+"])),
    ("dir", "new/", Ok(&["new+"])),
    ("dir/.", "new", Ok(&["new+"])),
    ("dir", "f", Err("cannot copy directory")),
    ("dir", "dl", Ok(&["d/dir+"])),
    ("dir", "missing/new", Err("missing")),
    ("dir", "taken", Err("cannot overwrite non-directory")),
    ("link", "d", Ok(&["d/link->file"])),
    ("-L link", "d", Ok(&["d/link=file"])),
    ("-L link", "new", Ok(&["new=file"])),
    ("dirlink", "d", Ok(&["d/dirlink->dir"])),
    ("dirlink/", "d", Ok(&["d/dirlink+"])),
    ("dirlink/.", "d", Ok(&["d+"])),
    ("-L dirlink", "d", Ok(&["d/dirlink+"])),
    ("dir/../file", "d", Ok(&["d/file=file"])),
    ("nothing", "d", Err("nothing")),
];

/// The archive of an image in which all cases have their places.
fn places(sandbox: &Sandbox) -> std::path::PathBuf {
    let path = sandbox.path("places.tar");
    let mut tar = fixtures::Tar::with_busybox(&path);
    for directory in ["s", "s/dir", "s/dir/sub", "t"] {
        tar.directory(directory);
    }
    tar.file("s/file", 0o640, b"file");
    tar.file("s/dir/x", 0o644, b"x");
    tar.file("s/dir/sub/y", 0o755, b"y");
    tar.link("s/link", "file");
    tar.link("s/dirlink", "dir");
    for number in 0..CASES.len() {
        let at = |name: &str| format!("t/{number}/{name}");
        for directory in ["d", "taken"] {
            tar.directory(&at(directory));
        }
        tar.file(&at("f"), 0o644, b"old");
        tar.file(&at("taken/dir"), 0o644, b"taken");
        tar.link(&at("dl"), "d");
        tar.link(&at("fl"), "f");
        tar.link(&at("dangling"), "made");
    }
    tar.finish();
    path
}

/// `name=content`, `name->target`, `name/`: all that is below a directory.
fn listing(top: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![top.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            let metadata = path.symlink_metadata().unwrap();
            let what = if metadata.is_dir() {
                todo.push(path);
                "/".to_owned()
            } else if metadata.is_symlink() {
                format!("->{}", path.read_link().unwrap().display())
            } else {
                format!("={}", fs::read_to_string(&path).unwrap())
            };
            found.insert(name, what);
        }
    }
    found
}

/// What a case's directory holds afterwards.
fn wanted(case: &Case) -> BTreeMap<String, String> {
    let mut want: BTreeMap<String, String> = [
        ("d", "/"),
        ("f", "=old"),
        ("dl", "->d"),
        ("fl", "->f"),
        ("dangling", "->made"),
        ("taken", "/"),
        ("taken/dir", "=taken"),
    ]
    .map(|(name, what)| (name.to_owned(), what.to_owned()))
    .into();
    for line in case.2.unwrap_or_default() {
        let lines: Vec<String> = match line.strip_suffix('+') {
            Some(tree) => TREE.iter().map(|below| format!("{tree}{below}")).collect(),
            None => vec![(*line).to_owned()],
        };
        for line in lines {
            let at = line.find(['=', '-']).unwrap_or(line.trim_end_matches('/').len());
            let (name, what) = line.split_at(at);
            want.insert(name.to_owned(), what.to_owned());
        }
    }
    want
}

/// Runs every case through `copy`, which gets the flags, the source below `s` and the destination below `t`.
fn run_cases(label: &str, mut copy: impl FnMut(&[&str], &str, &str) -> Ended) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, (source, destination, want)) in CASES.iter().enumerate() {
        let (flags, source): (&[&str], &str) = match source.strip_prefix("-L ") {
            Some(source) => (&["-L"], source),
            None => (&[], source),
        };
        let ended = copy(flags, source, &format!("{number}/{destination}"));
        let problem = match want {
            Ok(_) if ended.code == 0 && ended.stderr.is_empty() => None,
            Err(words) if ended.code == 1 && ended.stderr.contains(words) => None,
            _ => Some(format!("{label}: {source} to {destination}: {ended:?}")),
        };
        complaints.extend(problem);
    }
    complaints
}

/// Compares what is below `t` with what all cases want.
fn check_cases(label: &str, t: &Path) -> Vec<String> {
    let check = |(number, case): (usize, &Case)| {
        let (have, want) = (listing(&t.join(number.to_string())), wanted(case));
        (have != want).then(|| format!("{label}: {} to {}: have {have:?}\nwant {want:?}", case.0, case.1))
    };
    CASES.iter().enumerate().filter_map(check).collect()
}

fn unpack(archive: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]).arg(archive).arg("-C").arg(to);
    finish(tar, b"").ok();
}

#[test]
fn paths_mean_what_they_mean_to_docker() {
    let sandbox = Sandbox::new();
    let archive = places(&sandbox);
    sandbox.ok(["import", archive.to_str().unwrap(), "places"]);
    let host = sandbox.path("host");
    unpack(&archive, &host);
    let server = sandbox.serve();
    let mut complaints = Vec::new();
    for (name, running, docker) in [
        ("running", true, false),
        ("stopped", false, false),
        ("docker", true, true),
        ("docker-stopped", false, true),
    ] {
        sandbox.ok(["create", "--name", name, "places", "sleep", "1000"]);
        if running {
            sandbox.ok(["start", name]);
        }
        let run = |arguments: &[&str]| {
            if docker { server.docker(arguments) } else { sandbox.dhow(arguments) }
        };
        // Into the container.
        complaints.extend(run_cases(&format!("into {name}"), |flags, source, destination| {
            let source = format!("{}/s/{source}", host.display());
            run(&[&["cp"], flags, &[&source, &format!("{name}:/t/{destination}")]].concat())
        }));
        let exported = sandbox.path(&format!("{name}.tar"));
        sandbox.ok(["export", "-o", exported.to_str().unwrap(), name]);
        let seen = sandbox.path(&format!("{name}-seen"));
        unpack(&exported, &seen);
        complaints.extend(check_cases(&format!("into {name}"), &seen.join("t")));
        // Out of it.
        let out = sandbox.path(&format!("{name}-out"));
        unpack(&archive, &out);
        complaints.extend(run_cases(&format!("out of {name}"), |flags, source, destination| {
            let destination = format!("{}/t/{destination}", out.display());
            run(&[&["cp"], flags, &[&format!("{name}:/s/{source}"), &destination]].concat())
        }));
        complaints.extend(check_cases(&format!("out of {name}"), &out.join("t")));
    }
    assert_none(&complaints);
}

#[test]
fn streams_and_wrong_arguments() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    // A file's archive on standard output, and any archive from standard input, compressed or not.
    let out = sandbox.command(["cp", "box:/etc/passwd", "-"]).output().unwrap();
    assert!(out.status.success());
    let mut list = Command::new("tar");
    list.arg("-tv").stdin(std::process::Stdio::piped());
    let listed = finish(list, &out.stdout).ok();
    assert!(listed.lines().count() == 1 && listed.ends_with(" passwd"), "{listed}");
    sandbox.dhow_with_input(["cp", "-", "box:/home"], &out.stdout).ok();
    let mut compressed = Command::new("gzip");
    compressed.arg("-c").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = compressed.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &out.stdout).unwrap();
    let compressed = child.wait_with_output().unwrap().stdout;
    sandbox.dhow_with_input(["cp", "-", "box:/tmp/"], &compressed).ok();
    let sums = sandbox.ok(["exec", "box", "md5sum", "/etc/passwd", "/home/passwd", "/tmp/passwd"]);
    assert!(sums.lines().all(|line| line[..32] == sums[..32]), "{sums}");

    let complaints: Vec<String> = [
        (&["box:/x", "box:/y"][..], "copying between containers is not supported"),
        (&["/x", "/y"], "must specify at least one container source"),
        (&["", "box:/y"], "source can not be empty"),
        (&["box:/y", ""], "destination can not be empty"),
        (&["box:/no/such", "/tmp"], "Could not find the file /no/such in container box"),
        (&["box:/etc/passwd/x", "/tmp"], "not a directory"),
        (&["no-such:/etc", "/tmp"], "No such container: no-such"),
        (&["/etc/hostname", "no-such:/tmp"], "No such container: no-such"),
        (&["/no/such", "box:/"], "lstat /no"),
        (&["box:/etc", "/no/such/place"], "invalid output path: directory \"/no/such\" does not exist"),
        (&["box:/etc", "/dev/null"], "got a device"),
        (&["/etc/hostname", "box:/dev/null"], "must be a directory or a regular file: got a device"),
        (&["-", "box:/etc/passwd"], "must be a directory"),
        (&["-", "box:/no/such"], "must be a directory"),
        (&["box:/proc/1/root/etc", "/tmp"], "too many levels of symbolic links"),
        (&["box:", "/tmp"], "path"),
    ]
    .into_iter()
    .filter_map(|(arguments, words)| {
        let ended = sandbox.dhow(["cp"].iter().chain(arguments));
        ended.why_not_failed(1, words).map(|why| format!("{arguments:?}: {why}"))
    })
    .collect();
    assert_none(&complaints);
}

#[test]
fn volumes_binds_and_readonly_places() {
    let sandbox = Sandbox::with_busybox();
    let bind = sandbox.path("bind");
    fs::create_dir(&bind).unwrap();
    let file = sandbox.path("file");
    fs::write(&file, "copied").unwrap();
    let file = file.to_str().unwrap();
    let mounts = format!("{}:/bind", bind.display());
    let frozen = format!("{}:/frozen:ro", bind.display());
    let flags = ["--name", "box", "-v", "vol:/deep/er/vol", "-v", &mounts, "-v", &frozen, "--tmpfs", "/ram"];
    // A volume where the image has something: without that, nothing would start.
    let flags = flags.iter().chain(&["-v", "seeded:/bin"]);
    sandbox.ok(["create"].iter().chain(flags).chain(&["busybox", "sleep", "1000"]));
    sandbox.ok(["cp", file, "box:/bin/beside-the-images"]);
    for state in ["created", "running", "stopped"] {
        match state {
            "running" => drop(sandbox.ok(["start", "box"])),
            "stopped" => drop(sandbox.ok(["kill", "box"])),
            _ => {}
        }
        for place in ["/deep/er/vol", "/bind", "/home"] {
            let name = format!("{place}/{state}");
            sandbox.ok(["cp", file, &format!("box:{name}")]);
            let back = sandbox.path(&format!("back-{state}"));
            sandbox.ok(["cp", &format!("box:{name}"), back.to_str().unwrap()]);
            assert_eq!(fs::read_to_string(&back).unwrap(), "copied", "{name}");
        }
        assert_eq!(fs::read_to_string(bind.join(state)).unwrap(), "copied");
        assert!(sandbox.root().join("volumes/vol/_data").join(state).exists(), "{state}");
        sandbox.dhow(["cp", file, "box:/frozen/x"]).fails(1, "mounted volume is marked read-only");
    }
    sandbox.ok(["start", "box"]);
    sandbox.ok(["cp", file, "box:/ram/x"]);
    assert_eq!(sandbox.ok(["exec", "box", "cat", "/ram/x", "/deep/er/vol/created"]), "copiedcopied");
    assert_eq!(sandbox.ok(["exec", "box", "ls", "/deep/er/vol"]), "created\nrunning\nstopped");
    // What is copied while it is paused is there when it goes on.
    sandbox.ok(["pause", "box"]);
    sandbox.ok(["cp", file, "box:/tmp/paused"]);
    sandbox.ok(["unpause", "box"]);
    assert_eq!(sandbox.ok(["exec", "box", "cat", "/tmp/paused"]), "copied");

    sandbox.ok(["run", "-d", "--name", "ro", "--read-only", "-v", "vol:/vol", "busybox", "sleep", "1000"]);
    for state in ["running", "stopped"] {
        sandbox.dhow(["cp", file, "ro:/tmp/x"]).fails(1, "container rootfs is marked read-only");
        sandbox.ok(["cp", file, &format!("ro:/vol/ro-{state}")]);
        if state == "running" {
            sandbox.ok(["kill", "ro"]);
            sandbox.wait_for_status("ro", "exited");
        }
    }
    // Owners: without -a those of the archive, with -a the container's user.
    sandbox.ok(["run", "-d", "--name", "user", "-u", "app", "busybox", "sleep", "1000"]);
    fs::set_permissions(file, PermissionsExt::from_mode(0o4750)).unwrap();
    std::os::unix::fs::chown(file, Some(1234), Some(5)).unwrap();
    fs::set_permissions(file, PermissionsExt::from_mode(0o4750)).unwrap();
    sandbox.ok(["cp", file, "user:/tmp/plain"]);
    sandbox.ok(["cp", "-a", file, "user:/tmp/owned"]);
    let listed = sandbox.ok(["exec", "user", "stat", "-c", "%a %u:%g", "/tmp/plain", "/tmp/owned"]);
    assert_eq!(listed, "4750 1234:5\n4750 1000:1000");
    let (plain, owned) = (sandbox.path("plain"), sandbox.path("owned"));
    sandbox.ok(["cp", "user:/tmp/plain", plain.to_str().unwrap()]);
    sandbox.ok(["cp", "-a", "user:/tmp/plain", owned.to_str().unwrap()]);
    let owner = |path: &Path| path.metadata().map(|m| (m.uid(), m.gid(), m.mode() & 0o7777)).unwrap();
    assert_eq!((owner(&plain), owner(&owned)), ((0, 0, 0o4750), (1234, 5, 0o4750)));
}

/// `tree` of a directory of this machine, without what a start puts there.
fn tree(top: &Path, skip: &[&str]) -> Vec<String> {
    let mut command = Command::new(fixtures::tree_program());
    command.arg(top).args(skip);
    let text = finish(command, b"").ok();
    let path = |line: &str| line.split(' ').next().unwrap_or_default().trim_start_matches('/').to_owned();
    text.lines()
        .filter(|l| !["", "etc"].contains(&&*path(l)) && !skip.contains(&&*path(l)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_kind_of_file_in_both_directions() {
    let nested = fixtures::nested();
    let sandbox = Sandbox::with_busybox();
    let told = sandbox.ok(["load", "-i", nested.directory.join("oci.tar").to_str().unwrap()]);
    let image = told.rsplit_once(": ").unwrap().1.to_owned();
    sandbox.ok(["create", "--name", "from", &image, "true"]);
    let skip = [
        ".dockerenv",
        "dev",
        "proc",
        "sys",
        "mnt",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "etc/mtab",
    ];

    let exported = sandbox.path("from.tar");
    sandbox.ok(["export", "-o", exported.to_str().unwrap(), "from"]);
    let (copied, server) = (sandbox.path("copied"), sandbox.serve());
    fs::create_dir(&copied).unwrap();
    sandbox.ok(["cp", "-a", "from:/.", copied.to_str().unwrap()]);
    let ours = tree(&copied, &skip);
    let kinds: Vec<char> = ours.iter().filter_map(|l| l.split(' ').nth(1)?.chars().next()).collect();
    for kind in ['d', '-', 'l', 'c', 'b', 'p'] {
        assert!(kinds.contains(&kind), "the tree has no {kind}");
    }
    assert!(ours.iter().any(|l| l.contains("same-as=")) && ours.iter().any(|l| l.contains(" user.")));
    // GNU tar's view of the export is the judge; what it loses is known.
    let judged = sandbox.path("judged");
    unpack(&exported, &judged);
    let theirs = tree(&judged, &skip);
    let lossy = |line: &&String| !line.contains("/attributes ") && !line.contains("/before-1970 ");
    assert_eq!(
        ours.iter().filter(lossy).collect::<Vec<_>>(),
        theirs.iter().filter(lossy).collect::<Vec<_>>()
    );

    // Into another container, running and stopped, and by docker: the same again.
    for (name, docker) in [("stopped", false), ("running", false), ("docker", true)] {
        let verb = if name == "running" { "run" } else { "create" };
        let detach: &[&str] = if name == "running" { &["-d"] } else { &[] };
        sandbox.ok([verb].iter().chain(detach).chain(&["--name", name, "busybox", "sleep", "1000"]));
        let source = copied.to_str().unwrap();
        let target = format!("{name}:/all");
        if docker {
            server.docker(["cp", "-a", source, &target]).ok()
        } else {
            sandbox.ok(["cp", "-a", source, &target])
        };
        let back = sandbox.path(&format!("back-{name}"));
        sandbox.ok(["cp", "-a", &target, back.to_str().unwrap()]);
        let again = tree(&back, &skip);
        // Docker's client keeps no attributes but capabilities, and whole seconds.
        let kept = |line: &String| -> String {
            if !docker {
                return line.clone();
            }
            line.split(' ')
                .filter(|word| !word.starts_with("user.") && !word.starts_with("trusted."))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let relevant = |lines: &[String]| lines.iter().filter(lossy).map(kept).collect::<Vec<_>>();
        assert_eq!(relevant(&again), relevant(&ours), "{name}");
    }
}
