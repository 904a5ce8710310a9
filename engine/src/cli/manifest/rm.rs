//! `dhow manifest rm`: forgets lists that were begun.

use super::local::Lists;
use super::named;
use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use clap::Parser;

/// Delete one or more manifest lists from local storage
#[derive(Debug, Parser)]
#[command(name = "dhow manifest rm")]
pub(crate) struct Args {
    #[arg(required = true, value_name = "MANIFEST_LIST")]
    lists: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[expect(clippy::unused_async, reason = "every verb is awaited")]
pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let lists = Lists::of(context)?;
    let mut failures = Vec::new();
    for text in &args.lists {
        let list = named(text)?;
        if !lists.remove(&list)? {
            failures.push(format!("No such manifest: {list}"));
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("\n"))) }
}
