//! Exec sessions: `POST /containers/{id}/exec`, `/exec/{id}/start`, `/exec/{id}/json`, `/exec/{id}/resize`.

use super::containers::terminal_size;
use crate::Engine;
use crate::api::body::{Json, OptionalJson, json, ok_json};
use crate::api::detach::parse_keys;
use crate::api::hijack::{self, Input};
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::api::{Version, blocking, convert};
use crate::container::exec::{self, ExecStart};
use crate::container::resize::resize_exec;
use axum::extract::{FromRequest, Path, Request, State};
use axum::response::IntoResponse;
use bollard_stubs::models as wire;
use dhow_model::Error;
use http::StatusCode;
use serde_json::Value;

/// `POST /containers/{id}/exec`
pub(in crate::api) async fn create(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> ApiResult {
    let config = convert::exec::parse(body)?;
    parse_keys(Some(&config.detach_keys))?;
    let exec_id = blocking(move || exec::create(&engine, &id, config)).await?;
    json(StatusCode::CREATED, &serde_json::json!({ "Id": exec_id.as_str() }))
}

/// `POST /exec/{id}/start`
pub(in crate::api) async fn start(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    version: Version,
    request: Request,
) -> ApiResult {
    // The body is taken out and the rest kept: what follows the body on an upgraded connection is input.
    let (parts, body) = request.into_parts();
    let headers = parts.headers.clone();
    let mut bodied = Request::new(body);
    *bodied.headers_mut() = headers;
    let OptionalJson(body) = OptionalJson::<wire::ExecStartConfig>::from_request(bodied, &()).await?;
    let request = Request::from_parts(parts, axum::body::Body::empty());

    let detach = body.detach.unwrap_or(false);
    let options =
        ExecStart { detach, console_size: convert::exec::console_size(body.console_size.as_ref())? };
    let checked_engine = engine.clone();
    // What can be refused is refused before the connection is taken over.
    let record = blocking(move || exec::startable(&checked_engine, &id)).await?;
    if detach {
        blocking(move || exec::start(&engine, record.id.as_str(), options)).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let config = &record.config;
    // Without a terminal the input is data, and may hold any bytes.
    let keys =
        if config.detach_keys.is_empty() { &engine.settings().detach_keys } else { &config.detach_keys };
    let detach_keys = if config.tty { parse_keys(Some(keys))? } else { Vec::new() };
    // The client says how it reads the stream, whatever the process has.
    let tty = body.tty.unwrap_or(false);
    hijack::attached(request, version, tty, move || async move {
        let (started_engine, exec_id) = (engine.clone(), record.id.clone());
        let attached = blocking(move || exec::start(&started_engine, exec_id.as_str(), options)).await?;
        let attached = attached.ok_or_else(|| Error::internal("an attached session has no streams"))?;
        let given = record.config.attach_stdin;
        let detached = Box::new(move || exec::detached(&engine, &record.id));
        Ok((attached, Input { given, closes: true, detach_keys, detached }))
    })
    .await
}

/// `GET /exec/{id}/json`
pub(in crate::api) async fn inspect(State(engine): State<Engine>, Path(id): Path<String>) -> ApiResult {
    let record = blocking(move || exec::inspect(&engine, &id)).await?;
    ok_json(&convert::exec::show(&record))
}

/// `POST /exec/{id}/resize`
pub(in crate::api) async fn resize(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let (rows, columns) = terminal_size(&params)?;
    blocking(move || resize_exec(&engine, &id, rows, columns)).await?;
    Ok(StatusCode::OK.into_response())
}
