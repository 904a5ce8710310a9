//! `dhow top`: the processes of a container.

use crate::cli::arguments::Rules;
use crate::cli::client::wire;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::stop::container;
use crate::cli::{output, table};
use bollard::models::ContainerTopResponse;
use clap::Parser;

/// Display the running processes of a container
#[derive(Debug, Parser)]
#[command(name = "dhow top")]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// Options of ps: which columns
    #[arg(value_name = "ps OPTIONS")]
    options: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: true, refused: &[] };

/// The least width of a column here, its padding included.
const MIN_WIDTH: usize = 20;

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let options = args.options.join(" ");
    let route = container(&args.container, "/top")?
        .maybe("ps_args", Some(options.as_str()).filter(|o| !o.is_empty()));
    let answer = context.client().await?.get_bytes(route.as_str()).await?;
    let found: ContainerTopResponse = serde_json::from_slice(&answer).map_err(wire)?;
    let mut rows = vec![found.titles.unwrap_or_default()];
    rows.extend(found.processes.unwrap_or_default());
    output::print(&table::align_at_least(MIN_WIDTH, &rows))?;
    Ok(0)
}
