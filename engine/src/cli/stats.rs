//! `dhow stats`: what containers use, once or again and again.
//!
//! The engine is asked for single readings, and the rates are counted here from two of them: that needs no open
//! stream for each container, and finds those that come and go by asking for the list again.

use crate::cli::arguments::Rules;
use crate::cli::client::{Client, wire};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::listing::{Format, Row};
use crate::cli::stop::container;
use crate::cli::table::short_id;
use crate::cli::{output, terminal};
use bollard::models::{ContainerBlkioStatEntry, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::ListContainersOptionsBuilder;
use clap::Parser;
use dhow_model::units::{bytes_size, human_size};
use futures_util::{StreamExt, stream};
use std::collections::HashMap;
use std::time::Duration;

/// Display a live stream of container(s) resource usage statistics
#[derive(Debug, Parser)]
#[command(name = "dhow stats")]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const HEADERS: [(&str, &str); 9] = [
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);
/// Containers that are read at the same time.
const AT_ONCE: usize = 16;
/// Moves the cursor to the upper left corner; clears to the end of the line; clears what is below.
const HOME: &str = "\u{1b}[H";
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let text = args.format.clone().filter(|f| !f.is_empty()).or_else(|| context.setting("statsFormat"));
    let format = Format::parse(text.as_deref(), TABLE)?;
    let client = context.client().await?;
    let mut view = View { client: &client, args: &args, before: HashMap::new() };
    // Rates need two readings.
    view.read().await?;
    let redraw = !args.no_stream && terminal::output_is_terminal();
    let mut first = true;
    loop {
        // The first picture comes soon, the others every second.
        tokio::time::sleep(if first && !args.no_stream { INTERVAL / 4 } else { INTERVAL }).await;
        let rows = view.read().await?;
        let picture = format.render(&HEADERS, &rows)?;
        if redraw {
            let clear = if first { format!("{HOME}{CLEAR_BELOW}") } else { HOME.to_owned() };
            let lines: String = picture.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
            output::print_raw(&format!("{clear}{lines}{CLEAR_BELOW}"))?;
        } else {
            output::print(&picture)?;
        }
        if args.no_stream {
            return Ok(0);
        }
        first = false;
    }
}

/// What is shown, and what it is counted from.
struct View<'a> {
    client: &'a Client,
    args: &'a Args,
    /// The last reading of each container, by id.
    before: HashMap<String, ContainerStatsResponse>,
}

impl View<'_> {
    /// Reads every container once.
    async fn read(&mut self) -> Outcome<Vec<Row>> {
        let named = !self.args.containers.is_empty();
        let names = if named { self.args.containers.clone() } else { self.list().await? };
        let client = self.client;
        let readings: Vec<(String, Outcome<ContainerStatsResponse>)> = stream::iter(names)
            .map(|name| async move {
                let reading = read(client, &name).await;
                (name, reading)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let (mut rows, mut now, mut errors) = (Vec::new(), HashMap::new(), Vec::new());
        for (name, reading) in readings {
            match reading {
                Ok(reading) => {
                    let id = reading.id.clone().unwrap_or_default();
                    rows.push(row(&name, &reading, self.before.get(&id), self.args.no_trunc));
                    now.insert(id, reading);
                }
                // It went between the list and the question.
                Err(failure) if !named && failure.is_not_found() => {}
                Err(failure) => errors.push(failure),
            }
        }
        // All are told, each on its line; the last as the command's own.
        let last = errors.pop();
        errors.iter().for_each(Failure::report);
        if let Some(failure) = last {
            return Err(failure);
        }
        self.before = now;
        Ok(rows)
    }

    async fn list(&self) -> Outcome<Vec<String>> {
        let options = ListContainersOptionsBuilder::default().all(self.args.all).build();
        let listed = self.client.docker.list_containers(Some(options)).await?;
        Ok(listed.into_iter().filter_map(|c| c.id).collect())
    }
}

async fn read(client: &Client, name: &str) -> Outcome<ContainerStatsResponse> {
    let route = container(name, "/stats")?.with("stream", "0").with("one-shot", "1");
    serde_json::from_slice(&client.get_bytes(route.as_str()).await?).map_err(wire)
}

fn row(
    typed: &str,
    now: &ContainerStatsResponse,
    before: Option<&ContainerStatsResponse>,
    full: bool,
) -> Row {
    let id = now.id.clone().unwrap_or_default();
    let id = if full { id } else { short_id(&id) };
    let name = now.name.as_deref().unwrap_or_default().trim_start_matches('/');
    let memory = now.memory_stats.clone().unwrap_or_default();
    let (used, limit) = (without_cache(&memory), memory.limit.unwrap_or(0));
    let blocks =
        now.blkio_stats.as_ref().and_then(|b| b.io_service_bytes_recursive.as_deref()).unwrap_or(&[]);
    let (received, sent) = network(now);
    let pids = now.pids_stats.as_ref().and_then(|p| p.current).unwrap_or(0);
    Row::new([
        ("Container", typed.into()),
        ("ID", id.into()),
        ("Name", name.into()),
        ("CPUPerc", format!("{:.2}%", cpu_percent(now, before)).into()),
        ("MemUsage", format!("{} / {}", bytes_size(used), bytes_size(limit)).into()),
        ("MemPerc", format!("{:.2}%", percent(used, limit)).into()),
        ("NetIO", format!("{} / {}", human_size(received), human_size(sent)).into()),
        ("BlockIO", format!("{} / {}", human_size(io(blocks, 'r')), human_size(io(blocks, 'w'))).into()),
        ("PIDs", pids.to_string().into()),
    ])
    .of_type("*container.statsContext")
}

/// The container's share of the CPU time that went by, in CPUs: 150 % is one and a half.
#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn cpu_percent(now: &ContainerStatsResponse, before: Option<&ContainerStatsResponse>) -> f64 {
    let counters = |stats: &ContainerStatsResponse| {
        let cpu = stats.cpu_stats.as_ref()?;
        let total = cpu.cpu_usage.as_ref()?.total_usage?;
        let cpus = cpu.online_cpus.filter(|n| *n > 0).unwrap_or(1);
        Some((total, cpu.system_cpu_usage?, f64::from(cpus)))
    };
    let (Some((used, all, cpus)), Some((used_before, all_before, _))) =
        (counters(now), before.and_then(counters))
    else {
        return 0.0;
    };
    match (used.checked_sub(used_before), all.checked_sub(all_before)) {
        (Some(used), Some(all)) if all > 0 => used as f64 / all as f64 * cpus * 100.0,
        _ => 0.0,
    }
}

