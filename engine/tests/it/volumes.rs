//! Volumes that are filesystems of their own, and what `--mount` can say of them: mounted with the first user,
//! shared by all, gone with the last, however that ends.

use crate::sandbox::{Ended, Sandbox, eventually, finish};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The host's mount table.
fn table() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// A mount of the host's, in front of everybody, until it goes.
pub(crate) struct HostMount(pub(crate) std::path::PathBuf);

impl HostMount {
    pub(crate) fn tmpfs(place: &Path) -> Self {
        std::fs::create_dir_all(place).unwrap();
        let made = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(place).status().unwrap();
        assert!(made.success());
        Self(place.to_owned())
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub(crate) fn create(sandbox: &Sandbox, name: &str, options: &[&str]) -> Ended {
    let options = options.iter().flat_map(|option| ["-o", *option]);
    sandbox.dhow(["volume", "create"].into_iter().chain(options).chain([name]))
}

pub(crate) fn user(sandbox: &Sandbox, name: &str, mount: &str) {
    sandbox.ok(["run", "-d", "--name", name, "--restart", "always", "-v", mount, "busybox", "sleep", "1000"]);
}

fn monitor_of(sandbox: &Sandbox, name: &str) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.pid(name))).unwrap();
    Pid::from_raw(status.lines().find_map(|l| l.strip_prefix("PPid:")?.trim().parse().ok()).unwrap())
}

#[test]
fn a_filesystem_in_memory_is_shared_and_goes_with_its_last_user() {
    let sandbox = Sandbox::with_busybox();
    create(&sandbox, "mem", &["type=tmpfs", "device=tmpfs", "o=size=1m,mode=0750,noexec"]).ok();
    user(&sandbox, "one", "mem:/m");
    let mounts = sandbox.ok(["exec", "one", "grep", " /m ", "/proc/mounts"]);
    assert!(
        mounts.contains("tmpfs") && mounts.contains("size=1024k") && mounts.contains("noexec"),
        "{mounts}"
    );
    sandbox.ok(["exec", "one", "sh", "-c", "echo shared > /m/file"]);
    user(&sandbox, "two", "mem:/other:ro");
    assert_eq!(sandbox.ok(["exec", "two", "cat", "/other/file"]), "shared");
    assert_ne!(sandbox.dhow(["exec", "two", "touch", "/other/x"]).code, 0, "read-only");
    assert_ne!(sandbox.dhow(["exec", "one", "dd", "if=/dev/zero", "of=/m/big", "bs=1M", "count=2"]).code, 0);
    sandbox.ok(["exec", "one", "rm", "/m/big"]);
    let own = sandbox.root();
    assert!(!table().contains(own.to_str().unwrap()), "the host's mount table has nothing of it");
    assert_eq!(std::fs::read_dir(sandbox.root().join("volumes/mem/_data")).unwrap().count(), 0);

    // The first user goes, by force: the second has it, and so does whoever comes next, and who comes back.
    kill(monitor_of(&sandbox, "one"), Signal::SIGKILL).unwrap();
    sandbox.wait_for_status("one", "exited");
    assert_eq!(sandbox.ok(["run", "--rm", "-v", "mem:/m", "busybox", "cat", "/m/file"]), "shared");
    sandbox.ok(["restart", "-t", "0", "one"]);
    assert_eq!(sandbox.ok(["exec", "one", "cat", "/m/file"]), "shared");
    // A restart by policy has the same.
    kill(Pid::from_raw(sandbox.pid("two")), Signal::SIGKILL).unwrap();
    eventually("it was started again", || sandbox.inspect("two")["RestartCount"] == 1);
    eventually("it runs", || sandbox.dhow(["exec", "two", "cat", "/other/file"]).stdout == "shared\n");
    assert_eq!(sandbox.ok(["cp", "one:/m/file", "-"]).matches("shared").count(), 1);
    sandbox.dhow(["volume", "rm", "mem"]).fails(1, "volume is in use");

    sandbox.ok(["rm", "-f", "one", "two"]);
    assert_eq!(sandbox.ok(["run", "--rm", "-v", "mem:/m", "busybox", "ls", "/m"]), "", "it is a new one");
    let shown = &sandbox.inspect("mem");
    assert_eq!(
        shown["Options"],
        json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=0750,noexec"})
    );
    sandbox.ok(["volume", "rm", "mem"]);
}

