//! From a plan to a running process. Called by the monitor, which has one thread.

use crate::cgroup::Cgroup;
use crate::child::{self, Failure};
use crate::idmap;
use crate::plan::{LaunchPlan, Scene};
use crate::prepare::{self, Ready};
use crate::step::Step;
use crate::timeline::{self, Actor, Phase};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::clone::{self, Child};
use dhow_sys::error::reason;
use dhow_sys::memory::SharedNumbers;
use dhow_sys::{Errno, OnErrno, clock, process, rlimit, user_namespace};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// What the new process gets as standard input, output and error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildStdio {
    /// A new pseudo-terminal of this size; the plan must say `tty`.
    Pty {
        /// Lines; 0 for the kernel's default.
        rows: u16,
        /// Columns; 0 for the kernel's default.
        cols: u16,
    },
    /// Pipes.
    Pipes {
        /// Whether standard input is a pipe; else it is `/dev/null`.
        stdin: bool,
    },
}

/// A process that runs the container's program: `execve` has succeeded.
#[derive(Debug)]
pub struct Launched {
    /// As the host sees it.
    pub pid: i32,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
    /// Its start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// Our end of its standard input. All our ends are non-blocking and close-on-exec.
    pub stdin: Option<OwnedFd>,
    /// Our end of its standard output.
    pub stdout: Option<OwnedFd>,
    /// Our end of its standard error.
    pub stderr: Option<OwnedFd>,
    /// The master side of its terminal, in place of the three pipes.
    pub pty: Option<OwnedFd>,
    /// The container's cgroup; `None` for a further process in a container.
    pub cgroup: Option<Cgroup>,
}

/// Starts the process that `plan` describes and returns when its program runs. The process dies with the
/// calling thread.
///
/// # Errors
/// `CommandNotFound` or `CommandNotExecutable` when the program is at fault, `StartFailed` and others when
/// the surroundings are. Nothing is left behind then: no process, no cgroup; mounts vanish with their namespace.
pub fn launch(plan: &LaunchPlan, stdio: ChildStdio) -> Result<Launched> {
    launch_while(plan, stdio, &mut |_| Ok(()))
}

/// As [`launch`], and calls `meanwhile` with its number while the new process sets itself up: some milliseconds in
/// which this one has nothing else to do. An error of it ends the new process.
pub(crate) fn launch_while(
    plan: &LaunchPlan,
    stdio: ChildStdio,
    meanwhile: &mut dyn FnMut(i32) -> Result<()>,
) -> Result<Launched> {
    let mut ready = prepare::prepare(plan, stdio)?;
    timeline::mark("make mounts and streams ready");
    let started = start(plan, &ready).and_then(|child| {
        timeline::mark("clone");
        if let Err(error) = meanwhile(child.pid).and_then(|()| tell_connected(&ready)) {
            let _ = process::pidfd_send_signal(child.pidfd.as_fd(), nix::libc::SIGKILL);
            let _ = process::wait_pidfd(child.pidfd.as_fd(), true);
            // A process that has failed by itself has no namespace any more: what it says is the cause.
            drop_failure_copy(&mut ready)?;
            return Err(failure_of(&ready)?.map_or(error, |failure| explain(plan, failure)));
        }
        timeline::mark("connect the network and open the database, while the new process sets itself up");
        // Our copy of the write end goes, so that the pipe ends when the child's does.
        drop_failure_copy(&mut ready)?;
        ready.prepared.monitor = None;
        answer(plan, &child, ready.requests.as_ref());
        let settled = settle(plan, child, &ready);
        timeline::mark("wait for the program to run");
        if let Some(times) = &ready.prepared.times {
            timeline::add(phases_of(plan, times));
        }
        settled
    });
    let Ready { ours, cgroup, prepared, .. } = ready;
    // The child has its own copies of the stream ends and mounts by now.
    drop(prepared);
    match started {
        Ok((child, start_ticks)) => Ok(Launched {
            pid: child.pid,
            pidfd: child.pidfd,
            start_ticks,
            stdin: ours.stdin,
            stdout: ours.stdout,
            stderr: ours.stderr,
            pty: ours.pty,
            cgroup,
        }),
        Err(error) => {
            if let Some(cgroup) = cgroup {
                cgroup.kill_all();
                // The first error is the one to show.
                let _ = cgroup.remove();
            }
            Err(error)
        }
    }
}

/// From now on only the new process holds the write end of the pipe that tells of failures.
fn drop_failure_copy(ready: &mut Ready) -> Result<()> {
    let read_end = ready.failures.try_clone().context(|| "dup a pipe".to_owned())?;
    drop(std::mem::replace(&mut ready.prepared.failure, read_end));
    Ok(())
}

