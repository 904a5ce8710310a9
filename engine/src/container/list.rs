//! `ps`: containers by state, name, image, label, and what they weigh.

use crate::Engine;
use crate::filters::Filters;
use dhow_model::state::Status;
use dhow_model::{Error, Result, Timestamp};
use dhow_store::db::ContainerRecord;
use std::collections::BTreeMap;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Stopped ones too.
    pub all: bool,
    /// At most so many, the newest; implies `all`.
    pub limit: Option<usize>,
    /// With sizes, which walks every writable layer.
    pub size: bool,
    /// Docker's filters.
    pub filters: Filters,
}

/// One row.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The container.
    pub record: ContainerRecord,
    /// Bytes of its writable layer, and of that and its image together.
    pub size: Option<(u64, u64)>,
}

const FILTERS: [&str; 11] =
    ["ancestor", "before", "since", "exited", "id", "label", "name", "status", "volume", "network", "health"];

/// Lists containers, the newest first.
///
/// # Errors
/// `InvalidArgument` for an unknown filter or a bad value.
pub fn list(engine: &Engine, options: &ListOptions) -> Result<Vec<Summary>> {
    let filters = &options.filters;
    filters.only(&FILTERS)?;
    for status in filters.values("status") {
        if !["created", "restarting", "running", "removing", "paused", "exited", "dead"]
            .contains(&status.as_str())
        {
            return Err(Error::invalid(format!("invalid filter 'status={status}'")));
        }
    }
    for health in filters.values("health") {
        if !["starting", "healthy", "unhealthy", "none"].contains(&health.as_str()) {
            return Err(Error::invalid(format!(
                "invalid value for health ({health}): must be one of none, starting, healthy, unhealthy"
            )));
        }
    }
    for code in filters.values("exited") {
        code.parse::<i32>()
            .map_err(|_| Error::invalid(format!("invalid filter 'exited={code}': want an exit code")))?;
    }
    let mut db = engine.db()?;
    let (records, before, since, ancestors) = db.read(|txn| {
        let edge = |key: &str| -> Result<Option<Timestamp>> {
            filters.values(key).last().map(|who| txn.find_container(who).map(|r| r.created)).transpose()
        };
        let ancestors = filters
            .values("ancestor")
            .iter()
            .filter_map(|name| txn.find_image(name).ok())
            .collect::<Vec<_>>();
        Ok((txn.containers()?, edge("before")?, edge("since")?, ancestors))
    })?;
    let all = options.all
        || options.limit.is_some()
        || !filters.values("status").is_empty()
        || !filters.values("exited").is_empty();
    let chosen = records
        .into_iter()
        .filter(|r| all || matches!(r.state.status, Status::Running | Status::Paused | Status::Restarting))
        .filter(|r| before.is_none_or(|edge| r.created < edge) && since.is_none_or(|edge| r.created > edge))
        .filter(|r| {
            filters.any("ancestor", |name| {
                r.config.image == name || ancestors.iter().any(|image| image.id == r.config.image_id)
            })
        })
        .filter(|r| passes(r, filters))
        .take(options.limit.unwrap_or(usize::MAX))
        .collect::<Vec<_>>();
    let image_sizes: BTreeMap<_, _> = if options.size {
        db.read(|txn| txn.images())?.into_iter().map(|(image, _)| (image.id, image.size_bytes)).collect()
    } else {
        BTreeMap::new()
    };
    drop(db);
    chosen
        .into_iter()
        .map(|record| {
            let size = if options.size {
                let rw = writable_bytes(engine, &record)?;
                Some((rw, rw + image_sizes.get(&record.config.image_id).copied().unwrap_or(0)))
            } else {
                None
            };
            Ok(Summary { record, size })
        })
        .collect()
}

/// The filters that need nothing but the record. Pure.
fn passes(record: &ContainerRecord, filters: &Filters) -> bool {
    let state = &record.state;
    filters.any("status", |want| want == state.shown_status())
        && filters.any("exited", |want| {
            state.status == Status::Exited && want.parse() == Ok(state.exit_code) && state.started_at.is_some()
        })
        && filters.any("id", |want| record.id.as_str().starts_with(want))
        // Docker matches a part of the name, anchored by ^ and $ if written so.
        && filters.any("name", |want| name_matches(&record.name, want))
        && filters.any("volume", |want| {
            record.config.host.mounts.iter().any(|mount| {
                mount.target == want
                    || matches!(&mount.source, dhow_model::mount::MountSource::Volume { name, .. } if name == want)
            })
        })
        && filters.any("network", |want| record.config.host.network.as_str() == want)
        && filters.any("health", |want| state.life.health.map_or("none", |h| h.status.as_str()) == want)
        && filters.labels_match(&record.config.labels)
}

fn name_matches(name: &str, want: &str) -> bool {
    let (anchored_start, rest) = want.strip_prefix('^').map_or((false, want), |rest| (true, rest));
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (anchored_end, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    match (anchored_start, anchored_end) {
        (true, true) => name == rest,
        (true, false) => name.starts_with(rest),
        (false, true) => name.ends_with(rest),
        (false, false) => name.contains(rest),
    }
}

/// Bytes that the files of the writable layer occupy, as their sizes say.
pub(crate) fn writable_bytes(engine: &Engine, record: &ContainerRecord) -> Result<u64> {
    crate::system::disk::tree_bytes(&engine.layout().container(&record.id).join("upper"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_like_dockers() {
        assert!(name_matches("web-1", "web"));
        assert!(name_matches("web-1", "^/web-1$"));
        assert!(!name_matches("web-1", "^eb"));
        assert!(name_matches("web-1", "1$"));
    }
}
