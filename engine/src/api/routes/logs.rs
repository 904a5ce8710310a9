//! `GET /containers/{id}/logs`.

use crate::Engine;
use crate::api::body::typed;
use crate::api::hijack::LinePrefix;
use crate::api::params::Params;
use crate::api::status::ApiResult;
use crate::api::{Version, blocking, hijack};
use crate::container::logs::{LogsOptions, logs as open};
use axum::extract::{Path, State};
use dhow_model::{Error, Result, Timestamp};

/// `GET /containers/{id}/logs`
pub(in crate::api) async fn logs(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    version: Version,
    params: Params,
) -> ApiResult {
    let options = parse(&params)?;
    let prefix = LinePrefix { timestamps: params.flag("timestamps"), details: params.flag("details") };
    let opened = blocking(move || open(&engine, &id, options)).await?;
    let tty = opened.tty;
    Ok(typed(hijack::content_type(tty, version), hijack::entries_body(opened.stream, tty, prefix)))
}

fn parse(params: &Params) -> Result<LogsOptions> {
    let (stdout, stderr) = (params.flag("stdout"), params.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    // 0 is what clients send for "no bound".
    let time = |name: &str| params.text(name).filter(|t| *t != "0").map(Timestamp::parse).transpose();
    let tail = match params.text("tail") {
        None | Some("all") => None,
        // Docker takes anything that is no number for all of it.
        Some(number) => number.parse().ok(),
    };
    Ok(LogsOptions {
        follow: params.flag("follow"),
        stdout,
        stderr,
        since: time("since")?,
        until: time("until")?,
        tail,
    })
}
