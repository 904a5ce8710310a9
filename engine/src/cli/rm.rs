//! `dhow rm`: removes containers.

use crate::cli::arguments::Rules;
use crate::cli::client::empty;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::stop::container;
use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use http::Method;

/// Remove one or more containers
#[derive(Debug, Parser)]
#[command(name = "dhow rm")]
pub(crate) struct Args {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let client = context.client().await?;
    let mut removals: FuturesOrdered<_> = args
        .containers
        .iter()
        .map(|name| {
            let client = &client;
            let args = &args;
            async move {
                let name = name.trim_matches('/');
                if name.is_empty() {
                    return Err(Failure::new("container name cannot be empty"));
                }
                let route = container(name, "")?
                    .flag("force", args.force)
                    .flag("link", args.link)
                    .flag("v", args.volumes);
                client.send(Method::DELETE, route.as_str(), empty()).await.map(|_| ())
            }
        })
        .collect();
    let mut code = 0;
    let mut names = args.containers.iter();
    while let (Some(result), Some(name)) = (removals.next().await, names.next()) {
        match result {
            Ok(()) => output::print_line(name)?,
            Err(failure) => {
                failure.report();
                // With --force a container that is gone already is what was wanted.
                if !(args.force && failure.is_not_found()) {
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}