#[test]
fn starts_at_the_same_time_mount_it_once() {
    let sandbox = Sandbox::with_busybox();
    create(&sandbox, "mem", &["type=tmpfs", "device=tmpfs"]).ok();
    let names: Vec<String> = (0..6).map(|number| format!("box-{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| user(&sandbox, name, "mem:/m"));
        }
    });
    let device = |name: &str| sandbox.ok(["exec", name, "stat", "-c", "%d", "/m"]);
    let first = device(&names[0]);
    assert!(names.iter().all(|name| device(name) == first));
    sandbox.ok(["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)));
    sandbox.ok(["volume", "rm", "mem"]);
}

#[test]
fn a_directory_of_the_host_is_a_volume() {
    let sandbox = Sandbox::with_busybox();
    let directory = sandbox.path("data");
    std::fs::create_dir(&directory).unwrap();
    let device = format!("device={}", directory.display());
    create(&sandbox, "dir", &["type=none", "o=bind", &device]).ok();
    // It is filled as every empty volume is, and what is in it stays when nobody uses it.
    assert_eq!(
        sandbox.ok([
            "run",
            "--rm",
            "-v",
            "dir:/etc",
            "busybox",
            "sh",
            "-c",
            "echo x > /etc/new; ls /etc/passwd"
        ]),
        "/etc/passwd"
    );
    assert!(directory.join("passwd").is_file() && directory.join("new").is_file());
    // A stopped container shows it, too.
    sandbox.ok(["create", "--name", "still", "-v", "dir:/d", "busybox", "true"]);
    assert!(sandbox.ok(["cp", "still:/d/new", "-"]).contains("x\n"));
    sandbox.dhow_with_input(["cp", "-", "still:/d"], &archive("put", b"in")).ok();
    assert_eq!(std::fs::read_to_string(directory.join("put")).unwrap(), "in");
    assert_eq!(std::fs::read_dir(sandbox.root().join("volumes/dir/_data")).unwrap().count(), 0);
    sandbox.ok(["rm", "still"]);
    // With the mounts below it, or without.
    let below = HostMount::tmpfs(&directory.join("below"));
    std::fs::write(below.0.join("file"), "x").unwrap();
    create(&sandbox, "tree", &["type=none", "o=rbind", &device]).ok();
    let list = |volume: &str| {
        sandbox.ok(["run", "--rm", "-v", &format!("{volume}:/d"), "busybox", "ls", "/d/below"])
    };
    assert_eq!((list("tree"), list("dir")), ("file".to_owned(), String::new()));
    sandbox.ok(["volume", "rm", "dir", "tree"]);
    assert!(directory.join("new").is_file(), "the host's directory is not the engine's to delete");
}

fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn what_cannot_be_mounted_is_said() {
    let sandbox = Sandbox::with_busybox();
    for (options, words) in [
        (&["bogus=1"][..], "create bad: invalid option: \"bogus\""),
        (&["type=tmpfs"], "create bad: missing required option: \"device\""),
        (&["device=/x", "o=bind"], "create bad: missing required option: \"type\""),
    ] {
        create(&sandbox, "bad", options).fails(1, words);
    }
    sandbox.dhow(["volume", "create", "-d", "other", "bad"]).fails(1, "volume driver \"other\"");
    create(&sandbox, "missing", &["type=none", "o=bind", "device=/no/such/directory"]).ok();
    create(&sandbox, "odd", &["type=no-such-fs", "device=x"]).ok();
    create(&sandbox, "option", &["type=tmpfs", "device=tmpfs", "o=bogus=1"]).ok();
    create(&sandbox, "server", &["type=nfs", "device=:/x", "o=addr=no-such-host.invalid"]).ok();
    for (volume, words) in [
        ("missing", "failed to mount local volume: mount /no/such/directory:"),
        ("odd", "failed to mount local volume: mount x:"),
        ("option", "bogus"),
        ("server", "error resolving passed in network volume address: lookup no-such-host.invalid"),
    ] {
        let ended = sandbox.dhow(["run", "--rm", "-v", &format!("{volume}:/v"), "busybox", "true"]);
        assert_ne!(ended.code, 0, "{volume}");
        assert!(ended.stderr.contains(words), "{volume}: {ended:?}");
    }
    sandbox.assert_no_containers();
    sandbox.ok(["volume", "rm", "missing", "odd", "option", "server"]);
}

#[test]
fn a_part_of_a_volume() {
    let sandbox = Sandbox::with_busybox();
    let fill = "mkdir -p /v/sub/deep; echo here > /v/sub/deep/file; echo one > /v/sub/alone; ln -s sub /v/link; \
                ln -s ../../.. /v/up; ln -s /etc /v/abs";
    sandbox.ok(["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", fill]);
    let part = |subpath: &str, more: &str, script: &str| {
        let mount = format!("type=volume,src=vol,dst=/p,volume-subpath={subpath}{more}");
        sandbox.dhow(["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", script])
    };
    assert_eq!(part("sub/deep", "", "cat /p/file; ls /p").ok(), "here\nfile");
    assert_eq!(part("link/deep", "", "cat /p/file").ok(), "here");
    assert_eq!(part("sub/alone", "", "cat /p").ok(), "one", "a file");
    assert_eq!(part("sub", ",readonly", "touch /p/x 2>/dev/null || echo readonly").ok(), "readonly");
    for leads_out in ["up", "abs"] {
        let ended = part(leads_out, "", "ls /p");
        assert_ne!(ended.code, 0);
        assert!(ended.stderr.contains("cannot access path"), "{ended:?}");
    }
    let ended = part("missing", "", "true");
    assert!(ended.code != 0 && ended.stderr.contains("no such file"), "{ended:?}");
    part("../x", "", "true").fails(125, "subpath must be a relative path within the volume");
    // A stopped container's is the same, and what is shown is what was said.
    let mount = "type=volume,src=vol,dst=/p,volume-subpath=sub/deep";
    sandbox.ok(["create", "--name", "box", "--mount", mount, "busybox", "true"]);
    assert!(sandbox.ok(["cp", "box:/p/file", "-"]).contains("here\n"));
    let server = sandbox.serve();
    let template = ["inspect", "-f", "{{(index .HostConfig.Mounts 0).VolumeOptions.Subpath}}", "box"];
    assert_eq!([sandbox.ok(template), server.docker(template).ok()], ["sub/deep", "sub/deep"]);
}

#[test]
fn mount_makes_volumes_with_labels_and_options() {
    let sandbox = Sandbox::with_busybox();
    let mount = "type=volume,src=mem,dst=/m,volume-label=tier=db,volume-label=bare,volume-opt=type=tmpfs,\
                 volume-opt=device=tmpfs,\"volume-opt=o=size=2m,mode=700\"";
    assert!(
        sandbox
            .ok(["run", "--name", "box", "--mount", mount, "busybox", "grep", " /m ", "/proc/mounts"])
            .contains("size=2048k")
    );
    let shown = sandbox.inspect("mem");
    assert_eq!(shown["Labels"], json!({"tier": "db", "bare": ""}));
    assert_eq!(shown["Options"]["o"], "size=2m,mode=700");
    assert_eq!(sandbox.ok(["volume", "ls", "-q", "--filter", "label=tier=db"]), "mem");
    assert_eq!(sandbox.ok(["volume", "ls", "-q", "--filter", "name=^mem$"]), "mem");
    assert_eq!(sandbox.ok(["volume", "ls", "-q", "--filter", "name=^em"]), "");
    // One without a name is told by Docker's label; the same words twice are one mount.
    let alone = sandbox.ok(["volume", "create"]);
    let flags = ["-v", "/anonymous", "-v", "mem:/twice", "-v", "mem:/twice"];
    sandbox.ok(["create", "--name", "bare"].into_iter().chain(flags).chain(["busybox", "true"]));
    let mounts = sandbox.inspect("bare")["Mounts"].take();
    let names: BTreeSet<_> = mounts.as_array().unwrap().iter().filter_map(|m| m["Name"].as_str()).collect();
    assert!(names.len() == 2 && names.contains("mem"), "{mounts}");
    let listed = sandbox.ok(["volume", "ls", "-q", "--filter", "label=com.docker.volume.anonymous"]);
    assert_eq!(listed.lines().filter(|name| *name == alone || names.contains(name)).count(), 2, "{listed}");
    sandbox.ok(["rm", "-v", "bare"]);
    sandbox.ok(["volume", "rm", &alone]);
    let options = sandbox.inspect("box")["HostConfig"]["Mounts"][0]["VolumeOptions"].take();
    assert_eq!(options["Labels"]["tier"], "db");
    assert_eq!(options["DriverConfig"]["Options"]["type"], "tmpfs");
    // One that is there is used as it is.
    let other = "type=volume,src=mem,dst=/m,volume-label=tier=web";
    sandbox.ok(["run", "--rm", "--mount", other, "busybox", "true"]);
    assert_eq!(sandbox.inspect("mem")["Labels"]["tier"], "db");
    let server = sandbox.serve();
    let theirs =
        "type=volume,src=theirs,dst=/m,volume-label=by=docker,volume-opt=type=tmpfs,volume-opt=device=tmpfs";
    server.docker(["run", "--rm", "--network", "none", "--mount", theirs, "busybox", "true"]).ok();
    assert_eq!(sandbox.inspect("theirs")["Labels"]["by"], "docker");
    sandbox
        .dhow(["create", "--mount", "type=volume,src=xx,dst=/m,volume-opt=odd=1", "busybox", "true"])
        .fails(1, "create xx: invalid option: \"odd\"");
    sandbox.ok(["rm", "box"]);
    sandbox.ok(["volume", "rm", "mem", "theirs"]);
}

#[test]
fn read_only_binds_and_what_is_mounted_below_them() {
    let sandbox = Sandbox::with_busybox();
    let directory = sandbox.path("tree");
    let _below = HostMount::tmpfs(&directory.join("below"));
    let source = directory.display();
    let try_both = "touch /b/x 2>/dev/null && echo top; touch /b/below/x 2>/dev/null && echo below; \
                    grep -c ' /b/below ' /proc/mounts";
    let run = |more: &str| {
        let mount = format!("type=bind,src={source},dst=/b,{more}");
        sandbox.dhow(["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", try_both])
    };
    assert_eq!(run("readonly").ok_or_grep(), "1", "all of it");
    assert_eq!(run("readonly,bind-recursive=enabled").ok_or_grep(), "1");
    assert_eq!(run("readonly,bind-recursive=writable").ok_or_grep(), "below\n1");
    assert_eq!(run("readonly,bind-recursive=readonly,bind-propagation=rprivate").ok_or_grep(), "1");
    assert_eq!(run("readonly,bind-recursive=disabled").ok_or_grep(), "0");
    for (more, words) in [
        ("bind-recursive=writable", "option 'bind-recursive=writable' requires 'readonly'"),
        ("bind-recursive=readonly", "option 'bind-recursive=readonly' requires 'readonly'"),
        ("readonly,bind-recursive=readonly", "requires 'bind-propagation=rprivate'"),
        ("bind-recursive=odd", "must be \"enabled\", \"disabled\", \"writable\", or \"readonly\""),
    ] {
        run(more).fails(125, words);
    }
    let mount = format!("type=bind,src={source},dst=/b,readonly,bind-recursive=writable");
    sandbox.ok(["create", "--name", "box", "--mount", &mount, "busybox", "true"]);
    let options = sandbox.inspect("box")["HostConfig"]["Mounts"][0]["BindOptions"].take();
    assert_eq!(options["ReadOnlyNonRecursive"], true);
}

impl Ended {
    /// What was printed, though the last command of a script found nothing.
    fn ok_or_grep(self) -> String {
        assert!(self.code <= 1, "{self:?}");
        self.stdout.trim_end().to_owned()
    }
}

#[test]
fn sources_of_every_nasty_kind() {
    let sandbox = Sandbox::with_busybox();
    let (target, link, dangling, file) =
        (sandbox.path("target"), sandbox.path("link"), sandbox.path("dangling"), sandbox.path("file"));
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("in"), "x").unwrap();
    std::fs::write(&file, "content").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    std::os::unix::fs::symlink(sandbox.path("nothing"), &dangling).unwrap();
    let server = sandbox.serve();
    let both = |arguments: &[&str]| -> [Ended; 2] {
        let words = [&["run", "--rm", "--network", "none"], arguments].concat();
        [finish(sandbox.command(&words), b""), server.docker(&words)]
    };
    let volume = |source: &Path, target: &str| format!("{}:{target}", source.display());
    let mount = |source: &Path| format!("type=bind,src={},dst=/d", source.display());
    // A link is followed, as mount(2) does; a file is mounted as a file.
    for ended in both(&["-v", &volume(&link, "/d"), "busybox", "ls", "/d"]) {
        assert_eq!(ended.ok(), "in");
    }
    for ended in both(&["--mount", &mount(&file), "busybox", "cat", "/d"]) {
        assert_eq!(ended.ok(), "content");
    }
    // A file on a directory, and a directory on a file.
    for flags in [["-v", &volume(&file, "/etc")], ["-v", &volume(&target, "/bin/busybox")]] {
        for ended in both(&[&flags[..], &["busybox", "true"]].concat()) {
            assert!(
                ended.code != 0 && ended.stderr.to_lowercase().contains("not a directory"),
                "{flags:?}: {ended:?}"
            );
        }
    }
    // What is missing is made for `-v`, and refused for `--mount`.
    let missing = sandbox.path("missing");
    for ended in both(&["--mount", &mount(&missing), "busybox", "true"]) {
        assert_eq!(ended.code, 125);
        assert!(ended.stderr.contains("bind source path does not exist"), "{ended:?}");
    }
    assert!(!missing.exists());
    for ended in both(&["-v", &volume(&missing, "/d"), "busybox", "true"]) {
        ended.ok();
    }
    assert!(missing.is_dir());
    for ended in both(&["--mount", &mount(&dangling), "busybox", "true"]) {
        assert!(ended.code == 125 && ended.stderr.contains("bind source path does not exist"), "{ended:?}");
    }
    for ended in both(&["-v", &volume(&dangling, "/d"), "busybox", "true"]) {
        assert!(ended.code != 0, "{ended:?}");
    }
    assert!(!sandbox.path("nothing").exists(), "nothing is made behind a link");
    for ended in both(&["-v", &volume(&file.join("below"), "/d"), "busybox", "true"]) {
        assert!(ended.code != 0 && ended.stderr.to_lowercase().contains("not a directory"), "{ended:?}");
    }
    for label in ["z", "Z"] {
        for ended in both(&["-v", &format!("{}:/d:{label}", target.display()), "busybox", "true"]) {
            assert!(ended.code == 125 && ended.stderr.contains("SELinux relabelling"), "{ended:?}");
        }
    }
    sandbox.assert_no_containers();
}

