//! `dhow network inspect`: everything that is known of networks.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::inspect;
use clap::Parser;

/// Display detailed information on one or more networks
#[derive(Debug, Parser)]
#[command(name = "dhow network inspect")]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    verbose: bool,
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    // There is more to tell of networks of a swarm only.
    let _ = args.verbose;
    inspect::execute(context, inspect::Args::of_kind("network", args.format, args.names)).await
}
