//! The route table: every path once, with and without a version in front.

use super::body::typed;
use super::routes;
use super::status::{ApiError, ApiResult};
use super::{API_VERSION, MIN_API_VERSION, Version};
use crate::Engine;
use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use dhow_model::Error;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri, header};

/// The Engine API over an engine.
///
/// Docker serves each path at `/PATH` and at `/vX.Y/PATH`. The version is checked and taken off before the
/// table is asked, so that the table has each path once.
pub fn router(engine: Engine) -> Router {
    let table = containers()
        .merge(images())
        .merge(others())
        .fallback(routes::missing::answer)
        .method_not_allowed_fallback(routes::missing::answer)
        .with_state(engine);
    Router::new().fallback_service(table).layer(middleware::from_fn(versioned))
}

fn containers() -> Router<Engine> {
    use routes::{attach, commit, containers, exec, files, logs, stats};
    Router::new()
        .route("/containers/json", get(containers::list))
        .route("/containers/create", post(containers::create))
        .route("/containers/prune", post(containers::prune))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/start", post(containers::start))
        .route("/containers/{id}/stop", post(containers::stop))
        .route("/containers/{id}/restart", post(containers::restart))
        .route("/containers/{id}/kill", post(containers::kill))
        .route("/containers/{id}/pause", post(containers::pause))
        .route("/containers/{id}/unpause", post(containers::unpause))
        .route("/containers/{id}/update", post(containers::update))
        .route("/containers/{id}/wait", post(containers::wait))
        .route("/containers/{id}/rename", post(containers::rename))
        .route("/containers/{id}/top", get(containers::top))
        .route("/containers/{id}/resize", post(containers::resize))
        .route("/containers/{id}", delete(containers::remove))
        .route("/containers/{id}/{alias}", delete(containers::unlink))
        .route("/containers/{id}/logs", get(logs::logs))
        .route("/containers/{id}/stats", get(stats::stats))
        .route("/containers/{id}/attach", post(attach::attach))
        .route("/containers/{id}/attach/ws", get(attach::attach_websocket))
        .route("/containers/{id}/export", get(files::export))
        .route("/containers/{id}/changes", get(files::changes))
        .route("/containers/{id}/archive", get(files::archive).head(files::stat).put(files::extract))
        .route("/containers/{id}/exec", post(exec::create))
        .route("/commit", post(commit::commit))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/exec/{id}/resize", post(exec::resize))
}

fn images() -> Router<Engine> {
    use routes::{images, registry};
    Router::new()
        .route("/images/json", get(images::list))
        .route("/images/create", post(images::create))
        .route("/images/load", post(images::load))
        .route("/images/get", get(images::save_several))
        .route("/images/search", get(registry::search))
        .route("/distribution/{*path}", get(registry::distribution))
        // Names hold slashes, so the verb is found at the end of the path.
        .route("/images/{*path}", get(images::get_by_name).post(images::post_by_name).delete(images::remove))
}

fn others() -> Router<Engine> {
    use routes::{events, networks, registry, system, trace, volumes};
    Router::new()
        .route("/_ping", get(system::ping).head(system::ping_head))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/system/df", get(system::df))
        .route("/events", get(events::events))
        .route("/auth", post(registry::auth))
        .route("/dhow/check", post(system::check))
        .route("/dhow/trace", get(trace::trace))
        .route("/dhow/trace/probe", get(trace::probe))
        .route("/networks", get(networks::list))
        .route("/networks/create", post(networks::create))
        .route("/networks/prune", post(networks::prune))
        .route("/networks/{name}", get(networks::inspect).delete(networks::remove))
        .route("/networks/{name}/connect", post(networks::connect))
        .route("/networks/{name}/disconnect", post(networks::disconnect))
        .route("/volumes", get(volumes::list))
        .route("/volumes/create", post(volumes::create))
        .route("/volumes/prune", post(volumes::prune))
        .route("/volumes/{name}", get(volumes::inspect).delete(volumes::remove))
        .route("/volumes/{name}/export", get(volumes::export))
        .route("/volumes/{name}/import", post(volumes::import))
        .route("/volumes/{name}/snapshot", post(volumes::snapshot))
}

/// The version that the client speaks: from its path, or ours.
impl<S: Send + Sync> FromRequestParts<S> for Version {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        Ok(parts.extensions.get().copied().unwrap_or(API_VERSION))
    }
}

/// Takes the version off the path, and puts Docker's headers on every answer.
async fn versioned(mut request: Request, next: Next) -> Response {
    let mut response = match split_version(request.uri()) {
        Err(error) => ApiError::from(error).into_response(),
        Ok(None) => next.run(request).await,
        Ok(Some((version, uri))) => {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(version);
            next.run(request).await
        }
    };
    usual_headers(response.headers_mut());
    response
}