#[test]
fn data_outlives_containers_and_crashes() {
    let sandbox = Sandbox::with_busybox();
    let write = "echo first > /v/file; sync; exec sleep 1000";
    sandbox.ok([
        "run",
        "-d",
        "--name",
        "box",
        "-v",
        "kept:/v",
        "-v",
        "/anonymous",
        "busybox",
        "sh",
        "-c",
        write,
    ]);
    eventually("it has written", || sandbox.dhow(["exec", "box", "cat", "/v/file"]).stdout == "first\n");
    kill(monitor_of(&sandbox, "box"), Signal::SIGKILL).unwrap();
    sandbox.wait_for_status("box", "exited");
    sandbox.ok(["rm", "-v", "box"]);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "kept", "the one without a name is gone with it");
    assert_eq!(sandbox.ok(["run", "--rm", "-v", "kept:/v", "busybox", "cat", "/v/file"]), "first");
    sandbox.ok(["volume", "create", "kept"]);
    assert_eq!(sandbox.ok(["run", "--rm", "-v", "kept:/v", "busybox", "cat", "/v/file"]), "first");
    // One that another container has been given stays, though its own is removed with its volumes.
    sandbox.ok(["create", "--name", "owner", "-v", "/shared", "busybox", "true"]);
    sandbox.ok(["run", "-d", "--name", "guest", "--volumes-from", "owner", "busybox", "sleep", "1000"]);
    sandbox.ok(["exec", "guest", "sh", "-c", "echo here > /shared/file"]);
    sandbox.ok(["rm", "-v", "owner"]);
    assert_eq!(sandbox.ok(["exec", "guest", "cat", "/shared/file"]), "here");
    sandbox.ok(["restart", "-t", "0", "guest"]);
    assert_eq!(sandbox.ok(["exec", "guest", "cat", "/shared/file"]), "here");
    // What lies in a volume's place, though the database has lost it, is the volume's when it is made again.
    sandbox.ok(["volume", "rm", "kept"]);
    std::fs::create_dir_all(sandbox.root().join("volumes/kept/_data/found")).unwrap();
    assert_eq!(sandbox.ok(["run", "--rm", "-v", "kept:/v", "busybox", "ls", "/v"]), "found");
    sandbox.ok(["rm", "-fv", "guest"]);
    let left = || crate::sandbox::names_in(&sandbox.root().join("volumes"));
    assert_eq!(left(), ["kept"], "the others' files went with their containers");
    sandbox.ok(["volume", "prune", "-af"]);
    assert_eq!(crate::sandbox::names_in(&sandbox.root().join("volumes")), Vec::<String>::new());
}