/// What the new process said when it failed; waits until it has said something, runs its program or is dead.
fn failure_of(ready: &Ready) -> Result<Option<Failure>> {
    let mut failures = File::from(ready.failures.try_clone().context(|| "dup a pipe".to_owned())?);
    let mut bytes = Vec::with_capacity(Failure::BYTES);
    failures.read_to_end(&mut bytes).context(|| "read from the new process".to_owned())?;
    Ok(Failure::from_bytes(&bytes))
}

/// Lets a process that waits for its network go on.
fn tell_connected(ready: &Ready) -> Result<()> {
    let Some(connected) = &ready.connected else { return Ok(()) };
    process::write_once(connected.as_fd(), &1u64.to_ne_bytes())
        .on("write", "an eventfd")
        .context(|| "say that the network is connected".to_owned())
}

/// Clones, inside the namespaces that the clone itself must happen in.
fn start(plan: &LaunchPlan, ready: &Ready) -> Result<Child> {
    let (flags, entered) = match &plan.scene {
        Scene::Container { namespaces, clock_offsets: None, .. } => {
            (*namespaces, ready.container.as_ref().map(Entered::pid_namespace).transpose()?)
        }
        Scene::Container { namespaces, clock_offsets: Some(offsets), .. } => {
            (*namespaces, Some(Entered::new_clocks(*offsets)?))
        }
        Scene::Exec { .. } => {
            let container =
                ready.container.as_ref().ok_or_else(|| Error::internal("no container to enter"))?;
            (0, Some(Entered::pid_namespace(container)?))
        }
    };
    let cgroup = ready.unified.as_ref().map(AsFd::as_fd);
    let child = clone::fork_with(flags, cgroup, || child::run(&ready.prepared))
        .on("clone3", "")
        .context_kind(ErrorKind::StartFailed, || "start the container's process".to_owned());
    drop(entered);
    child
}

/// A namespace that our children are born in; left again on drop.
struct Entered {
    own: OwnedFd,
    kind: u64,
}

impl Entered {
    fn pid_namespace(container: &OwnedFd) -> Result<Self> {
        let entered = Self { own: own_namespace("pid_for_children")?, kind: clone::NEWPID };
        process::setns(container.as_fd(), clone::NEWPID)
            .on("setns", "the container's pid namespace")
            .context_kind(ErrorKind::Conflict, || "the container is not running".to_owned())?;
        Ok(entered)
    }

    fn new_clocks((monotonic, boot): (i64, i64)) -> Result<Self> {
        let entered = Self { own: own_namespace("time_for_children")?, kind: clone::NEWTIME };
        process::unshare(clone::NEWTIME)
            .on("unshare", "time namespace")
            .context(|| "set clocks".to_owned())?;
        let offsets = format!("monotonic {monotonic} 0\nboottime {boot} 0\n");
        // By thread id: the namespace belongs to the calling thread, which need not be the first.
        std::fs::write(format!("/proc/{}/timens_offsets", nix::unistd::gettid()), offsets)
            .context(|| "set clocks".to_owned())?;
        Ok(entered)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Our own namespace always takes us back.
        let _ = process::setns(self.own.as_fd(), self.kind);
    }
}

fn own_namespace(name: &str) -> Result<OwnedFd> {
    let path = format!("/proc/thread-self/ns/{name}");
    File::open(&path).map(Into::into).context(|| format!("open {path}"))
}

/// What the new process did when. The last step, exec, leaves no time behind: it ended when its pipe did, now.
fn phases_of(plan: &LaunchPlan, times: &SharedNumbers) -> Vec<Phase> {
    let times: Vec<u64> = times.as_slice().iter().map(|time| time.load(Ordering::Relaxed)).collect();
    let steps = plan.steps.iter().zip(times.windows(2));
    steps
        .take_while(|(_, pair)| pair[0] != 0)
        .map(|(step, pair)| {
            let (work, ended) = match step {
                Step::Execute => (timeline::EXEC.to_owned(), clock::monotonic_ns()),
                step => (step.to_string(), pair[1]),
            };
            Phase { actor: Actor::Container, work, began: pair[0], ended }
        })
        .collect()
}

/// Carries out what a child in a user namespace may not do itself, until it asks no more. Whatever goes wrong
/// is the child's to report, with the step's number: it ends then, and `settle` reads why.
fn answer(plan: &LaunchPlan, child: &Child, requests: Option<&OwnedFd>) {
    let Some(requests) = requests else { return };
    let mut number = [0; 4];
    while process::read_once(requests.as_fd(), &mut number) == Ok(number.len()) {
        let step = usize::try_from(u32::from_ne_bytes(number)).ok().and_then(|index| plan.steps.get(index));
        let done = step.map_or(Err(Errno::EINVAL), |step| act_on(plan, child.pid, step));
        let errno = done.err().map_or(0, |errno| errno as i32);
        if process::write_once(requests.as_fd(), &errno.to_ne_bytes()).is_err() {
            break;
        }
    }
}