/// What Docker puts on every answer.
pub(super) fn usual_headers(headers: &mut http::HeaderMap) {
    let api_version = HeaderValue::from_str(&API_VERSION.to_string());
    headers.extend(api_version.map(|v| (HeaderName::from_static("api-version"), v)));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert(
        header::SERVER,
        HeaderValue::from_static(concat!("dhow/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
}

/// `/v1.44/info` → 1.44 and `/info`. `None` when there is no version in front.
fn split_version(uri: &Uri) -> dhow_model::Result<Option<(Version, Uri)>> {
    let Some((text, rest)) = uri.path().strip_prefix("/v").and_then(|p| p.split_once('/')) else {
        return Ok(None);
    };
    let Some(version) = Version::parse(text) else { return Ok(None) };
    if version > API_VERSION {
        return Err(Error::invalid(format!(
            "client version {version} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    if version < MIN_API_VERSION {
        return Err(Error::invalid(format!(
            "client version {version} is too old. Minimum supported API version is {MIN_API_VERSION}, \
             please upgrade your client to a newer version"
        )));
    }
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let uri = format!("/{rest}{query}")
        .parse()
        .map_err(|error| Error::invalid(format!("invalid path {:?}: {error}", uri.path())))?;
    Ok(Some((version, uri)))
}

/// Plain text, as `_ping` answers.
pub(super) fn plain_text(text: &'static str) -> Response {
    typed("text/plain; charset=utf-8", text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(path: &str) -> Result<Option<(String, String)>, String> {
        split_version(&path.parse().unwrap())
            .map(|found| found.map(|(v, u)| (v.to_string(), u.to_string())))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn versions_in_the_path() {
        assert_eq!(split("/info"), Ok(None));
        assert_eq!(split("/volumes/v1.44"), Ok(None));
        assert_eq!(split("/version"), Ok(None));
        assert_eq!(split("/v1.44/info?a=b%2Fc"), Ok(Some(("1.44".into(), "/info?a=b%2Fc".into()))));
        assert_eq!(split("/v1.24/images/a%2Fb/json"), Ok(Some(("1.24".into(), "/images/a%2Fb/json".into()))));
        assert_eq!(split("/vx.y/info"), Ok(None));
        assert_eq!(
            split("/v1.99/info").unwrap_err(),
            "client version 1.99 is too new. Maximum supported API version is 1.53"
        );
        assert_eq!(
            split("/v1.9/info").unwrap_err(),
            "client version 1.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
    }

    /// Sends raw requests over one in-memory connection and returns the answers' text.
    fn ask(requests: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let directory = tempfile::tempdir().unwrap();
        let config = crate::Config {
            root: directory.path().join("root"),
            state: directory.path().join("state"),
            helper: "/proc/self/exe".into(),
            settings: crate::Settings::default(),
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let engine = Engine::open(config).unwrap();
            tokio::spawn(crate::api::serve_stream(engine, server));
            client.write_all(requests.as_bytes()).await.unwrap();
            let mut answers = String::new();
            client.read_to_string(&mut answers).await.unwrap();
            answers
        })
    }

    fn get(path: &str) -> String {
        ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    #[test]
    fn a_ping_has_dockers_headers() {
        let answer = get("/_ping").to_lowercase();
        for part in [
            "http/1.1 200",
            "api-version: 1.53",
            "docker-experimental: false",
            "ostype: linux",
            "swarm: inactive",
            "cache-control: no-cache, no-store, must-revalidate",
            "content-type: text/plain; charset=utf-8",
            "content-length: 2",
            "server: dhow/",
        ] {
            assert!(answer.contains(part), "{part}: {answer}");
        }
        assert!(answer.ends_with("\r\n\r\nok"));
        let head = ask("HEAD /v1.44/_ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").to_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("api-version: 1.53"), "{head}");
    }

    #[test]
    fn errors_are_json_with_the_right_status() {
        for (path, status, message) in [
            ("/v1.50/nonsense", 404, "page not found"),
            ("/v1.99/info", 400, "client version 1.99 is too new"),
            ("/swarm", 501, "not supported by dhow yet: swarm mode (GET /swarm)"),
            ("/v1.44/containers/x/logs", 400, "you must choose at least one stream"),
            ("/containers/json?filters=x", 400, "invalid filter: x"),
            ("/images/a%2Fb:c/json", 404, "No such image: a/b:c"),
            ("/images/a/b:c/json", 404, "No such image: a/b:c"),
            ("/images/a/b/nonsense", 404, "page not found"),
        ] {
            let answer = get(path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            assert!(answer.contains("content-type: application/json"), "{path}: {answer}");
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(body["message"].as_str().unwrap().contains(message), "{path}: {body}");
        }
        // Docker has no 405.
        let answer = ask("PUT /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }

    #[test]
    fn the_versions_are_those_that_the_engine_tells() {
        assert_eq!(API_VERSION.to_string(), crate::system::version::API_VERSION);
        assert_eq!(MIN_API_VERSION.to_string(), crate::system::version::MIN_API_VERSION);
    }
}
