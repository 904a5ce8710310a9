//! Waiting for a container's end, registered before it starts so that no exit is missed.

use crate::cli::client::{Client, Route, collect, empty};
use crate::cli::exit::{Failure, NOT_STARTED, Outcome};
use bollard::models::ContainerWaitResponse;
use http::{Method, Response};
use hyper::body::Incoming;

/// A wait that the engine has accepted: it answers the head at once and the body at the end.
pub(crate) struct Waiting {
    answer: Response<Incoming>,
}

/// Registers a wait. `condition`: `not-running`, `next-exit` or `removed`.
pub(crate) async fn register(client: &Client, container: &str, condition: &str) -> Outcome<Waiting> {
    let route = Route::of("/containers/", container, "/wait").with("condition", condition);
    let answer = client.send(Method::POST, route.as_str(), empty()).await?;
    Ok(Waiting { answer })
}

impl Waiting {
    /// The exit code.
    pub(crate) async fn finish(self) -> Outcome<i32> {
        let body = collect(self.answer).await?;
        let result: ContainerWaitResponse = serde_json::from_slice(&body).map_err(|e| {
            Failure::new(format!("wait for the container: unexpected answer: {e}")).with_code(NOT_STARTED)
        })?;
        if let Some(message) = result.error.and_then(|e| e.message).filter(|m| !m.is_empty()) {
            return Err(Failure::new(message).with_code(NOT_STARTED));
        }
        Ok(i32::try_from(result.status_code).unwrap_or(NOT_STARTED))
    }
}
