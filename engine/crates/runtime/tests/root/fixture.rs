//! A small root filesystem in a temporary directory, and one call that runs something in it.

use dhow_model::container::{ContainerConfig, HostConfig};
use dhow_model::security::{SeccompProfile, Security};
use dhow_model::{ContainerId, Digest, Result};
use dhow_runtime::{
    ChildStdio, ExecSpec, HostFacts, LaunchSpec, Launched, ResolvedMount, Rootfs, facts, launch, plan_exec,
    plan_launch, seccomp,
};
use dhow_sys::process::{self, Ended};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A container in the making.
pub(crate) struct Box {
    pub dir: tempfile::TempDir,
    pub spec: LaunchSpec,
    pub facts: HostFacts,
    /// Written to standard input, which is then closed.
    pub input: Option<Vec<u8>>,
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub oom_kills: u64,
}

/// A random-looking id that no other test of this run has.
fn next_id() -> ContainerId {
    let mut bytes = [0x5e; 32];
    bytes[..4].copy_from_slice(&NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes[4..8].copy_from_slice(&std::process::id().to_be_bytes());
    ContainerId::from_random(bytes)
}

/// busybox with its links, users and the usual directories.
pub(crate) fn make_rootfs(root: &Path) {
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "home/bob", "sbin", "usr/bin", "var"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(list).unwrap().lines().filter(|a| *a != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nbob:x:1000:\nwheel:x:10:root,bob\n").unwrap();
}

impl Box {
    /// A plain directory as root filesystem, running a shell script.
    pub(crate) fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        make_rootfs(&root);
        for (name, text) in
            [("hostname", "box\n"), ("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "# none\n")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let facts = facts::probe().unwrap();
        let security = Security::default();
        let filter =
            seccomp::compile(&SeccompProfile::Default, security.capability_mask(), facts.kernel).unwrap();
        let config = ContainerConfig {
            image: "busybox".into(),
            image_id: Digest::from_sha256([1; 32]),
            hostname: "box".into(),
            domainname: String::new(),
            user: String::new(),
            env: Vec::new(),
            entrypoint: Vec::new(),
            cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
            working_dir: String::new(),
            labels: BTreeMap::new(),
            volumes: BTreeSet::new(),
            exposed_ports: BTreeSet::new(),
            tty: false,
            open_stdin: false,
            stdin_once: false,
            attach_stdin: false,
            attach_stdout: true,
            attach_stderr: true,
            stop_signal: dhow_model::signal::Signal::TERM,
            stop_timeout: None,
            healthcheck: None,
            shell: vec![],
            host: HostConfig { security, ..HostConfig::default() },
        };
        let file = |name: &str| dir.path().join(name);
        let spec = LaunchSpec {
            id: next_id(),
            config,
            rootfs: Rootfs::Directory(root),
            hostname_file: file("hostname"),
            hosts_file: file("hosts"),
            resolv_conf_file: file("resolv.conf"),
            volumes: Vec::new(),
            cgroup_parent: "dhow-test".into(),
            init_binary: None,
            donors: dhow_runtime::Donors::default(),
            id_maps: None,
            seccomp: filter,
        };
        Self { dir, spec, facts, input: None }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn cmd(&mut self, argv: &[&str]) -> &mut Self {
        self.spec.config.cmd = argv.iter().map(|s| (*s).to_owned()).collect();
        self
    }

    /// Replaces the filter by what the security options ask for.
    pub(crate) fn recompile(&mut self) -> &mut Self {
        let security = &self.spec.config.host.security;
        self.spec.seccomp =
            seccomp::compile(&security.seccomp, security.capability_mask(), self.facts.kernel).unwrap();
        self
    }

    pub(crate) fn mount(&mut self, mount: dhow_model::mount::Mount, host_path: Option<PathBuf>) -> &mut Self {
        self.spec.volumes.push(ResolvedMount {
            mount,
            host_path,
            copy_up: false,
            filesystem: None,
            layers: Vec::new(),
        });
        self
    }

    pub(crate) fn start(&self) -> Result<Launched> {
        let plan = plan_launch(&self.spec, &self.facts)?;
        let stdio = if self.spec.config.tty {
            ChildStdio::Pty { rows: 24, cols: 80 }
        } else {
            ChildStdio::Pipes { stdin: self.input.is_some() }
        };
        launch(&plan, stdio)
    }

    pub(crate) fn run(&self) -> Result<Outcome> {
        let mut launched = self.start()?;
        if let (Some(input), Some(stdin)) = (&self.input, launched.stdin.take()) {
            fs::File::from(stdin).write_all(input).unwrap();
        }
        Ok(finish(launched))
    }

    /// Runs and expects success; the output without its last newline.
    #[track_caller]
    pub(crate) fn output(&self) -> String {
        let outcome = self.run().unwrap();
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "out: {}", outcome.out);
        outcome.out.trim_end().to_owned()
    }

    pub(crate) fn exec_spec(&self, launched: &Launched, argv: &[&str]) -> ExecSpec {
        let security = &self.spec.config.host.security;
        ExecSpec {
            container_pid: launched.pid,
            container_start_ticks: launched.start_ticks,
            argv: argv.iter().map(|s| (*s).to_owned()).collect(),
            env: vec!["PATH=/bin".into()],
            working_dir: String::new(),
            user: String::new(),
            group_add: Vec::new(),
            tty: false,
            privileged: false,
            capability_mask: security.capability_mask(),
            no_new_privileges: false,
            seccomp: self.spec.seccomp.clone(),
            cgroup: launched.cgroup.as_ref().unwrap().paths().clone(),
            ulimits: Vec::new(),
            oom_score_adj: 0,
        }
    }

    pub(crate) fn exec(&self, spec: &ExecSpec) -> Result<Outcome> {
        let plan = plan_exec(spec, &self.facts)?;
        let stdio = if spec.tty {
            ChildStdio::Pty { rows: 24, cols: 80 }
        } else {
            ChildStdio::Pipes { stdin: false }
        };
        launch(&plan, stdio).map(finish)
    }
}

impl Drop for Box {
    /// A test that failed half-way leaves no process and no cgroup.
    fn drop(&mut self) {
        let cgroup = dhow_runtime::cgroup::open_for(&self.spec.id, &self.spec.cgroup_parent, &self.facts);
        cgroup.kill_all();
        let _ = cgroup.remove();
    }
}

/// Collects output until the end, reaps, and removes the cgroup.
pub(crate) fn finish(launched: Launched) -> Outcome {
    drop(launched.stdin);
    let mut out = Vec::new();
    let mut err = Vec::new();
    if let Some(pty) = launched.pty {
        drain(&pty, &mut out);
    }
    if let (Some(stdout), Some(stderr)) = (launched.stdout, launched.stderr) {
        let reader = std::thread::spawn(move || {
            let mut err = Vec::new();
            drain(&stderr, &mut err);
            err
        });
        drain(&stdout, &mut out);
        err = reader.join().unwrap();
    }
    let code = match process::wait_pidfd(launched.pidfd.as_fd(), true).unwrap() {
        Some(Ended::Exited(code)) => code,
        Some(Ended::Killed(signal)) => 128 + signal,
        None => unreachable!("it was waited for"),
    };
    let oom_kills = launched.cgroup.as_ref().map_or(0, |c| c.oom_kills().unwrap());
    if let Some(cgroup) = launched.cgroup {
        cgroup.kill_all();
        cgroup.remove().unwrap();
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    Outcome { code, out: text(out), err: text(err), oom_kills }
}

fn drain(fd: &OwnedFd, into: &mut Vec<u8>) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let deadline = Instant::now() + PATIENCE;
    let mut file = fs::File::from(fd.try_clone().unwrap());
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(1000u16)).unwrap();
        match file.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => into.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // A terminal whose other side is closed.
            Err(_) => return,
        }
    }
    panic!("no end of output after {PATIENCE:?}: {}", String::from_utf8_lossy(into));
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
