//! A hermetic engine: its own root and state directories, the built binary, and a check at its end that
//! nothing of it is left on the machine.

use crate::fixtures;
use crate::leaks;
use crate::live::Live;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program under test.
pub(crate) const DHOW: &str = env!("CARGO_BIN_EXE_dhow");

/// No single command of these tests needs longer, even while all the cores are busy with other tests.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// An engine of one test. Dropping it removes everything, and fails the test if something is left.
pub(crate) struct Sandbox {
    directory: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    #[allow(dead_code, reason = "for Debug: what a failed assertion shows")]
    command: String,
    /// Exit code; 128 + signal when a signal ended it, as a shell tells it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    /// An empty engine.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests run real containers: run them as root");
        // Directly in /tmp and short: sockets with 64-digit ids live below, and their paths have 107 bytes.
        let directory = tempfile::Builder::new().prefix("dh").tempdir_in("/tmp").unwrap();
        // So that only the engine's own modes keep others out.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { directory }
    }

    /// An engine with the image `busybox`.
    pub(crate) fn with_busybox() -> Self {
        let sandbox = Self::new();
        sandbox.ok(["import", fixtures::busybox_tar().to_str().unwrap(), "busybox"]);
        sandbox
    }

    /// A directory of this test's own, for files beside the engine's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `--root`.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("r")
    }

    /// `--state`.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("s")
    }

    /// `dhow` with this engine's directories, and an environment that points to no other engine.
    pub(crate) fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(DHOW);
        command.arg("--root").arg(self.root()).arg("--state").arg(self.state()).args(arguments);
        self.isolate(&mut command);
        command
    }

    /// Takes away what could lead a command to another engine or to the user's settings.
    pub(crate) fn isolate(&self, command: &mut Command) {
        for name in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DHOW_ROOT", "DHOW_STATE"] {
            command.env_remove(name);
        }
        command.env("HOME", self.directory.path()).stdin(Stdio::null());
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn dhow(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
        finish(self.command(arguments), b"")
    }

    /// Runs it to its end with something on its standard input.
    #[track_caller]
    pub(crate) fn dhow_with_input(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &[u8],
    ) -> Ended {
        finish(self.command(arguments), input)
    }

    /// Runs it to its successful end; returns what it printed, without the last newline.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        self.dhow(arguments).ok()
    }

    /// Starts it and lets it run.
    pub(crate) fn live(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Live {
        Live::spawn(self.command(arguments))
    }

    /// `dhow inspect` of one object.
    #[track_caller]
    pub(crate) fn inspect(&self, who: &str) -> Value {
        let text = self.ok(["inspect", who]);
        let mut list: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("inspect {who}: {e}: {text}"));
        list[0].take()
    }

    /// The state of a container as `inspect` tells it.
    #[track_caller]
    pub(crate) fn container_state(&self, who: &str) -> Value {
        self.inspect(who)["State"].take()
    }

    /// The first process of a running container, as the host sees it.
    #[track_caller]
    pub(crate) fn pid(&self, who: &str) -> i32 {
        let state = self.container_state(who);
        let pid = state["Pid"].as_i64().and_then(|p| i32::try_from(p).ok()).unwrap_or_default();
        assert!(pid > 1, "{who} has no process: {state}");
        pid
    }

    /// Waits until a container has that status.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, who: &str, status: &str) {
        eventually(&format!("{who} is {status}"), || self.container_state(who)["Status"] == status);
    }

    /// Starts `dhow serve` and waits until it answers.
    pub(crate) fn serve(&self) -> Server {
        let socket = self.path("api.sock");
        let address = format!("unix://{}", socket.display());
        let live = self.live(["-H", &address, "serve"]);
        eventually("dhow serve listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        Server { live, address, home: self.directory.path().to_owned() }
    }

    /// Ids of all containers.
    #[track_caller]
    pub(crate) fn container_ids(&self) -> Vec<String> {
        self.ok(["ps", "--all", "--quiet", "--no-trunc"]).lines().map(str::to_owned).collect()
    }

    /// Every event so far, oldest first.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.dhow(Self::all_events().iter()).ok();
        text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("event {l:?}: {e}"))).collect()
    }

    /// With `--until`, events end at a moment; one in the future would be waited for.
    fn all_events() -> Vec<String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        ["events", "--since", "0", "--until", &until, "--format", "{{json .}}"].map(str::to_owned).to_vec()
    }

    /// Asserts that the engine holds no container and no half-made file, whatever was tried before.
    #[track_caller]
    pub(crate) fn assert_no_containers(&self) {
        assert_eq!(self.container_ids(), Vec::<String>::new(), "containers are left");
        for directory in ["containers", "layers/tmp", "content/tmp"] {
            assert_eq!(names_in(&self.root().join(directory)), Vec::<String>::new(), "left in {directory}");
        }
    }

    /// The bridges of networks.
    fn bridges(&self, ids: &str) -> Vec<String> {
        let format =
            "{{if eq .Driver \"bridge\"}}{{index .Options \"com.docker.network.bridge.name\"}}{{end}}";
        let of = |id: &str| {
            let ended = finish(self.command(["network", "inspect", "--format", format, id]), b"");
            let name = ended.stdout.trim().trim_matches('\"').to_owned();
            if name.is_empty() || name == "<no value>" { format!("br-{id}") } else { name }
        };
        ids.split_whitespace().map(of).collect()
    }

    /// Removes every container and image, then looks for what is left. `Err` tells what.
    fn take_down(&self) -> Result<(), String> {
        let run = |arguments: &[&str]| {
            let ended = finish(self.command(arguments), b"");
            if ended.code == 0 { Ok(ended.stdout) } else { Err(format!("{ended:?}")) }
        };
        let remove_all = |list: &[&str], remove: &[&str]| {
            let listed = run(list)?;
            let mut names: Vec<&str> = listed.split_whitespace().collect();
            names.sort_unstable();
            names.dedup();
            if names.is_empty() { Ok(String::new()) } else { run(&[remove, &names].concat()) }
        };
        if !self.root().exists() {
            return Ok(());
        }
        let events = Self::all_events();
        let events = run(&events.iter().map(String::as_str).collect::<Vec<_>>());
        let networks = events.as_deref().is_ok_and(|text| text.contains("\"Type\":\"network\""));
        let ids = events.map(|text| leaks::containers_of_events(&text));
        let removed = remove_all(&["ps", "-aq"], &["rm", "-f", "-v"])
            .and_then(|_| remove_all(&["images", "-aq", "--no-trunc"], &["rmi", "-f"]));
        // Bridges outlive containers, as Docker's do; so the engine is told to take down what it made.
        let bridges = if networks {
            run(&["network", "ls", "-q"]).map(|ids| self.bridges(&ids))
        } else {
            Ok(Vec::new())
        };
        let removed = match removed {
            Ok(_) if networks => run(&["network", "prune", "--all", "--force"]),
            other => other,
        };
        let mut left = leaks::find(
            self.directory.path(),
            &self.root(),
            &self.state(),
            ids.as_deref().unwrap_or_default(),
        );
        ids.map_err(|e| format!("cannot list events: {e}"))?;
        removed?;
        left.extend(
            bridges?.into_iter().filter(|b| leaks::link_exists(b)).map(|b| format!("interface: {b}")),
        );
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.take_down()));
        let complaint = match result {
            Ok(Ok(())) => None,
            Ok(Err(left)) => Some(left),
            Err(_) => Some("the clean-up panicked".to_owned()),
        };
        if let Some(complaint) = complaint {
            // Whatever the engine did wrong, the machine must be clean for the next test.
            leaks::clean_up_by_force(self.directory.path());
            let message = format!("left by the test in {}:\n{complaint}", self.directory.path().display());
            if std::thread::panicking() {
                eprintln!("{message}");
            } else {
                panic!("{message}");
            }
        }
    }
}

