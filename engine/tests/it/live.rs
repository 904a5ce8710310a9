//! A command that runs while the test goes on: through pipes, or in a terminal of its own.

use crate::sandbox::{code_of, eventually};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Output as far as it has come.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    /// Keeps reading in a thread of its own, which ends with the stream.
    fn follow(&self, mut stream: impl Read + Send + 'static) {
        let seen = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose other side is closed answers EIO.
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                seen.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// A running command. Dropping it kills it.
pub(crate) struct Live {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Seen,
    stderr: Seen,
}

impl Live {
    /// Starts it with pipes on all three streams.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let shown = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot run {shown}: {e}"));
        let (stdout, stderr) = (Seen::default(), Seen::default());
        stdout.follow(child.stdout.take().unwrap());
        stderr.follow(child.stderr.take().unwrap());
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Writes to its standard input.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.stdin.as_mut().expect("standard input is closed").write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until its standard output holds a text.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) {
        wait_for(text, || self.stdout(), || self.stderr());
    }

    /// Waits for its end; its exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        wait(&mut self.child, || format!("stdout: {}\nstderr: {}", self.stdout.text(), self.stderr.text()))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command in a terminal of its own. Dropping it closes the terminal and kills the command.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    /// The other side's name, by which its size is set.
    name: PathBuf,
    seen: Seen,
}

impl Terminal {
    /// Starts the command as the leader of a session whose controlling terminal has that size.
    pub(crate) fn spawn(command: &Command, rows: u16, columns: u16) -> Self {
        let pty = openpty(None, None).unwrap();
        let name = nix::unistd::ttyname(&pty.slave).unwrap();
        let slave = File::from(pty.slave);
        // setsid(1) replaces itself, so the child is the command: it makes the session without code of ours
        // between fork and exec.
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => session.env(key, value),
                None => session.env_remove(key),
            };
        }
        session.env("TERM", "xterm-256color");
        session.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        set_size(&name, rows, columns);
        let child = session.spawn().unwrap();
        drop(session);
        let master = File::from(pty.master);
        let seen = Seen::default();
        seen.follow(master.try_clone().unwrap());
        Self { child, master, name, seen }
    }

    /// Types.
    #[track_caller]
    pub(crate) fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size; the kernel tells the foreground process by SIGWINCH.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.name, rows, columns);
    }

    /// What the screen was sent so far.
    pub(crate) fn text(&self) -> String {
        self.seen.text()
    }

    /// Waits until the screen was sent a text.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) {
        wait_for(text, || self.text(), String::new);
    }

    /// Waits for the command's end; its exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        wait(&mut self.child, || self.seen.text())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &PathBuf, rows: u16, columns: u16) {
    let mut stty = Command::new("stty");
    stty.arg("-F").arg(terminal).args(["rows", &rows.to_string(), "cols", &columns.to_string()]);
    assert!(stty.status().unwrap().success(), "{stty:?}");
}

#[track_caller]
fn wait_for(text: &str, output: impl Fn() -> String, complaint: impl Fn() -> String) {
    // Not `eventually`: what came instead is what one wants to know.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !output().contains(text) {
        assert!(
            Instant::now() < deadline,
            "did not print {text:?}; it printed {:?} {}",
            output(),
            complaint()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn wait(child: &mut Child, so_far: impl Fn() -> String) -> i32 {
    let mut code = None;
    let deadline = Instant::now() + Duration::from_secs(60);
    while code.is_none() {
        code = child.try_wait().unwrap().map(code_of);
        assert!(code.is_some() || Instant::now() < deadline, "the command did not end: {}", so_far());
        std::thread::sleep(Duration::from_millis(5));
    }
    // The reader may be one buffer behind the process.
    eventually("output is drained", || {
        let before = so_far();
        std::thread::sleep(Duration::from_millis(20));
        before == so_far()
    });
    code.unwrap()
}
