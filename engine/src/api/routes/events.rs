//! `GET /events`: the durable events, as a stream of JSON lines.

use crate::Engine;
use crate::api::body::typed;
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::api::{blocking, convert};
use crate::events::{Subscription, subscribe};
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use dhow_model::event::Event;
use dhow_model::{Error, Result, Timestamp};
use futures_util::StreamExt;

/// `GET /events`; beside Docker's parameters, `cursor` resumes after an event's `seq`.
pub(in crate::api) async fn events(State(engine): State<Engine>, params: Params) -> ApiResult {
    let time = |name: &str| params.text(name).map(Timestamp::parse).transpose();
    let subscription = Subscription {
        since: time("since")?,
        until: time("until")?,
        cursor: params.number("cursor")?,
        filters: params.filters()?,
    };
    if let (Some(since), Some(until)) = (subscription.since, subscription.until)
        && since > until
    {
        return Err(Error::invalid("`since` time cannot be after `until` time").into());
    }
    let stream = blocking(move || subscribe(&engine, subscription)).await?;
    Ok(typed("application/json", Body::from_stream(stream.map(|event| event.and_then(|e| line(&e))))))
}

fn line(event: &Event) -> Result<Bytes> {
    let mut text = serde_json::to_vec(&convert::event::show(event))
        .map_err(|error| Error::internal(format!("encode an event: {error}")))?;
    text.push(b'\n');
    Ok(Bytes::from(text))
}
