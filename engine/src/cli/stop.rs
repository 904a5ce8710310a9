//! `dhow stop`: asks containers to end, then makes them.

use crate::cli::arguments::Rules;
use crate::cli::client::{Client, Route, empty};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use http::Method;

/// Stop one or more running containers
#[derive(Debug, Parser)]
#[command(name = "dhow stop")]
pub(crate) struct Args {
    /// Signal to send to the container
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, allow_negative_numbers = true)]
    pub(crate) timeout: Option<i64>,
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let route = |name: &str| {
        let timeout = args.timeout.map(|t| t.to_string());
        container(name, "/stop")
            .map(|r| r.maybe("signal", args.signal.as_deref()).maybe("t", timeout.as_deref()))
    };
    post_each(&*context.client().await?, &args.containers, route).await
}

/// The path of a container's verb.
pub(crate) fn container(name: &str, verb: &str) -> Outcome<Route> {
    if name.trim_matches('/').is_empty() {
        return Err(Failure::new("invalid container name or ID: value is empty"));
    }
    Ok(Route::of("/containers/", name.trim_start_matches('/'), verb))
}

/// Posts to several containers at once, prints each name when it is done, in the order given, and every failure.
pub(crate) async fn post_each(
    client: &Client,
    names: &[String],
    route: impl Fn(&str) -> Outcome<Route>,
) -> Outcome {
    let mut posts: FuturesOrdered<_> = names
        .iter()
        .map(|name| {
            let route = route(name);
            async move { client.send(Method::POST, route?.as_str(), empty()).await.map(|_| ()) }
        })
        .collect();
    let mut code = 0;
    let mut names = names.iter();
    while let (Some(result), Some(name)) = (posts.next().await, names.next()) {
        match result {
            Ok(()) => output::print_line(name)?,
            Err(failure) => {
                failure.report();
                code = 1;
            }
        }
    }
    Ok(code)
}
