//! `images`: what is installed, and how many containers use it.

use super::pattern::Pattern;
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
    let choice = Choice::parse(engine, filters)?;
    let (images, users) = engine.db()?.read(|txn| {
        let mut users: BTreeMap<_, u64> = BTreeMap::new();
        for container in txn.container_summaries()? {
            *users.entry(container.image_id).or_default() += 1;
        }
        Ok((txn.images()?, users))
    })?;
    let mut chosen: Vec<ImageSummary> = images
        .into_iter()
        .map(|(image, references)| {
            let containers = users.get(&image.id).copied().unwrap_or(0);
            ImageSummary { image, references, containers }
        })
        .filter_map(|mut s| {
            choice.takes(s.image.created, &s.image.config.labels, &mut s.references).then_some(s)
        })
        .collect();
    chosen
        .sort_by(|a, b| b.image.created.cmp(&a.image.created).then_with(|| a.references.cmp(&b.references)));
    Ok(chosen)
}

/// What a list shall have.
pub(super) struct Choice<'a> {
    filters: &'a Filters,
    patterns: Vec<Pattern>,
    dangling: Option<bool>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl<'a> Choice<'a> {
    /// Reads the filters.
    pub(super) fn parse(engine: &Engine, filters: &'a Filters) -> Result<Self> {
        filters.only(&FILTERS)?;
        let dangling = match filters.values("dangling").last().map(String::as_str) {
            None => None,
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(other) => return Err(Error::invalid(format!("invalid filter 'dangling=[{other}]'"))),
        };
        let until = filters.until()?;
        let edge = |key: &str| -> Result<Option<Timestamp>> {
            let Some(name) = filters.values(key).last() else { return Ok(None) };
            engine.db()?.read(|txn| txn.find_image(name).map(|image| image.created))
        };
        let patterns = filters.values("reference").iter().map(|text| Pattern::parse(text));
        let patterns = patterns.collect::<Result<_>>()?;
        Ok(Self { filters, patterns, dangling, before: edge("before")?, since: edge("since")?, until })
    }

    /// Whether one thing is among them; of its references those stay that are asked for.
    pub(super) fn takes(
        &self,
        created: Option<Timestamp>,
        labels: &BTreeMap<String, String>,
        references: &mut Vec<Reference>,
    ) -> bool {
        let is_dangling = references.iter().all(|reference| reference.tag().is_none());
        let taken = self.dangling.is_none_or(|want| is_dangling == want)
            && self.before.is_none_or(|edge| created < Some(edge))
            && self.since.is_none_or(|edge| created > Some(edge))
            && self.until.is_none_or(|edge| created < Some(edge))
            && self.filters.labels_match(labels);
        if !taken || self.patterns.is_empty() {
            return taken;
        }
        references.retain(|reference| {
            let names = [reference.familiar(), reference.familiar_name()];
            self.patterns.iter().any(|pattern| names.iter().any(|name| pattern.matches(name)))
        });
        !references.is_empty()
    }
}
