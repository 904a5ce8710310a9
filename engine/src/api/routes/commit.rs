//! `POST /commit`.

use crate::Engine;
use crate::api::blocking;
use crate::api::body::{OptionalJson, json as reply};
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::container::commit::{CommitRequest, commit as make};
use axum::extract::State;
use dhow_model::{Error, Reference, Result};
use dhow_store::image_config;
use http::StatusCode;
use serde_json::{Value, json};

/// `POST /commit`
pub(in crate::api) async fn commit(
    State(engine): State<Engine>,
    params: Params,
    OptionalJson(body): OptionalJson<Value>,
) -> ApiResult {
    let who = params
        .owned("container")
        .ok_or_else(|| Error::invalid("bad parameter: 'container' cannot be empty"))?;
    let request = parse(&params, body)?;
    let id = blocking(move || make(&engine, &who, &request)).await?;
    reply(StatusCode::CREATED, &json!({ "Id": id.to_string() }))
}

fn parse(params: &Params, body: Value) -> Result<CommitRequest> {
    let reference =
        params.text("repo").map(|repository| super::images::with_tag(repository, params.text("tag")));
    let reference = reference.map(|text| Reference::parse(&text)).transpose()?;
    if reference.as_ref().is_some_and(|reference| reference.digest().is_some()) {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    // Old clients send all instructions in one parameter, a line each.
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    Ok(CommitRequest {
        reference: reference.map(Reference::with_default_tag),
        author: params.owned("author").unwrap_or_default(),
        comment: params.owned("comment").unwrap_or_default(),
        config: image_config::parse_config(body)?,
        changes: params
            .all("changes")
            .into_iter()
            .flat_map(lines)
            .filter(|line| !line.trim().is_empty())
            .collect(),
        pause: params.flag_or("pause", true),
    })
}
