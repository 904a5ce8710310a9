//! `search`: Docker Hub's endpoint, and the catalogue of registries that have no such endpoint.

use crate::auth::{Credentials, encoded};
use crate::repository::{NAMES_MAX, next_page, text};
use crate::settings::{HUB, Settings};
use crate::transport::{Patience, Request, Transport, read_answer};
use dhow_model::{Error, ErrorKind, Result};
use http::header::LINK;
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
    let response = transport.send(&request(&target))?;
    if response.status() == StatusCode::OK {
        let results: Results = serde_json::from_slice(&read_answer(response, &target)?)
            .map_err(|error| unreadable(&transport, error))?;
        return Ok(results.results);
    }
    if domain == HUB || response.status() != StatusCode::NOT_FOUND {
        return Err(transport.refusal(&request(&target), response));
    }
    let mut found = catalogue(&transport, term, limit)?;
    found.truncate(limit);
    Ok(found
        .into_iter()
        .map(|name| Found {
            name: format!("{domain}/{name}"),
            description: String::new(),
            star_count: 0,
            is_official: false,
        })
        .collect())
}

/// Repositories with the term in their names, at least `limit` of them if there are so many.
fn catalogue(transport: &Transport, term: &str, limit: usize) -> Result<Vec<String>> {
    let mut target = "/v2/_catalog?n=1000".to_owned();
    let (mut found, mut seen) = (Vec::new(), 0);
    loop {
        let response = transport.send(&request(&target))?;
        if response.status() != StatusCode::OK {
            return Err(transport.refusal(&request(&target), response));
        }
        let next = next_page(&text(&response, LINK.as_str()));
        let page: Catalogue = serde_json::from_slice(&read_answer(response, &target)?)
            .map_err(|error| unreadable(transport, error))?;
        seen += page.repositories.len();
        found.extend(page.repositories.into_iter().filter(|name| name.contains(term)));
        match next {
            Some(next) if found.len() < limit && seen < NAMES_MAX => target = next,
            _ => return Ok(found),
        }
    }
}

fn request(target: &str) -> Request<'_> {
    Request {
        method: Method::GET,
        target,
        headers: &[],
        body: None,
        scope: "registry:catalog:*",
        patience: Patience::Full,
    }
}

fn unreadable(transport: &Transport, error: serde_json::Error) -> Error {
    let what = format!("registry {}: unreadable search results", transport.host());
    Error::caused(ErrorKind::Unavailable, what, error)
}
