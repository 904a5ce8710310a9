//! `dhow manifest push`: stores a list, and the manifests that it names, at a registry.

use super::entry;
use super::local::Lists;
use super::named;
use super::remote::Remote;
use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use clap::Parser;
use dhow_store::content::digest_of;

/// Push a manifest list to a repository
#[derive(Debug, Parser)]
#[command(name = "dhow manifest push")]
pub(crate) struct Args {
    /// Allow push to an insecure registry
    #[arg(long)]
    insecure: bool,
    /// Remove the local manifest list after push
    #[arg(short, long)]
    purge: bool,
    #[arg(required = true, value_name = "MANIFEST_LIST")]
    list: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[expect(clippy::unused_async, reason = "every verb is awaited")]
pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let list = named(&args.list)?;
    let lists = Lists::of(context)?;
    let entries = lists.entries(&list)?.filter(|entries| !entries.is_empty());
    let Some(entries) = entries else { return Err(Failure::new(format!("No such manifest: {list}"))) };
    let (media_type, json) = entry::list(&entries)?;
    let remote = Remote::to_push(context, &list, args.insecure)?;
    // The list last: a registry takes it only when it has what it names.
    for entry in &entries {
        let from = named(&entry.reference)?;
        if from.domain() != list.domain() {
            return Err(Failure::new(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                from.domain(),
                list.domain()
            )));
        }
        if from.name() != list.name() {
            remote.mount_blobs(entry, &from)?;
        }
        let digest = &entry.descriptor.digest;
        remote.put(digest, &entry.descriptor.media_type, &entry.raw)?;
        output::print_line(&format!("Pushed ref {}@{digest} with digest: {digest}", list.name()))?;
    }
    remote.put(list.tag().unwrap_or("latest"), media_type, json.as_bytes())?;
    output::print_line(digest_of(json.as_bytes()).as_str())?;
    if args.purge {
        lists.remove(&list)?;
    }
    Ok(0)
}
