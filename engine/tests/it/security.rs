//! Known attacks, one test for each row of the list that applies to what there is.

mod claims;
mod credentials;
mod filter;
mod monitor;
mod network;
mod terminal;
mod trusted_root;

use crate::fixtures::{self, Tar};
use crate::sandbox::{DHOW, Sandbox, assert_none, finish, names_in};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The descriptors that an attacker may hope were left open.
const DESCRIPTORS: std::ops::RangeInclusive<u32> = 3..=64;

/// `dhow …` started by a shell that leaves descriptors 3 to 64 open on the host's root directory.
fn with_open_descriptors(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", "for n in {3..64}; do eval \"exec $n</\"; done; exec \"$@\"", "sh", DHOW]);
    shell.arg("--root").arg(sandbox.root()).arg("--state").arg(sandbox.state()).args(arguments);
    sandbox.isolate(&mut shell);
    shell
}

/// An image whose tree is made by hand on top of busybox.
pub(crate) fn image(sandbox: &Sandbox, name: &str, make: impl FnOnce(&mut Tar)) {
    let path = sandbox.path(&format!("{name}.tar"));
    let mut tar = Tar::create(&path);
    tar.busybox();
    make(&mut tar);
    tar.finish();
    sandbox.ok(["import", path.to_str().unwrap(), name]);
}

// 2024-21626
#[test]
fn no_descriptor_leaks_into_run_or_exec() {
    let sandbox = Sandbox::with_busybox();
    let count = "ls -l /proc/self/fd /proc/1/fd | grep -c ' -> /$'; ls /proc/1/fd | tr '\\n' ' '";
    let flags = ["run", "--name", "box", "-d", "busybox", "sh", "-c", "while :; do sleep 1; done"];
    finish(with_open_descriptors(&sandbox, &flags), b"").ok();
    let output = finish(with_open_descriptors(&sandbox, &["exec", "box", "sh", "-c", count]), b"").stdout;
    assert_eq!(output, "0\n0 1 2 ", "pid 1 holds more than its streams, or something leads to the host");
    let own = ["run", "--rm", "busybox", "ls", "/proc/self/fd"];
    // The fourth is the directory that `ls` reads.
    assert_eq!(finish(with_open_descriptors(&sandbox, &own), b"").ok(), "0\n1\n2\n3");
    let monitor = fs::read_to_string(format!("/proc/{}/status", sandbox.pid("box"))).unwrap();
    let parent = monitor.lines().find_map(|l| l.strip_prefix("PPid:\t")).unwrap();
    for fd in names_in(Path::new(&format!("/proc/{parent}/fd"))) {
        let target = fs::read_link(format!("/proc/{parent}/fd/{fd}")).unwrap_or_default();
        assert_ne!(target, Path::new("/"), "the monitor holds the caller's descriptor {fd}");
    }
}

// 2024-21626
#[test]
fn a_working_directory_in_proc_self_fd_never_leads_to_the_host() {
    let sandbox = Sandbox::with_busybox();
    let marker = sandbox.path("marker");
    fs::write(&marker, "the host's").unwrap();
    let up = format!("../../../../../../../..{}", marker.display());
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    for number in DESCRIPTORS {
        let directory = format!("/proc/self/fd/{number}");
        for verb in [&["run", "--rm"][..], &["exec"]] {
            let target = if verb[0] == "run" { "busybox" } else { "box" };
            let arguments = [verb, &["-w", &directory, target, "cat", &up]].concat();
            let ended = finish(with_open_descriptors(&sandbox, &arguments), b"");
            assert!(ended.code != 0 && !ended.stdout.contains("the host's"), "{ended:?}");
        }
    }
}

