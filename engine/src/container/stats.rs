//! `stats`: what a container uses, at moments that the caller chooses. Nothing runs in the container, nothing is
//! asked of its monitor: cgroup files and `/proc` are read, and read again.

use crate::{Engine, events};
use dhow_model::container::NetworkMode;
use dhow_model::{ContainerId, Result, Timestamp};
use dhow_runtime::cgroup::usage::Usage;
use dhow_runtime::host_usage::{HostUsage, NetworkUsage, host_usage, network_usage};
use dhow_store::db::ContainerRecord;
use std::collections::BTreeMap;

/// A container, read again and again.
pub struct Sampler {
    engine: Engine,
    id: ContainerId,
    before: Option<Reading>,
}

/// One moment, and the one before it, from which rates follow.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Which container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Now; `None` when it does not run.
    pub now: Option<Reading>,
    /// The last time that it was read, if it has run since.
    pub before: Option<Reading>,
}

/// What was read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// The container's cgroup.
    pub usage: Usage,
    /// The machine.
    pub host: HostUsage,
    /// Interfaces of the container's own; none when it has the host's network.
    pub networks: BTreeMap<String, NetworkUsage>,
    /// Which run of the container it is.
    run: (i32, u64),
}

/// Begins to read a container.
///
/// # Errors
/// `NotFound`.
pub fn open(engine: &Engine, who: &str) -> Result<Sampler> {
    let id = super::find_settled(engine, who)?.id;
    Ok(Sampler { engine: engine.clone(), id, before: None })
}

impl Sampler {
    /// Reads it now. `None` when it has been removed.
    ///
    /// # Errors
    /// When a file cannot be read though the container runs.
    pub fn sample(&mut self) -> Result<Option<Sample>> {
        let Some(record) = self.record()? else { return Ok(None) };
        let now = match self.read(&record) {
            Ok(now) => now,
            // Its cgroup and its process may have gone while they were read.
            Err(error) => match self.record()? {
                Some(again) if again.state == record.state => {
                    let gone = crate::recover::settle(&self.engine, &record)?;
                    if gone { None } else { return Err(error) }
                }
                Some(_) => None,
                None => return Ok(None),
            },
        };
        let before =
            self.before.take().filter(|before| now.as_ref().is_some_and(|now| now.run == before.run));
        self.before.clone_from(&now);
        Ok(Some(Sample { id: record.id, name: record.name, now, before }))
    }

    fn record(&self) -> Result<Option<ContainerRecord>> {
        self.engine.db()?.read(|txn| txn.container(&self.id))
    }

    fn read(&self, record: &ContainerRecord) -> Result<Option<Reading>> {
        let state = &record.state;
        if !state.status.has_process() {
            return Ok(None);
        }
        let run = (state.pid, state.pid_start_ticks);
        let networks = match record.config.host.network {
            NetworkMode::None | NetworkMode::Container(_) | NetworkMode::Network(_) => {
                network_usage(run.0, run.1)?
            }
            NetworkMode::Host => BTreeMap::new(),
        };
        let usage = super::cgroup(&self.engine, record)?.usage()?;
        Ok(Some(Reading { at: events::now(), usage, host: host_usage()?, networks, run }))
    }
}
