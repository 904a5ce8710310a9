//! `dhow update`: other limits and another restart policy for containers that exist.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::spec::{limits, parse_restart};
use crate::cli::stop::container;
use bollard::models::{ContainerUpdateBody, ContainerUpdateResponse};
use clap::Parser;
use dhow_model::units;

/// Update configuration of one or more containers
#[derive(Debug, Parser)]
#[command(name = "dhow update")]
pub(crate) struct Args {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)
    #[arg(long)]
    blkio_weight: Option<u16>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long)]
    cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Limit the CPU real-time period in microseconds
    #[arg(long)]
    cpu_rt_period: Option<i64>,
    /// Limit the CPU real-time runtime in microseconds
    #[arg(long)]
    cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long)]
    cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_parser = |t: &str| units::parse_cpus(t).map_err(|e| e.to_string()))]
    cpus: Option<u64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_parser = limits::parse_bytes)]
    memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_parser = limits::parse_bytes)]
    memory_reservation: Option<i64>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_parser = limits::parse_swap_bytes, allow_negative_numbers = true)]
    memory_swap: Option<i64>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long)]
    restart: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules {
    stop_at_first: false,
    refused: &[("--kernel-memory", "Linux has no limit of kernel memory any more")],
};

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let body = ContainerUpdateBody {
        blkio_weight: args.blkio_weight,
        cpu_period: args.cpu_period,
        cpu_quota: args.cpu_quota,
        cpu_realtime_period: args.cpu_rt_period,
        cpu_realtime_runtime: args.cpu_rt_runtime,
        cpu_shares: args.cpu_shares,
        nano_cpus: args.cpus.and_then(|n| i64::try_from(n).ok()),
        cpuset_cpus: args.cpuset_cpus,
        cpuset_mems: args.cpuset_mems,
        memory: args.memory,
        memory_reservation: args.memory_reservation,
        memory_swap: args.memory_swap,
        pids_limit: args.pids_limit,
        restart_policy: args.restart.as_deref().map(parse_restart).transpose()?,
        ..ContainerUpdateBody::default()
    };
    if body == ContainerUpdateBody::default() {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let client = context.client().await?;
    let (mut warnings, mut failed) = (Vec::new(), false);
    for name in &args.containers {
        let updated = async {
            let route = container(name, "/update")?;
            client.post_json::<ContainerUpdateResponse>(route.as_str(), &body).await
        };
        match updated.await {
            Ok(answer) => {
                warnings.extend(answer.warnings.unwrap_or_default());
                output::print_line(name)?;
            }
            Err(failure) => {
                failure.report();
                failed = true;
            }
        }
    }
    for warning in warnings {
        output::warn_line(&format!("WARNING: {warning}"));
    }
    Ok(i32::from(failed))
}
