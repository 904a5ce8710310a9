//! `/containers/{id}/…`: what concerns a container's files.

use crate::Engine;
use crate::api::body::{Input, ok_json, stream_from, write_to};
use crate::api::params::Params;
use crate::api::place::Place;
use crate::api::status::ApiResult;
use crate::api::{blocking, convert};
use crate::container::copy::{self, ExtractOptions, PathStat};
use crate::container::{diff, export};
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use dhow_model::{Error, Result};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

/// `GET /containers/{id}/export`
pub(in crate::api) async fn export(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult {
    let place = Place::take().await;
    let opened = {
        let engine = engine.clone();
        blocking(move || export::prepare(&engine, &id)).await?
    };
    write_to(place, &headers, "application/octet-stream", move |out| opened.write(&engine, out)).await
}

/// `GET /containers/{id}/changes`: `null` when there are none, as Docker answers.
pub(in crate::api) async fn changes(State(engine): State<Engine>, Path(id): Path<String>) -> ApiResult {
    let changes = blocking(move || diff::diff(&engine, &id)).await?;
    if changes.is_empty() {
        return ok_json(&serde_json::Value::Null);
    }
    let shown = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
    ok_json(
        &changes
            .iter()
            .map(|change| json!({ "Path": shown(&change.path), "Kind": change.kind as u8 }))
            .collect::<Vec<_>>(),
    )
}

/// The parameter that all archive routes need.
fn path_of(params: &Params) -> Result<String> {
    params.owned("path").ok_or_else(|| Error::invalid("bad parameter: 'path' cannot be empty"))
}

const STAT_HEADER: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

fn stat_header(stat: &PathStat) -> Result<HeaderValue> {
    let text = convert::path_stat::encode(stat);
    HeaderValue::from_str(&text).map_err(|error| Error::internal(format!("encode the header: {error}")))
}

/// `HEAD /containers/{id}/archive`
pub(in crate::api) async fn stat(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let path = path_of(&params)?;
    let stat = blocking(move || copy::stat(&engine, &id, &path)).await?;
    Ok((StatusCode::OK, [(STAT_HEADER, stat_header(&stat)?)]).into_response())
}

/// `GET /containers/{id}/archive`
pub(in crate::api) async fn archive(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let path = path_of(&params)?;
    let place = Place::take().await;
    let (stat, archive) = {
        let engine = engine.clone();
        blocking(move || copy::archive(&engine, &id, &path)).await?
    };
    let mut answer = stream_from(place, "application/x-tar", move |out| archive.write(&engine, out)).await?;
    answer.headers_mut().insert(STAT_HEADER, stat_header(&stat)?);
    Ok(answer)
}

/// `PUT /containers/{id}/archive`
pub(in crate::api) async fn extract(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
    request: Request,
) -> ApiResult {
    let path = path_of(&params)?;
    let options = ExtractOptions {
        keep_kinds: params.flag("noOverwriteDirNonDir"),
        as_user: params.flag("copyUIDGID"),
    };
    let mut body = Input::of(request).await?;
    blocking(move || copy::extract(&engine, &id, &path, options, &mut body)).await?;
    Ok(StatusCode::OK.into_response())
}
