//! Directories of a test's own, and what must not be left in them.

use crate::stage::{self, Kind, Stage};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A monitor records the end of its container, then ends itself: that may take a moment on a busy machine.
const GRACE: Duration = Duration::from_secs(10);

/// An engine's directories. They go with it; so does what a failed test leaves running in them.
pub(crate) struct Sandbox(tempfile::TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("dhow-ffi-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        let root = self.path().join("root");
        fs::create_dir_all(&root).unwrap();
        root
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// A program as its kind is run, with the two directories as its first arguments.
    pub(crate) fn command(&self, program: &Path, kind: Kind) -> Command {
        let mut command = match kind {
            Kind::Valgrind => {
                let mut command = Command::new("valgrind");
                let suppressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/valgrind.supp");
                command.args(["-q", "--leak-check=full", "--error-exitcode=9"]);
                command.arg(format!("--suppressions={}", suppressions.display())).arg(program);
                command.env("DHOW_TEST_AGENT", Stage::get().agent(self));
                command
            }
            _ => Command::new(program),
        };
        if kind == Kind::Static {
            // Beside the program there is none.
            command.env("DHOW_HELPER", Stage::get().helper());
        }
        command.args([self.root(), self.state()]);
        command
    }

    /// No container, no session, no process.
    pub(crate) fn check_nothing_is_left(&self) {
        let deadline = Instant::now() + GRACE;
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn left(&self) -> Vec<String> {
        let places =
            [self.root().join("containers"), self.state().join("containers"), self.state().join("execs")];
        let files = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
        let mut left: Vec<String> = files.map(|entry| entry.path().display().to_string()).collect();
        left.extend(self.processes().into_iter().map(|pid| format!("process {pid}")));
        left
    }

    /// What an engine keeps on the host between containers: mounts of layers, bridges, rules.
    fn give_back(&self) {
        if !self.root().join("state.db").exists() {
            return;
        }
        // Not `Stage::get()`: making the stage drops a sandbox.
        let helper = stage::profile().join("dhow");
        for words in [["system", "prune", "-af"].as_slice(), &["network", "prune", "--all", "-f"]] {
            let mut command = Command::new(&helper);
            command.args(["--root".as_ref(), self.root().as_os_str()]);
            command.args(["--state".as_ref(), self.state().as_os_str()]).args(words);
            let output = command.output().expect("the helper that the stage has built");
            if !output.status.success() && !std::thread::panicking() {
                panic!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    /// Those that hold something of ours open: monitors.
    fn processes(&self) -> Vec<i32> {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
            .filter(|pid: &i32| {
                let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
                open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to.starts_with(self.path()))
            })
            .collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for pid in self.processes() {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
            // A container's first process dies with its monitor; then the directories can go.
            std::thread::sleep(Duration::from_millis(200));
        }
        self.give_back();
    }
}

/// Runs a program that must succeed; returns what it wrote.
pub(crate) fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}: run `cargo xtask setup`"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{text}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