#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// Memory without the file pages that can be dropped at once: Docker's rule, for cgroup v1 and v2.
fn without_cache(memory: &ContainerMemoryStats) -> u64 {
    let used = memory.usage.unwrap_or(0);
    let detail = |key: &str| memory.stats.as_ref().and_then(|s| s.get(key).copied());
    let cache = detail("total_inactive_file").or_else(|| detail("inactive_file")).unwrap_or(0);
    if cache < used { used - cache } else { used }
}

fn network(stats: &ContainerStatsResponse) -> (u64, u64) {
    let networks = || stats.networks.iter().flatten().map(|(_, usage)| usage);
    let sum = |numbers: &mut dyn Iterator<Item = Option<u64>>| numbers.flatten().fold(0, u64::saturating_add);
    (sum(&mut networks().map(|n| n.rx_bytes)), sum(&mut networks().map(|n| n.tx_bytes)))
}

/// Bytes of the operations that begin with that letter, in either case.
fn io(entries: &[ContainerBlkioStatEntry], letter: char) -> u64 {
    let is = |entry: &&ContainerBlkioStatEntry| {
        entry.op.as_deref().and_then(|op| op.chars().next()).is_some_and(|c| c.eq_ignore_ascii_case(&letter))
    };
    entries.iter().filter(is).filter_map(|entry| entry.value).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::template::Data;
    use serde_json::json;

    fn stats(used: u64, all: u64) -> ContainerStatsResponse {
        serde_json::from_value(json!({
            "id": "0123456789abcdef", "name": "/web",
            "cpu_stats": {"cpu_usage": {"total_usage": used}, "system_cpu_usage": all, "online_cpus": 2},
            "memory_stats": {"usage": 3 << 20, "limit": 64 << 20, "stats": {"inactive_file": 1 << 20}},
            "pids_stats": {"current": 7},
            "networks": {"eth0": {"rx_bytes": 1500, "tx_bytes": 10}, "eth1": {"rx_bytes": 500}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 1000}, {"op": "write", "value": 2_000_000}, {"op": "Sync", "value": 9}
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_row() {
        let row = row("web", &stats(300, 2000), Some(&stats(100, 1000)), false);
        let want = json!({
            "Container": "web", "ID": "0123456789ab", "Name": "web", "CPUPerc": "40.00%",
            "MemUsage": "2MiB / 64MiB", "MemPerc": "3.12%", "NetIO": "2kB / 10B", "BlockIO": "1kB / 2MB",
            "PIDs": "7",
        });
        assert_eq!(row.value(), &want);
    }

    #[test]
    fn what_does_not_run_has_zeros() {
        let nothing = ContainerStatsResponse { id: Some("0".into()), ..Default::default() };
        let shown = row("x", &nothing, None, true);
        assert_eq!(shown.value()["CPUPerc"], "0.00%");
        assert_eq!(shown.value()["MemUsage"], "0B / 0B");
        assert_eq!(shown.value()["PIDs"], "0");
        // A restart sets the counters back.
        assert_eq!(row("x", &stats(1, 2000), Some(&stats(100, 1000)), true).value()["CPUPerc"], "0.00%");
    }
}
