//! `dhow network disconnect`: takes a container from a network.

use crate::cli::arguments::Rules;
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use clap::Parser;
use serde_json::json;

/// Disconnect a container from a network
#[derive(Debug, Parser)]
#[command(name = "dhow network disconnect")]
pub(crate) struct Args {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let body = json!({"Container": args.container, "Force": args.force});
    let route = Route::of("/networks/", &args.network, "/disconnect");
    context.client().await?.post(route.as_str(), &body).await?;
    Ok(0)
}
