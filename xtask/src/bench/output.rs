//! `cargo xtask bench output`: how fast a container's output comes to its log and to an attached client, beside
//! docker and podman.
//!
//! The program in the container (`bench/programs/numbers.rs`) writes numbered lines; each engine writes its log of
//! the same size and number of files, and its client passes everything on to `/dev/null`. That no line is lost or
//! torn is what the integration tests show (`scale`).

use super::agent::Agent;
use super::engine::{Engine, Network};
use super::report::{Measured, median, save_json};
use super::{Absent, Contender, Scratch, Workload, rootfs};
use crate::{Result, process};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Mebibytes that the program writes
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..))]
    mebibytes: u64,
    /// How often each engine is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Fail when dhow is over its budget, or was not measured
    #[arg(long)]
    enforce: bool,
}

/// DESIGN, section 9: so many times as fast as `docker run`.
const BUDGET_TO_DOCKER: f64 = 2.0;

/// The same log for everybody: five files of 20 MiB, dhow's default.
pub(super) const LOG_MIB: u32 = 20;
pub(super) const LOG_FILES: u32 = 5;

/// What warm-ups write at most: enough for two files of the log. The whole takes docker minutes.
const WARM_UP_BYTES: u64 = 32 << 20;

/// The last word of a contender that writes is how much.
pub(super) fn with_short_warm_up(contender: Contender, output: Option<u64>) -> Contender {
    match output {
        Some(bytes) => contender.warming_up_by(bytes.min(WARM_UP_BYTES).to_string()),
        None => contender,
    }
}

/// Measures in rounds: each engine once a round, so that noise falls on all alike.
pub(super) fn run(arguments: &Arguments) -> Result {
    if !process::is_root() {
        return Err("containers, namespaces and daemons: run this as root".into());
    }
    process::run(&mut process::cargo(&["build", "--release", "--locked", "-p", "dhow", "--bins"]))?;
    let scratch = Scratch(std::env::temp_dir().join(format!("dhow-bench-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0)?;
    let engine = Engine::open(&scratch.0)?;
    let bytes = arguments.mebibytes << 20;

    let rootfs = rootfs::make(&scratch.0.join("own"), Some(bytes))?;
    engine.import(&rootfs)?;
    let own = engine
        .run("dhow run", Network::None, &rootfs)
        .map(|c| with_short_warm_up(c, Some(bytes)))
        .and_then(|c| c.warm_up().map(|()| c));
    let workload = Workload { network: Network::None, output: Some(bytes), wire: None };
    let mut agent = Agent::start(&scratch.0.join("peers"), workload)?;
    let mut absent: Vec<Absent> = agent.absent.clone();
    let mut measured = Vec::new();
    match own {
        Ok(contender) => measured.push(Measured { contender, samples: Vec::new() }),
        Err(error) => absent.push(Absent { name: "dhow run".to_owned(), reason: error.to_string() }),
    }
    let first_peer = measured.len();
    let peers = agent.contenders.iter().cloned();
    measured.extend(peers.map(|contender| Measured { contender, samples: Vec::new() }));
    for _ in 0..arguments.runs {
        for (index, one) in measured.iter_mut().enumerate() {
            let took = match index.checked_sub(first_peer) {
                None => one.contender.measure()?,
                Some(peer) => agent.measure(peer)?,
            };
            one.samples.push(took);
        }
    }
    drop(agent);

    println!(
        "| {} MiB to log and client | version | median s | MiB/s |\n|---|---|--:|--:|",
        arguments.mebibytes
    );
    let mut medians: Vec<(f64, &Contender)> = measured
        .iter()
        .filter_map(|m| Some((median(&measured, &m.contender.name)? / 1e3, &m.contender)))
        .collect();
    medians.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (seconds, contender) in medians {
        let rate = arguments.mebibytes as f64 / seconds;
        println!("| {} | {} | {seconds:.2} | {rate:.0} |", contender.name, contender.version);
    }
    for Absent { name, reason } in &absent {
        println!("\nnot measured: {name}: {reason}");
    }
    save_json(&measured, &process::target_dir().join("bench/output.json"))?;
    judge(&measured, arguments.enforce)
}

fn judge(measured: &[Measured], enforce: bool) -> Result {
    let times = |name: &str| median(measured, name);
    let kept = match (times("dhow run"), times("docker run")) {
        (Some(ours), Some(theirs)) => {
            let ratio = theirs / ours;
            let word = if ratio >= BUDGET_TO_DOCKER { "kept" } else { "missed" };
            println!(
                "budget {word}: dhow run is {ratio:.2} times as fast as docker run, and is to be {BUDGET_TO_DOCKER}"
            );
            ratio >= BUDGET_TO_DOCKER
        }
        _ => {
            println!("budget unknown: dhow run beside docker run was not measured");
            false
        }
    };
    if kept || !enforce { Ok(()) } else { Err("output is slower than its budget".into()) }
}
