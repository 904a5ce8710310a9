//! `dhow volume import`: a tar archive into a volume. Ours: docker has no such verb.

use crate::cli::arguments::Rules;
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::import::{open, stdin_file};
use clap::Parser;
use http::Method;
use std::path::Path;

/// Extract a tar archive, plain or compressed, into a volume
#[derive(Debug, Parser)]
#[command(name = "dhow volume import")]
pub(crate) struct Args {
    #[arg(value_name = "VOLUME")]
    volume: String,
    #[arg(value_name = "FILE|-")]
    source: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let archive = match args.source.as_str() {
        "-" => stdin_file()?,
        path => open(Path::new(path))?,
    };
    let route = Route::of("/volumes/", &args.volume, "/import");
    context.client().await?.send_file(Method::POST, route.as_str(), archive).await?;
    Ok(0)
}
