//! Signals of the command line passed on to the container's first process.

use crate::cli::client::{Client, Route, empty};
use http::Method;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Signals that mean something to a container when they reach its client. Not among them: what cannot be
/// caught (KILL, STOP), what our own process causes (CHLD, PIPE, URG), what faults raise (SEGV, …), and
/// what belongs to our terminal (WINCH, TTIN, TTOU).
const PROXIED: [(i32, &str); 13] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (24, "XCPU"),
    (27, "PROF"),
    (29, "IO"),
    (30, "PWR"),
];

/// Passes signals on until dropped.
pub(crate) struct SignalProxyGuard {
    _tasks: JoinSet<()>,
}

/// Starts passing signals on to `container`.
pub(crate) fn proxy_signals(client: &Arc<Client>, container: &str) -> SignalProxyGuard {
    let mut tasks = JoinSet::new();
    let (sender, mut receiver) = mpsc::unbounded_channel();
    for (number, name) in PROXIED {
        let Ok(mut stream) = signal(SignalKind::from_raw(number)) else { continue };
        let sender = sender.clone();
        tasks.spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(name).is_err() {
                    return;
                }
            }
        });
    }
    let client = Arc::clone(client);
    let container = container.to_owned();
    tasks.spawn(async move {
        while let Some(name) = receiver.recv().await {
            let route = Route::of("/containers/", &container, "/kill").with("signal", name);
            // A container that is not running any more, or not yet, has nobody to hear it.
            let _ = client.send(Method::POST, route.as_str(), empty()).await;
        }
    });
    SignalProxyGuard { _tasks: tasks }
}
