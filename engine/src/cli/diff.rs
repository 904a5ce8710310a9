//! `dhow diff`: what a container changed.

use crate::cli::arguments::Rules;
use crate::cli::client::wire;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::stop::container;
use clap::Parser;
use serde::Deserialize;

/// Inspect changes to files or directories on a container's filesystem
#[derive(Debug, Parser)]
#[command(name = "dhow diff")]
pub(crate) struct Args {
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    path: String,
    kind: u8,
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.container.is_empty() {
        return Err(Failure::new("container name cannot be empty"));
    }
    let route = container(&args.container, "/changes")?;
    let client = context.client().await?;
    let changes: Option<Vec<Change>> =
        serde_json::from_slice(&client.get_bytes(route.as_str()).await?).map_err(wire)?;
    let mut text = String::new();
    for Change { path, kind } in changes.unwrap_or_default() {
        let letter = match kind {
            0 => 'C',
            1 => 'A',
            2 => 'D',
            _ => '?',
        };
        text.push_str(&format!("{letter} {path}\n"));
    }
    output::print(&text)?;
    Ok(0)
}
