//! User namespaces: which ids of the host stand behind those of a container. Chosen when it is created, and
//! recorded with it: its files carry them.
//!
//! | `--userns` | |
//! |---|---|
//! | `host` | the host's own ids |
//! | `private` | the first 65,536 ids of the pool, which all such containers share |
//! | `auto` | 65,536 ids of the pool that no other container has |
//! | nothing | `private` where `dhow.json` has `userns-remap`, else `host` |
//!
//! The pool is `userns-ids` of `dhow.json`, or what /etc/subuid and /etc/subgid give to the user and the group of
//! `userns-remap`, `dockremap` if nothing else is said.

use crate::Settings;
use dhow_model::container::{ContainerConfig, HostConfig};
use dhow_model::security::{IdShift, UserNamespace};
use dhow_model::{Error, Result, ResultExt};
use dhow_runtime::{IdMaps, IdRange};
use dhow_store::db::Txn;

/// Ids of one container: as many as Docker and Podman give.
const BLOCK: u32 = 65_536;
/// Docker's user for remapping.
const DEFAULT_USER: &str = "dockremap";

/// What a container of this configuration gets, but for `auto`: that is allotted when it is recorded.
pub(super) fn choose(settings: &Settings, config: &mut ContainerConfig) -> Result<()> {
    let security = &mut config.host.security;
    let remapped = !settings.userns_remap.is_empty();
    security.ids = match security.userns {
        UserNamespace::Default if !remapped => None,
        UserNamespace::Host => None,
        UserNamespace::Default | UserNamespace::Private | UserNamespace::Auto => {
            let pool = pool(settings)?;
            Some(IdShift { count: pool.count.min(BLOCK), ..pool })
        }
    };
    if security.ids.is_some() {
        dhow_runtime::check_user_namespace(&config.host)?;
    }
    Ok(())
}

/// Gives a container with `auto` a block that no other has.
pub(super) fn allot(settings: &Settings, txn: &Txn<'_>, host: &mut HostConfig) -> Result<()> {
    if host.security.userns != UserNamespace::Auto {
        return Ok(());
    }
    let pool = pool(settings)?;
    let taken: Vec<IdShift> =
        txn.containers()?.into_iter().filter_map(|record| record.config.host.security.ids).collect();
    host.security.ids = Some(free_block(pool, &taken).ok_or_else(|| {
        Error::conflict(format!(
            "no ids are left for another user namespace: the pool has {}, and each container takes {BLOCK}",
            pool.count
        ))
    })?);
    Ok(())
}

/// The first block after that of `private` which meets none of those that are taken. Pure.
fn free_block(pool: IdShift, taken: &[IdShift]) -> Option<IdShift> {
    (1..pool.count / BLOCK)
        .map(|block| IdShift {
            first_uid: pool.first_uid + block * BLOCK,
            first_gid: pool.first_gid + block * BLOCK,
            count: BLOCK,
        })
        .find(|block| {
            let meets =
                |a: u32, b: u32, count: u32| a < b.saturating_add(count) && b < a.saturating_add(BLOCK);
            !taken.iter().any(|other| {
                meets(block.first_uid, other.first_uid, other.count)
                    || meets(block.first_gid, other.first_gid, other.count)
            })
        })
}

/// All ids that containers may have.
fn pool(settings: &Settings) -> Result<IdShift> {
    if let Some(ids) = settings.userns_ids {
        return Ok(ids);
    }
    let (user, group) = match settings.userns_remap.as_str() {
        "" | "default" => (DEFAULT_USER, DEFAULT_USER),
        remap => remap.split_once(':').unwrap_or((remap, remap)),
    };
    let find = |file: &str, who: &str, number: Option<u32>| -> Result<(u32, u32)> {
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        let text = text.context(|| format!("read {file}"))?;
        subordinate(&text, who, number).ok_or_else(|| {
            Error::invalid(format!(
                "user namespaces: {file} has no ids for {who:?}: add a line like {who}:100000:65536, or set \
                 userns-ids in dhow.json"
            ))
        })
    };
    let uid = nix::unistd::User::from_name(user).ok().flatten().map(|found| found.uid.as_raw());
    let gid = nix::unistd::Group::from_name(group).ok().flatten().map(|found| found.gid.as_raw());
    let (first_uid, uids) = find("/etc/subuid", user, uid)?;
    let (first_gid, gids) = find("/etc/subgid", group, gid)?;
    Ok(IdShift { first_uid, first_gid, count: uids.min(gids) })
}

/// `name:first:count` or `number:first:count` (subuid(5)): the largest range of the name. Pure.
fn subordinate(text: &str, name: &str, number: Option<u32>) -> Option<(u32, u32)> {
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        let mine = who == name || number.is_some_and(|number| who == number.to_string());
        let (first, count): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (mine && count > 0 && first.checked_add(count).is_some()).then_some((first, count))
    });
    ranges.max_by_key(|(_, count)| *count)
}

/// The maps that the runtime takes.
pub(super) fn maps(host: &HostConfig) -> Option<IdMaps> {
    let ids = host.security.ids?;
    let map = |outside| vec![IdRange { inside: 0, outside, count: ids.count }];
    Some(IdMaps { uids: map(ids.first_uid), gids: map(ids.first_gid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_given_once() {
        let shift = |first, count| IdShift { first_uid: first, first_gid: first, count };
        let pool = shift(100_000, 4 * BLOCK);
        let first = free_block(pool, &[]).unwrap();
        assert_eq!(first, shift(100_000 + BLOCK, BLOCK));
        let second = free_block(pool, &[first]).unwrap();
        assert_eq!(second.first_uid, 100_000 + 2 * BLOCK);
        // Another pool's leftover that lies across.
        let odd = shift(100_000 + 2 * BLOCK - 1, 2);
        assert_eq!(free_block(pool, &[odd]).unwrap().first_uid, 100_000 + 3 * BLOCK);
        assert_eq!(free_block(pool, &[shift(0, u32::MAX)]), None);
        assert_eq!(free_block(shift(1, BLOCK), &[]), None, "the first is for private");
    }

    #[test]
    fn subordinate_ids() {
        let text = "a:1:2\n# x\nb:100000:65536\n1000:5:10\nb:1:1\nbad:x:1\nhuge:4294967295:2\n";
        assert_eq!(subordinate(text, "b", None), Some((100_000, 65_536)));
        assert_eq!(subordinate(text, "c", Some(1000)), Some((5, 10)));
        assert_eq!(subordinate(text, "bad", None), None);
        assert_eq!(subordinate(text, "huge", None), None);
    }
}
