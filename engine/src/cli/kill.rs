//! `dhow kill`: sends a signal to containers' first processes.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::stop::{container, post_each};
use clap::Parser;

/// Kill one or more running containers
#[derive(Debug, Parser)]
#[command(name = "dhow kill")]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let signal = args.signal.as_deref().unwrap_or("KILL");
    let route = |name: &str| container(name, "/kill").map(|r| r.with("signal", signal));
    post_each(&*context.client().await?, &args.containers, route).await
}
