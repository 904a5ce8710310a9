//! `GET /dhow/trace`: what the processes of containers do, as a stream of JSON lines. A route of dhow's own.

use crate::Engine;
use crate::api::blocking;
use crate::api::body::{ok_json, typed};
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::events::readable;
use crate::trace::{self, Kinds, TraceOptions, TraceSession};
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use dhow_model::{Error, Result};
use serde::Serialize;
use tokio::io::unix::AsyncFd;

/// What is gathered before it is handed on, when events come fast.
const CHUNK_BYTES: usize = 64 << 10;

/// `GET /dhow/trace`: `container` (several times; none means all), `kinds` (`exec,exit,open`), `until=exit`,
/// `buffer` (bytes of the ring). The head of the answer comes when the probes are attached.
pub(in crate::api) async fn trace(State(engine): State<Engine>, params: Params) -> ApiResult {
    let options = parse(&params)?;
    let session = blocking(move || trace::open(&engine, options)).await?;
    let session = readable(session)?;
    let lines = futures_util::stream::unfold(Some(session), |session| async move {
        let mut session = session?;
        match chunk(&mut session).await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(session))),
            Ok(None) => None,
            // The body is cut short, which is all that HTTP can tell now.
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(typed("application/json", Body::from_stream(lines)))
}

fn parse(params: &Params) -> Result<TraceOptions> {
    let until_exit = match params.text("until") {
        None => false,
        Some("exit") => true,
        Some(other) => {
            return Err(Error::invalid(format!("invalid parameter until: {other:?} is not \"exit\"")));
        }
    };
    Ok(TraceOptions {
        containers: params.all("container"),
        kinds: params.text("kinds").map_or(Ok(Kinds::LIFECYCLE), Kinds::parse)?,
        until_exit,
        buffer_bytes: params.number("buffer")?,
    })
}

/// Lines of the events that wait; waits for the first one. `None` at the end.
async fn chunk(session: &mut AsyncFd<TraceSession>) -> Result<Option<Bytes>> {
    let broken = |error: &dyn std::fmt::Display| Error::internal(format!("send the trace: {error}"));
    loop {
        let mut ready = session.readable_mut().await.map_err(|error| broken(&error))?;
        let mut text = Vec::new();
        while text.len() < CHUNK_BYTES {
            let Some(event) = ready.get_inner_mut().next_shared()? else {
                if !ready.get_inner().is_ended() {
                    ready.clear_ready();
                } else if text.is_empty() {
                    return Ok(None);
                }
                break;
            };
            serde_json::to_writer(&mut text, &*event).map_err(|error| broken(&error))?;
            text.push(b'\n');
        }
        if !text.is_empty() {
            return Ok(Some(Bytes::from(text)));
        }
    }
}

/// What the kernel says to one probe.
#[derive(Serialize)]
struct Probe {
    name: &'static str,
    attaches_to: String,
    purpose: &'static str,
    works: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `GET /dhow/trace/probe`: each probe, loaded for a moment.
pub(in crate::api) async fn probe() -> ApiResult {
    let reports = blocking(trace::probe).await?;
    let shown: Vec<Probe> = reports
        .into_iter()
        .map(|report| Probe {
            name: report.name,
            attaches_to: report.attaches_to,
            purpose: report.purpose,
            works: report.refused.is_none(),
            reason: report.refused,
        })
        .collect();
    ok_json(&shown)
}
