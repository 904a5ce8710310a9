//! `dhow rename`: gives a container another name.

use crate::cli::arguments::Rules;
use crate::cli::client::empty;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::stop::container;
use clap::Parser;
use http::Method;

/// Rename a container
#[derive(Debug, Parser)]
#[command(name = "dhow rename")]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let (old, new) = (args.container.trim(), args.name.trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    let route = container(old, "/rename")?.with("name", new);
    context.client().await?.send(Method::POST, route.as_str(), empty()).await?;
    Ok(0)
}
