//! What a server gives back after a large piece of work: memory that the allocator keeps, and the files of database
//! connections. A server lives for months; without this it would stay as large as its busiest moment.

use crate::Engine;
use std::time::Duration;
use tokio::sync::Notify;

/// Work often comes in a row: all of it is tidied up after once.
const PAUSE: Duration = Duration::from_secs(1);

static REQUESTED: Notify = Notify::const_new();

/// Something large was done. A process that does not [`keep`] ends soon, and needs no tidying.
pub(crate) fn request() {
    REQUESTED.notify_one();
}

/// Tidies up whenever it was requested.
pub(crate) async fn keep(engine: Engine) {
    loop {
        REQUESTED.notified().await;
        tokio::time::sleep(PAUSE).await;
        let engine = engine.clone();
        let tidying = tokio::task::spawn_blocking(move || {
            engine.close_idle_connections();
            dhow_sys::memory::trim_heap();
        });
        // A panic in there leaves things untidy, no more.
        let _ = tidying.await;
    }
}
