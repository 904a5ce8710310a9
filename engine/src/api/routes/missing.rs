//! What the Engine API has and dhow does not, yet or ever: said plainly, so that a client's user knows that
//! the request was right and the engine is what lacks.

use crate::api::status::{ApiError, ApiResult};
use axum::extract::Request;
use dhow_model::Error;
use http::Method;

/// First words of paths that are wholly missing.
const NOUNS: [(&str, &str); 12] = [
    ("build", "building images"),
    ("session", "building images"),
    ("grpc", "building images"),
    ("auth", "registries"),
    ("plugins", "plugins"),
    ("swarm", "swarm mode"),
    ("nodes", "swarm mode"),
    ("services", "swarm mode"),
    ("tasks", "swarm mode"),
    ("secrets", "swarm mode"),
    ("configs", "swarm mode"),
    ("debug", "debugging routes"),
];

/// Answers what no route took.
pub(in crate::api) async fn answer(request: Request) -> ApiResult {
    Err(explain(request.method(), request.uri().path()))
}

/// Unknown paths are not found; known ones of Docker's API are not implemented. Pure.
fn explain(method: &Method, path: &str) -> ApiError {
    let not_there =
        |what: &str| ApiError::from(Error::unsupported(format!("not supported by dhow yet: {what}")));
    let words: Vec<&str> = path.trim_matches('/').split('/').collect();
    if let Some((_, what)) = NOUNS.iter().find(|(noun, _)| words.first() == Some(noun)) {
        return not_there(&format!("{what} ({method} {path})"));
    }
    match words[..] {
        ["containers", _, "attach", "ws"] => not_there("attaching over a websocket"),
        ["images", "search"] => not_there("searching a registry"),
        ["images", .., "push"] => not_there("pushing to a registry"),
        _ => ApiError::page_not_found(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn what_is_missing_is_told_from_what_is_not_there() {
        for (path, status) in [
            ("/swarm", 501),
            ("/build", 501),
            ("/containers/abc/attach/ws", 501),
            ("/images/a/b/push", 501),
            ("/nonsense", 404),
            ("/containers/abc/nonsense", 404),
            ("/", 404),
            ("/networksx", 404),
        ] {
            assert_eq!(explain(&Method::GET, path).into_response().status(), status, "{path}");
        }
    }
}
