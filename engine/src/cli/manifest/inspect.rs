//! `dhow manifest inspect`: shows a manifest or a list, of this machine or of a registry.

use super::entry::{self, Entry};
use super::local::Lists;
use super::named;
use super::remote::{Found, Remote};
use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::inspect::indent;
use crate::cli::output;
use clap::Parser;

/// Display an image manifest, or manifest list
#[derive(Debug, Parser)]
#[command(name = "dhow manifest inspect")]
pub(crate) struct Args {
    /// Allow communication with an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Output additional info including layers and platform
    #[arg(short, long)]
    verbose: bool,
    /// The list that the manifest is of, or a manifest or list alone
    #[arg(required = true, value_name = "[MANIFEST_LIST] MANIFEST", num_args = 1..=2)]
    names: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[expect(clippy::unused_async, reason = "every verb is awaited")]
pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let lists = Lists::of(context)?;
    let found = match args.names.as_slice() {
        [list, manifest] => {
            let (list, manifest) = (named(list)?, named(manifest)?);
            match lists.entry(&list, &manifest)? {
                Some(entry) => Found::Manifest(entry),
                None => Remote::to_pull(context, &manifest, args.insecure)?.find()?,
            }
        }
        names => {
            let name = named(names.first().map_or("", String::as_str))?;
            match lists.entries(&name)? {
                Some(entries) => Found::List(entries),
                None => Remote::to_pull(context, &name, args.insecure)?.find()?,
            }
        }
    };
    output::print_line(&shown(&found, args.verbose)?)?;
    Ok(0)
}

fn shown(found: &Found, verbose: bool) -> Outcome<String> {
    match (found, verbose) {
        (Found::Manifest(entry), false) => Ok(Entry::manifest(entry)),
        (Found::Manifest(entry), true) => Ok(indent(entry.json()?.as_bytes(), 0, "\t")),
        (Found::List(entries), false) => entry::list(entries).map(|(_, json)| json),
        (Found::List(entries), true) => entry::verbose(entries),
    }
}
