//! While a server runs, it mends the firewall's table by itself: another program's reload takes every table away.
//!
//! The kernel tells of each deletion; only then is anything looked at, and the table is written if it is not as it
//! should be. A loss before the server ran is found when it begins.

use super::{carrier, check};
use crate::{Engine, events};
use dhow_model::{Result, ResultExt};
use dhow_net::nft::Watch;
use std::time::Duration;

/// A reload is several steps: what comes within this time is looked at once.
const SETTLE: Duration = Duration::from_millis(100);

/// Watches and mends for as long as it is polled. Returns when there is nothing to hear: on a machine without nftables
/// no network of ours works anyway, and who asks for one is told so.
pub(crate) async fn keep(engine: Engine) {
    // What cannot be mended now is what `system check` tells, and the next deletion tries again.
    let _ = mend(&engine).await;
    let Ok(watch) = Watch::open() else { return };
    let Ok(watch) = events::readable(watch) else { return };
    // Between the first look and the first word.
    let _ = mend(&engine).await;
    loop {
        let Ok(mut ready) = watch.readable().await else { return };
        tokio::time::sleep(SETTLE).await;
        ready.clear_ready();
        if heard(&engine, watch.get_ref()).unwrap_or(true) {
            let _ = mend(&engine).await;
        }
    }
}

fn heard(engine: &Engine, watch: &Watch) -> Result<bool> {
    let name = carrier::table_name(&mut *engine.db()?)?;
    watch.hears_of_loss(&name)
}

async fn mend(engine: &Engine) -> Result<()> {
    let engine = engine.clone();
    let mend = move || {
        if check::find(&engine)?.iter().any(|fault| fault.is_table) {
            check::repair(&engine)?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(mend).await.context(|| "mend the firewall's table".to_owned())?
}
