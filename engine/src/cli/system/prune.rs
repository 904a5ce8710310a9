//! `dhow system prune`: everything that nothing uses, kind by kind.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::prune::{self, PruneArgs};
use crate::cli::{image, output};
use clap::Parser;

/// Remove unused data
#[derive(Debug, Parser)]
#[command(name = "dhow system prune")]
pub(crate) struct Args {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.volumes && args.prune.filter.iter().any(|(key, _)| key == "until") {
        return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !args.prune.confirmed(&warning(&args))? {
        return Ok(0);
    }
    let client = context.client().await?;
    let mut text = String::new();
    let mut reclaimed = 0;
    // Containers first: they hold images and volumes.
    let report = args.prune.post(&client, "/containers/prune", &[]).await?;
    text += &prune::section("Deleted Containers", &prune::names(&report["ContainersDeleted"]));
    reclaimed += report["SpaceReclaimed"].as_u64().unwrap_or(0);
    if args.volumes {
        let report = args.prune.post(&client, "/volumes/prune", &[]).await?;
        text += &prune::section("Deleted Volumes", &prune::names(&report["VolumesDeleted"]));
        reclaimed += report["SpaceReclaimed"].as_u64().unwrap_or(0);
    }
    let report = args.prune.post(&client, "/networks/prune", &[]).await?;
    text += &prune::section("Deleted Networks", &prune::names(&report["NetworksDeleted"]));
    let dangling = if args.all { "false" } else { "true" };
    let report = args.prune.post(&client, "/images/prune", &[("dangling", dangling)]).await?;
    text += &prune::section("Deleted Images", &image::prune::lines(&report));
    reclaimed += report["SpaceReclaimed"].as_u64().unwrap_or(0);
    output::print(&format!("{text}{}", prune::total(reclaimed)))?;
    Ok(0)
}

/// What the question says before it is asked.
fn warning(args: &Args) -> String {
    let mut kinds = vec!["all stopped containers"];
    if args.volumes {
        kinds.push("all anonymous volumes not used by at least one container");
    }
    kinds.insert(1, "all networks not used by at least one container");
    kinds.push(match args.all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    });
    let mut text = "WARNING! This will remove:\n".to_owned();
    for kind in kinds {
        text.push_str(&format!("  - {kind}\n"));
    }
    if !args.prune.filter.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for (key, value) in &args.prune.filter {
            text.push_str(&format!("  - {key}={value}\n"));
        }
    }
    text
}