/// One step, on the child, which is not reaped yet: its number is its own.
fn act_on(plan: &LaunchPlan, pid: i32, step: &Step) -> Result<(), Errno> {
    match (step, &plan.scene) {
        (Step::BecomeRoot, Scene::Container { id_maps: Some(maps), .. }) => {
            user_namespace::write_maps(pid, &idmap::to_text(&maps.uids), &idmap::to_text(&maps.gids))
                .map_err(|error| error.errno)
        }
        (Step::OomScore(score), _) => std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO))),
        (Step::Rlimit { name, soft, hard }, _) => {
            rlimit::set_of(pid, rlimit::number(name).ok_or(Errno::EINVAL)?, *soft, *hard)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Waits until the child has become the program, or has said why not.
fn settle(plan: &LaunchPlan, child: Child, ready: &Ready) -> Result<(Child, u64)> {
    let failure = failure_of(ready);
    if let Ok(Some(failure)) = failure {
        let _ = process::wait_pidfd(child.pidfd.as_fd(), true);
        return Err(explain(plan, failure));
    }
    // The child is not reaped yet, so its number is its own even if it has ended already.
    match failure
        .and_then(|_| process::start_ticks(child.pid).context(|| "examine the new process".to_owned()))
    {
        Ok(ticks) => Ok((child, ticks)),
        Err(error) => {
            let _ = process::pidfd_send_signal(child.pidfd.as_fd(), nix::libc::SIGKILL);
            let _ = process::wait_pidfd(child.pidfd.as_fd(), true);
            Err(error)
        }
    }
}

/// One clear line for a failed step.
fn explain(plan: &LaunchPlan, failure: Failure) -> Error {
    let errno = Errno::from_raw(failure.errno);
    let step = usize::try_from(failure.step).ok().and_then(|index| plan.steps.get(index));
    match step {
        None => Error::internal(format!("the new process failed in an unknown step: {}", reason(errno))),
        Some(Step::Execute) => explain_exec(plan, failure, errno),
        Some(step) => {
            let why = match (step, failure.detail) {
                (_, child::OUTSIDE_ROOT) => "it is outside of the container's root filesystem".to_owned(),
                (_, child::ON_PROC) => "the target leads into /proc".to_owned(),
                (Step::Mount(_), _) if errno == Errno::ELOOP => {
                    "the image has a symbolic link in its path".to_owned()
                }
                // The kernel says the second of a file for a directory, the first of the other way round.
                (Step::Mount(_), _) if matches!(errno, Errno::ENOTDIR | Errno::EINVAL) => {
                    "not a directory: are you trying to mount a directory onto a file (or the other way round)?".to_owned()
                }
                _ => reason(errno),
            };
            Error::new(ErrorKind::StartFailed, format!("{step}: {why}"))
        }
    }
}

fn explain_exec(plan: &LaunchPlan, failure: Failure, errno: Errno) -> Error {
    let process = &plan.process;
    let command = process.argv.first().map(String::as_str).unwrap_or_default();
    let (kind, message) = match (errno, failure.detail) {
        (errno, child::INIT_FAILED) => {
            (ErrorKind::StartFailed, format!("exec {}: {}", crate::plan::INIT_PATH, reason(errno)))
        }
        (_, child::NO_INTERPRETER) => (
            ErrorKind::CommandNotFound,
            format!(
                "exec {command}: no such file or directory (the file exists: its interpreter or loader is missing)"
            ),
        ),
        (Errno::ENOENT, _) if process.searched => {
            (ErrorKind::CommandNotFound, format!("exec: {command:?}: executable file not found in $PATH"))
        }
        (Errno::ENOENT, _) => (
            ErrorKind::CommandNotFound,
            format!("exec: {command:?}: stat {command}: no such file or directory"),
        ),
        (_, child::IS_DIRECTORY) => {
            (ErrorKind::CommandNotExecutable, format!("exec: {command:?}: is a directory"))
        }
        (Errno::EACCES, _) => {
            (ErrorKind::CommandNotExecutable, format!("exec: {command:?}: permission denied"))
        }
        (errno, _) => (ErrorKind::CommandNotExecutable, format!("exec {command}: {}", reason(errno))),
    };
    Error::new(kind, message)
}
