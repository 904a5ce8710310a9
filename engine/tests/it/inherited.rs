//! What a caller has reaches no container: a program that sets everything that fork and exec hand on, all at once, and
//! becomes the command; and the same program in a container, which tells what arrived.

use crate::fixtures::c_program;
use crate::leaks::hierarchies;
use crate::sandbox::{DHOW, Ended, Sandbox, eventually, finish};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = include_str!("../programs/inherited.c");

/// What a container has, whoever calls. `ARCHITECTURE.md` has the same table.
const WANTED: [(&str, &str); 52] = [
    ("umask", "022"),
    ("rlimit as", "unlimited unlimited"),
    ("rlimit core", "unlimited unlimited"),
    ("rlimit cpu", "unlimited unlimited"),
    ("rlimit data", "unlimited unlimited"),
    ("rlimit fsize", "unlimited unlimited"),
    ("rlimit locks", "unlimited unlimited"),
    ("rlimit memlock", "8388608 8388608"),
    ("rlimit msgqueue", "819200 819200"),
    ("rlimit nice", "0 0"),
    ("rlimit nofile", "1048576 1048576"),
    ("rlimit nproc", "unlimited unlimited"),
    ("rlimit rss", "unlimited unlimited"),
    ("rlimit rtprio", "0 0"),
    ("rlimit rttime", "unlimited unlimited"),
    ("rlimit sigpending", AS_PROCESS_1),
    ("rlimit stack", "8388608 unlimited"),
    ("nice", "0"),
    ("policy", "0"),
    ("ioprio", "0"),
    ("processors", AS_PROCESS_1),
    ("memory policy", "0"),
    ("oom_score_adj", "0"),
    ("coredump_filter", "00000033"),
    ("personality", "0"),
    ("no_new_privs", "0"),
    ("securebits", "0"),
    ("timer slack", "50000"),
    ("huge pages refused", "0"),
    ("pages merged", "0"),
    // PR_MCE_KILL_DEFAULT
    ("memory errors", "2"),
    ("store bypass", OF_THE_MACHINE),
    ("indirect branches", OF_THE_MACHINE),
    // Dies with its monitor.
    ("parent death signal", "9"),
    ("child subreaper", "0"),
    ("dumpable", "1"),
    ("key of the session", "none"),
    ("ids", "0 0 0"),
    ("environment", "none"),
    ("descriptor 200", "closed"),
    ("directory", "/"),
    ("session", "own"),
    ("root", "755 0:0"),
    ("hosts", "644 0:0"),
    ("Groups", "0"),
    ("SigBlk", "0000000000000000"),
    ("SigIgn", "0000000000000000"),
    ("CapInh", "0000000000000000"),
    ("CapPrm", "00000000a80425fb"),
    ("CapEff", "00000000a80425fb"),
    ("CapBnd", "00000000a80425fb"),
    ("CapAmb", "0000000000000000"),
];
/// Depends on the machine: read from its first process.
const AS_PROCESS_1: &str = "as process 1";
/// Depends on the processor: what this test has.
const OF_THE_MACHINE: &str = "of the machine";

type Rows = BTreeMap<String, String>;

fn rows(text: &str) -> Rows {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// The program, in a directory that containers mount at `/t`.
fn program() -> PathBuf {
    c_program("inherited", PROGRAM)
}

fn mount() -> String {
    format!("{}:/t:ro", program().parent().unwrap().display())
}

/// A command line, by a caller that has been through `how` of the program.
fn by(sandbox: &Sandbox, how: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args([how, DHOW, "--root"]).arg(sandbox.root()).arg("--state").arg(sandbox.state());
    command.args(arguments);
    sandbox.isolate(&mut command);
    command
}

fn hostile(sandbox: &Sandbox, arguments: &[&str]) -> Ended {
    finish(by(sandbox, "set", arguments), b"")
}

/// Flags for a container in which the program may ask everything.
fn flags<'a>(mount: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--security-opt", "seccomp=unconfined", "-v", mount];
    all.extend(more);
    all
}

