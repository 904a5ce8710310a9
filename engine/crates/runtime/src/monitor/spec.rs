//! What the engine tells a monitor, and what the monitor answers: plain data, as postcard.

use crate::log::LogAbout;
use crate::plan::LaunchPlan;
use crate::timeline::Phase;
use dhow_model::container::LogConfig;
use dhow_model::health::HealthTimes;
use dhow_model::{ContainerId, Error, ErrorKind, Layout};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that a monitor needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MonitorSpec {
    /// Where the engine keeps things; for the recorder.
    pub layout: Layout,
    /// The container or the exec session.
    pub id: ContainerId,
    /// Which of the two.
    pub kind: MonitorKind,
    /// How to start the process; used again for each restart.
    pub plan: LaunchPlan,
    /// A pseudo-terminal in place of three pipes.
    pub tty: bool,
    /// Standard input is a pipe (or the terminal takes input); else it is `/dev/null`.
    pub open_stdin: bool,
    /// Standard input is closed when the first client that gives it has no more or goes. An exec session's
    /// always is. Nothing can close a terminal's input.
    pub stdin_once: bool,
    /// The terminal's first size: rows, columns.
    pub console_size: Option<(u16, u16)>,
    /// Where the output is kept; `None`: nowhere, as for an exec session and the log driver `none`.
    pub log: Option<LogTarget>,
    /// The socket to listen on. Its directory is made, 0700, if it is missing.
    pub attach_socket: PathBuf,
    /// The file to lock while in charge.
    pub lock_file: PathBuf,
    /// How many connected clients come along, as descriptors 5, 6, …. Each has said hello already.
    pub clients: u32,
    /// Keep a timeline of the first launch, from this moment of the monotonic clock on, and report it.
    pub timeline_since: Option<u64>,
    /// The bare streams that come along, as the descriptors that follow those of the clients.
    pub streams: Vec<BareStream>,
    /// How a container is checked; `None` for anything else, and without a check.
    pub probe: Option<ProbeSpec>,
    /// Who starts the container; `None`: this engine.
    pub external: Option<ExternalSpec>,
}

/// A program that starts the container in our place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExternalSpec {
    /// The runtime.
    pub program: PathBuf,
    /// What it is called with before everything else.
    pub args: Vec<String>,
    /// Where its bundle and its own state are.
    pub bundle: PathBuf,
    /// The container's cgroup, from the top of the hierarchies.
    pub cgroups_path: String,
    /// The system call policy in OCI's form.
    pub seccomp: Option<String>,
}

/// A container's health check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// When.
    pub times: HealthTimes,
    /// What: an exec session whose process is filled in when there is one.
    pub plan: LaunchPlan,
}

/// A descriptor for one stream of the process, without frames: what a program reads or writes that embeds the
/// engine. It counts as a client like any other, and ends, as any other's stream does, with the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BareStream {
    /// The monitor reads standard input from it.
    Stdin,
    /// The monitor writes standard output to it; with a terminal, all output.
    Stdout,
    /// The monitor writes standard error to it.
    Stderr,
}

/// What a monitor is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MonitorKind {
    /// A container's first process.
    Container,
    /// A further process in a container.
    Exec {
        /// That container.
        container: ContainerId,
    },
    /// A health check's process: held for the container's monitor alone, it has no door and no record.
    Probe,
}

/// A container's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTarget {
    /// The file that is written to.
    pub path: PathBuf,
    /// The driver and its options.
    pub config: LogConfig,
    /// What the log tells of the container.
    pub about: LogAbout,
}

/// The first and only answer of a monitor, after its first launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The program runs, and that is recorded.
    Started {
        /// Its process id as the host sees it.
        pid: i32,
        /// Its start time in clock ticks since boot.
        start_ticks: u64,
        /// How the time went, if the spec asked.
        timeline: Vec<Phase>,
    },
    /// It does not run, and that is recorded (unless recording is what failed).
    Failed {
        /// What sort of failure.
        kind: ErrorKind,
        /// The whole error on one line.
        message: String,
        /// 127: command not found, 126: not executable, 128: something else.
        exit_code: i32,
    },
}

impl Report {
    /// The pid, or the failure as an error.
    ///
    /// # Errors
    /// What `Failed` says.
    pub fn into_pid(self) -> dhow_model::Result<i32> {
        match self {
            Report::Started { pid, .. } => Ok(pid),
            Report::Failed { kind, message, .. } => Err(Error::new(kind, message)),
        }
    }
}

/// The exit code that stands for a failed start, as Docker has it.
pub(super) fn exit_code_of(error: &Error) -> i32 {
    match error.kind() {
        ErrorKind::CommandNotFound => 127,
        ErrorKind::CommandNotExecutable => 126,
        _ => 128,
    }
}
