//! The other containers whose namespaces a container joins (`--pid`, `--ipc`, `--network container:NAME`).
//!
//! Found by name when the container is made, which keeps the id: a rename changes nothing. Looked up again at each
//! start, a restart by policy included: what is joined is the process that runs then.

use dhow_model::container::{ContainerConfig, HostConfig, NetworkMode};
use dhow_model::security::{Ipc, Namespace};
use dhow_model::state::Status;
use dhow_model::{ContainerId, Error, Layout, Result};
use dhow_runtime::spec::{Donor, Donors};
use dhow_store::db::{ContainerRecord, StateDb};
use std::path::PathBuf;

/// Replaces the names that a user typed by ids.
///
/// # Errors
/// `NotFound` for a container that does not exist.
pub(crate) fn name_by_id(db: &mut StateDb, host: &mut HostConfig) -> Result<()> {
    let joined = [
        match &mut host.security.pid {
            Namespace::Container(who) => Some(who),
            _ => None,
        },
        match &mut host.security.ipc {
            Ipc::Container(who) => Some(who),
            _ => None,
        },
        match &mut host.network {
            NetworkMode::Container(who) => Some(who),
            _ => None,
        },
    ];
    for who in joined.into_iter().flatten() {
        *who = db.read(|txn| txn.find_container_id(who))?.to_string();
    }
    Ok(())
}

/// The processes to join now.
///
/// # Errors
/// `NotFound` when a container is gone; `Conflict` when it does not run, or does not share what is asked for.
pub(crate) fn donors(db: &mut StateDb, host: &HostConfig) -> Result<Donors> {
    let mut donors = Donors::default();
    if let Namespace::Container(id) = &host.security.pid {
        donors.pid = Some(running(&find(db, id)?)?);
    }
    if let Ipc::Container(id) = &host.security.ipc {
        let record = find(db, id)?;
        donors.ipc = Some(running(&record)?);
        if record.config.host.security.ipc != Ipc::Shareable {
            return Err(Error::invalid(format!(
                "container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            )));
        }
    }
    if let NetworkMode::Container(id) = &host.network {
        let record = find(db, id)?;
        if !record.state.status.has_process() {
            return Err(Error::conflict(format!("cannot join network of a non running container: {id}")));
        }
        donors.network = Some(running(&record)?);
    }
    Ok(donors)
}

/// Who joins a network has its host name, and its three files of `/etc`, wherever they are.
pub(crate) fn share_names(
    db: &mut StateDb,
    layout: &Layout,
    config: &mut ContainerConfig,
    files: (PathBuf, PathBuf, PathBuf),
) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let NetworkMode::Container(id) = &config.host.network else { return Ok(files) };
    let donor = find(db, id)?;
    config.hostname.clone_from(&donor.config.hostname);
    config.domainname.clone_from(&donor.config.domainname);
    let state = layout.container_state(&donor.id);
    let theirs = |name: &str, own: PathBuf| Some(state.join(name)).filter(|p| p.exists()).unwrap_or(own);
    Ok((theirs("hostname", files.0), theirs("hosts", files.1), theirs("resolv.conf", files.2)))
}

fn find(db: &mut StateDb, id: &str) -> Result<ContainerRecord> {
    let id = ContainerId::parse(id)?;
    db.read(|txn| txn.container(&id))?.ok_or_else(|| super::no_such(id.as_str()))
}

fn running(record: &ContainerRecord) -> Result<Donor> {
    let (id, state) = (&record.id, &record.state);
    match state.status {
        Status::Restarting => {
            Err(Error::conflict(format!("Container {id} is restarting, wait until the container is running")))
        }
        status if status.has_process() => Ok(Donor { pid: state.pid, start_ticks: state.pid_start_ticks }),
        _ => Err(Error::conflict(format!("container {id} is not running"))),
    }
}