/// What is wanted here: hard limits that this process has not the right to raise stay as they are.
fn wanted() -> Rows {
    let own = rows(&finish(show_here(), b"").ok());
    let limits = fs::read_to_string("/proc/1/limits").unwrap();
    let pending = limits.lines().find(|l| l.starts_with("Max pending signals")).unwrap();
    let pending = pending.split_whitespace().nth(4).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap();
    let may_raise = u64::from_str_radix(effective.trim(), 16).unwrap() & 1 << 24 != 0;
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let mut wanted = Rows::new();
    for (name, value) in WANTED {
        let mut value = match value {
            OF_THE_MACHINE => own[name].clone(),
            AS_PROCESS_1 if name == "processors" => own[name].clone(),
            AS_PROCESS_1 => format!("{pending} {pending}"),
            value => value.to_owned(),
        };
        if name.starts_with("rlimit") && !may_raise {
            let (soft, hard) = value.split_once(' ').unwrap();
            let (_, highest) = own[name].split_once(' ').unwrap();
            let least = |one: &str| if number(one) < number(highest) { one } else { highest }.to_owned();
            value = format!("{} {}", least(soft), least(hard));
        }
        wanted.insert(name.to_owned(), value);
    }
    wanted
}

fn show_here() -> Command {
    let mut command = Command::new(program());
    command.arg("show");
    command
}

#[track_caller]
fn assert_wanted(what: &str, text: &str) {
    let found = rows(text);
    let wrong: Vec<String> = wanted()
        .iter()
        .filter(|(name, value)| found.get(*name) != Some(value))
        .map(|(name, value)| format!("{name}: {:?}, and not {value:?}", found.get(name)))
        .collect();
    assert!(wrong.is_empty(), "{what}:\n{}\n{text}", wrong.join("\n"));
}

/// Without this the tests below could pass for nothing.
#[test]
fn the_hostile_caller_has_it_all() {
    let mut command = Command::new(program());
    command.arg("set").arg(program()).arg("show");
    let found = rows(&finish(command, b"").ok());
    let own = rows(&finish(show_here(), b"").ok());
    let same: Vec<&str> = WANTED
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| found[*name] == own[*name])
        // exec, other users' files and hard limits of 0; kernels without NUMA, KSM; processors without the switch.
        .filter(|name| {
            !["dumpable", "session", "root", "hosts", "no_new_privs", "rlimit nice", "rlimit rtprio"]
                .contains(name)
                && !["CapPrm", "CapEff", "CapBnd", "memory policy", "pages merged"].contains(name)
                && !["store bypass", "indirect branches"].contains(name)
        })
        // One processor alone has no other.
        .filter(|name| *name != "processors" || own["processors"] != "1")
        .collect();
    assert_eq!(same, Vec::<&str>::new(), "the caller is not as odd as it should be");
}

#[test]
fn run_start_and_restart_inherit_nothing() {
    let sandbox = Sandbox::with_busybox();
    let mount = mount();
    let shown = ["busybox", "/t/inherited", "show"];
    let usual = sandbox.ok([&["run", "--rm"][..], &flags(&mount, &[]), &shown].concat());
    assert_wanted("a usual caller", &usual);
    let ended = hostile(&sandbox, &[&["run", "--rm"][..], &flags(&mount, &[]), &shown].concat());
    assert_wanted("run", &ended.ok());

    hostile(&sandbox, &[&["create", "--name", "box"][..], &flags(&mount, &[]), &shown].concat()).ok();
    assert_wanted("start", &hostile(&sandbox, &["start", "-a", "box"]).ok());
    hostile(&sandbox, &["restart", "box"]).ok();
    sandbox.ok(["wait", "box"]);
    let both = sandbox.ok(["logs", "box"]);
    let second = both.rfind("umask:").unwrap();
    assert_ne!(second, 0, "{both}");
    assert_wanted("restart", &both[second..]);

    let again = ["busybox", "/t/inherited", "show", "1"];
    let policy = flags(&mount, &["--restart", "on-failure:1", "--name", "again"]);
    hostile(&sandbox, &[&["run", "-d"][..], &policy, &again].concat()).ok();
    eventually("it was started again", || sandbox.ok(["logs", "again"]).matches("CapAmb:").count() == 2);
    let both = sandbox.ok(["logs", "again"]);
    let second = both.rfind("umask:").unwrap();
    assert_ne!(second, 0, "{both}");
    assert_wanted("a start by the policy", &both[second..]);
}

