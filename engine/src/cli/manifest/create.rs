//! `dhow manifest create`: begins a manifest list.

use super::local::Lists;
use super::named;
use super::remote::{Found, Remote};
use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use clap::Parser;

/// Create a local manifest list for annotating and pushing to a registry
#[derive(Debug, Parser)]
#[command(name = "dhow manifest create")]
pub(crate) struct Args {
    /// Amend an existing manifest list
    #[arg(short, long)]
    amend: bool,
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    #[arg(required = true, value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[expect(clippy::unused_async, reason = "every verb is awaited")]
pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let list = named(&args.list)?;
    let lists = Lists::of(context)?;
    if !args.amend && lists.entries(&list)?.is_some() {
        return Err(Failure::new("refusing to amend an existing manifest list with no --amend flag"));
    }
    let mut found = Vec::new();
    for text in &args.manifests {
        let manifest = named(text)?;
        if lists.entry(&list, &manifest)?.is_some() {
            continue;
        }
        match Remote::to_pull(context, &manifest, args.insecure)?.find()? {
            Found::Manifest(entry) => found.push((manifest, entry)),
            Found::List(_) => {
                return Err(Failure::new(format!("{} is a manifest list", manifest.familiar())));
            }
        }
    }
    // All or nothing.
    for (manifest, entry) in found {
        lists.keep(&list, &manifest, &entry)?;
    }
    output::print_line(&format!("Created manifest list {list}"))?;
    Ok(0)
}
