//! `dhow logs`: shows what a container printed.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, wire};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::stop::container;
use crate::cli::{moment, stream};
use clap::Parser;
use futures_util::TryStreamExt;
use http_body_util::BodyDataStream;
use serde::Deserialize;
use tokio_util::io::StreamReader;

/// Fetch the logs of a container
#[derive(Debug, Parser)]
#[command(name = "dhow logs")]
pub(crate) struct Args {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long)]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all", allow_hyphen_values = true)]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long)]
    until: Option<String>,
    #[arg(required = true)]
    container: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

/// What is needed of `inspect` to read a container's stream.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    tty: bool,
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let since = args.since.as_deref().map(|t| moment::parse("since", t)).transpose()?;
    let until = args.until.as_deref().map(|t| moment::parse("until", t)).transpose()?;
    let route: Route = container(&args.container, "/logs")?
        .with("stdout", "1")
        .with("stderr", "1")
        .flag("follow", args.follow)
        .flag("timestamps", args.timestamps)
        .flag("details", args.details)
        .with("tail", &args.tail)
        .maybe("since", since.as_deref())
        .maybe("until", until.as_deref());
    let client = context.client().await?;
    let inspected = client.get_bytes(container(&args.container, "/json")?.as_str()).await?;
    let inspected: Inspected = serde_json::from_slice(&inspected).map_err(wire)?;
    let answer = client.get(route.as_str()).await?;
    let body = BodyDataStream::new(answer.into_body()).map_err(std::io::Error::other);
    stream::copy_output(StreamReader::new(body), inspected.config.tty).await?;
    Ok(0)
}
