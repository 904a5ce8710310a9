//! `/containers`, save for its streams.

use crate::Engine;
use crate::api::body::{Json, append_json, json as reply, ok_json, ok_struct, stream_without_waiting, typed};
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::api::{blocking, convert};
use crate::container::list::ListOptions;
use crate::container::remove::RemoveOptions;
use crate::container::wait::WaitCondition;
use crate::container::{self};
use crate::structs::Kind;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bollard_stubs::models as wire;
use bytes::Bytes;
use dhow_model::container::HostConfig;
use dhow_model::signal::Signal;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_runtime::timeline::boot_id;
use http::StatusCode;
use serde_json::{Value, json};

fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// `GET /containers/json`
pub(in crate::api) async fn list(State(engine): State<Engine>, params: Params) -> ApiResult {
    let options = ListOptions {
        all: params.flag("all"),
        // Docker takes zero and negative numbers for "no limit".
        limit: params.number::<i64>("limit")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0),
        size: params.flag("size"),
        filters: params.filters()?,
    };
    let now = crate::events::now();
    // One row at a time, beside the client that reads them. The database is being read meanwhile: nobody waits in there.
    stream_without_waiting("application/json", move |out| {
        let sent = || "send the list".to_owned();
        let mut text = Vec::new();
        let mut before = b'[';
        container::list::each(&engine, &options, |row| {
            text.clear();
            text.push(before);
            append_json(&mut text, &convert::summary::show(&row, now))?;
            before = b',';
            out.write_all(&text).context_kind(ErrorKind::Unavailable, sent)
        })?;
        let end: &[u8] = if before == b'[' { b"[]\n" } else { b"]\n" };
        out.write_all(end).context_kind(ErrorKind::Unavailable, sent)
    })
    .await
}

/// `POST /containers/create`
pub(in crate::api) async fn create(
    State(engine): State<Engine>,
    params: Params,
    Json(body): Json<Value>,
) -> ApiResult {
    let (spec, mut warnings) = convert::create::parse(body, &convert::machine::Machine::probe(&engine)?)?;
    let (name, platform) = (params.owned("name"), params.owned("platform"));
    let created =
        blocking(move || container::create::create(&engine, name.as_deref(), spec, platform.as_deref()))
            .await?;
    warnings.extend(created.warnings);
    reply(StatusCode::CREATED, &wire::ContainerCreateResponse { id: created.id.to_string(), warnings })
}

/// `GET /containers/{id}/json`
pub(in crate::api) async fn inspect(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let size = params.flag("size");
    let found = blocking(move || container::inspect::inspect(&engine, &id, size)).await?;
    ok_struct(&convert::inspect::show(&found), Kind::Container)
}

/// `POST /containers/{id}/start`; our own `timeline=1` answers with where the time went.
pub(in crate::api) async fn start(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    if params.text("checkpoint").is_some() {
        return Err(Error::unsupported("not supported by dhow: start --checkpoint").into());
    }
    if params.flag("timeline") {
        let phases = blocking(move || container::start::start_timed(&engine, &id)).await?;
        return ok_json(&json!({ "BootId": boot_id()?, "Phases": phases }));
    }
    blocking(move || container::start::start(&engine, &id)).await?;
    Ok(no_content())
}

fn stop_parameters(params: &Params) -> Result<(Option<Signal>, Option<i64>)> {
    Ok((params.text("signal").map(Signal::parse).transpose()?, params.number("t")?))
}

/// `POST /containers/{id}/stop`
pub(in crate::api) async fn stop(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let (signal, timeout) = stop_parameters(&params)?;
    blocking(move || container::stop::stop(&engine, &id, signal, timeout)).await?;
    Ok(no_content())
}

/// `POST /containers/{id}/restart`
pub(in crate::api) async fn restart(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let (signal, timeout) = stop_parameters(&params)?;
    blocking(move || container::stop::restart(&engine, &id, signal, timeout)).await?;
    Ok(no_content())
}

/// `POST /containers/{id}/kill`
pub(in crate::api) async fn kill(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let signal = params.text("signal").map_or(Ok(Signal::KILL), Signal::parse)?;
    blocking(move || container::stop::kill(&engine, &id, signal)).await?;
    Ok(no_content())
}

/// `POST /containers/{id}/pause`
pub(in crate::api) async fn pause(State(engine): State<Engine>, Path(id): Path<String>) -> ApiResult {
    blocking(move || container::pause::pause(&engine, &id)).await?;
    Ok(no_content())
}

