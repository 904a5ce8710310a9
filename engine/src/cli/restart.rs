//! `dhow restart`: stops and starts containers.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::stop::{container, post_each};
use clap::Parser;

/// Restart one or more containers
#[derive(Debug, Parser)]
#[command(name = "dhow restart")]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, allow_negative_numbers = true)]
    timeout: Option<i64>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let route = |name: &str| {
        let timeout = args.timeout.map(|t| t.to_string());
        container(name, "/restart")
            .map(|r| r.maybe("signal", args.signal.as_deref()).maybe("t", timeout.as_deref()))
    };
    post_each(&*context.client().await?, &args.containers, route).await
}
