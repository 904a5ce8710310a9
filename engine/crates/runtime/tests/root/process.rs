//! Program, user, environment, descriptors, terminal, exec.

use crate::fixture::{Box, eventually, finish};
use dhow_model::ErrorKind;
use dhow_model::resources::Ulimit;
use dhow_runtime::plan::Scene;
use dhow_runtime::{ChildStdio, launch, plan_launch};
use std::os::unix::fs::PermissionsExt;
use std::{fs, io::Read, io::Write};

#[test]
fn pid_1_with_its_environment() {
    let b = Box::new("echo $$; env | sort; pwd; umask; hostname; cat /proc/$$/cmdline | head -c2");
    let out = b.output();
    assert_eq!(
        out,
        "1\nHOME=/root\nHOSTNAME=box\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\nSHLVL=1\n/\n0022\nbox\nsh"
    );
}

#[test]
fn exit_codes_signals_and_streams() {
    let outcome = Box::new("echo out; echo err >&2; exit 7").run().unwrap();
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (7, "out\n", "err\n"));
    assert_eq!(Box::new("kill -USR1 $$; sleep 1; exit 3").run().unwrap().code, 3, "pid 1 ignores it");
    let mut b = Box::new("cat; echo $?");
    b.input = Some(b"hello\n".to_vec());
    assert_eq!(b.output(), "hello\n0");
}

#[test]
fn only_0_1_2_are_open() {
    let _extra = fs::File::open("/etc/passwd").unwrap();
    assert_eq!(
        Box::new("ls /proc/1/fd; ls -l /proc/1/fd/0 | sed 's/.*-> //'").output(),
        "0\n1\n2\n/dev/null"
    );
}

#[test]
fn a_user_with_groups_in_a_working_directory() {
    let mut b = Box::new(
        "id -u; id -g; id -G; pwd; echo $HOME; touch /root/x 2>/dev/null || echo no; sh -c 'exit 0' > /dev/stdout",
    );
    b.spec.config.user = "bob".into();
    b.spec.config.working_dir = "/made/by/dhow".into();
    b.spec.config.host.group_add = vec!["wheel".into(), "4444".into()];
    assert_eq!(b.output(), "1000\n1000\n1000 10 4444\n/made/by/dhow\n/home/bob\nno");
    assert!(b.root().join("made/by/dhow").is_dir());
    b.spec.config.user = "nobody-here".into();
    let error = b.run().unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nobody-here: no matching entries in passwd file");
}

#[test]
fn commands_that_cannot_run() {
    let mut b = Box::new("");
    let mut failure = |argv: &[&str]| {
        let error = b.cmd(argv).run().unwrap_err();
        (error.kind(), error.to_string())
    };
    let (not_found, not_executable) = (ErrorKind::CommandNotFound, ErrorKind::CommandNotExecutable);
    assert_eq!(failure(&["foo"]), (not_found, "exec: \"foo\": executable file not found in $PATH".into()));
    assert_eq!(
        failure(&["/foo"]),
        (not_found, "exec: \"/foo\": stat /foo: no such file or directory".into())
    );
    assert_eq!(failure(&["/etc"]), (not_executable, "exec: \"/etc\": is a directory".into()));
    assert_eq!(
        failure(&["/etc/passwd"]),
        (not_executable, "exec: \"/etc/passwd\": permission denied".into())
    );
    assert_eq!(failure(&["/etc/passwd/x"]).0, not_executable);

    let script = b.root().join("bin/script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let error = b.cmd(&["script"]).run().unwrap_err();
    assert_eq!(error.kind(), not_found);
    assert!(error.to_string().starts_with("exec script: no such file or directory"), "{error}");
    fs::write(&script, "no format at all").unwrap();
    let error = b.cmd(&["script"]).run().unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (not_executable, "exec script: exec format error".into()));
    assert_eq!(leftover_cgroups(&b), 0);
}

fn leftover_cgroups(b: &Box) -> usize {
    let paths = b.facts.cgroup.paths_for("dhow-test", b.spec.id.as_str());
    paths.v1.iter().map(|v1| &v1.path).chain(&paths.unified).filter(|path| path.exists()).count()
}

#[test]
fn a_terminal() {
    let mut b = Box::new(
        "tty; stty size; ls -l /dev/console | cut -c1; echo $TERM; test -t 1 && echo yes; cat /dev/tty & kill $!; ps -o tty | tail -1",
    );
    b.spec.config.tty = true;
    let outcome = b.run().unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.out.starts_with("/dev/pts/0\n24 80\nc\nxterm\nyes\n"), "{outcome:?}");
}

