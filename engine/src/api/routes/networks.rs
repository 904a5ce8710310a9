//! `/networks`.

use crate::Engine;
use crate::api::body::{OptionalJson, json, ok_json, ok_struct};
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::api::{blocking, convert};
use crate::network;
use crate::structs::Kind;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use bollard_stubs::models as wire;
use http::StatusCode;

/// `GET /networks`
pub(in crate::api) async fn list(State(engine): State<Engine>, params: Params) -> ApiResult {
    let filters = params.filters()?;
    let networks = blocking(move || network::list::list(&engine, &filters)).await?;
    ok_struct(&networks.iter().map(convert::networks::summary).collect::<Vec<_>>(), Kind::Network)
}

/// `POST /networks/create`
pub(in crate::api) async fn create(
    State(engine): State<Engine>,
    OptionalJson(body): OptionalJson<wire::NetworkCreateRequest>,
) -> ApiResult {
    let spec = convert::networks::parse(&body)?;
    let made = blocking(move || network::create::create(&engine, spec)).await?;
    let answer = wire::NetworkCreateResponse { id: made.id.to_string(), warning: String::new() };
    json(StatusCode::CREATED, &answer)
}

/// `POST /networks/prune`
pub(in crate::api) async fn prune(State(engine): State<Engine>, params: Params) -> ApiResult {
    let filters = params.filters()?;
    let removed = blocking(move || network::remove::prune(&engine, &filters)).await?;
    ok_json(&wire::NetworkPruneResponse { networks_deleted: Some(removed) })
}

/// `GET /networks/{name}`
pub(in crate::api) async fn inspect(State(engine): State<Engine>, Path(name): Path<String>) -> ApiResult {
    let found = blocking(move || network::list::inspect(&engine, &name)).await?;
    ok_struct(&convert::networks::show(&found), Kind::Network)
}

/// `DELETE /networks/{name}`
pub(in crate::api) async fn remove(State(engine): State<Engine>, Path(name): Path<String>) -> ApiResult {
    blocking(move || network::remove::remove(&engine, &name)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /networks/{name}/connect`
pub(in crate::api) async fn connect(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    OptionalJson(body): OptionalJson<wire::NetworkConnectRequest>,
) -> ApiResult {
    let settings = body.endpoint_config.clone().unwrap_or_default();
    let wanted = convert::network::parse_endpoint(&name, &settings)?;
    blocking(move || network::join::connect(&engine, &name, &body.container, wanted)).await?;
    Ok(StatusCode::OK.into_response())
}

/// `POST /networks/{name}/disconnect`
pub(in crate::api) async fn disconnect(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    OptionalJson(body): OptionalJson<wire::NetworkDisconnectRequest>,
) -> ApiResult {
    blocking(move || network::join::disconnect(&engine, &name, &body.container, body.force.unwrap_or(false)))
        .await?;
    Ok(StatusCode::OK.into_response())
}
