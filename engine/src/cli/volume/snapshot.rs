//! `dhow volume snapshot`: a new volume with what another has now. Ours: docker has no such verb.

use crate::cli::arguments::Rules;
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::output;
use clap::Parser;
use serde_json::Value;

/// Create a volume that has what another has now
#[derive(Debug, Parser)]
#[command(name = "dhow volume snapshot")]
pub(crate) struct Args {
    #[arg(value_name = "VOLUME")]
    volume: String,
    #[arg(value_name = "NEW")]
    new: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let route = Route::of("/volumes/", &args.volume, "/snapshot").with("name", &args.new);
    let made: Value = context.client().await?.post_json(route.as_str(), &Value::Null).await?;
    output::print_line(made["Name"].as_str().unwrap_or_default())?;
    Ok(0)
}
