//! `cargo xtask bench idle`: what many idle containers cost: memory of each monitor, and the time of `ps`.
//!
//! PSS (proportional set size, proc(5)) counts a page that several processes share in equal parts, so the sum over
//! all monitors is what they take together. The container's own process is not counted: every engine has it.

use super::engine::{Engine, Network};
use super::statistics::{Summary, summarise};
use super::{Scratch, crowd, rootfs};
use crate::{Result, process};
use serde::Serialize;
use std::path::Path;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many containers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..))]
    containers: u32,
    /// How often `ps` is measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// `bridge`: on a network with names, each with a published port
    #[arg(long, value_enum, default_value_t = Network::None)]
    network: Network,
    /// Fail when a budget is missed
    #[arg(long)]
    enforce: bool,
}

/// DESIGN, section 9.
const BUDGET_PSS_KIB: f64 = 1536.0;
const BUDGET_PS_MILLISECONDS: f64 = 20.0;
/// With how many `ps` is measured first.
const FEW: u32 = 10;

#[derive(Serialize)]
struct Report {
    containers: u32,
    pss_kib_each: f64,
    private_kib_each: f64,
    largest_pss_kib: u64,
    ps_with_few: Summary,
    ps_with_all: Summary,
    ps_difference_milliseconds: f64,
}

fn ps(engine: &Engine, runs: u32) -> Result<Summary> {
    let ps = engine.contender("dhow ps", &["ps"])?;
    ps.warm_up()?;
    let samples = (0..runs).map(|_| ps.measure()).collect::<Result<Vec<_>>>()?;
    summarise(&samples).ok_or_else(|| "no samples".into())
}

/// With a network: one of their own, so that each monitor answers names, and each with a port to forward. Of all that
/// a network can make a monitor do this is the most.
fn start(engine: &Engine, network: Network, count: u32) -> Result {
    let flags: &[&str] = match network {
        Network::None => &["--network", "none"],
        Network::Bridge => &["--network", crowd::NETWORK, "-p", "80"],
    };
    for _ in 0..count {
        engine.ok(&[&["run", "-d"], flags, &["bench", "sleep", "100000"]].concat())?;
    }
    Ok(())
}

/// Starts the containers, measures, removes them.
pub(super) fn run(arguments: &Arguments) -> Result {
    if !process::is_root() {
        return Err("containers: run this as root".into());
    }
    process::run(&mut process::cargo(&["build", "--release", "--locked", "-p", "dhow", "--bins"]))?;
    let scratch = Scratch(std::env::temp_dir().join(format!("dhow-bench-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0)?;
    let engine = Engine::open(&scratch.0)?;
    engine.import(&rootfs::make(&scratch.0.join("own"), None)?)?;
    if arguments.network == Network::Bridge {
        crowd::make_network(&engine)?;
    }
    let measured = measure(arguments, &engine);
    // Whatever happened: no container is left.
    let cleared = engine.clear();
    let report = measured?;
    cleared?;
    println!(
        "| containers | PSS of each monitor | private | the largest | ps with {FEW} | ps with all | more |\n\
         |--:|--:|--:|--:|--:|--:|--:|\n\
         | {} | {:.0} KiB | {:.0} KiB | {} KiB | {:.2} ms | {:.2} ms | {:.2} ms |",
        report.containers,
        report.pss_kib_each,
        report.private_kib_each,
        report.largest_pss_kib,
        report.ps_with_few.median,
        report.ps_with_all.median,
        report.ps_difference_milliseconds,
    );
    let path = process::target_dir().join("bench/idle.json");
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    judge(&report, arguments.enforce)
}

fn measure(arguments: &Arguments, engine: &Engine) -> Result<Report> {
    start(engine, arguments.network, FEW)?;
    let ps_with_few = ps(engine, arguments.runs)?;
    start(engine, arguments.network, arguments.containers - FEW)?;
    let ps_with_all = ps(engine, arguments.runs)?;
    let monitors = monitors(engine)?;
    if monitors.len() != arguments.containers as usize {
        return Err(format!("{} monitors for {} containers", monitors.len(), arguments.containers).into());
    }
    let mut sums = (0, 0, 0);
    for pid in monitors {
        let (pss, private) = memory(pid)?;
        sums = (sums.0 + pss, sums.1 + private, sums.2.max(pss));
    }
    let each = |sum: u64| sum as f64 / f64::from(arguments.containers);
    Ok(Report {
        containers: arguments.containers,
        pss_kib_each: each(sums.0),
        private_kib_each: each(sums.1),
        largest_pss_kib: sums.2,
        ps_difference_milliseconds: ps_with_all.median - ps_with_few.median,
        ps_with_few,
        ps_with_all,
    })
}

/// The parents of all containers' first processes.
fn monitors(engine: &Engine) -> Result<Vec<u32>> {
    let ids = process::output(&mut engine.command(&["ps", "-q", "--no-trunc"]))?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    let mut monitors = Vec::new();
    for some in ids.chunks(100) {
        let words = [&["inspect", "--format", "{{.State.Pid}}"], some].concat();
        for pid in process::output(&mut engine.command(&words))?.split_whitespace() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
            monitors.push(parent.and_then(|p| p.trim().parse().ok()).ok_or("a process without a parent")?);
        }
    }
    Ok(monitors)
}

/// PSS and private memory of a process, in KiB.
fn memory(pid: u32) -> Result<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |field: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    };
    Ok((kib("Pss:"), kib("Private_Clean:") + kib("Private_Dirty:")))
}

fn judge(report: &Report, enforce: bool) -> Result {
    let mut kept = true;
    for (what, found, budget) in [
        ("PSS of an idle container in KiB", report.pss_kib_each, BUDGET_PSS_KIB),
        ("ms that ps takes longer", report.ps_difference_milliseconds, BUDGET_PS_MILLISECONDS),
    ] {
        let word = if found <= budget { "kept" } else { "missed" };
        println!("budget {word}: {what}: {found:.2}, and may be {budget:.2}");
        kept &= found <= budget;
    }
    if kept || !enforce { Ok(()) } else { Err("idle containers are over their budget".into()) }
}
