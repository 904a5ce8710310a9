//! `_ping`, `version`, `info`.

use crate::Engine;
use crate::api::body::{ok_json, ok_struct};
use crate::api::params::Params;
use crate::api::router::plain_text;
use crate::api::status::ApiResult;
use crate::api::{Version, blocking, convert};
use crate::structs::Kind;
use crate::system::df::{self, Kinds};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dhow_model::{Error, ResultExt};
use http::{HeaderName, HeaderValue, header};

/// What every answer to a ping carries. `Builder-Version` is left out: there is no builder to recommend.
fn ping_headers(mut response: Response) -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (header::PRAGMA, "no-cache"),
        (HeaderName::from_static("swarm"), "inactive"),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// `GET /_ping`
pub(in crate::api) async fn ping() -> Response {
    ping_headers(plain_text("OK"))
}

/// `HEAD /_ping`
pub(in crate::api) async fn ping_head() -> Response {
    ping_headers(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], ()).into_response())
}

/// `GET /version`
pub(in crate::api) async fn version(State(engine): State<Engine>) -> ApiResult {
    let version = blocking(move || crate::system::version::version(&engine)).await?;
    ok_json(&convert::system::version(&version))
}

/// `GET /info`
pub(in crate::api) async fn info(State(engine): State<Engine>) -> ApiResult {
    let info = blocking(move || crate::system::info::info(&engine)).await?;
    ok_struct(&convert::system::info(&info, crate::events::now().to_string()), Kind::Info)
}

/// The first version whose answer has sums, and lists only when it is asked for them.
const SUMS_SINCE: Version = Version { major: 1, minor: 52 };

/// `GET /system/df`
pub(in crate::api) async fn df(State(engine): State<Engine>, version: Version, params: Params) -> ApiResult {
    let types = params.all("type");
    if let Some(unknown) =
        types.iter().find(|t| !["container", "image", "volume", "build-cache"].contains(&t.as_str()))
    {
        return Err(Error::invalid(format!("unknown object type: {unknown}")).into());
    }
    let wanted = |kind: &str| types.is_empty() || types.iter().any(|t| t == kind);
    let kinds = Kinds { images: wanted("image"), containers: wanted("container"), volumes: wanted("volume") };
    let (build_cache, verbose) = (wanted("build-cache"), params.flag("verbose"));
    let answer = blocking(move || {
        let usage = df::usage(&engine, kinds)?;
        let now = crate::events::now();
        let answer = if version < SUMS_SINCE {
            convert::df::lists(&engine, &usage, now)
        } else {
            convert::df::sums(&engine, &usage, build_cache, verbose, now)
        };
        answer.context(|| "show the use of the disk".to_owned())
    })
    .await?;
    ok_json(&answer)
}

/// `POST /dhow/check`: one answer when everything was read.
pub(in crate::api) async fn check(State(engine): State<Engine>, params: Params) -> ApiResult {
    let repair = params.flag("repair");
    let report = blocking(move || crate::system::check::check(&engine, repair)).await?;
    ok_json(&convert::check::show(&report))
}
