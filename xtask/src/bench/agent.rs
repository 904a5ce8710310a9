//! The process that runs the peers, in mount, network and pid namespaces of its own.
//!
//! ```text
//!   start.rs                                     agent (xtask bench-agent, under unshare)
//!      │                                            │ peers::prepare: cgroups, bundle, stores, daemons
//!      │ ◄── {"contenders": […], "absent": […]} ────┤
//!      ├── index ──────────────────────────────────►│ measures here, so that the pipe is not in the time
//!      │ ◄── {"Ok": nanoseconds} or {"Err": "…"} ───┤
//!      └── end of file ────────────────────────────►│ removes cgroups, ends; as pid 1 it takes all with it
//! ```

use super::{Absent, Contender, Workload, peers, wire};
use crate::Result;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The agent's first line.
#[derive(Serialize, Deserialize)]
struct Ready {
    contenders: Vec<Contender>,
    absent: Vec<Absent>,
}

/// Our side of a running agent. Dropping it ends the agent, and with it every process of every peer.
pub(super) struct Agent {
    process: Child,
    /// `None` once closed.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(super) contenders: Vec<Contender>,
    pub(super) absent: Vec<Absent>,
}

impl Agent {
    /// Starts the agent and waits until the peers are prepared.
    pub(super) fn start(scratch: &Path, workload: Workload) -> Result<Self> {
        let mut process = Command::new("unshare")
            // --kill-child: the agent dies with us, and as pid 1 of its namespace takes everything along.
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
            ])
            .arg(std::env::current_exe()?)
            .arg("bench-agent")
            .arg(scratch)
            .args(["--network", workload.network.word()])
            .args(workload.output.map(|bytes| format!("--output={bytes}")))
            .args(workload.wire.map(|side| format!("--wire={}", side.word())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run unshare: {e}"))?;
        let requests = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().ok_or("the agent has no output")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let Ready { contenders, absent } =
            serde_json::from_str(&line).map_err(|e| format!("the agent did not start: {e}: {line:?}"))?;
        Ok(Self { process, requests, answers, contenders, absent })
    }

    /// One run of the contender with that index.
    pub(super) fn measure(&mut self, index: usize) -> Result<Duration> {
        let requests = self.requests.as_mut().ok_or("the agent has ended")?;
        writeln!(requests, "{index}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: std::result::Result<u64, String> =
            serde_json::from_str(&line).map_err(|e| format!("the agent is gone: {e}"))?;
        Ok(Duration::from_nanos(answer?))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // End of file asks it to end; it has nothing that could make it wait for long.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}

/// The agent itself: `xtask bench-agent SCRATCH`.
pub(crate) fn serve(scratch: &Path, workload: Workload) -> Result {
    let mut peers = match workload.wire {
        Some(side) => peers::Peers::wired(side, || wire::prepare(scratch, side)),
        None => peers::prepare(scratch, workload)?,
    };
    let served = answer(&mut peers);
    // Whatever happened: the cgroups are the one thing of theirs that would outlive this namespace.
    peers.remove()?;
    served
}

fn answer(peers: &mut peers::Peers) -> Result {
    let mut answers = std::io::stdout().lock();
    let ready = Ready { contenders: peers.contenders.clone(), absent: peers.absent.clone() };
    writeln!(answers, "{}", serde_json::to_string(&ready)?)?;
    for line in std::io::stdin().lock().lines() {
        let contender = peers.contenders.get(line?.trim().parse::<usize>()?).ok_or("no such contender")?;
        let answer = contender.measure().map(|took| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        writeln!(answers, "{}", serde_json::to_string(&answer.map_err(|e| e.to_string()))?)?;
    }
    Ok(())
}
