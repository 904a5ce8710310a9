//! Options of the driver `local`: a volume that is a filesystem of its own, or a directory of the host.
//!
//! | option | |
//! |---|---|
//! | `type` | `tmpfs`, `nfs`, `ext4`, …; `none` for a directory |
//! | `device` | what is mounted: a block device, `:/exported/directory`, a directory |
//! | `o` | as mount(8) takes them: `bind`, `ro`, `size=1m`, `addr=server` |
//! | `size` | how much a plain volume may hold, where the engine's filesystem has project quotas |

use dhow_model::units::parse_bytes;
use dhow_model::{Error, ErrorKind, Layout, Result, ResultExt};
use dhow_runtime::VolumeFilesystem;
use dhow_store::db::{Txn, VolumeRecord};
use dhow_sys::{fsat, quota};
use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::AsFd;

/// What each option cannot be without: Docker's list.
const NEEDS: [(&str, &[&str]); 3] =
    [("device", &["type"]), ("o", &["device", "type"]), ("type", &["device"])];

/// Refuses what is none of the driver's options, or incomplete.
///
/// # Errors
/// `InvalidArgument`, in Docker's words.
pub(crate) fn check(name: &str, options: &BTreeMap<String, String>) -> Result<()> {
    let refused = |why: String| Err(Error::invalid(format!("create {name}: {why}")));
    for key in options.keys() {
        match key.as_str() {
            "type" | "device" | "o" => {}
            "size" if options.contains_key("type") => {
                return refused("size is for plain volumes; a filesystem takes o=size=".to_owned());
            }
            "size" => {
                limit(options)
                    .map_err(|error| Error::caused(error.kind(), format!("create {name}"), error))?;
            }
            _ => return refused(format!("invalid option: {key:?}")),
        }
    }
    for (option, needed) in NEEDS {
        if let Some(missing) =
            needed.iter().find(|other| options.contains_key(option) && !options.contains_key(**other))
        {
            return refused(format!("missing required option: {missing:?}"));
        }
    }
    match options.values().find(|value| value.contains('\0')) {
        Some(value) => refused(format!("invalid option: {value:?} contains a NUL byte")),
        None => Ok(()),
    }
}

/// How many bytes a volume may hold; `None`: as many as there are.
///
/// # Errors
/// `InvalidArgument` for what is no size.
fn limit(options: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let Some(text) = options.get("size") else { return Ok(None) };
    match parse_bytes(text)? {
        0 => Err(Error::invalid(format!("invalid size: '{text}'"))),
        bytes => Ok(Some(bytes)),
    }
}

/// The first project of a volume's; those below are the machine's own.
const FIRST_PROJECT: u32 = 0x6468_0000;

/// Puts a volume's limit in force, if it has one. Called within a transaction that writes: projects are given out one
/// after the other.
///
/// # Errors
/// `Unsupported` when the filesystem has no project quotas.
pub(super) fn enforce(txn: &Txn<'_>, layout: &Layout, record: &VolumeRecord) -> Result<()> {
    let Some(bytes) = limit(&record.options)? else { return Ok(()) };
    let open = |name: &str| fsat::open_directory(&layout.volume_data(name));
    let dir = open(&record.name).context(|| "open the volume".to_owned())?;
    let unsupported = |error: dhow_sys::Error| {
        Error::caused(
            ErrorKind::Unsupported,
            format!(
                "create {}: quota size requested but the filesystem of {} has no project quotas",
                record.name,
                layout.volumes().display()
            ),
            error,
        )
    };
    let mut project = quota::project(dir.as_fd()).map_err(unsupported)?;
    if project < FIRST_PROJECT {
        let others = txn.volumes()?.into_iter().filter(|other| other.options.contains_key("size"));
        let taken = others.filter_map(|other| quota::project(open(&other.name).ok()?.as_fd()).ok()).max();
        project = taken.map_or(FIRST_PROJECT, |last| last.saturating_add(1).max(FIRST_PROJECT));
        quota::set_project(dir.as_fd(), project).map_err(unsupported)?;
    }
    quota::set_limit(dir.as_fd(), project, bytes).map_err(unsupported)
}

/// Whether a volume's limit is yet to be put in force: its directory has just been made.
pub(super) fn is_unbounded(layout: &Layout, record: &VolumeRecord) -> bool {
    record.options.contains_key("size")
        && fsat::open_directory(&layout.volume_data(&record.name))
            .and_then(|dir| quota::project(dir.as_fd()))
            .is_ok_and(|project| project < FIRST_PROJECT)
}

/// What is mounted at a volume's place; `None` for a plain directory.
///
/// # Errors
/// `Unavailable` when the name of a server cannot be resolved.
pub(crate) fn filesystem(layout: &Layout, record: &VolumeRecord) -> Result<Option<VolumeFilesystem>> {
    let (Some(kind), Some(device)) = (record.options.get("type"), record.options.get("device")) else {
        return Ok(None);
    };
    let text = record.options.get("o").map(String::as_str).unwrap_or_default();
    let options = text.split(',').filter(|option| !option.is_empty()).map(resolved).collect::<Result<_>>()?;
    Ok(Some(VolumeFilesystem {
        place: layout.volume_data(&record.name),
        kind: kind.clone(),
        device: device.clone(),
        options,
        users: layout.volume_users(&record.name),
    }))
}

/// The kernel knows servers by their addresses alone.
fn resolved(option: &str) -> Result<String> {
    let Some(host) = option.strip_prefix("addr=").filter(|host| host.parse::<IpAddr>().is_err()) else {
        return Ok(option.to_owned());
    };
    let what = || format!("error resolving passed in network volume address: lookup {host}");
    // A port, because the call wants one; nobody is called.
    let found = (host, 0).to_socket_addrs().context_kind(dhow_model::ErrorKind::Unavailable, what)?.next();
    found
        .map(|address| format!("addr={}", address.ip()))
        .ok_or_else(|| Error::new(dhow_model::ErrorKind::Unavailable, format!("{}: no address", what())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_are_dockers() {
        assert!(check("v", &options(&[])).is_ok());
        assert!(check("v", &options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")])).is_ok());
        for (list, words) in [
            (&[("bogus", "1")][..], "create v: invalid option: \"bogus\""),
            (&[("type", "tmpfs")], "create v: missing required option: \"device\""),
            (&[("device", "/x")], "create v: missing required option: \"type\""),
            (&[("o", "bind"), ("type", "none")], "create v: missing required option: \"device\""),
            (&[("size", "1m"), ("type", "tmpfs"), ("device", "x")], "size is for plain volumes"),
            (&[("size", "lots")], "create v: invalid size: 'lots'"),
            (&[("size", "0")], "invalid size: '0'"),
        ] {
            let message = check("v", &options(list)).unwrap_err().to_string();
            assert!(message.contains(words), "{list:?}: {message}");
        }
    }

    #[test]
    fn addresses_stay_and_names_are_resolved() {
        assert_eq!(resolved("addr=10.0.0.1").unwrap(), "addr=10.0.0.1");
        assert_eq!(resolved("nolock").unwrap(), "nolock");
        assert!(["addr=127.0.0.1", "addr=::1"].contains(&resolved("addr=localhost").unwrap().as_str()));
    }
}
