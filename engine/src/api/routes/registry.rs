//! What goes to registries and comes from them: pull, push, login, search.

use crate::Engine;
use crate::api::body::{Json, ok_json, stream_from, typed};
use crate::api::params::Params;
use crate::api::place::Place;
use crate::api::status::{ApiError, ApiResult};
use crate::api::{blocking, convert};
use crate::image;
use crate::image::pull::PullRequest;
use crate::image::push::PushRequest;
use crate::image::transfer::{Announce, Message, Registries};
use axum::body::Body;
use axum::extract::{Path, State};
use bollard_stubs::models as wire;
use dhow_model::{Error, ErrorKind, Reference, Result};
use dhow_store::manifest::Platform;
use http::HeaderMap;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where clients put who they are.
const X_REGISTRY_AUTH: &str = "x-registry-auth";

/// `POST /images/create?fromImage=…`
pub(in crate::api) async fn pull(
    engine: Engine,
    params: &Params,
    headers: &HeaderMap,
    name: &str,
) -> ApiResult {
    // The image that is part of the program is nobody's to fetch.
    let embedded = image::embedded::is_hello_world(name);
    let known = if embedded { find(&engine, name).await? } else { None };
    if let Some(id) = known {
        let line = json!({ "status": format!("Status: Image is up to date for {name} ({id})") });
        return Ok(typed("application/json", Body::from(format!("{line}\r\n"))));
    }
    let reference = Reference::parse(name)?;
    let platform = params.text("platform").filter(|p| !p.is_empty()).map(Platform::parse).transpose()?;
    let request = PullRequest {
        // Without a tag, Docker's API means all of them; its client says which it means.
        all_tags: reference.tag().is_none() && reference.digest().is_none(),
        reference,
        platform,
        registries: registries(&engine, headers)?,
    };
    stream(move |announce| image::pull::pull(&engine, &request, announce)).await
}