/// `POST /containers/{id}/unpause`
pub(in crate::api) async fn unpause(State(engine): State<Engine>, Path(id): Path<String>) -> ApiResult {
    blocking(move || container::pause::unpause(&engine, &id)).await?;
    Ok(no_content())
}

/// `POST /containers/{id}/update`
pub(in crate::api) async fn update(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Json(body): Json<wire::ContainerUpdateBody>,
) -> ApiResult {
    let machine = convert::machine::Machine::probe(&engine)?;
    let change = move |config: &HostConfig| convert::update::apply(&body, config, &machine);
    let warnings = blocking(move || container::update::update(&engine, &id, change)).await?;
    ok_json(&wire::ContainerUpdateResponse { warnings: Some(warnings) })
}

/// `POST /containers/{id}/wait`: the head is sent at once, so that a client knows that it waits; the body is
/// sent when the wait is over.
pub(in crate::api) async fn wait(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let condition = match params.text("condition") {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => return Err(Error::invalid(format!("invalid condition: {other:?}")).into()),
    };
    let waiting = blocking(move || container::wait::wait(&engine, &id, condition)).await?;
    let body = async move {
        let waited = waiting.finish().await?;
        let answer = wire::ContainerWaitResponse {
            status_code: i64::from(waited.exit_code),
            // A removal that succeeded is no error, however the container ended. The docker CLI would say so
            // twice.
            error: waited
                .error
                .filter(|_| condition != WaitCondition::Removed)
                .map(|message| wire::ContainerWaitExitError { message: Some(message) }),
        };
        let mut text =
            serde_json::to_vec(&answer).map_err(|e| Error::internal(format!("encode the answer: {e}")))?;
        text.push(b'\n');
        Ok::<Bytes, Error>(text.into())
    };
    Ok(typed("application/json", Body::from_stream(futures_util::stream::once(body))))
}

/// Rows and columns of a resize.
pub(super) fn terminal_size(params: &Params) -> Result<(u16, u16)> {
    let side = |name: &str| -> Result<u16> {
        params
            .number(name)?
            .ok_or_else(|| Error::invalid(format!("invalid resize: parameter {name} is missing")))
    };
    Ok((side("h")?, side("w")?))
}

/// `POST /containers/{id}/resize`
pub(in crate::api) async fn resize(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let (rows, columns) = terminal_size(&params)?;
    blocking(move || container::resize::resize(&engine, &id, rows, columns)).await?;
    Ok(StatusCode::OK.into_response())
}

/// `DELETE /containers/{id}`
pub(in crate::api) async fn remove(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    if params.flag("link") {
        blocking(move || container::unlink::unlink(&engine, &id)).await?;
        return Ok(no_content());
    }
    let options = RemoveOptions { force: params.flag("force"), volumes: params.flag("v") };
    blocking(move || container::remove::remove(&engine, &id, options)).await?;
    Ok(no_content())
}

/// `DELETE /containers/{id}/{alias}`: the name of a link, as Docker's client sends it.
pub(in crate::api) async fn unlink(
    State(engine): State<Engine>,
    Path((id, alias)): Path<(String, String)>,
    params: Params,
) -> ApiResult {
    let name = format!("{id}/{alias}");
    if !params.flag("link") {
        return Err(Error::not_found(format!("No such container: {name}")).into());
    }
    blocking(move || container::unlink::unlink(&engine, &name)).await?;
    Ok(no_content())
}

/// `POST /containers/{id}/rename`
pub(in crate::api) async fn rename(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let name = params.owned("name").unwrap_or_default();
    blocking(move || container::rename::rename(&engine, &id, &name)).await?;
    Ok(no_content())
}

/// `GET /containers/{id}/top`
pub(in crate::api) async fn top(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let options = params.owned("ps_args").unwrap_or_default();
    let processes = blocking(move || container::top::top(&engine, &id, &options)).await?;
    ok_json(&wire::ContainerTopResponse { titles: Some(processes.titles), processes: Some(processes.rows) })
}

/// `POST /containers/prune`
pub(in crate::api) async fn prune(State(engine): State<Engine>, params: Params) -> ApiResult {
    let filters = params.filters()?;
    let pruned = blocking(move || container::prune::prune(&engine, &filters)).await?;
    ok_json(&wire::ContainerPruneResponse {
        containers_deleted: Some(pruned.removed.iter().map(ToString::to_string).collect()),
        space_reclaimed: i64::try_from(pruned.reclaimed_bytes).ok(),
    })
}
