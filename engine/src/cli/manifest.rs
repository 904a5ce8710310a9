//! The verbs of the group `manifest`: manifest lists, made on this machine and pushed whole.
//!
//! No engine is asked. As with Docker's command line, a list lies below `~/.docker/manifests` until it is pushed, in
//! the same files, and registries are asked from here.

pub(crate) mod annotate;
pub(crate) mod create;
mod entry;
pub(crate) mod inspect;
mod local;
pub(crate) mod push;
mod remote;
pub(crate) mod rm;

use crate::cli::exit::Outcome;
use dhow_model::Reference;

/// A name as these verbs know it: with a tag, unless it has a digest.
fn named(text: &str) -> Outcome<Reference> {
    let reference = Reference::parse(text)?;
    Ok(if reference.digest().is_some() { reference } else { reference.with_default_tag() })
}