async fn find(engine: &Engine, name: &str) -> ApiResult<Option<String>> {
    let (engine, name) = (engine.clone(), name.to_owned());
    let found = blocking(move || match image::find_or_embedded(&engine, &name) {
        Ok(image) => Ok(Some(image.id.short().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    found.await.map_err(ApiError::from)
}

/// `POST /images/{name}/push`
pub(in crate::api) async fn push(
    engine: Engine,
    params: &Params,
    headers: &HeaderMap,
    name: &str,
) -> ApiResult {
    // As JSON here, where `create` takes a word.
    let platform = params.text("platform").filter(|p| !p.is_empty());
    let platform = platform
        .map(serde_json::from_str::<Platform>)
        .transpose()
        .map_err(|error| Error::invalid(format!("platform: {error}")))?;
    let reference = Reference::parse(name)?;
    let tag = params.text("tag").filter(|tag| !tag.is_empty());
    let reference = match tag {
        Some(tag) => reference.with_tag(tag)?,
        None => reference,
    };
    let request = PushRequest {
        all_tags: reference.tag().is_none() && reference.digest().is_none(),
        reference,
        platform,
        registries: registries(&engine, headers)?,
    };
    stream(move |announce| {
        for pushed in image::push::push(&engine, &request, announce)? {
            let aux = json!({ "Tag": pushed.tag, "Digest": pushed.digest.as_str(), "Size": pushed.size });
            announce.line(&json!({ "progressDetail": {}, "aux": aux }));
        }
        Ok(())
    })
    .await
}

/// `POST /auth`
pub(in crate::api) async fn auth(
    State(engine): State<Engine>,
    Json(config): Json<wire::AuthConfig>,
) -> ApiResult {
    let domain = convert::registry::domain(config.serveraddress.as_deref().unwrap_or(""));
    let credentials = convert::registry::credentials(&config);
    blocking(move || image::transfer::login(&engine, &domain, credentials)).await?;
    ok_json(&json!({ "IdentityToken": "", "Status": "Login Succeeded" }))
}

/// `GET /images/search?term=…`
pub(in crate::api) async fn search(
    State(engine): State<Engine>,
    params: Params,
    headers: HeaderMap,
) -> ApiResult {
    let term = params.owned("term").filter(|term| !term.is_empty());
    let term = term.ok_or_else(|| Error::invalid("a search needs a term"))?;
    let limit = match params.text("limit") {
        None | Some("" | "0") => image::search::LIMIT,
        Some(text) => text.parse().map_err(|_| Error::invalid(format!("invalid limit {text:?}")))?,
    };
    let filters = params.filters()?;
    let registries = registries(&engine, &headers)?;
    let found = blocking(move || image::search::search(&term, limit, &filters, &registries)).await?;
    let rows: Vec<Value> = found
        .iter()
        .map(|found| {
            json!({
                "name": found.name, "description": found.description, "star_count": found.star_count,
                "is_official": found.is_official, "is_automated": false,
            })
        })
        .collect();
    ok_json(&rows)
}

/// `GET /distribution/{name}/json`
pub(in crate::api) async fn distribution(
    State(engine): State<Engine>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> ApiResult {
    // A name holds slashes, so the verb is found at the end of the path.
    let Some(name) = path.strip_suffix("/json") else { return Err(ApiError::page_not_found()) };
    let reference = Reference::parse(name)?;
    let registries = registries(&engine, &headers)?;
    let found = blocking(move || image::distribution::inspect(&reference, &registries)).await?;
    let platform = |platform: &Platform| {
        let mut shown = json!({ "architecture": platform.architecture, "os": platform.os });
        if let Some(variant) = platform.variant.as_deref().filter(|v| !v.is_empty()) {
            shown["variant"] = Value::from(variant);
        }
        shown
    };
    ok_json(&json!({
        "Descriptor": {
            "mediaType": found.media_type, "digest": found.digest.as_str(), "size": found.size,
        },
        "Platforms": found.platforms.iter().map(platform).collect::<Vec<_>>(),
    }))
}

fn registries(engine: &Engine, headers: &HeaderMap) -> Result<Registries> {
    let header = headers.get(X_REGISTRY_AUTH).map(http::HeaderValue::as_bytes).unwrap_or_default();
    Ok(Registries {
        credentials: convert::registry::parse_header(header),
        settings: engine.registry_settings(),
    })
}

/// Runs a transfer, and streams what it says. A failure after the first word is a word, too: the answer's status is
/// with the client already.
async fn stream(verb: impl FnOnce(&Lines<'_>) -> Result<()> + Send + 'static) -> ApiResult {
    stream_from(Place::take().await, "application/json", move |out| {
        let lines = Lines { out: Mutex::new(out), any: AtomicBool::new(false), gone: AtomicBool::new(false) };
        match verb(&lines) {
            Err(error) if lines.any.load(Ordering::Relaxed) => {
                let text = error.to_string();
                lines.line(&json!({ "errorDetail": { "message": text }, "error": text }));
                Ok(())
            }
            other => other,
        }
    })
    .await
}

/// Messages as lines of JSON.
struct Lines<'a> {
    out: Mutex<&'a mut (dyn Write + Send)>,
    any: AtomicBool,
    gone: AtomicBool,
}

impl Lines<'_> {
    fn line(&self, value: &Value) {
        self.any.store(true, Ordering::Relaxed);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if write!(out, "{value}\r\n").and_then(|()| out.flush()).is_err() {
            self.gone.store(true, Ordering::Relaxed);
        }
    }
}

impl Announce for Lines<'_> {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn say(&self, message: &Message) {
        let mut line = json!({ "status": message.status });
        if !message.id.is_empty() {
            line["id"] = Value::from(message.id.as_str());
            line["progressDetail"] = json!({});
        }
        if let Some((current, total)) = message.progress {
            line["progressDetail"] = json!({ "current": current, "total": total });
        }
        self.line(&line);
    }
}