#[test]
fn a_terminal_interrupts() {
    let mut b = Box::new("trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done");
    b.spec.config.tty = true;
    let launched = b.start().unwrap();
    let mut master = fs::File::from(launched.pty.as_ref().unwrap().try_clone().unwrap());
    let mut seen = String::new();
    eventually("ready", || {
        let mut buffer = [0; 256];
        if let Ok(count) = master.read(&mut buffer) {
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        seen.contains("ready")
    });
    master.write_all(&[3]).unwrap();
    let outcome = finish(launched);
    assert_eq!(outcome.code, 5, "{outcome:?}");
    assert!(outcome.out.contains("caught"));
}

#[test]
fn limits_of_the_process() {
    let mut b = Box::new("ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj");
    b.spec.config.host.resources.ulimits = vec![
        Ulimit { name: "nofile".into(), soft: 100, hard: 1_000_000_000 },
        Ulimit { name: "core".into(), soft: 0, hard: 0 },
    ];
    b.spec.config.host.resources.oom_score_adj = 500;
    let own = b.facts.rlimits.iter().find(|l| l.name == "nofile").unwrap().hard;
    let expected = if b.facts.may_raise_rlimits() { 1_000_000_000 } else { own };
    assert_eq!(b.output(), format!("100\n{expected}\n0\n500"));
}

#[test]
fn exec_joins_everything() {
    let b = Box::new("mkdir /tmp/inside; exec sleep 100");
    let launched = b.start().unwrap();
    eventually("the container sleeps", || {
        fs::read_to_string(format!("/proc/{}/comm", launched.pid)).unwrap() == "sleep\n"
    });
    let script = "hostname; ls /tmp; cat /proc/1/comm; ls /proc/self/fd | wc -l; for n in /proc/self/ns/*; do readlink $n; done > /tmp/a; for n in /proc/1/ns/*; do readlink $n; done > /tmp/b; cmp /tmp/a /tmp/b && echo same; cat /proc/self/cgroup | sed 's/.*://' | sort -u; grep -E 'CapInh|CapAmb|Seccomp:' /proc/self/status";
    let mut spec = b.exec_spec(&launched, &["sh", "-c", script]);
    let outcome = b.exec(&spec).unwrap();
    assert_eq!(outcome.err, "");
    assert_eq!(
        outcome.out,
        "box\ninside\nsleep\n4\nsame\n/\nCapInh:\t0000000000000000\nCapAmb:\t0000000000000000\nSeccomp:\t2\n",
        "{outcome:?}"
    );

    spec.argv = ["sh", "-c", "id -u; pwd; tty; echo $TERM"].map(str::to_owned).to_vec();
    (spec.user, spec.working_dir, spec.tty) = ("bob".into(), "/home/bob".into(), true);
    assert_eq!(b.exec(&spec).unwrap().out, "1000\n/home/bob\n/dev/pts/0\nxterm\n");

    spec.tty = false;
    spec.argv = vec!["nothing".into()];
    assert_eq!(b.exec(&spec).unwrap_err().kind(), ErrorKind::CommandNotFound);
    spec.working_dir = "/nowhere".into();
    let error = b.exec(&spec).unwrap_err();
    assert_eq!(error.to_string(), "chdir to cwd (\"/nowhere\"): no such file or directory");
    spec.container_start_ticks += 1;
    assert_eq!(b.exec(&spec).unwrap_err().kind(), ErrorKind::Conflict);

    launched.cgroup.as_ref().unwrap().kill_all();
    assert_eq!(finish(launched).code, 137);
}

/// A time namespace: plan data without a flag of its own yet.
#[test]
fn clocks_of_its_own() {
    let b = Box::new("cut -d. -f1 /proc/uptime; readlink /proc/self/ns/time");
    let mut plan = plan_launch(&b.spec, &b.facts).unwrap();
    if let Scene::Container { clock_offsets, .. } = &mut plan.scene {
        *clock_offsets = Some((1_000_000, 5_000_000));
    }
    let own = fs::read_link("/proc/thread-self/ns/time").unwrap();
    for _ in 0..2 {
        let outcome = finish(launch(&plan, ChildStdio::Pipes { stdin: false }).unwrap());
        let lines: Vec<&str> = outcome.out.lines().collect();
        let uptime: u64 = lines[0].parse().unwrap();
        let ours = fs::read_to_string("/proc/uptime").unwrap();
        let ours: u64 = ours.split('.').next().unwrap().parse().unwrap();
        assert!((5_000_000..5_000_060).contains(&(uptime - ours + 5)), "{outcome:?}");
        assert_ne!(lines[1], own.to_str().unwrap());
    }
}

/// A static pid 1 of the kind that `--init` takes: it is given the file, then the arguments.
#[test]
fn an_init_gets_the_resolved_program() {
    let mut b = Box::new("");
    let init = b.dir.path().join("init");
    fs::write(&init, "#!/bin/sh\necho $0 \"$@\"; shift 2; exec echo pid $$ \"$@\"\n").unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    b.spec.init_binary = Some(init);
    b.cmd(&["ls", "-l"]);
    assert_eq!(b.output(), "/sbin/dhow-init /bin/ls ls -l\npid 1 -l");
    b.cmd(&["nothing"]);
    let error = b.run().unwrap_err();
    assert_eq!(error.to_string(), "exec: \"nothing\": executable file not found in $PATH");
    b.cmd(&["/etc"]);
    assert_eq!(b.run().unwrap_err().to_string(), "exec: \"/etc\": is a directory");
}
