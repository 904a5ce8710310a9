//! `/containers/{id}/…`: what concerns a container's files.

use crate::Engine;
use crate::api::blocking;
use crate::api::body::{ok_json, stream_from};
use crate::api::status::ApiResult;
use crate::container::{diff, export};
use axum::extract::{Path, State};
use serde_json::json;

/// `GET /containers/{id}/export`
pub(in crate::api) async fn export(State(engine): State<Engine>, Path(id): Path<String>) -> ApiResult {
    let opened = {
        let engine = engine.clone();
        blocking(move || export::prepare(&engine, &id)).await?
    };
    stream_from("application/octet-stream", move |out| opened.write(&engine, out)).await
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
