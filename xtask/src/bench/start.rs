//! `cargo xtask bench start`: the whole command that runs `true` in a new container and removes it.

use super::agent::Agent;
use super::report::{Measured, markdown, ratio, save_json};
use super::{Absent, Contender, Scratch, rootfs};
use crate::{Result, process};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each command is measured
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Fail when dhow is over its budget, or was not measured
    #[arg(long)]
    enforce: bool,
}

/// DESIGN, section 9: the whole command beside the kernel's floor, and no slower than crun.
const BUDGET_TO_FLOOR: f64 = 4.0;
const BUDGET_TO_CRUN: f64 = 1.0;

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
    let run_time = Scratch(super::run_time_directory(&scratch.0));
    std::fs::create_dir_all(&run_time.0)?;
    let (own, absent) = own_contenders(&scratch.0)?;
    let mut agent = Agent::start(&scratch.0.join("peers"), None)?;

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
    let json = process::target_dir().join("bench/start.json");
    save_json(&measured, &json)?;
    println!("every sample: {}", json.display());
    judge(&measured, arguments.enforce)
}

/// What is measured outside the agent: the floor, and dhow with an image of the same tree.
fn own_contenders(scratch: &Path) -> Result<(Vec<Contender>, Vec<Absent>)> {
    let release = process::target_dir().join("release");
    let rootfs = rootfs::make(&scratch.join("own"), None)?;
    let floor_scratch = scratch.join("floor");
    std::fs::create_dir(&floor_scratch)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let floor = [text(&release.join("floor")), text(&rootfs.directory), text(&floor_scratch)];
    let mut contenders = vec![Contender::new("floor", "-".to_owned(), floor)];
    contenders[0].warm_up()?;
    let mut absent = Vec::new();
    match dhow(&release.join("dhow"), scratch, &rootfs).and_then(|c| c.warm_up().map(|()| c)) {
        Ok(contender) => contenders.push(contender),
        Err(error) => absent.push(Absent { name: "dhow run".to_owned(), reason: error.to_string() }),
    }
    Ok((contenders, absent))
}

pub(super) fn dhow(program: &Path, scratch: &Path, rootfs: &rootfs::Rootfs) -> Result<Contender> {
    let (root, state) = (scratch.join("dhow/root"), super::run_time_directory(scratch).join("dhow"));
    let mut words = vec![program.to_string_lossy().into_owned()];
    for (flag, path) in [("--root", &root), ("--state", &state)] {
        words.extend([flag.to_owned(), path.to_string_lossy().into_owned()]);
    }
    process::output(Command::new(program).args(&words[1..]).arg("import").arg(&rootfs.tar).arg("bench"))?;
    let version = process::output(Command::new(program).arg("--version"))?;
    let version = version.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()));
    let version = version.unwrap_or("unknown").trim_end_matches(',').to_owned();
    words.extend(["run", "--rm", "--network", "none", "bench"].map(str::to_owned));
    words.extend(rootfs.command.iter().cloned());
    Ok(Contender::new("dhow run", version, words))
}

/// Says whether dhow keeps its budget.
fn judge(measured: &[Measured], enforce: bool) -> Result {
    let mut kept = true;
    for (peer, budget) in [("floor", BUDGET_TO_FLOOR), ("crun run", BUDGET_TO_CRUN)] {
        match ratio(measured, "dhow run", peer) {
            Some(ratio) => {
                let word = if ratio <= budget { "kept" } else { "missed" };
                println!("budget {word}: dhow run is {ratio:.2} × {peer}, and may be {budget:.2}");
                kept &= ratio <= budget;
            }
            None => {
                println!("budget unknown: dhow run beside {peer} was not measured");
                kept = false;
            }
        }
    }
    if kept || !enforce { Ok(()) } else { Err("dhow run is over its budget".into()) }
}
