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
use dhow_model::{Error, ErrorKind};
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
    let told_engine = engine.clone();
    let (record, started) = blocking(move || {
        let record = exec::inspect(&engine, &id)?;
        let started = exec::start(&engine, &id, options);
        Ok((record, started))
    })
    .await?;
    let config = record.config;
    match started {
        Ok(None) => Ok(StatusCode::OK.into_response()),
        Ok(Some(attached)) => {
            // Without a terminal the input is data, and may hold any bytes.
            let keys = if config.detach_keys.is_empty() {
                &told_engine.settings().detach_keys
            } else {
                &config.detach_keys
            };
            let keys = if config.tty { parse_keys(Some(keys))? } else { Vec::new() };
            let exec_id = record.id;
            let detached = Box::new(move || exec::detached(&told_engine, &exec_id));
            let input = Input { given: config.attach_stdin, closes: true, detach_keys: keys, detached };
            Ok(hijack::attached(request, version, attached, input))
        }
        Err(error) if !detach && is_of_the_command(&error) => {
            Ok(hijack::message(request, version, config.tty, &error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the session came to be and its command is what failed: then its exit code tells.
fn is_of_the_command(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::CommandNotFound | ErrorKind::CommandNotExecutable | ErrorKind::StartFailed
    )
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
