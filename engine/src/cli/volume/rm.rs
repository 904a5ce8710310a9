//! `dhow volume rm`: removes volumes.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, empty};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::output;
use clap::Parser;
use http::Method;

/// Remove one or more volumes
#[derive(Debug, Parser)]
#[command(name = "dhow volume rm")]
pub(crate) struct Args {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let client = context.client().await?;
    let mut code = 0;
    for name in &args.names {
        let route = Route::of("/volumes/", name, "").flag("force", args.force);
        match client.send(Method::DELETE, route.as_str(), empty()).await {
            Ok(_) => output::print_line(name)?,
            Err(failure) => {
                failure.report();
                code = 1;
            }
        }
    }
    Ok(code)
}
