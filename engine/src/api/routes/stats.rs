//! `GET /containers/{id}/stats`: what a container uses, once or every second.

use crate::Engine;
use crate::api::body::{ok_json, typed};
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::api::{blocking, convert};
use crate::container::stats::{self, Sample, Sampler};
use axum::body::Body;
use axum::extract::{Path, State};
use bytes::Bytes;
use dhow_model::{Error, Result};
use std::time::Duration;

/// Between two answers of a stream, and between the two readings that a single answer is made of.
const INTERVAL: Duration = Duration::from_secs(1);

/// `stream` (the default) goes on until the client goes or the container is removed; without it one answer
/// follows from two readings, and with `one-shot` from one.
pub(in crate::api) async fn stats(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult {
    let (stream, one_shot) = (params.flag_or("stream", true), params.flag("one-shot"));
    if stream && one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true").into());
    }
    let sampler = blocking(move || stats::open(&engine, &id)).await?;
    if stream {
        let lines = futures_util::stream::unfold((Some(sampler), false), |(sampler, again)| async move {
            if again {
                tokio::time::sleep(INTERVAL).await;
            }
            match read(sampler?).await {
                Ok((sampler, Some(sample))) => Some((line(&sample), (Some(sampler), true))),
                Ok((_, None)) => None,
                // The body is cut short, which is all that HTTP can tell now.
                Err(error) => Some((Err(error), (None, true))),
            }
        });
        return Ok(typed("application/json", Body::from_stream(lines)));
    }
    let (mut sampler, mut sample) = read(sampler).await?;
    if !one_shot && sample.as_ref().is_some_and(|sample| sample.now.is_some()) {
        tokio::time::sleep(INTERVAL).await;
        (sampler, sample) = read(sampler).await?;
    }
    drop(sampler);
    let sample = sample.ok_or_else(|| Error::not_found("the container was removed while it was read"))?;
    ok_json(&convert::stats::show(&sample))
}

async fn read(mut sampler: Sampler) -> Result<(Sampler, Option<Sample>)> {
    blocking(move || {
        let sample = sampler.sample()?;
        Ok((sampler, sample))
    })
    .await
}

fn line(sample: &Sample) -> Result<Bytes> {
    let mut text = serde_json::to_vec(&convert::stats::show(sample))
        .map_err(|error| Error::internal(format!("encode statistics: {error}")))?;
    text.push(b'\n');
    Ok(Bytes::from(text))
}
