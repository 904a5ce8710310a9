//! `search`: repositories of a registry.

use super::transfer::Registries;
use crate::filters::Filters;
use dhow_model::{Error, Reference, Result};
use dhow_registry::Found;

/// How many are found when nobody says.
pub const LIMIT: usize = 25;
/// How many at most.
const LIMIT_MAX: usize = 100;

/// Looks for `term`, or for `REGISTRY/term` at that registry.
///
/// # Errors
/// `InvalidArgument` for a filter or a limit that is none; `Unavailable` when the registry cannot be asked.
pub fn search(term: &str, limit: usize, filters: &Filters, registries: &Registries) -> Result<Vec<Found>> {
    filters.only(&["is-official", "is-automated", "stars"])?;
    if limit == 0 || limit > LIMIT_MAX {
        return Err(Error::invalid(format!("limit {limit} is outside the range of [1, {LIMIT_MAX}]")));
    }
    let (domain, term) = split(term)?;
    let mut found =
        dhow_registry::search(&domain, &term, limit, &registries.credentials, &registries.settings)?;
    let stars = filters.values("stars").iter().map(|text| {
        text.parse::<u64>().map_err(|_| Error::invalid(format!("invalid filter 'stars={text}'")))
    });
    let stars = stars.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0);
    let official = flag(filters, "is-official")?;
    // Nothing is automated any more: Docker Hub said so of nothing since 2023.
    let automated = flag(filters, "is-automated")?;
    found.retain(|found| {
        found.star_count >= stars
            && official.is_none_or(|want| found.is_official == want)
            && automated != Some(true)
    });
    Ok(found)
}

fn flag(filters: &Filters, key: &str) -> Result<Option<bool>> {
    match filters.values(key).last().map(String::as_str) {
        None => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(other) => Err(Error::invalid(format!("invalid filter '{key}={other}'"))),
    }
}

/// The registry and what to look for there.
fn split(term: &str) -> Result<(String, String)> {
    // As in the name of an image: a host has a dot or a port, or is this machine.
    if let Some((host, rest)) = term.split_once('/')
        && (host.contains(['.', ':']) || host == "localhost")
    {
        Reference::parse(&format!("{host}/x"))?;
        return Ok((host.to_owned(), rest.to_owned()));
    }
    Ok(("docker.io".to_owned(), term.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_look() {
        let split = |term: &str| split(term).unwrap();
        assert_eq!(split("debian"), ("docker.io".into(), "debian".into()));
        assert_eq!(split("me/app"), ("docker.io".into(), "me/app".into()));
        assert_eq!(split("localhost:5000/a/b"), ("localhost:5000".into(), "a/b".into()));
    }
}
