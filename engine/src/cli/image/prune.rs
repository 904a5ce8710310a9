//! `dhow image prune`: removes images that nothing names, or that nothing uses.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::prune::{self, PruneArgs};
use clap::Parser;

/// Remove unused images
#[derive(Debug, Parser)]
#[command(name = "dhow image prune")]
pub(crate) struct Args {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

const DANGLING: &str = "WARNING! This will remove all dangling images.";
const ALL: &str = "WARNING! This will remove all images without at least one container associated to them.";

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if !args.prune.confirmed(if args.all { ALL } else { DANGLING })? {
        return Ok(0);
    }
    let dangling = if args.all { "false" } else { "true" };
    let client = context.client().await?;
    let report = args.prune.post(&client, "/images/prune", &[("dangling", dangling)]).await?;
    output::print(&prune::report("Deleted Images", &lines(&report), &report["SpaceReclaimed"]))?;
    Ok(0)
}

/// What was removed, as the report tells it.
pub(crate) fn lines(report: &serde_json::Value) -> Vec<String> {
    let line = |item: &serde_json::Value| {
        let part = |key: &str| item[key].as_str().filter(|text| !text.is_empty());
        part("Untagged")
            .map(|name| format!("untagged: {name}"))
            .or_else(|| part("Deleted").map(|id| format!("deleted: {id}")))
    };
    report["ImagesDeleted"].as_array().into_iter().flatten().filter_map(line).collect()
}