impl Ended {
    /// Asserts success; the output without its last newline.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout).to_owned()
    }

    /// Asserts a failure with that code and one clear line.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, fragment: &str) {
        if let Some(complaint) = self.why_not_failed(code, fragment) {
            panic!("{complaint}");
        }
    }

    /// What is wrong with a failure that should have that code and one clear line on standard error. Beside it
    /// only what Docker's users know: that an image is not there locally, a last line that sums up, a hint,
    /// and warnings of what comes with a later version.
    pub(crate) fn why_not_failed(&self, code: i32, fragment: &str) -> Option<String> {
        let known = [
            "Run 'dhow ",
            "See 'dhow ",
            "Unable to find image ",
            "WARNING: ",
            "dhow: failed to start containers: ",
        ];
        let own = |line: &&str| !line.trim().is_empty() && !known.iter().any(|k| line.starts_with(k));
        let lines: Vec<&str> = self.stderr.lines().filter(own).collect();
        let Self { stdout, stderr, .. } = self;
        if self.code != code {
            Some(format!("the code is {}, not {code}: {stdout}{stderr}", self.code))
        } else if !stderr.to_lowercase().contains(&fragment.to_lowercase()) {
            Some(format!("the message does not say {fragment:?}: {stderr}"))
        } else if lines.len() != 1 && code != 0 {
            Some(format!("{} lines, not one: {stderr}", lines.len()))
        } else {
            None
        }
    }
}

/// Reports every case of a table that went wrong, not only the first.
#[track_caller]
pub(crate) fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} cases went wrong:\n{}", complaints.len(), complaints.join("\n"));
}

/// A running `dhow serve`.
pub(crate) struct Server {
    pub(crate) live: Live,
    pub(crate) address: String,
    home: PathBuf,
}

impl Server {
    /// Docker's own command line, talking to it.
    pub(crate) fn docker_command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.address]).args(arguments);
        command.env_remove("DOCKER_CONTEXT").env("HOME", &self.home).stdin(Stdio::null());
        command
    }

    /// The same, run to its end.
    #[track_caller]
    pub(crate) fn docker(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
        finish(self.docker_command(arguments), b"")
    }
}

/// Runs a command to its end, feeding and draining it all the while; one that hangs fails the test.
#[track_caller]
pub(crate) fn finish(mut command: Command, input: &[u8]) -> Ended {
    let shown = format!("{command:?}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot run {shown}: {e}"));
    let stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let (code, out, err) = std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A command that ends early closes its end; that is its right.
                let _ = std::io::Write::write_all(&mut stdin, input);
            }
        });
        let read = |stream: &mut dyn Read| {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let out = scope.spawn(move || read(&mut stdout));
        let err = scope.spawn(move || read(&mut stderr));
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(code_of(status));
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        (code, out.join().unwrap(), err.join().unwrap())
    });
    let Some(code) = code else {
        panic!("{shown} did not end in {COMMAND_TIMEOUT:?}\nstdout: {out}\nstderr: {err}");
    };
    Ended { command: shown, code, stdout: out, stderr: err }
}

/// A shell's view of a status.
pub(crate) fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1)
}

/// Waits for a condition; fails the test when it does not come true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "did not come true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Names of a directory's entries, sorted; none when it does not exist.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
