//! `cargo xtask bench start`: the whole command that runs `true` in a new container and removes it, without a network
//! or on each engine's default bridge.

use super::agent::Agent;
use super::engine::{Engine, Network};
use super::report::{Measured, markdown, ratio, save_json};
use super::{Absent, Contender, Scratch, Workload, crowd, rootfs};
use crate::{Result, process};
use std::path::Path;
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each command is measured
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The network of the containers: on `bridge`, each engine uses its own default bridge
    #[arg(long, value_enum, default_value_t = Network::None)]
    network: Network,
    /// Start so many containers with a published port on one bridge instead, and compare the first with the last
    #[arg(long, value_name = "CONTAINERS", value_parser = clap::value_parser!(u32).range(100..1001))]
    crowd: Option<u32>,
    /// Fail when dhow is over its budget, or was not measured
    #[arg(long)]
    enforce: bool,
}

/// DESIGN, section 9: the whole command beside the kernel's floor, and no slower than crun.
const BUDGET_TO_FLOOR: f64 = 4.0;
const BUDGET_TO_CRUN: f64 = 1.0;

/// The same on a bridge, beside the others on theirs. What a network adds is mostly the kernel's: a pair of interfaces
/// is registered under a lock of the whole machine's, and taken down behind the next start.
const BUDGET_TO_DOCKER: f64 = 1.0 / 15.0;
const BUDGET_TO_PODMAN: f64 = 1.0 / 15.0;
const BUDGET_TO_NO_NETWORK: f64 = 2.0;

const OURS: &str = "dhow run";
const WITHOUT: &str = "dhow run --network none";

/// The kernel takes network namespaces down in the background; without a pause, one contender would pay
/// for the one before it.
const PAUSE: Duration = Duration::from_millis(15);

/// Measures, in rounds: each command once a round, in changing order, so that noise falls on all alike.
pub(super) fn run(arguments: &Arguments) -> Result {
    if !process::is_root() {
        return Err("containers, namespaces and daemons: run this as root".into());
    }
    process::run(&mut process::cargo(&[
        "build",
        "--release",
        "--locked",
        "-p",
        "dhow",
        "-p",
        "dhow-bench",
        "--bins",
    ]))?;

    // Short, and not below target/: sockets live here, and a socket's path has at most 107 bytes.
    let scratch = Scratch(std::env::temp_dir().join(format!("dhow-bench-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0)?;
    let engine = Engine::open(&scratch.0)?;
    if let Some(containers) = arguments.crowd {
        return crowd::run(&engine, &scratch.0, containers, arguments.enforce);
    }
    let (own, absent) = own_contenders(&scratch.0, &engine, arguments.network)?;
    let workload = Workload { network: arguments.network, output: None, wire: None };
    let mut agent = Agent::start(&scratch.0.join("peers"), workload)?;

    let contenders = own.iter().chain(&agent.contenders).cloned();
    let mut measured: Vec<Measured> =
        contenders.map(|contender| Measured { contender, samples: Vec::new() }).collect();
    for round in 0..arguments.runs as usize {
        for turn in 0..measured.len() {
            let index = (turn + round) % measured.len();
            let took = match index.checked_sub(own.len()) {
                None => measured[index].contender.measure()?,
                Some(peer) => agent.measure(peer)?,
            };
            measured[index].samples.push(took);
            std::thread::sleep(PAUSE);
        }
    }
    let absent: Vec<Absent> = absent.into_iter().chain(agent.absent.iter().cloned()).collect();
    drop(agent);

    println!("{}", markdown(&measured, &absent));
    let name =
        if arguments.network == Network::Bridge { "bench/start-bridge.json" } else { "bench/start.json" };
    let json = process::target_dir().join(name);
    save_json(&measured, &json)?;
    println!("every sample: {}", json.display());
    judge(&measured, arguments.network, arguments.enforce)
}

/// What is measured outside the agent: the floor, and dhow with an image of the same tree. On a bridge also without
/// one, which tells what the network costs.
fn own_contenders(
    scratch: &Path,
    engine: &Engine,
    network: Network,
) -> Result<(Vec<Contender>, Vec<Absent>)> {
    let rootfs = rootfs::make(&scratch.join("own"), None)?;
    engine.import(&rootfs)?;
    let floor_scratch = scratch.join("floor");
    std::fs::create_dir(&floor_scratch)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let program = process::target_dir().join("release/floor");
    let floor = [text(&program), text(&rootfs.directory), text(&floor_scratch)];
    let mut contenders = vec![Contender::new("floor", "-".to_owned(), floor)];
    contenders[0].warm_up()?;
    let mut wanted = vec![(OURS, network)];
    if network == Network::Bridge {
        wanted.push((WITHOUT, Network::None));
    }
    let mut absent = Vec::new();
    for (name, network) in wanted {
        match engine.run(name, network, &rootfs).and_then(|c| c.warm_up().map(|()| c)) {
            Ok(contender) => contenders.push(contender),
            Err(error) => absent.push(Absent { name: name.to_owned(), reason: error.to_string() }),
        }
    }
    Ok((contenders, absent))
}

/// Says whether dhow keeps its budgets.
fn judge(measured: &[Measured], network: Network, enforce: bool) -> Result {
    let budgets: &[(&str, f64)] = match network {
        Network::None => &[("floor", BUDGET_TO_FLOOR), ("crun run", BUDGET_TO_CRUN)],
        Network::Bridge => &[
            ("docker run", BUDGET_TO_DOCKER),
            ("podman run", BUDGET_TO_PODMAN),
            (WITHOUT, BUDGET_TO_NO_NETWORK),
        ],
    };
    let mut kept = true;
    for (peer, budget) in budgets {
        match ratio(measured, OURS, peer) {
            Some(ratio) => {
                let word = if ratio <= *budget { "kept" } else { "missed" };
                println!("budget {word}: {OURS} is {ratio:.3} × {peer}, and may be {budget:.3}");
                kept &= ratio <= *budget;
            }
            None => {
                println!("budget unknown: {OURS} beside {peer} was not measured");
                kept = false;
            }
        }
    }
    if kept || !enforce { Ok(()) } else { Err("dhow run is over its budget".into()) }
}
