//! `top`: the processes of a container, as `ps` shows processes.
//!
//! `process` reads `/proc`, `columns` knows what can be shown, `options` reads the options of `ps` that people
//! give. `ps` itself is never run: what is typed after `top` would be options of a program of the host, and what it
//! prints would be names that the container chose.

mod columns;
mod options;
mod process;

use crate::{Engine, events};
use dhow_model::state::Status;
use dhow_model::{Error, Result};

/// A table of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    /// The columns' heads.
    pub titles: Vec<String>,
    /// A row for each process, by its number.
    pub rows: Vec<Vec<String>>,
}

/// Lists the processes of a running container, with the options of `ps` (none: `-ef`).
///
/// # Errors
/// `NotFound`; `Conflict` when it does not run; `Unsupported` for an option that is not known here.
pub fn top(engine: &Engine, who: &str, ps_options: &str) -> Result<Processes> {
    let columns = options::parse(ps_options)?;
    let record = super::find_settled(engine, who)?;
    match record.state.status {
        Status::Running | Status::Paused => {}
        Status::Restarting => {
            return Err(Error::conflict(format!(
                "Container {} is restarting, wait until the container is running",
                record.id
            )));
        }
        _ => return Err(Error::conflict(format!("container {} is not running", record.id))),
    }
    engine.db()?.write(|txn| txn.append_event(&events::container("top", &record, []), events::now()))?;
    let machine = process::Machine::read()?;
    let mut pids = super::cgroup(engine, &record)?.pids()?;
    pids.sort_unstable();
    let mut rows = Vec::new();
    for pid in pids {
        // It may have ended since the list was read.
        let Some(process) = process::read(pid)? else { continue };
        rows.push(columns.iter().map(|column| column.show(&process, &machine)).collect());
    }
    Ok(Processes { titles: columns.into_iter().map(|column| column.title).collect(), rows })
}
