//! `dhow pause`: stops the processes of containers where they are.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::stop::{container, post_each};
use clap::Parser;

/// Pause all processes within one or more containers
#[derive(Debug, Parser)]
#[command(name = "dhow pause")]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    post_each(&*context.client().await?, &args.containers, |name| container(name, "/pause")).await
}
