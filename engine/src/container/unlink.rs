//! `rm --link`: takes a link away from the container that has it. Both containers stay as they are.

use crate::Engine;
use dhow_model::{Error, Result};
use dhow_store::lock;

/// Takes away the link that `name` tells as `CONTAINER/ALIAS`.
///
/// What a running container was told of the link at its start, in its environment and `/etc/hosts`, stays until the
/// next one; its name is not answered any more.
///
/// # Errors
/// `Conflict` for the name of a container itself; `NotFound` for a container or a link that is not there.
pub fn unlink(engine: &Engine, name: &str) -> Result<()> {
    let bare = name.trim_start_matches('/');
    let Some((parent, alias)) = bare.rsplit_once('/') else {
        return Err(Error::conflict("Conflict, cannot remove the default link name of the container"));
    };
    let record = super::find_settled(engine, parent)
        .map_err(|_| Error::not_found(format!("Cannot get parent /{parent} for link name /{bare}")))?;
    let _lock = lock::lock_container(engine.layout(), &record.id)?;
    engine.db()?.write(|txn| {
        let mut config = txn.container(&record.id)?.ok_or_else(|| super::no_such(parent))?.config;
        let endpoints = config.host.endpoints.iter_mut().map(|endpoint| &mut endpoint.links);
        // Those of the default network first.
        let lists = [&mut config.host.links].into_iter().chain(endpoints);
        let taken: usize = lists
            .map(|links| {
                let before = links.len();
                links.retain(|(_, known)| known != alias);
                before - links.len()
            })
            .sum();
        if taken == 0 {
            return Err(Error::not_found(format!("No such link: /{bare}")));
        }
        txn.update_config(&record.id, &config)
    })?;
    super::stop::wake_monitor(engine, &record.id);
    Ok(())
}