#[test]
fn exec_and_health_checks_inherit_nothing() {
    let sandbox = Sandbox::with_busybox();
    let mount = mount();
    let health = ["--health-cmd", "exec /t/inherited show", "--health-interval", "1s", "--name", "box"];
    hostile(&sandbox, &[&["run", "-d"][..], &flags(&mount, &health), &["busybox", "sleep", "1000"]].concat())
        .ok();
    assert_wanted("exec", &hostile(&sandbox, &["exec", "box", "/t/inherited", "show"]).ok());
    let log = |sandbox: &Sandbox| sandbox.container_state("box")["Health"]["Log"][0]["Output"].clone();
    eventually("its health was checked", || log(&sandbox).is_string());
    assert_wanted("health check", log(&sandbox).as_str().unwrap());
}

#[test]
fn the_api_inherits_nothing() {
    let sandbox = Sandbox::with_busybox();
    let mount = mount();
    let socket = sandbox.path("odd.sock");
    let address = format!("unix://{}", socket.display());
    let server = crate::live::Live::spawn(by(&sandbox, "set", &["-H", &address, "serve"]));
    eventually("dhow serve listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let shown = ["busybox", "/t/inherited", "show"];
    let mut command = Command::new(DHOW);
    sandbox.isolate(&mut command);
    command.args([&["-H", &address, "run", "--rm"][..], &flags(&mount, &[]), &shown].concat());
    let ended = finish(command, b"").ok();
    assert_wanted("the API", &ended);
    drop(server);
}

/// A caller in cgroups of its own, in every hierarchy.
struct Cgroups(Vec<PathBuf>);

impl Cgroups {
    fn new(sandbox: &Sandbox) -> Self {
        let name = format!("inherited-{}", sandbox.root().parent().unwrap().file_name().unwrap().display());
        let made = hierarchies().into_iter().map(|h| h.join(&name));
        let made = made.filter(|path| {
            let done = fs::create_dir(path).is_ok() && path.join("cgroup.procs").exists();
            // A cpuset of version 1 is born empty.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(above) = fs::read(path.parent().unwrap().join(file)) {
                    let _ = fs::write(path.join(file), above);
                }
            }
            done
        });
        let made: Vec<PathBuf> = made.collect();
        assert!(!made.is_empty(), "there are no cgroups");
        Self(made)
    }

    fn processes(&self) -> String {
        let of = |path: &PathBuf| fs::read_to_string(path.join("cgroup.procs")).unwrap();
        self.0.iter().map(of).collect()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for path in &self.0 {
            eventually("the caller's cgroup can be removed", || {
                fs::remove_dir(path).is_ok() || !path.exists()
            });
        }
    }
}

/// `systemctl stop` of the service that called, the end of an ssh session or a CI job.
#[test]
fn nobody_stays_in_the_callers_cgroups() {
    let sandbox = Sandbox::with_busybox();
    let groups = Cgroups::new(&sandbox);
    let list = groups.0.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ");
    let health = ["--health-cmd", "cat /proc/self/cgroup", "--health-interval", "1s", "--name", "box"];
    let run = [&["run", "-d", "--restart", "always"][..], &health, &["busybox", "sleep", "1000"]].concat();
    for arguments in [&run[..], &["exec", "-d", "box", "sleep", "1000"]] {
        let mut command = by(&sandbox, "set", arguments);
        command.env("INHERITED_CGROUPS", &list);
        finish(command, b"").ok();
        assert_eq!(groups.processes(), "", "after {arguments:?}");
    }
    let monitor = fs::read_to_string(format!("/proc/{}/stat", sandbox.pid("box"))).unwrap();
    let monitor = monitor.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
    let where_it_is = fs::read_to_string(format!("/proc/{monitor}/cgroup")).unwrap();
    for hierarchy in hierarchies() {
        let listed = fs::read_to_string(hierarchy.join("dhow/monitors/cgroup.procs")).unwrap();
        assert!(listed.lines().any(|pid| pid == monitor), "{}: {where_it_is}", hierarchy.display());
    }
    let log = |sandbox: &Sandbox| sandbox.container_state("box")["Health"]["Log"][0]["Output"].clone();
    eventually("its health was checked", || log(&sandbox).is_string());
    assert_eq!(groups.processes(), "");
}

