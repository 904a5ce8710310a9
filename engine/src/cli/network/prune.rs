//! `dhow network prune`: removes networks that no container is on.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::prune::{self, PruneArgs};
use clap::Parser;

/// Remove all unused networks
#[derive(Debug, Parser)]
#[command(name = "dhow network prune")]
pub(crate) struct Args {
    /// Take the default bridge down, too; the next start makes it again
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.";

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if !args.prune.confirmed(WARNING)? {
        return Ok(0);
    }
    let more: &[(&str, &str)] = if args.all { &[("all", "true")] } else { &[] };
    let report = args.prune.post(&*context.client().await?, "/networks/prune", more).await?;
    output::print(&prune::section("Deleted Networks", &prune::names(&report["NetworksDeleted"])))?;
    Ok(0)
}
