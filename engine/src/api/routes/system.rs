//! `_ping`, `version`, `info`.

use crate::Engine;
use crate::api::body::ok_json;
use crate::api::router::plain_text;
use crate::api::status::ApiResult;
use crate::api::{blocking, convert};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
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
    ok_json(&convert::system::info(&info, crate::events::now().to_string()))
}
