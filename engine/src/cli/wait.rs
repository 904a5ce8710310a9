//! `dhow wait`: waits until containers end, and prints their exit codes.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::stop::container;
use crate::cli::waiting;
use clap::Parser;

/// Block until one or more containers stop, then print their exit codes
#[derive(Debug, Parser)]
#[command(name = "dhow wait")]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let client = context.client().await?;
    let mut code = 0;
    for name in &args.containers {
        let waited = async {
            container(name, "")?;
            waiting::register(&client, name, "not-running").await?.finish().await
        };
        match waited.await {
            Ok(exit_code) => output::print_line(&exit_code.to_string())?,
            Err(failure) => {
                failure.report();
                code = 1;
            }
        }
    }
    if code == 0 { Ok(0) } else { Err(Failure::silent(code)) }
}
