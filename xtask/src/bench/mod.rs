//! `cargo xtask bench`: whole commands beside the kernel's floor and other engines, measured in one run.
//!
//! ```text
//!   start.rs ── rounds ──┬── here: floor, dhow                       (floor and dhow change nothing of the host's)
//!                        └── agent.rs, in mount, network and pid namespaces of its own: crun, runc, podman, docker
//!                              peers.rs prepares them there; when the agent ends, the kernel takes
//!                              all their processes and mounts, whatever happened
//!   statistics.rs → report.rs: a Markdown table, and JSON with every sample
//!   layers.rs ── layers in both forms, on a fresh filesystem for each sample
//!   ffi.rs ──── dhow alone: a C program with libdhow beside the command line
//!   wire.rs ─── the same agent for each side of a network
//!   output.rs ── the same agent, with a program that writes; idle.rs ── dhow alone, a thousand times
//!   trace.rs ── dhow alone: the same loop with and without tracing beside it
//! ```

pub(crate) mod agent;
mod crowd;
pub(crate) mod engine;
mod ffi;

mod idle;
mod layers;
mod output;
mod peers;
mod report;
mod rootfs;
mod start;
mod statistics;
mod trace;
mod wire;

use crate::{Result, process};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// How long a whole `run --rm IMAGE true` takes, without a network or on a bridge
    Start(start::Arguments),
    /// A container from start to exit through the C ABI, beside the command line
    Ffi(ffi::Arguments),
    /// What a thousand idle containers cost: memory of the monitors, time of `ps`
    Idle(idle::Arguments),
    /// Layers in both forms: installed, read, removed, beside decompressing alone, tar, podman and docker
    Layers(layers::Arguments),
    /// How fast bytes pass between containers and through published ports, beside docker and a bare pair of interfaces
    Net(wire::Arguments),
    /// How fast output comes to the log and to a client, beside docker and podman
    Output(output::Arguments),
    /// What tracing costs a fork+exec loop, and how many events it can take
    Trace(trace::Arguments),
}

pub(crate) fn run(what: &Bench) -> Result {
    match what {
        Bench::Start(arguments) => start::run(arguments),
        Bench::Ffi(arguments) => ffi::run(arguments),
        Bench::Idle(arguments) => idle::run(arguments),
        Bench::Layers(arguments) => layers::run(arguments),
        Bench::Net(arguments) => wire::run(arguments),
        Bench::Output(arguments) => output::run(arguments),
        Bench::Trace(arguments) => trace::run(arguments),
    }
}

/// What all engines are given to do.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Workload {
    /// The network of the containers
    #[arg(long, value_enum, default_value_t = engine::Network::None)]
    network: engine::Network,
    /// Bytes that the program writes; without it, it does nothing
    #[arg(long)]
    output: Option<u64>,
    /// In place of all peers: one side of a network
    #[arg(long, value_enum)]
    wire: Option<wire::Side>,
}

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // An engine keeps layers mounted between containers.
        let unmounted = unmount_below(&self.0);
        if let Err(error) = unmounted.and_then(|()| Ok(std::fs::remove_dir_all(&self.0)?)) {
            eprintln!("xtask: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Unmounts what is mounted below a directory of ours, not at it.
fn unmount_below(directory: &Path) -> Result {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let places = table.lines().filter_map(|line| line.split(' ').nth(4).map(PathBuf::from));
    let mut below: Vec<_> = places.filter(|at| at.starts_with(directory) && at != directory).collect();
    // The last mounted first.
    below.reverse();
    for place in below {
        process::run(Command::new("umount").arg("-l").arg(place))?;
    }
    Ok(())
}

/// Something that can be measured: a command that runs one container from nothing to nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Contender {
    name: String,
    version: String,
    argv: Vec<String>,
    /// It prints the nanoseconds that count.
    printed: bool,
    /// In warm-ups, in place of the last word.
    less: Option<String>,
}

/// A peer that cannot be measured, and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Absent {
    name: String,
    reason: String,
}

impl Contender {
    fn new(name: &str, version: String, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.to_owned(),
            version,
            argv: argv.into_iter().map(Into::into).collect(),
            printed: false,
            less: None,
        }
    }

    /// Warm-ups end with this word in place of the last: less of the same work.
    fn warming_up_by(self, less: String) -> Self {
        Self { less: Some(less), ..self }
    }

    /// One run, from before the spawn to after the wait.
    ///
    /// Its output goes nowhere, as in a script: a pipe would make us part of what is measured.
    fn measure(&self) -> Result<Duration> {
        if self.printed {
            let text = process::output(&mut self.command())?;
            let nanoseconds = text.trim().parse().map_err(|e| format!("{:?}: {e}", text.trim()))?;
            return Ok(Duration::from_nanos(nanoseconds));
        }
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let before = Instant::now();
        let status = command.status().map_err(|e| format!("cannot run {}: {e}", self.argv.join(" ")))?;
        let took = before.elapsed();
        if status.success() {
            Ok(took)
        } else {
            Err(format!("{} failed: {status}", self.argv.join(" ")).into())
        }
    }

    /// Runs that do not count, so that caches are warm; the first tells what is wrong, if something is.
    fn warm_up(&self) -> Result {
        let mut short = self.clone();
        if let (Some(less), Some(last)) = (short.less.take(), short.argv.last_mut()) {
            *last = less;
        }
        process::output(&mut short.command())?;
        for _ in 0..2 {
            short.measure()?;
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let (program, arguments) = self.argv.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }
}

/// Where a contender keeps what does not survive a reboot: in memory, as below `/run` on a usual machine.
/// `/dev/shm` is a tmpfs where `/run` is not one, too.
fn run_time_directory(scratch: &Path) -> PathBuf {
    let below = scratch.strip_prefix(std::env::temp_dir()).unwrap_or(Path::new("dhow-bench"));
    Path::new("/dev/shm").join(below)
}