// 2022-24769, 2022-29162, 2025-27612
#[test]
fn capabilities_are_dockers_and_the_inheritable_set_is_empty() {
    let sandbox = Sandbox::with_busybox();
    let default = "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n\
                   CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000";
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    for command in [&["run", "--rm", "busybox"][..], &["exec", "box"]] {
        let read = ["grep", "^Cap", "/proc/self/status"];
        assert_eq!(sandbox.ok(command.iter().chain(&read)), default, "{command:?}");
    }
    let sets = |flags: &[&str]| {
        let words =
            [&["run", "--rm"], flags, &["busybox", "grep", "-E", "Cap(Inh|Eff|Bnd)", "/proc/self/status"]]
                .concat();
        sandbox.ok(words).split_whitespace().skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let zero = "0000000000000000";
    assert_eq!(sets(&["--cap-drop", "ALL"]), [zero, zero, zero]);
    assert_eq!(sets(&["--cap-drop", "all", "--cap-add", "net_admin"])[1], "0000000000001000");
    assert_eq!(sets(&["--cap-add", "CAP_SYS_PTRACE"])[1], "00000000a80c25fb");
    // An ordinary user has none, but could gain the bounding set's by a setuid program.
    assert_eq!(sets(&["-u", "app"]), [zero, zero, "00000000a80425fb"]);
    let privileged = sets(&["--privileged"]);
    assert_eq!(privileged[0], zero);
    assert_eq!(privileged[1], privileged[2]);
    let flag = |flags: &[&str]| {
        let words =
            [&["run", "--rm"], flags, &["busybox", "grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status"]]
                .concat();
        sandbox.ok(words).split_whitespace().skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(flag(&[]), ["0", "2"]);
    assert_eq!(flag(&["--security-opt", "no-new-privileges"]), ["1", "2"]);
    assert_eq!(flag(&["--security-opt", "seccomp=unconfined"]), ["0", "0"]);
    assert_eq!(flag(&["--privileged"]), ["0", "0"]);
}

// 2019-5736
#[test]
fn the_engines_binary_cannot_be_overwritten_through_proc_self_exe() {
    let sandbox = Sandbox::with_busybox();
    let before = fixtures::sha256_of(Path::new(DHOW));
    let directory = sandbox.path("attack");
    fs::create_dir(&directory).unwrap();
    fixtures::script(&directory.join("self"), "#!/proc/self/exe\n");
    let overwrite =
        "for exe in /proc/[0-9]*/exe; do (echo overwritten >$exe) 2>/dev/null && echo wrote $exe; done; true";
    let volume = format!("{}:/attack", directory.display());
    sandbox.ok([
        "run",
        "-d",
        "--name",
        "box",
        "-v",
        &volume,
        "busybox",
        "sh",
        "-c",
        &format!("while :; do {overwrite}; done"),
    ]);
    for _ in 0..20 {
        sandbox.dhow(["run", "--rm", "-v", &volume, "busybox", "/attack/self"]);
        sandbox.dhow(["exec", "box", "/attack/self"]);
        sandbox.dhow(["exec", "box", "sh", "-c", overwrite]);
    }
    assert_eq!(sandbox.ok(["logs", "box"]), "", "something could be written");
    assert_eq!(fixtures::sha256_of(Path::new(DHOW)), before);
}

// 2019-16884, 2019-19921, 2023-27561, 2023-28642
#[test]
fn a_false_proc_is_refused() {
    let sandbox = Sandbox::with_busybox();
    let outside = sandbox.path("outside");
    fs::create_dir(&outside).unwrap();
    let target = format!("../../../../../..{}", outside.display());
    image(&sandbox, "link-for-proc", |tar| tar.link("proc", &target));
    image(&sandbox, "link-for-sys", |tar| tar.link("sys", &target));
    for name in ["link-for-proc", "link-for-sys"] {
        let ended = sandbox.dhow(["run", "--rm", name, "grep", "-c", ".", "/proc/self/mountinfo"]);
        // Refused, or mounted where it belongs; never followed.
        assert!(ended.code == 125 || ended.code == 0, "{ended:?}");
    }
    assert_eq!(names_in(&outside), Vec::<String>::new());
    for volume in ["/proc", "/proc/self", "/proc/sys/kernel", "/../proc/1"] {
        let binding = format!("{}:{volume}", outside.display());
        sandbox.dhow(["run", "--rm", "-v", &binding, "busybox", "true"]).fails(125, "proc");
        sandbox.dhow(["run", "--rm", "--tmpfs", volume, "busybox", "true"]).fails(125, "proc");
    }
    sandbox.assert_no_containers();
}

// 2026-41579, 2026-47766, 2022-23648, 2023-0778, 2025-9566, 2026-55686, 2020-1726, 2021-30465, 2024-45310
#[test]
fn links_in_an_image_lead_nothing_of_ours_to_the_host() {
    let sandbox = Sandbox::with_busybox();
    let outside = sandbox.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let before = fs::metadata(&outside).unwrap();
    let relative = format!("../../../../../..{}", outside.display());
    let absolute = outside.display().to_string();
    let file = format!("{absolute}/file");
    image(&sandbox, "links", |tar| {
        tar.link("dev", &relative);
        tar.link("work", &absolute);
        tar.link("volume", &relative);
        tar.directory("etc");
        for name in ["hosts", "hostname", "resolv.conf", "passwd", "group"] {
            tar.link(&format!("etc/{name}"), &file);
        }
    });
    let host = sandbox.path("host");
    fs::create_dir(&host).unwrap();
    let binding = |target: &str| format!("{}:{target}", host.display());
    for flags in [
        &[][..],
        &["-w", "/work/made"],
        &["-v", "/volume/anonymous"],
        &["-v", "named:/work/named"],
        &["-v", &binding("/volume/bound")],
        &["-v", &binding("/work")],
        &["--tmpfs", "/volume/tmpfs"],
        &["--read-only"],
        &["--init"],
        &["-it"],
    ] {
        // Whether it runs is a matter of taste; that nothing happens outside is not.
        let script = "touch /volume/touched /work/touched /dev/touched 2>/dev/null; true";
        sandbox.dhow([&["run", "--rm"], flags, &["links", "sh", "-c", script]].concat());
        assert_eq!(names_in(&outside), ["file"], "{flags:?}");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched", "{flags:?}");
    }
    let after = fs::metadata(&outside).unwrap();
    assert_eq!(
        (before.mode(), before.uid(), before.mtime_nsec()),
        (after.mode(), after.uid(), after.mtime_nsec())
    );
}

// 2019-14271, 2021-41089, 2026-41567: the part of archives
#[test]
fn archives_write_nothing_outside_their_layer() {
    let sandbox = Sandbox::new();
    let outside = sandbox.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let relative = format!("../../../../../../../../../../..{}", outside.display());
    type Make = fn(&mut Tar, &str);
    let attacks: [(&str, Make); 5] = [
        ("through-a-link", |tar, to| {
            tar.link("out", to);
            tar.file("out/made", 0o644, b"x");
        }),
        ("over-a-link", |tar, to| {
            tar.link("file", &format!("{to}/file"));
            tar.file("file", 0o644, b"overwritten");
        }),
        ("link-to-a-link", |tar, to| {
            tar.link("a", to);
            tar.link("b", "a");
            tar.directory("b/made");
        }),
        ("whiteout-through-a-link", |tar, to| {
            tar.link("out", to);
            tar.file("out/.wh.file", 0o644, b"");
            tar.file("out/.wh..wh..opq", 0o644, b"");
        }),
        ("whiteout-of-the-parent", |tar, _| {
            tar.file(".wh...", 0o644, b"");
            tar.file("d/.wh..", 0o644, b"");
        }),
    ];
    for (name, make) in attacks {
        let path = sandbox.path("attack.tar");
        let mut tar = Tar::create(&path);
        make(&mut tar, &relative);
        tar.finish();
        let ended = sandbox.dhow(["import", path.to_str().unwrap(), name]);
        assert!(ended.code == 0 || ended.code == 1, "{name}: {ended:?}");
        assert_eq!(names_in(&outside), ["file"], "{name}");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched", "{name}");
    }
}

// 2024-40635, 2026-46680, 2026-47262, 2026-30892
#[test]
fn odd_users_never_become_root_or_another() {
    let sandbox = Sandbox::with_busybox();
    let odd = [
        "2147483648",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "-1",
        "0x0",
        "0:4294967296",
        " 0",
        "+0",
    ];
    let complaint = |user: &&str| {
        let ended = sandbox.dhow(["run", "--rm", &format!("--user={user}"), "busybox", "id"]);
        ended.why_not_failed(125, "").map(|c| format!("{user:?}: {c}"))
    };
    assert_none(&odd.iter().filter_map(complaint).collect::<Vec<_>>());
    // A name that is a number does not lend its owner's rights, nor does a group's.
    assert_eq!(sandbox.ok(["run", "--rm", "-u", "1234", "busybox", "id", "-u"]), "1234");
    assert_eq!(sandbox.ok(["run", "--rm", "-u", "1000:77", "busybox", "id", "-g"]), "77");
    // The greatest that is one.
    assert_eq!(sandbox.ok(["run", "--rm", "-u", "2147483647", "busybox", "id", "-u"]), "2147483647");

    let text = "root:x:0:0::/:/bin/sh\nshort:x\nempty::::::\nminus:x:-1:-1::/:/bin/sh\nlarge:x:4294967296:0::/:/bin/sh\n\
                \n:x:0:0::/:\nno-number:x:zero:0::/:/bin/sh\n";
    image(&sandbox, "odd", |tar| {
        tar.file("etc/passwd", 0o644, text.as_bytes());
        tar.file("etc/group", 0o644, b"root:x:0:\nbad\nbad:x:\nlarge:x:4294967296:root\n");
    });
    for user in ["short", "empty", "minus", "large", "no-number", ":", "root:large", "root:bad"] {
        let ended = sandbox.dhow(["run", "--rm", "-u", user, "odd", "id"]);
        // An empty user is root by Docker's rules only when nothing at all is given.
        assert!(ended.code == 125 || (user == ":" && ended.code == 0), "{user}: {ended:?}");
    }
}

// 2024-40635, 2024-9676
#[test]
fn huge_or_special_user_files_are_refused_in_bounded_time_and_memory() {
    let sandbox = Sandbox::with_busybox();
    image(&sandbox, "fifo", |tar| {
        tar.fifo("etc/passwd");
        tar.fifo("etc/group");
    });
    image(&sandbox, "device", |tar| tar.link("etc/passwd", "/dev/zero"));
    let before = Instant::now();
    for name in ["fifo", "device"] {
        let ended = sandbox.dhow(["run", "--rm", "-u", "app", name, "id"]);
        assert_eq!(ended.code, 125, "{ended:?}");
    }
    sandbox
        .dhow([
            "run",
            "--name",
            "huge",
            "-u",
            "root:staff",
            "busybox",
            "sh",
            "-c",
            "truncate -s 4G /etc/group",
        ])
        .ok();
    let ended = sandbox.dhow(["start", "-a", "huge"]);
    assert_ne!(ended.code, 0, "{ended:?}");
    assert!(before.elapsed() < Duration::from_secs(15), "{:?}", before.elapsed());
}

// 2022-36109, 2023-25173
#[test]
fn supplementary_groups_are_the_users_own() {
    let sandbox = Sandbox::with_busybox();
    image(&sandbox, "groups", |tar| {
        tar.file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n");
        tar.file("etc/group", 0o644, b"root:x:0:\napp:x:1000:\ndenied:x:600:app\nother:x:601:root\n");
    });
    assert_eq!(sandbox.ok(["run", "--rm", "-u", "app", "groups", "id", "-G"]), "1000 600");
    assert_eq!(sandbox.ok(["run", "--rm", "-u", "1000:1000", "groups", "id", "-G"]), "1000");
    assert_eq!(sandbox.ok(["run", "--rm", "groups", "id", "-G"]), "0 601");
    // A group that is denied a file stays in the set: else the file would open up.
    let script = "echo secret >/s; chgrp 600 /s; chmod 604 /s; su app -c 'cat /s'";
    let ended = sandbox.dhow(["run", "--rm", "groups", "sh", "-c", script]);
    assert!(!ended.stdout.contains("secret"), "{ended:?}");
}

// 2021-41091, 2021-41103, 2024-25621
#[test]
fn nobody_else_reaches_the_engines_directories() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    for top in [sandbox.root(), sandbox.state()] {
        let mut open = vec![top.clone()];
        let mut checked = 0;
        while let Some(directory) = open.pop() {
            let mode = fs::metadata(&directory).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o700, "{}", directory.display());
            checked += 1;
            // Below these lie trees that belong to images and containers.
            let own = names_in(&directory)
                .into_iter()
                .filter(|n| !["diff", "upper", "work", "_data"].contains(&n.as_str()));
            for path in own.map(|n| directory.join(n)) {
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    open.push(path);
                } else if directory == top {
                    // The database and what belongs to it: closed even for whoever got past the directory.
                    assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
                }
            }
        }
        assert!(checked > 1, "{}", top.display());
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "ls"])
            .arg(top.join("containers"))
            .output()
            .unwrap();
        assert!(!output.status.success());
    }
}