#[test]
fn a_name_that_is_made_and_removed_by_many_never_loses_what_is_used() {
    let sandbox = Sandbox::with_busybox();
    let rounds = 15;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let removed = sandbox.dhow(["volume", "rm", "name"]);
                    assert!(
                        removed.code == 0
                            || removed.stderr.contains("no such volume")
                            || removed.stderr.contains("in use"),
                        "{removed:?}"
                    );
                }
            });
            scope.spawn(|| {
                for _ in 0..rounds {
                    sandbox.ok(["volume", "create", "name"]);
                }
            });
            scope.spawn(|| {
                for _ in 0..rounds {
                    // Whoever runs has the volume until its end, whatever the others do.
                    let script = "echo mine > /v/$HOSTNAME && sleep 0.05 && cat /v/$HOSTNAME";
                    assert_eq!(
                        sandbox.ok(["run", "--rm", "-v", "name:/v", "busybox", "sh", "-c", script]),
                        "mine"
                    );
                }
            });
        }
    });
    sandbox.dhow(["volume", "rm", "-f", "name"]).ok();
    sandbox.ok(["volume", "prune", "-af"]);
    assert_eq!(crate::sandbox::names_in(&sandbox.root().join("volumes")), Vec::<String>::new());
}

#[test]
fn later_mounts_travel_as_the_propagation_says() {
    let sandbox = Sandbox::with_busybox();
    let source = HostMount::tmpfs(&sandbox.path("shared"));
    let place = source.0.to_str().unwrap();
    let mount =
        |arguments: &[&str]| assert!(Command::new("mount").args(arguments).status().unwrap().success());
    // The machine's own mounts may be of any kind: this one is private until it is said otherwise.
    mount(&["--make-private", place]);
    for mode in ["rshared", "shared", "rslave", "slave"] {
        let ended = sandbox.dhow(["run", "--rm", "-v", &format!("{place}:/m:{mode}"), "busybox", "true"]);
        let kind = if mode.ends_with("shared") { "a shared mount" } else { "a shared or slave mount" };
        let words = format!("path {place} is mounted on {place} but it is not {kind}");
        assert!(ended.code != 0 && ended.stderr.contains(&words), "{mode}: {ended:?}");
    }
    mount(&["--make-shared", place]);
    for mode in ["rprivate", "private", "rshared", "shared", "rslave", "slave"] {
        let volume = format!("{place}:/m:{mode}");
        let run =
            ["run", "-d", "--name", mode, "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
        sandbox.ok([&run[..], &["-v", &volume, "busybox", "sleep", "1000"]].concat());
        assert_eq!(sandbox.inspect(mode)["Mounts"][0]["Propagation"], mode);
    }
    let later = HostMount::tmpfs(&source.0.join("later"));
    std::fs::write(later.0.join("file"), "x").unwrap();
    std::fs::create_dir(source.0.join("inner")).unwrap();
    for (mode, from_host, to_host) in [
        ("rprivate", false, false),
        ("private", false, false),
        ("rslave", true, false),
        ("slave", true, false),
        ("rshared", true, true),
        ("shared", true, true),
    ] {
        let seen = sandbox.dhow(["exec", mode, "test", "-e", "/m/later/file"]).code == 0;
        assert_eq!(seen, from_host, "{mode}: from the host");
        sandbox.ok(["exec", mode, "mount", "-t", "tmpfs", "none", "/m/inner"]);
        let point = format!(" {place}/inner ");
        assert_eq!(table().contains(&point), to_host, "{mode}: to the host");
        sandbox.ok(["exec", mode, "umount", "/m/inner"]);
    }
    sandbox.ok(["rm", "-f", "rprivate", "private", "rshared", "shared", "rslave", "slave"]);
}

/// `-v /:/host` is what every collector of metrics is started with, and mount namespaces are pinned by our own indexed
/// layers, by snapd, by `unshare --mount=FILE`: the kernel lets no mount of such a file into a newer namespace.
#[test]
fn all_of_the_host_is_bound_whatever_is_pinned_in_it() {
    let sandbox = Sandbox::with_busybox();
    let place = sandbox.path("host");
    let host = HostMount::tmpfs(&place);
    let run = |args: &[&str]| Command::new(args[0]).args(&args[1..]).arg(&host.0).status().unwrap();
    assert!(run(&["mount", "--make-private"]).success());
    let below = HostMount::tmpfs(&place.join("below"));
    std::fs::write(place.join("file"), "of the host").unwrap();
    std::fs::write(below.0.join("file"), "below").unwrap();
    let pin = place.join("ns");
    std::fs::write(&pin, "").unwrap();
    let pinned = Command::new("unshare").arg(format!("--mount={}", pin.display())).arg("true").status();
    assert!(pinned.unwrap().success());
    let _pin = HostMount(pin.clone());
    assert!(table().contains(&format!(" {} ", pin.display())), "it is pinned");

    // A container of an indexed image lives, whose namespace is pinned, too.
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    for source in ["/", sandbox.path("").to_str().unwrap()] {
        let at = format!("/all{}", place.strip_prefix(source).map(|p| format!("/{}", p.display())).unwrap());
        let script = format!("cat {at}/file {at}/below/file; wc -c <{at}/ns");
        let bind = format!("{source}:/all:ro");
        let seen = sandbox.ok(["run", "--rm", "-v", &bind, "busybox", "sh", "-c", &script]);
        assert_eq!(seen, "of the hostbelow0", "{source}");
    }
    // What is shared stays shared, in the copy without the pin as well.
    assert!(run(&["mount", "--make-shared"]).success());
    let bind = format!("{}:/all:rslave", place.display());
    sandbox.ok(["run", "-d", "--name", "slave", "-v", &bind, "busybox", "sleep", "1000"]);
    std::fs::create_dir(place.join("later")).unwrap();
    let later = HostMount::tmpfs(&place.join("later"));
    std::fs::write(later.0.join("file"), "later").unwrap();
    assert_eq!(sandbox.ok(["exec", "slave", "cat", "/all/later/file"]), "later");
    // And files are copied out of such a container that is stopped.
    sandbox.ok(["create", "--name", "made", "-v", &format!("{}:/all", place.display()), "busybox", "true"]);
    let copied = sandbox.path("copied");
    sandbox.ok(["cp", "made:/all/below/file", copied.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(copied).unwrap(), "below");
    sandbox.ok(["rm", "-f", "slave", "box", "made"]);
}
