//! `dhow volume create`: makes a volume and prints its name.

use super::CLUSTER;
use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::spec::env::parse_label;
use clap::Parser;
use serde_json::{Map, Value, json};

/// Create a volume
#[derive(Debug, Parser)]
#[command(name = "dhow volume create")]
pub(crate) struct Args {
    /// Specify volume driver name
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_parser = parse_label)]
    label: Vec<String>,
    /// Specify volume name
    #[arg(long, hide = true)]
    name: Option<String>,
    /// Set driver specific options
    #[arg(short, long)]
    opt: Vec<String>,
    #[arg(value_name = "VOLUME")]
    volume: Option<String>,
}

pub(crate) const RULES: Rules = Rules {
    stop_at_first: false,
    refused: &[
        ("--availability", CLUSTER),
        ("--group", CLUSTER),
        ("--limit-bytes", CLUSTER),
        ("--required-bytes", CLUSTER),
        ("--scope", CLUSTER),
        ("--secret", CLUSTER),
        ("--sharing", CLUSTER),
        ("--topology-preferred", CLUSTER),
        ("--topology-required", CLUSTER),
        ("--type", CLUSTER),
    ],
};

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.name.is_some() && args.volume.is_some() {
        return Err(Failure::new(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
        ));
    }
    let pairs = |list: &[String]| -> Value {
        let pair = |text: &String| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), Value::from(value))
        };
        list.iter().map(pair).collect::<Map<_, _>>().into()
    };
    let body = json!({
        "Name": args.volume.or(args.name).unwrap_or_default(),
        "Driver": args.driver,
        "DriverOpts": pairs(&args.opt),
        "Labels": pairs(&args.label),
    });
    let made: Value = context.client().await?.post_json("/volumes/create", &body).await?;
    output::print_line(made["Name"].as_str().unwrap_or_default())?;
    Ok(0)
}
