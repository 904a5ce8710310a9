//! `POST /containers/{id}/attach`, and `GET /containers/{id}/attach/ws`.

use crate::Engine;
use crate::api::detach::parse_keys;
use crate::api::hijack::{self, Input};
use crate::api::params::Params;
use crate::api::status::{ApiError, ApiResult};
use crate::api::{Version, blocking};
use crate::container::attach::{AttachOptions, Attached, attach as connect};
use crate::container::inspect::inspect;
use axum::extract::{Path, Request, State};

/// `POST /containers/{id}/attach`
pub(in crate::api) async fn attach(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    version: Version,
    params: Params,
    request: Request,
) -> ApiResult {
    let (attached, input) = open(engine, id, &params).await?;
    // It is open already, so that a start that follows the answer cannot be too early.
    hijack::attached(request, version, attached.tty, move || async move { Ok((attached, input)) }).await
}

/// `GET /containers/{id}/attach/ws`
pub(in crate::api) async fn attach_websocket(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
    request: Request,
) -> ApiResult {
    let (attached, input) = open(engine, id, &params).await?;
    hijack::attached_websocket(request, move || async move { Ok((attached, input)) }).await
}

async fn open(engine: Engine, id: String, params: &Params) -> Result<(Attached, Input), ApiError> {
    let named = params.text("detachKeys").filter(|keys| !keys.is_empty());
    let detach_keys = parse_keys(named.or(Some(&engine.settings().detach_keys)))?;
    let mut options = AttachOptions {
        stream: params.flag("stream"),
        stdin: params.flag("stdin"),
        stdout: params.flag("stdout"),
        stderr: params.flag("stderr"),
        logs: params.flag("logs"),
    };
    let (told_engine, told_id) = (engine.clone(), id.clone());
    let (attached, closes, given) = blocking(move || {
        let config = inspect(&engine, &id, false)?.record.config;
        // A container whose input was never kept open has none to give to.
        options.stdin &= config.open_stdin;
        // A terminal's input stays open for the next one who attaches.
        let closes = config.stdin_once && !config.tty;
        Ok((connect(&engine, &id, options)?, closes, options.stdin))
    })
    .await?;
    // Without a terminal the input is data, and may hold any bytes.
    let detach_keys = if attached.tty { detach_keys } else { Vec::new() };
    let detached = Box::new(move || crate::container::attach::detached(&told_engine, &told_id));
    Ok((attached, Input { given, closes, detach_keys, detached }))
}
