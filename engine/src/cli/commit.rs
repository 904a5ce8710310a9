//! `dhow commit`: makes an image of a container's changes.

use crate::cli::arguments::Rules;
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use clap::{ArgAction, Parser};
use dhow_model::Reference;
use serde::Deserialize;

/// Create a new image from a container's changes
#[derive(Debug, Parser)]
#[command(name = "dhow commit")]
pub(crate) struct Args {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Pause container during commit
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true", hide = true)]
    pause: bool,
    /// Disable pausing container during commit
    #[arg(long)]
    no_pause: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Committed {
    id: String,
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.container.is_empty() {
        return Err(Failure::new("invalid container name or ID: value is empty"));
    }
    if let Some(reference) = args.reference.as_deref().filter(|text| !text.is_empty()) {
        Reference::parse(reference)?;
    }
    let pause = args.pause && !args.no_pause;
    let mut route = Route::new("/commit")
        .with("container", args.container.trim_start_matches('/'))
        .maybe("repo", args.reference.as_deref())
        .with("author", &args.author)
        .with("comment", &args.message)
        .with("pause", if pause { "1" } else { "0" });
    for change in &args.change {
        route = route.with("changes", change);
    }
    let client = context.client().await?;
    let made: Committed = client.post_json(route.as_str(), &serde_json::Value::Null).await?;
    output::print_line(&made.id)?;
    Ok(0)
}
