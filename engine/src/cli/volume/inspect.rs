//! `dhow volume inspect`: everything that is known of volumes.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::inspect;
use clap::Parser;

/// Display detailed information on one or more volumes
#[derive(Debug, Parser)]
#[command(name = "dhow volume inspect")]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    inspect::execute(context, inspect::Args::of_kind("volume", args.format, args.names)).await
}
