//! `dhow volume prune`: removes volumes that no container uses.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::prune::{self, PruneArgs};
use clap::Parser;

/// Remove unused local volumes
#[derive(Debug, Parser)]
#[command(name = "dhow volume prune")]
pub(crate) struct Args {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

const ANONYMOUS: &str =
    "WARNING! This will remove anonymous local volumes not used by at least one container.";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.";

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let more: &[(&str, &str)] = if args.all { &[("all", "true")] } else { &[] };
    if args.all && args.prune.filter.iter().any(|(key, _)| key == "all") {
        return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
    }
    if !args.prune.confirmed(if args.all { ALL } else { ANONYMOUS })? {
        return Ok(0);
    }
    let report = args.prune.post(&*context.client().await?, "/volumes/prune", more).await?;
    let deleted = prune::names(&report["VolumesDeleted"]);
    output::print(&prune::report("Deleted Volumes", &deleted, &report["SpaceReclaimed"]))?;
    Ok(0)
}
