//! `dhow export`: writes a container's root filesystem to a tar archive.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::save;
use crate::cli::stop::container;
use crate::cli::terminal;
use clap::Parser;
use std::path::PathBuf;

/// Export a container's filesystem as a tar archive
#[derive(Debug, Parser)]
#[command(name = "dhow export")]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.output.is_none() && terminal::output_is_terminal() {
        return Err(Failure::bare("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    if let Some(path) = &args.output {
        save::check_path(path, "export container")?;
    }
    let route = container(&args.container, "/export")?;
    let client = context.client().await?;
    save::fetch(&client, route.as_str(), args.output.as_deref()).await?;
    Ok(0)
}
