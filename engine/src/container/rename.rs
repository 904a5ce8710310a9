//! `rename`: gives a container another name.

use crate::{Engine, events};
use dhow_model::{Error, Result, ResultExt, name};
use dhow_store::lock;

/// Gives a container the name `new`.
///
/// # Errors
/// `NotFound`; `InvalidArgument` for a bad name, or its own; `Conflict` when another container has it.
pub fn rename(engine: &Engine, who: &str, new: &str) -> Result<()> {
    let bare = new.strip_prefix('/').unwrap_or(new);
    if who.is_empty() || bare.is_empty() {
        return Err(Error::invalid("Neither old nor new names may be empty"));
    }
    let record = super::find_settled(engine, who)?;
    let _lock = lock::lock_container(engine.layout(), &record.id)?;
    engine.db()?.write(|txn| {
        let mut record = txn.container(&record.id)?.ok_or_else(|| super::no_such(who))?;
        if record.name == bare {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        let what = || "Error when allocating new name".to_owned();
        let name = name::parse_container_name(bare).context(what)?;
        txn.rename_container(&record.id, &name).context(what)?;
        let old = std::mem::replace(&mut record.name, name);
        let event = events::container("rename", &record, [("oldName", format!("/{old}"))]);
        txn.append_event(&event, events::now())?;
        Ok(())
    })
}
