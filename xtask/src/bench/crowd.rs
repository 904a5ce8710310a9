//! `cargo xtask bench start --crowd N`: whether a start takes longer when many containers are on the bridge already.

use super::engine::Engine;
use super::rootfs;
use super::statistics::summarise;
use crate::{Result, process};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// The last ones may take so much longer than the first ones.
const BUDGET: f64 = 1.3;
/// How many at either end are compared: medians of so many, for one start says little on a busy machine.
const EDGE: usize = 25;

/// With room for a thousand; nobody else's, we hope: else its making says so.
const SUBNET: &str = "10.127.240.0/20";
pub(super) const NETWORK: &str = "crowd";

#[derive(Serialize)]
struct Report {
    containers: u32,
    first_milliseconds: f64,
    last_milliseconds: f64,
    ratio: f64,
    removed_in_seconds: f64,
    samples: Vec<f64>,
}

/// A network with names and room for all.
pub(super) fn make_network(engine: &Engine) -> Result {
    engine.ok(&["network", "create", "--subnet", SUBNET, NETWORK]).map(drop)
}

/// Starts them one after another, and removes them all at once.
pub(super) fn run(engine: &Engine, scratch: &Path, containers: u32, enforce: bool) -> Result {
    engine.import(&rootfs::make(&scratch.join("own"), None)?)?;
    make_network(engine)?;
    let words = ["run", "-d", "--network", NETWORK, "-p", "80", "bench", "sleep", "100000"];
    let one = engine.contender("dhow run -d", &words)?;
    // Caches are warm, and the bridge is there.
    one.warm_up()?;
    let samples = (0..containers).map(|_| one.measure()).collect::<Result<Vec<Duration>>>()?;
    let before = Instant::now();
    engine.clear()?;
    let removed = before.elapsed();
    let median = |some: &[Duration]| summarise(some).map_or(f64::NAN, |summary| summary.median);
    let (first, last) = (median(&samples[..EDGE]), median(&samples[samples.len() - EDGE..]));
    let report = Report {
        containers,
        first_milliseconds: first,
        last_milliseconds: last,
        ratio: last / first,
        removed_in_seconds: removed.as_secs_f64(),
        samples: samples.iter().map(|s| s.as_secs_f64() * 1e3).collect(),
    };
    println!(
        "| containers on one bridge, a port each | first {EDGE}, median ms | last {EDGE}, median ms | ratio | all removed in s |\n\
         |--:|--:|--:|--:|--:|\n| {containers} | {first:.2} | {last:.2} | {:.2} | {:.1} |",
        report.ratio, report.removed_in_seconds
    );
    let path = process::target_dir().join("bench/crowd.json");
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    let kept = report.ratio <= BUDGET;
    let word = if kept { "kept" } else { "missed" };
    println!("budget {word}: the last starts take {:.2} × the first, and may take {BUDGET:.2}", report.ratio);
    if kept || !enforce { Ok(()) } else { Err("starts slow down in a crowd".into()) }
}
