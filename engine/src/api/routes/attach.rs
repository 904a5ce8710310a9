//! `POST /containers/{id}/attach`.

use crate::Engine;
use crate::api::detach::parse_keys;
use crate::api::hijack::{self, Input};
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::api::{Version, blocking};
use crate::container::attach::{AttachOptions, attach as connect};
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
    let (attached, closes, tty) = blocking(move || {
        let config = inspect(&engine, &id, false)?.record.config;
        // A container whose input was never kept open has none to give to.
        options.stdin &= config.open_stdin;
        // A terminal's input stays open for the next one who attaches.
        let closes = config.stdin_once && !config.tty;
        Ok((connect(&engine, &id, options)?, closes, config.tty))
    })
    .await?;
    // Without a terminal the input is data, and may hold any bytes.
    let detach_keys = if tty { detach_keys } else { Vec::new() };
    let detached = Box::new(move || crate::container::attach::detached(&told_engine, &told_id));
    let input = Input { given: options.stdin, closes, detach_keys, detached };
    Ok(hijack::attached(request, version, attached, input))
}