// 2020-15257, 2021-4024, 2025-9074
#[test]
fn no_socket_of_ours_can_be_reached_from_a_container() {
    let sandbox = Sandbox::with_busybox();
    let _server = sandbox.serve();
    sandbox.ok(["run", "-d", "--name", "box", "--network", "host", "busybox", "sleep", "1000"]);
    let sockets = sandbox.ok(["exec", "box", "cat", "/proc/net/unix"]);
    let own = sandbox.path("");
    let abstracts: Vec<&str> = sockets
        .lines()
        .filter(|l| l.contains('@'))
        .filter(|l| l.contains("dhow") || l.contains(own.to_str().unwrap()))
        .collect();
    assert_eq!(abstracts, Vec::<&str>::new());
    let listening = sandbox.ok([
        "exec",
        "box",
        "sh",
        "-c",
        &format!("ls -d {} {} 2>/dev/null; true", own.display(), "/run/dhow"),
    ]);
    assert_eq!(listening, "", "the container sees the engine's directories");
}

// 2022-0492, 2023-25809
#[test]
fn cgroups_are_read_only_and_the_kernels_knobs_are_covered() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/made 2>/dev/null && echo made $d; done; \
                  for d in /sys/fs/cgroup/*; do (echo 1 >$d/release_agent) 2>/dev/null && echo agent $d; \
                  (echo 1 >$d/notify_on_release) 2>/dev/null && echo notify $d; done; \
                  mount -t cgroup -o memory none /mnt 2>/dev/null && echo mounted; \
                  mount -t tmpfs none /mnt 2>/dev/null && echo mounted; \
                  unshare -r true 2>/dev/null && echo user-namespace; \
                  for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/sys/vm/drop_caches /proc/irq/default_smp_affinity /sys/kernel/uevent_seqnum /sys/power/state; do \
                    (echo 1 >$f) 2>/dev/null && echo wrote $f; done; \
                  for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/scsi /sys/firmware; do \
                    test -e $f && (cat $f; ls -A $f) 2>/dev/null | grep -v -x -F $f | head -c 20; done; \
                  head -c 1 /proc/kcore 2>/dev/null | wc -c";
    for command in [&["run", "--rm", "busybox"][..], &["exec", "box"]] {
        assert_eq!(
            sandbox.dhow(command.iter().chain(&["sh", "-c", script])).stdout.trim(),
            "0",
            "{command:?}"
        );
    }
    // Device nodes can be made, as in Docker, but not opened.
    let disk = "mknod /disk b 254 0; mknod /mem c 1 1; (head -c 1 </disk) 2>&1; (head -c 1 </mem) 2>&1; true";
    let told = sandbox.ok(["run", "--rm", "busybox", "sh", "-c", disk]);
    assert_eq!(told.matches("Operation not permitted").count(), 2, "{told}");
}

// 2020-14370
#[test]
fn environments_do_not_leak() {
    let sandbox = Sandbox::with_busybox();
    let mut command = sandbox.command([
        "run",
        "-d",
        "--name",
        "first",
        "-e",
        "PRIVATE_OF_FIRST=1",
        "busybox",
        "sleep",
        "1000",
    ]);
    command.env("SECRET_OF_CALLER", "2");
    finish(command, b"").ok();
    let mut command = sandbox.command(["run", "--rm", "busybox", "env"]);
    command.env("SECRET_OF_CALLER", "2");
    let environment = finish(command, b"").ok();
    assert!(!environment.contains("SECRET") && !environment.contains("PRIVATE"), "{environment}");
    let mut command = sandbox.command(["exec", "first", "env"]);
    command.env("SECRET_OF_CALLER", "2");
    let environment = finish(command, b"").ok();
    assert!(!environment.contains("SECRET") && environment.contains("PRIVATE_OF_FIRST=1"), "{environment}");
    // The monitor outlives its caller, and has no use for the caller's secrets.
    let status = fs::read_to_string(format!("/proc/{}/status", sandbox.pid("first"))).unwrap();
    let parent = status.lines().find_map(|l| l.strip_prefix("PPid:\t")).unwrap();
    let kept = fs::read(format!("/proc/{parent}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains("SECRET"), "the monitor keeps its caller's environment");
}

// 2026-53488 and its like
#[test]
fn labels_and_annotations_are_inert() {
    let sandbox = Sandbox::with_busybox();
    let labels = [
        "io.podman.annotations.privileged=TRUE",
        "org.systemd.property.x='y'",
        "run.oci.handler=/bin/sh",
        "module.wasm.image/variant=compat",
    ];
    let mut arguments = vec!["run", "--rm"];
    for label in labels {
        arguments.extend(["--label", label, "--annotation", label]);
    }
    arguments.extend(["busybox", "grep", "CapEff", "/proc/self/status"]);
    assert_eq!(sandbox.ok(arguments), "CapEff:\t00000000a80425fb");
}

// Not a row, but what all rows rest on.
#[test]
fn a_container_sees_only_its_own_processes_mounts_and_names() {
    let sandbox = Sandbox::with_busybox();
    let script = "ls -d /proc/[0-9]* | wc -l; hostname; grep -c /work /proc/mounts; cat /proc/sys/kernel/hostname | wc -l";
    let output = sandbox.ok(["run", "--rm", "-h", "own", "busybox", "sh", "-c", script]);
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].parse::<u32>().unwrap() <= 3, "{output}");
    assert_eq!(lines[1], "own");
    let mounts = sandbox.ok(["run", "--rm", "busybox", "cat", "/proc/self/mountinfo"]);
    let propagating: Vec<&str> = mounts.lines().filter(|l| l.contains("shared:")).collect();
    assert_eq!(propagating, Vec::<&str>::new(), "mounts would travel to the host");
    let root = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!root.contains(sandbox.root().to_str().unwrap()), "the host's mount table changed: {root}");
}
