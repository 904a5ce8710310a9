//! `--volumes-from`: the mounts of other containers, at the same places.

use dhow_model::container::ContainerConfig;
use dhow_model::mount::{Mount, MountSource, MountSyntax};
use dhow_model::{Error, Result};
use dhow_store::db::StateDb;
use std::collections::HashMap;

/// Takes `NAME[:MODE]` apart.
///
/// # Errors
/// `InvalidArgument`, in Docker's words.
pub(crate) fn parse(text: &str) -> Result<(&str, bool)> {
    if text.is_empty() {
        return Err(Error::invalid("volumes-from specification cannot be an empty string"));
    }
    let (who, mode) = text.split_once(':').unwrap_or((text, "rw"));
    let mut readonly = false;
    for word in mode.split(',') {
        match word {
            "ro" => readonly = true,
            // Labels are for SELinux, which is not there to read them.
            "rw" | "z" | "Z" => {}
            _ => return Err(Error::invalid(format!("invalid mode: {mode}"))),
        }
    }
    Ok((who, readonly))
}

/// Adds the mounts. What the container mounts itself stays; the later of two others wins.
///
/// # Errors
/// `NotFound` for a container that does not exist.
pub(crate) fn add(db: &mut StateDb, config: &mut ContainerConfig) -> Result<()> {
    if config.host.volumes_from.is_empty() {
        return Ok(());
    }
    let mut mounts: Vec<Option<Mount>> =
        std::mem::take(&mut config.host.mounts).into_iter().map(Some).collect();
    // Where a target is; the first of several.
    let mut places: HashMap<String, usize> = HashMap::new();
    for (at, mount) in mounts.iter().flatten().enumerate() {
        places.entry(mount.target.clone()).or_insert(at);
    }
    for text in &config.host.volumes_from {
        let (who, readonly) = parse(text)?;
        let donor = db.read(|txn| txn.find_container(who))?;
        for mut mount in donor.config.host.mounts {
            if matches!(mount.source, MountSource::Tmpfs { .. }) {
                continue;
            }
            if let Some(at) = places.get(&mount.target).copied() {
                let own = |own: &Mount| own.written_as != MountSyntax::VolumesFrom;
                if mounts[at].as_ref().is_some_and(own) {
                    continue;
                }
                mounts[at] = None;
            }
            mount.readonly |= readonly;
            mount.written_as = MountSyntax::VolumesFrom;
            places.insert(mount.target.clone(), mounts.len());
            mounts.push(Some(mount));
        }
    }
    config.host.mounts = mounts.into_iter().flatten().collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(parse("data").unwrap(), ("data", false));
        assert_eq!(parse("data:ro").unwrap(), ("data", true));
        assert_eq!(parse("data:rw,z").unwrap(), ("data", false));
        assert_eq!(parse("data:bogus").unwrap_err().to_string(), "invalid mode: bogus");
        assert!(parse("").is_err());
    }
}
