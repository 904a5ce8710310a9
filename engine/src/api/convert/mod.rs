//! Between the wire's optional strings (`bollard-stubs`, generated from Docker's schema) and the engine's
//! validated types.
//!
//! | file | wire | model |
//! |---|---|---|
//! | `create` | body of `containers/create` | `CreateSpec` |
//! | `host` | `HostConfig` | `HostConfig` (calls the three below) |
//! | `mounts`, `resources`, `security` | their fields of `HostConfig` | `Mount`, `Resources`, `Security` |
//! | `inspect`, `summary` | `containers/ID/json`, `containers/json` | `Inspected`, `Summary` |
//! | `health`, `extension` | `Healthcheck`, `State.Health`; our own `Dhow` in `inspect` | their types |
//! | `path_stat` | a header of `containers/ID/archive` | `PathStat` |
//! | `registry` | `X-Registry-Auth`, body of `auth` | `Credentials` |
//! | `image`, `event`, `system`, `volume`, `exec` | their answers | their types |
//!
//! Two rules hold for what comes in. Every text is checked here, once. And a field that is set to something
//! other than its default, and that the engine does not act upon, is refused by name: a flag that is accepted
//! and ignored is a lie. Fields that Docker itself does not know are ignored, as Docker ignores them.

pub(super) mod artifact;
pub(super) mod check;
pub(super) mod create;
pub(super) mod df;
pub(super) mod event;
pub(super) mod exec;
mod extension;
mod health;
mod host;
pub(super) mod image;
pub(super) mod inspect;
pub(super) mod machine;
mod mounts;
pub(super) mod network;
pub(super) mod networks;
pub(super) mod path_stat;
pub(super) mod registry;
mod resources;
mod security;
pub(super) mod stats;
pub(super) mod summary;
pub(super) mod system;
pub(super) mod update;
pub(super) mod volume;

pub(super) use resources::check_ulimit;

use dhow_model::{Error, Result};
use std::collections::{BTreeMap, HashMap};

/// The text of a field, if it is there and not empty.
fn non_empty(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|text| !text.is_empty())
}

/// Refuses what the engine does not do.
fn unsupported<T>(what: impl std::fmt::Display) -> Result<T> {
    Err(Error::unsupported(format!("not supported by dhow: {what}")))
}

/// Refuses a list that holds something.
fn refuse_list<T>(list: &Option<Vec<T>>, what: &str) -> Result<()> {
    if list.as_ref().is_some_and(|l| !l.is_empty()) { unsupported(what) } else { Ok(()) }
}

/// Refuses a number that is set.
fn refuse_number(number: Option<i64>, what: &str) -> Result<()> {
    if number.is_some_and(|n| n != 0) { unsupported(what) } else { Ok(()) }
}

/// Accepts the one volume driver that exists.
fn volume_driver(name: Option<&str>) -> Result<()> {
    match name {
        None | Some("" | "local") => Ok(()),
        Some(other) => unsupported(format!("volume driver {other:?}")),
    }
}

/// A count of bytes for a signed field of the wire.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The wire's maps have no order; the model's have.
fn sorted(map: &Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    map.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// And back.
fn unsorted(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}
