//! The monitor with an ordinary child process in a container's place: no root, no namespaces.

use super::entry::{Arrival, Rest, supervise};
use super::event_loop::Settings;
use super::launcher::{Group, Launcher, Process};
use super::spec::LogTarget;
use super::{AfterExit, Backoff, Exit, Recorder, Report};
use crate::attach::{self, Hello, ServerDecoder, ServerFrame};
use crate::launch::ChildStdio;
use crate::log::{LogReader, ReadOptions, Stream};
use dhow_model::container::LogConfig;
use dhow_model::{Error, ErrorKind, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

mod clients;
mod life;
mod streams;

const ALL: Hello = Hello { stdout: true, stderr: true, stdin: true, control_only: false };
const OUT: Hello = Hello { stdout: true, stderr: true, stdin: false, control_only: false };

/// Launches a shell script.
struct Shell {
    script: String,
    group: Option<FakeGroup>,
}

impl Launcher for Shell {
    fn adapt(&mut self, _: super::NextRun) {
        unreachable!("this recorder has nothing to tell");
    }

    #[expect(clippy::zombie_processes, reason = "the monitor reaps it through its pidfd")]
    fn launch(&mut self, stdio: ChildStdio, meanwhile: &mut dyn FnMut(i32) -> Result<()>) -> Result<Process> {
        meanwhile(0)?;
        if self.script == "missing" {
            return Err(Error::new(
                ErrorKind::CommandNotFound,
                "exec: \"missing\": executable file not found in $PATH",
            ));
        }
        let nonblocking = |fd: OwnedFd| {
            fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
            fd
        };
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.script);
        let mut pty = None;
        match stdio {
            ChildStdio::Pty { rows, cols } => {
                let pair = nix::pty::openpty(None, None).unwrap();
                dhow_sys::pty::resize(pair.master.as_fd(), rows, cols).unwrap();
                for set in [Command::stdin, Command::stdout, Command::stderr] {
                    set(&mut command, pair.slave.try_clone().unwrap());
                }
                pty = Some(nonblocking(pair.master));
            }
            ChildStdio::Pipes { stdin } => {
                command.stdin(if stdin { Stdio::piped() } else { Stdio::null() });
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        Ok(Process {
            pid,
            pidfd: dhow_sys::process::pidfd_open(pid).unwrap(),
            start_ticks: dhow_sys::process::start_ticks(pid).unwrap(),
            stdin: child.stdin.take().map(|fd| nonblocking(fd.into())),
            stdout: child.stdout.take().map(|fd| nonblocking(fd.into())),
            stderr: child.stderr.take().map(|fd| nonblocking(fd.into())),
            pty,
            group: self.group.clone().map(|group| Box::new(group) as Box<dyn Group>),
        })
    }
}

/// A cgroup as far as the monitor knows: the OOM counter, and what was done to it.
#[derive(Clone, Default)]
struct FakeGroup(Arc<Mutex<(u64, Vec<&'static str>)>>);

impl Group for FakeGroup {
    fn oom_kills(&self) -> Result<u64> {
        Ok(self.0.lock().unwrap().0)
    }
    fn oom_event(&self) -> Result<Option<OwnedFd>> {
        Ok(None)
    }
    fn kill_all(&self) {
        self.0.lock().unwrap().1.push("kill_all");
    }
    fn remove(self: Box<Self>) -> Result<()> {
        self.0.lock().unwrap().1.push("remove");
        Ok(())
    }
}

/// What a recorder was told, in order.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Started(i32),
    StartFailed(i32),
    Exited(i32, Option<i32>, bool),
    Removed,
    Oom,
    Asked,
}

type Policy = Box<dyn FnMut(&Exit) -> AfterExit + Send>;

struct TestRecorder {
    told: Arc<Mutex<Vec<Told>>>,
    policy: Policy,
    /// Answers of `may_restart`.
    may: Arc<Mutex<bool>>,
    refuse_start: bool,
}

impl Recorder for TestRecorder {
    fn started(&mut self, pid: i32, _: u64) -> Result<()> {
        if self.refuse_start {
            return Err(Error::internal("no such row"));
        }
        self.told.lock().unwrap().push(Told::Started(pid));
        Ok(())
    }
    fn start_failed(&mut self, _: &Error, exit_code: i32) -> Result<AfterExit> {
        self.told.lock().unwrap().push(Told::StartFailed(exit_code));
        Ok(AfterExit::Stay)
    }
    fn exited(&mut self, exit: &Exit) -> Result<AfterExit> {
        self.told.lock().unwrap().push(Told::Exited(exit.code, exit.signal, exit.oom_killed));
        Ok((self.policy)(exit))
    }
    fn may_restart(&mut self) -> Result<bool> {
        self.told.lock().unwrap().push(Told::Asked);
        Ok(*self.may.lock().unwrap())
    }
    fn remove(&mut self) -> Result<()> {
        self.told.lock().unwrap().push(Told::Removed);
        Ok(())
    }
    fn oom(&mut self) -> Result<()> {
        self.told.lock().unwrap().push(Told::Oom);
        Ok(())
    }
}

/// How a test wants its monitor.
struct Setup {
    script: String,
    settings: Settings,
    log: Option<LogConfig>,
    size: (u16, u16),
    clients: Vec<Arrival>,
    policy: Policy,
    refuse_start: bool,
    group: Option<FakeGroup>,
}

impl Setup {
    fn new(script: &str) -> Self {
        Self {
            script: script.to_owned(),
            settings: Settings { is_container: true, tty: false, open_stdin: true, stdin_once: true },
            log: Some(LogConfig::default()),
            size: (0, 0),
            clients: Vec::new(),
            policy: Box::new(|_| AfterExit::Stay),
            refuse_start: false,
            group: None,
        }
    }

    /// A client that comes along.
    fn client(&mut self, hello: Hello) -> Peer {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        self.clients.push(Arrival::Client(theirs.into()));
        Peer::new(ours, hello)
    }

    fn run(self) -> Running {
        let scratch = tempfile::tempdir().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let may = Arc::new(Mutex::new(true));
        let log_path = scratch.path().join("log");
        let rest = Rest {
            settings: self.settings,
            console_size: self.size,
            log: self.log.map(|config| LogTarget {
                path: log_path.clone(),
                config,
                about: Default::default(),
            }),
            door: Some(super::door::Address {
                lock: scratch.path().join("state/monitor.lock"),
                socket: scratch.path().join("state/attach.sock"),
                roll: None,
            }),
        };
        let socket = scratch.path().join("state/attach.sock");
        let mut launcher = Shell { script: self.script, group: self.group };
        let mut recorder = TestRecorder {
            told: told.clone(),
            policy: self.policy,
            may: may.clone(),
            refuse_start: self.refuse_start,
        };
        let clients = self.clients;
        let (send, report) = channel();
        let thread = std::thread::spawn(move || {
            supervise(rest, clients, None, &mut launcher, &mut recorder, |r, _| {
                send.send(r.clone()).unwrap()
            })
            .unwrap();
        });
        Running { scratch, socket, log_path, told, may, report, thread }
    }
}

/// A monitor in a thread.
struct Running {
    scratch: tempfile::TempDir,
    socket: PathBuf,
    log_path: PathBuf,
    told: Arc<Mutex<Vec<Told>>>,
    may: Arc<Mutex<bool>>,
    report: Receiver<Report>,
    thread: JoinHandle<()>,
}

impl Running {
    fn report(&self) -> Report {
        self.report.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// Its process, once it runs.
    fn pid(&self) -> i32 {
        self.report().into_pid().unwrap()
    }

    fn attach(&self, hello: Hello) -> Peer {
        let mut socket = attach::connect(&self.socket);
        // The monitor may not have come to its door yet.
        wait_until(|| {
            if socket.is_err() {
                socket = attach::connect(&self.socket);
            }
            socket.is_ok()
        });
        Peer::new(socket.unwrap(), hello)
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// Waits until something was told so often.
    fn wait_told(&self, count: usize, what: impl Fn(&Told) -> bool) {
        wait_until(|| self.told().iter().filter(|t| what(t)).count() >= count);
    }

    /// Waits for the end; returns what was told, and what is in the log.
    fn join(self) -> (Vec<Told>, String, String) {
        let (told, scratch, path) = (self.told.clone(), self.scratch, self.log_path);
        self.thread.join().unwrap();
        assert!(!self.socket.exists());
        let mut logged = [String::new(), String::new()];
        for entry in LogReader::open(&path, ReadOptions::default()).unwrap() {
            let entry = entry.unwrap();
            logged[usize::from(entry.stream == Stream::Stderr)]
                .push_str(&String::from_utf8(entry.line).unwrap());
        }
        drop(scratch);
        let [out, err] = logged;
        let told = told.lock().unwrap().clone();
        (told, out, err)
    }
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for twenty seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The engine's side of a connection.
struct Peer {
    socket: UnixStream,
    decoder: ServerDecoder,
    out: Vec<u8>,
    err: Vec<u8>,
    exit: Option<i32>,
}

impl Peer {
    fn new(mut socket: UnixStream, hello: Hello) -> Self {
        socket.write_all(&hello.encode()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, decoder: ServerDecoder::default(), out: Vec::new(), err: Vec::new(), exit: None }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(&attach::stdin_header(u32::try_from(bytes.len()).unwrap())).unwrap();
        self.socket.write_all(bytes).unwrap();
    }

    fn send(&mut self, frame: &[u8]) {
        self.socket.write_all(frame).unwrap();
    }

    /// Reads once; false at the end.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        let count = match self.socket.read(&mut buffer) {
            Ok(count) => count,
            // The monitor went without reading what we said last.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}; so far {:?}", String::from_utf8_lossy(&self.out)),
        };
        let mut input = &buffer[..count];
        while let Some(frame) = self.decoder.decode(&mut input).unwrap() {
            assert_eq!(self.exit, None, "nothing follows an exit");
            match frame {
                ServerFrame::Output(Stream::Stdout, bytes) => self.out.extend(bytes),
                ServerFrame::Output(Stream::Stderr, bytes) => self.err.extend(bytes),
                ServerFrame::Exit(code) => self.exit = Some(code),
            }
        }
        count > 0
    }

    fn hear_until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.out).contains(text) {
            assert!(self.hear(), "ended before {text:?}: {:?}", String::from_utf8_lossy(&self.out));
        }
    }

    /// Everything to the end: output, error output, exit code.
    fn finish(mut self) -> (String, String, Option<i32>) {
        while self.hear() {}
        (String::from_utf8(self.out).unwrap(), String::from_utf8(self.err).unwrap(), self.exit)
    }
}

/// `1\n2\n…`, as seq(1) prints it.
fn numbers(upto: u32) -> String {
    (1..=upto).map(|n| format!("{n}\n")).collect()
}