/// The kernel lets nobody undo these, so the command says what will be otherwise.
#[test]
fn what_cannot_be_undone_is_told() {
    let sandbox = Sandbox::with_busybox();
    let run = ["run", "--rm", "busybox", "grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status"];
    let ended = finish(by(&sandbox, "bind", &run), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("NoNewPrivs:\t1"), "{ended:?}");
    for word in ["no_new_privs", "seccomp filter", "memory-deny-write-execute"] {
        assert!(
            ended.stderr.contains(&format!("WARNING: The container has its caller's {word}")),
            "{ended:?}"
        );
    }
    // Whoever wants it needs no warning of it.
    let wanted = ["run", "--rm", "--security-opt", "no-new-privileges", "busybox", "true"];
    assert!(!finish(by(&sandbox, "bind", &wanted), b"").stderr.contains("no_new_privs"));

    let without = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-net_raw,-chown", DHOW, "--root"]).arg(sandbox.root());
        command.arg("--state").arg(sandbox.state()).args(arguments);
        sandbox.isolate(&mut command);
        finish(command, b"")
    };
    let ended = without(&["run", "--rm", "busybox", "grep", "CapEff", "/proc/self/status"]);
    assert!(ended.stderr.contains("WARNING: The container is without CAP_CHOWN, CAP_NET_RAW"), "{ended:?}");
    assert!(ended.stdout.contains("00000000a80405fa"), "{ended:?}");
    let ended = without(&["run", "--rm", "--cap-drop", "ALL", "busybox", "true"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
}

/// Volumes, work directories, mount points and missing sources of binds, by somebody whose files nobody else may read.
#[test]
fn what_is_made_for_a_container_has_its_mode() {
    let sandbox = Sandbox::with_busybox();
    let source = sandbox.path("missing/source");
    let bind = format!("{}:/bound", source.display());
    let run = [
        "run",
        "--name",
        "box",
        "-u",
        "1000:1000",
        "-v",
        "vol:/vol/new",
        "-v",
        &bind,
        "-w",
        "/wd/sub",
        "busybox",
    ];
    let stat =
        "stat -c '%n %a %g' / /etc/hosts /etc/resolv.conf /etc/hostname /wd /wd/sub /vol /vol/new /bound";
    let ended = hostile(&sandbox, &[&run[..], &["sh", "-c", stat]].concat());
    let wanted = "/ 755 0\n/etc/hosts 644 0\n/etc/resolv.conf 644 0\n/etc/hostname 644 0\n/wd 755 0\n/wd/sub 755 0\n\
                  /vol 755 0\n/vol/new 755 0\n/bound 755 0";
    assert_eq!(ended.ok().trim(), wanted);
    assert!(Path::new(&source).is_dir());

    // Into a container that runs, and one that does not.
    fs::write(sandbox.path("file"), "x").unwrap();
    let file = sandbox.path("file");
    hostile(&sandbox, &["run", "-d", "--name", "live", "busybox", "sleep", "1000"]).ok();
    for name in ["box", "live"] {
        hostile(&sandbox, &["cp", file.to_str().unwrap(), &format!("{name}:/copied")]).ok();
    }
    assert_eq!(sandbox.ok(["exec", "live", "stat", "-c", "%a", "/", "/copied"]), "755\n644");
}
