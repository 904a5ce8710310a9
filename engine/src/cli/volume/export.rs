//! `dhow volume export`: a volume as a tar archive. Ours: docker has no such verb.

use crate::cli::arguments::Rules;
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::{save, terminal};
use clap::Parser;
use std::path::PathBuf;

/// Export a volume's files as a tar archive
#[derive(Debug, Parser)]
#[command(name = "dhow volume export")]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[arg(value_name = "VOLUME")]
    volume: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.output.is_none() && terminal::output_is_terminal() {
        return Err(Failure::bare("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    if let Some(path) = &args.output {
        save::check_path(path, "export volume")?;
    }
    let route = Route::of("/volumes/", &args.volume, "/export");
    let client = context.client().await?;
    save::fetch(&client, route.as_str(), args.output.as_deref()).await?;
    Ok(0)
}
