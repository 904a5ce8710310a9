//! Everything one can do with images: one verb, one file.

pub mod artifacts;
pub(crate) mod change;
pub mod distribution;
pub mod embedded;
pub(crate) mod gc;
mod healthcheck;
pub mod history;
pub mod import;
pub mod inspect;
pub mod list;
pub mod load;
mod mounter;
mod pattern;
pub mod prune;
pub mod pull;
pub mod push;
pub(crate) mod referrers;
pub mod remove;
pub mod save;
pub mod search;
pub mod tag;
pub mod transfer;

pub(crate) use mounter::HostMounter;

use crate::Engine;
use dhow_model::image::Image;
use dhow_model::{ErrorKind, Result};

/// Finds an image by reference, id or prefix; the embedded hello-world is installed when it is asked for. What is no
/// image is refused by what it is.
pub(crate) fn find_or_embedded(engine: &Engine, name: &str) -> Result<Image> {
    match engine.db()?.read(|txn| txn.find_image(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound && embedded::is_hello_world(name) => {
            embedded::install(engine)?;
            engine.db()?.read(|txn| txn.find_image(name))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match engine.db()?.read(|txn| txn.find_artifact(name))? {
                Some(artifact) => Err(artifacts::refusal(name, &artifact)),
                None => Err(error),
            }
        }
        found => found,
    }
}
