//! `dhow container prune`: removes every stopped container.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::output;
use crate::cli::prune::{self, PruneArgs};
use clap::Parser;

/// Remove all stopped containers
#[derive(Debug, Parser)]
#[command(name = "dhow container prune")]
pub(crate) struct Args {
    #[command(flatten)]
    prune: PruneArgs,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

const WARNING: &str = "WARNING! This will remove all stopped containers.";

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if !args.prune.confirmed(WARNING)? {
        return Ok(0);
    }
    let report = args.prune.post(&*context.client().await?, "/containers/prune", &[]).await?;
    let deleted = prune::names(&report["ContainersDeleted"]);
    output::print(&prune::report("Deleted Containers", &deleted, &report["SpaceReclaimed"]))?;
    Ok(0)
}
