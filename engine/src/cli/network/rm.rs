//! `dhow network rm`: removes networks.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, empty};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::output;
use clap::Parser;
use http::Method;

/// Remove one or more networks
#[derive(Debug, Parser)]
#[command(name = "dhow network rm")]
pub(crate) struct Args {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let client = context.client().await?;
    let mut code = 0;
    for name in &args.names {
        match client.send(Method::DELETE, Route::of("/networks/", name, "").as_str(), empty()).await {
            Ok(_) => output::print_line(name)?,
            Err(failure) if args.force && failure.message.ends_with("not found") => {}
            Err(failure) => {
                failure.report();
                code = 1;
            }
        }
    }
    Ok(code)
}
