//! `images`: what is installed, and how many containers use it.

use crate::Engine;
use crate::filters::Filters;
use dhow_model::image::Image;
use dhow_model::{Error, Reference, Result, Timestamp};
use std::collections::BTreeMap;

/// One image with its tags.
#[derive(Debug, Clone)]
pub struct ImageSummary {
    /// The image.
    pub image: Image,
    /// Its tags, and the digests that it was pulled by; without a tag the image is dangling.
    pub references: Vec<Reference>,
    /// How many containers were made of it.
    pub containers: u64,
}

impl ImageSummary {
    /// Whether no tag points at it.
    pub fn is_dangling(&self) -> bool {
        self.references.iter().all(|reference| reference.tag().is_none())
    }
}

const FILTERS: [&str; 6] = ["before", "since", "dangling", "label", "reference", "until"];

/// Lists images, the newest first.
///
/// # Errors
/// `InvalidArgument` for an unknown filter or a bad value; `NotFound` for the image of `before` or `since`.
pub fn list(engine: &Engine, filters: &Filters) -> Result<Vec<ImageSummary>> {
    filters.only(&FILTERS)?;
    let dangling = match filters.values("dangling").last().map(String::as_str) {
        None => None,
        Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(other) => return Err(Error::invalid(format!("invalid filter 'dangling={other}'"))),
    };
    let until = filters.until()?;
    let (images, users, before, since) = engine.db()?.read(|txn| {
        let edge = |key: &str| -> Result<Option<Option<Timestamp>>> {
            filters.values(key).last().map(|name| txn.find_image(name).map(|i| i.created)).transpose()
        };
        let mut users: BTreeMap<_, u64> = BTreeMap::new();
        for container in txn.container_summaries()? {
            *users.entry(container.image_id).or_default() += 1;
        }
        Ok((txn.images()?, users, edge("before")?.flatten(), edge("since")?.flatten()))
    })?;
    let mut chosen: Vec<ImageSummary> = images
        .into_iter()
        .map(|(image, references)| {
            let containers = users.get(&image.id).copied().unwrap_or(0);
            ImageSummary { image, references, containers }
        })
        .filter(|s| dangling.is_none_or(|want| s.is_dangling() == want))
        .filter(|s| before.is_none_or(|edge| s.image.created < Some(edge)))
        .filter(|s| since.is_none_or(|edge| s.image.created > Some(edge)))
        .filter(|s| until.is_none_or(|edge| s.image.created < Some(edge)))
        .filter(|s| filters.labels_match(&s.image.config.labels))
        .collect();
    if !filters.values("reference").is_empty() {
        for summary in &mut chosen {
            summary.references.retain(|reference| {
                filters.any("reference", |pattern| {
                    [reference.familiar(), reference.familiar_name()].iter().any(|name| glob(pattern, name))
                })
            });
        }
        chosen.retain(|summary| !summary.references.is_empty());
    }
    chosen
        .sort_by(|a, b| b.image.created.cmp(&a.image.created).then_with(|| a.references.cmp(&b.references)));
    Ok(chosen)
}

/// Go's `path.Match` without character classes: `*` and `?` stop at a slash. Pure.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    match pattern.next() {
        None => text.next().is_none(),
        Some('*') => {
            let rest = pattern.as_str();
            loop {
                if glob(rest, text.as_str()) {
                    return true;
                }
                if text.next().is_none_or(|c| c == '/') {
                    return false;
                }
            }
        }
        Some('?') => text.next().is_some_and(|c| c != '/') && glob(pattern.as_str(), text.as_str()),
        Some(c) => text.next() == Some(c) && glob(pattern.as_str(), text.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_stop_at_slashes() {
        assert!(glob("debian*", "debian:12"));
        assert!(glob("*:1?", "debian:12"));
        assert!(!glob("*", "me/debian"));
        assert!(glob("*/*", "me/debian"));
        assert!(!glob("debian", "debian:12"));
    }
}
