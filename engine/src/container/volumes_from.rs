//! `--volumes-from`: the mounts of other containers, at the same places.

use dhow_model::container::ContainerConfig;
use dhow_model::mount::{MountSource, MountSyntax};
use dhow_model::{Error, Result};
use dhow_store::db::StateDb;

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
    for text in &config.host.volumes_from {
        let (who, readonly) = parse(text)?;
        let donor = db.read(|txn| txn.find_container(who))?;
        for mount in donor.config.host.mounts {
            let is_volume = !matches!(mount.source, MountSource::Tmpfs { .. });
            let mounts = &mut config.host.mounts;
            let place = mounts.iter().position(|own| own.target == mount.target);
            let taken = place.is_some_and(|at| mounts[at].written_as != MountSyntax::VolumesFrom);
            if !is_volume || taken {
                continue;
            }
            if let Some(at) = place {
                mounts.remove(at);
            }
            let mut mount = mount;
            mount.readonly |= readonly;
            mount.written_as = MountSyntax::VolumesFrom;
            mounts.push(mount);
        }
    }
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
