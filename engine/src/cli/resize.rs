//! The container's terminal keeps the size of the person's.

use crate::cli::client::{Client, Route, empty};
use crate::cli::terminal;
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// Whose terminal it is.
#[derive(Debug, Clone)]
pub(crate) enum Owner {
    /// A container's first process.
    Container(String),
    /// A process of `exec`.
    Exec(String),
}

/// Follows the size until dropped.
pub(crate) struct ResizeGuard {
    _tasks: JoinSet<()>,
}

/// A process that is still starting cannot be resized yet: tries so often, each a little later.
const ATTEMPTS: u32 = 10;

/// Sets the size now and at every change of the window. Does nothing when there is no terminal.
pub(crate) fn follow_size(client: &Arc<Client>, owner: Owner) -> ResizeGuard {
    let mut tasks = JoinSet::new();
    if terminal::size().is_some() {
        let client = Arc::clone(client);
        tasks.spawn(async move {
            let changes = signal(SignalKind::window_change());
            for attempt in 0..ATTEMPTS {
                if send_size(&client, &owner).await {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(u64::from(attempt + 1) * 10)).await;
            }
            let Ok(mut changes) = changes else { return };
            while changes.recv().await.is_some() {
                send_size(&client, &owner).await;
            }
        });
    }
    ResizeGuard { _tasks: tasks }
}

/// Changes the size and back, so that a program that runs already draws itself anew.
pub(crate) async fn redraw(client: &Client, owner: &Owner) {
    if let Some((rows, columns)) = terminal::size() {
        send(client, owner, rows.saturating_add(1), columns.saturating_add(1)).await;
    }
}

async fn send_size(client: &Client, owner: &Owner) -> bool {
    match terminal::size() {
        Some((rows, columns)) => send(client, owner, rows, columns).await,
        None => true,
    }
}

async fn send(client: &Client, owner: &Owner, rows: u16, columns: u16) -> bool {
    let route = match owner {
        Owner::Container(id) => Route::of("/containers/", id, "/resize"),
        Owner::Exec(id) => Route::of("/exec/", id, "/resize"),
    };
    let route = route.with("h", &rows.to_string()).with("w", &columns.to_string());
    client.send(Method::POST, route.as_str(), empty()).await.is_ok()
}
