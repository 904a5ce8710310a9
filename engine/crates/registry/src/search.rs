//! `search`: Docker Hub's endpoint, and the catalogue of registries that have no such endpoint.

use crate::auth::{Credentials, encoded};
use crate::settings::{HUB, Settings};
use crate::transport::{Request, Transport, read_answer};
use dhow_model::{Error, ErrorKind, Result};
use http::{Method, StatusCode};
use serde::Deserialize;

/// Where Docker Hub searches.
const HUB_SEARCH: &str = "index.docker.io";

/// One repository that was found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// As it is pulled.
    pub name: String,
    /// May be empty.
    #[serde(default)]
    pub description: String,
    /// How many people like it.
    #[serde(default)]
    pub star_count: u64,
    /// Whether the registry vouches for it.
    #[serde(default)]
    pub is_official: bool,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<Found>,
}

#[derive(Deserialize)]
struct Catalogue {
    repositories: Vec<String>,
}

/// Looks for a term at a registry, with Hub's endpoint where there is one, else in the catalogue.
///
/// # Errors
/// `Unavailable` when it cannot be asked, or has neither.
pub fn search(
    domain: &str,
    term: &str,
    limit: usize,
    credentials: &Credentials,
    settings: &Settings,
) -> Result<Vec<Found>> {
    let host = if domain == HUB { HUB_SEARCH } else { domain };
    let transport = Transport::of_host(host, credentials.clone(), settings);
    let target = format!("/v1/search?q={}&n={limit}", encoded(term));
    let request = |target| Request {
        method: Method::GET,
        target,
        headers: &[],
        body: None,
        scope: "registry:catalog:*",
    };
    let unreadable = |error| {
        Error::caused(ErrorKind::Unavailable, format!("registry {host}: unreadable search results"), error)
    };
    let response = transport.send(&request(&target))?;
    if response.status() == StatusCode::OK {
        let results: Results =
            serde_json::from_slice(&read_answer(response, &target)?).map_err(unreadable)?;
        return Ok(results.results);
    }
    if domain == HUB || response.status() != StatusCode::NOT_FOUND {
        return Err(transport.refusal(&request(&target), response));
    }
    let target = "/v2/_catalog?n=1000";
    let response = transport.send(&request(target))?;
    if response.status() != StatusCode::OK {
        return Err(transport.refusal(&request(target), response));
    }
    let all: Catalogue = serde_json::from_slice(&read_answer(response, target)?).map_err(unreadable)?;
    let found = all.repositories.into_iter().filter(|name| name.contains(term)).take(limit);
    Ok(found
        .map(|name| Found {
            name: format!("{domain}/{name}"),
            description: String::new(),
            star_count: 0,
            is_official: false,
        })
        .collect())
}
