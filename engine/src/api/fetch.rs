//! Fetching the source of an import over plain HTTP.
//!
//! There is no TLS here: an `https` source is refused by name, for to fetch it without checking who answers
//! would be worse than not to.

use axum::body::Body;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use http::{Request, Response, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Redirects that are followed, as Go's client does.
const REDIRECTS_MAX: usize = 10;

/// A server must accept the connection and begin its answer within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Gets a URL and returns the answer's body, to be streamed.
///
/// # Errors
/// `InvalidArgument` for what is no URL, `Unsupported` for `https`, `Unavailable` when nobody answers or the
/// answer is not 200.
pub(super) async fn get(url: &str) -> Result<Body> {
    // `docker import` accepts a host and a path without scheme, and means http.
    let mut target = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    for _ in 0..=REDIRECTS_MAX {
        let response = tokio::time::timeout(ANSWER_TIMEOUT, get_once(&target)).await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, format!("get {target}: no answer within {ANSWER_TIMEOUT:?}"))
        })??;
        let status = response.status();
        if status == http::StatusCode::OK {
            return Ok(Body::new(response.into_body()));
        }
        let location = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
        match location.filter(|_| status.is_redirection()) {
            Some(location) => target = resolve(&target, location),
            None => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("get {target}: the server answered {status}"),
                ));
            }
        }
    }
    Err(Error::new(ErrorKind::Unavailable, format!("get {url}: more than {REDIRECTS_MAX} redirects")))
}

/// A redirect's target, which may be a path on the same server.
fn resolve(from: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let origin_end = from.find("://").map_or(0, |at| at + 3);
    let origin = from[origin_end..].find('/').map_or(from, |at| &from[..origin_end + at]);
    if location.starts_with('/') {
        return format!("{origin}{location}");
    }
    let directory = from.rfind('/').filter(|at| *at >= origin.len()).map_or(origin, |at| &from[..at]);
    format!("{directory}/{location}")
}

async fn get_once(url: &str) -> Result<Response<Incoming>> {
    let invalid = || Error::invalid(format!("invalid URL {url:?}"));
    let uri: Uri = url.parse().map_err(|_| invalid())?;
    match uri.scheme_str() {
        Some("http") => {}
        Some(scheme) => {
            return Err(Error::unsupported(format!(
                "get {url}: {scheme} is not supported by dhow yet; fetch it yourself and import from the file or `-`"
            )));
        }
        None => return Err(invalid()),
    }
    let authority = uri.authority().ok_or_else(invalid)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let what = || format!("get {url}");
    let unavailable = ErrorKind::Unavailable;
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
        .await
        .context_kind(unavailable, what)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.context_kind(unavailable, what)?;
    // Ends with the body; its failure is the body's.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority.as_str())
        .header(header::USER_AGENT, concat!("dhow/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<bytes::Bytes>::new())
        .context(what)?;
    sender.send_request(request).await.context_kind(unavailable, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved() {
        for (from, location, want) in [
            ("http://a/x/y", "http://b/z", "http://b/z"),
            ("http://a:8/x/y", "/z", "http://a:8/z"),
            ("http://a/x/y", "z", "http://a/x/z"),
            ("http://a", "z", "http://a/z"),
            ("http://a", "/z", "http://a/z"),
        ] {
            assert_eq!(resolve(from, location), want, "{from} {location}");
        }
    }

    #[test]
    fn only_plain_http_is_fetched() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(get("https://example.org/x").await.unwrap_err().kind(), ErrorKind::Unsupported);
            assert!(get("file:///etc/passwd").await.is_err());
            assert_eq!(get("http://").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        });
    }
}
