//! `/volumes`.

use crate::Engine;
use crate::api::body::{Input, OptionalJson, json, ok_json, ok_struct, write_to};
use crate::api::params::Params;
use crate::api::place::Place;
use crate::api::status::ApiResult;
use crate::api::{blocking, convert};
use crate::filters::Pattern;
use crate::structs::Kind;
use crate::volume::{self, transfer};
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use bollard_stubs::models as wire;
use dhow_store::db::VolumeRecord;
use http::{HeaderMap, StatusCode};

fn show(engine: &Engine, record: &VolumeRecord) -> wire::Volume {
    convert::volume::show(record, &volume::mountpoint(engine, &record.name))
}

/// `GET /volumes`
pub(in crate::api) async fn list(State(engine): State<Engine>, params: Params) -> ApiResult {
    let filters = params.filters()?;
    filters.only(&["name", "label", "driver", "dangling"])?;
    let dangling = filters.flag("dangling")?;
    let names = filters.patterns("name");
    let volumes = blocking(move || {
        let records = match dangling {
            None => volume::list(&engine)?,
            Some(dangling) => volume::list_by_use(&engine, !dangling)?,
        };
        let chosen = records.iter().filter(|record| {
            Pattern::any(&names, &record.name)
                && filters.any("driver", |want| want == "local")
                && filters.labels_match(&record.labels)
        });
        Ok(chosen.map(|record| show(&engine, record)).collect::<Vec<_>>())
    })
    .await?;
    ok_struct(&wire::VolumeListResponse { volumes: Some(volumes), warnings: Some(Vec::new()) }, Kind::Volumes)
}

/// `POST /volumes/create`
pub(in crate::api) async fn create(
    State(engine): State<Engine>,
    OptionalJson(body): OptionalJson<wire::VolumeCreateRequest>,
) -> ApiResult {
    let request = convert::volume::parse(&body)?;
    let created = blocking(move || {
        let record = volume::create(&engine, request)?;
        Ok(show(&engine, &record))
    })
    .await?;
    json(StatusCode::CREATED, &created)
}

/// `POST /volumes/prune`
pub(in crate::api) async fn prune(State(engine): State<Engine>, params: Params) -> ApiResult {
    let filters = params.filters()?;
    let pruned = blocking(move || volume::prune(&engine, &filters)).await?;
    ok_json(&wire::VolumePruneResponse {
        volumes_deleted: Some(pruned.removed),
        space_reclaimed: i64::try_from(pruned.reclaimed_bytes).ok(),
    })
}

/// `GET /volumes/{name}`
pub(in crate::api) async fn inspect(State(engine): State<Engine>, Path(name): Path<String>) -> ApiResult {
    let found = blocking(move || {
        let record = volume::inspect(&engine, &name)?;
        Ok(show(&engine, &record))
    })
    .await?;
    ok_struct(&found, Kind::Volume)
}

/// `GET /volumes/{name}/export`. Ours: Docker has no such route.
pub(in crate::api) async fn export(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult {
    let place = Place::take().await;
    let opened = blocking(move || transfer::export(&engine, &name)).await?;
    write_to(place, &headers, "application/x-tar", move |out| opened.write(out)).await
}

/// `POST /volumes/{name}/import`, with the archive as the body. Ours.
pub(in crate::api) async fn import(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    request: Request,
) -> ApiResult {
    let mut body = Input::of(request).await?;
    blocking(move || transfer::import(&engine, &name, &mut body)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /volumes/{name}/snapshot?name=NEW`. Ours.
pub(in crate::api) async fn snapshot(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    params: Params,
) -> ApiResult {
    let new = params.owned("name").unwrap_or_default();
    let made = blocking(move || {
        let record = transfer::snapshot(&engine, &name, &new)?;
        Ok(show(&engine, &record))
    })
    .await?;
    json(StatusCode::CREATED, &made)
}

/// `DELETE /volumes/{name}`
pub(in crate::api) async fn remove(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    params: Params,
) -> ApiResult {
    let force = params.flag("force");
    blocking(move || volume::remove(&engine, &name, force)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
