//! The table from [`ErrorKind`] to HTTP status, and the form of every error answer.

use axum::response::{IntoResponse, Response};
use dhow_model::{Error, ErrorKind};
use http::{HeaderValue, StatusCode, header};

/// An error on its way out as HTTP.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

/// What routes return.
pub(super) type ApiResult<T = Response> = Result<T, ApiError>;

impl ApiError {
    /// An error with a status of its own: for what HTTP itself gets wrong.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Nothing is there.
    pub(super) fn page_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }
}

/// The one table. Docker's `daemon/server/httpstatus/status.go` is what clients expect.
pub(super) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        // Docker counts a command that cannot be executed among the invalid parameters too.
        ErrorKind::InvalidArgument | ErrorKind::CommandNotFound | ErrorKind::CommandNotExecutable => {
            StatusCode::BAD_REQUEST
        }
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        // `ErrorKind` is open for more kinds: unknown ones are ours to explain.
        ErrorKind::StartFailed | ErrorKind::Corrupt | ErrorKind::Internal | _ => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self { status: status_of(error.kind()), message: error.to_string() }
    }
}

/// `{"message": …}` and a newline, as Docker writes it.
pub(super) fn message_json(message: &str) -> String {
    format!("{}\n", serde_json::json!({ "message": message }))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // 304 has no body (RFC 9110, 15.4.5).
        if self.status == StatusCode::NOT_MODIFIED {
            return self.status.into_response();
        }
        let json = HeaderValue::from_static("application/json");
        (self.status, [(header::CONTENT_TYPE, json)], message_json(&self.message)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_dockers_status() {
        for (kind, status) in [
            (ErrorKind::InvalidArgument, 400),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Conflict, 409),
            (ErrorKind::NotModified, 304),
            (ErrorKind::Forbidden, 403),
            (ErrorKind::Unauthorized, 401),
            (ErrorKind::Unsupported, 501),
            (ErrorKind::CommandNotFound, 400),
            (ErrorKind::CommandNotExecutable, 400),
            (ErrorKind::StartFailed, 500),
            (ErrorKind::Corrupt, 500),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Internal, 500),
        ] {
            assert_eq!(status_of(kind).as_u16(), status, "{kind:?}");
        }
    }

    #[test]
    fn messages_are_json() {
        assert_eq!(message_json("no \"x\"\n"), "{\"message\":\"no \\\"x\\\"\\n\"}\n");
        let response = ApiError::from(Error::new(ErrorKind::NotModified, "x")).into_response();
        assert_eq!(response.status(), 304);
        assert!(response.headers().get(header::CONTENT_TYPE).is_none());
    }
}
