//! Ids of a user namespace: which user and group of the host stands behind each id inside.

use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::user_namespace;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::os::fd::OwnedFd;

/// `count` ids from `inside` on are the host's from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id in the namespace.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

/// The kernel takes as many lines (user_namespaces(7)).
const RANGES_MAX: usize = 340;

impl IdMaps {
    /// Checks what the kernel would refuse without a reason, and that there is a root inside.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the range.
    pub fn check(&self) -> Result<()> {
        for (what, ranges) in [("user", &self.uids), ("group", &self.gids)] {
            if ranges.is_empty() || ranges.len() > RANGES_MAX {
                return Err(Error::invalid(format!(
                    "{what} id map: 1 to {RANGES_MAX} ranges are allowed, not {}",
                    ranges.len()
                )));
            }
            for (index, range) in ranges.iter().enumerate() {
                let ends = [range.inside, range.outside].map(|first| first.checked_add(range.count));
                // The last id, -1, means "no id".
                if range.count == 0 || ends.contains(&None) {
                    return Err(Error::invalid(format!("{what} id map: {range:?} is not a range of ids")));
                }
                let meets = |a: u32, b: u32, other: &IdRange| {
                    u64::from(a) < u64::from(b) + u64::from(other.count)
                        && u64::from(b) < u64::from(a) + u64::from(range.count)
                };
                if let Some(other) = ranges[..index].iter().find(|other| {
                    meets(range.inside, other.inside, other) || meets(range.outside, other.outside, other)
                }) {
                    return Err(Error::invalid(format!("{what} id map: {range:?} overlaps {other:?}")));
                }
            }
            if to_host(ranges, 0).is_none() {
                return Err(Error::invalid(format!("{what} id map: 0 is not mapped, so there is no root")));
            }
        }
        Ok(())
    }

    /// The host's user behind one of the namespace.
    ///
    /// # Errors
    /// `InvalidArgument` when there is none.
    pub fn host_uid(&self, inside: u32) -> Result<u32> {
        to_host(&self.uids, inside).ok_or_else(|| outside("user", inside))
    }

    /// The host's group behind one of the namespace.
    ///
    /// # Errors
    /// `InvalidArgument` when there is none.
    pub fn host_gid(&self, inside: u32) -> Result<u32> {
        to_host(&self.gids, inside).ok_or_else(|| outside("group", inside))
    }

    /// What the namespace calls these host ids, where it has a name for them.
    pub fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        (from_host(&self.uids, uid).unwrap_or(uid), from_host(&self.gids, gid).unwrap_or(gid))
    }

    /// A namespace with these maps and nobody in it: what mounts are mapped through.
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        user_namespace::make(&to_text(&self.uids), &to_text(&self.gids))
            .context_kind(ErrorKind::StartFailed, || "map the ids of mounts".to_owned())
    }

    /// User and group of the namespace's root on the host.
    ///
    /// # Errors
    /// As [`IdMaps::check`].
    pub(crate) fn root(&self) -> Result<(u32, u32)> {
        Ok((self.host_uid(0)?, self.host_gid(0)?))
    }
}

/// The maps of the user namespace that a process lives in; `None` when its ids are ours.
///
/// # Errors
/// When `/proc/PID/uid_map` or `gid_map` cannot be read.
pub(crate) fn of_process(pid: i32) -> Result<Option<IdMaps>> {
    let read = |path: String| std::fs::read_to_string(&path).context(|| format!("read {path}"));
    let text = |who: &str| {
        Ok::<_, Error>([read(format!("/proc/{who}/uid_map"))?, read(format!("/proc/{who}/gid_map"))?])
    };
    let [uids, gids] = text(&pid.to_string())?;
    if text("self")? == [uids.clone(), gids.clone()] {
        return Ok(None);
    }
    let parse = |text: String| {
        from_text(&text)
            .ok_or_else(|| Error::internal(format!("process {pid} has an unreadable id map: {text:?}")))
    };
    Ok(Some(IdMaps { uids: parse(uids)?, gids: parse(gids)? }))
}

fn from_text(text: &str) -> Option<Vec<IdRange>> {
    text.lines()
        .map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            match (numbers.next()?, numbers.next()?, numbers.next()?) {
                (Ok(inside), Ok(outside), Ok(count)) => Some(IdRange { inside, outside, count }),
                _ => None,
            }
        })
        .collect()
}

/// What `/proc/PID/uid_map` takes.
pub(crate) fn to_text(ranges: &[IdRange]) -> String {
    ranges.iter().fold(String::new(), |mut text, range| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
        text
    })
}

fn outside(what: &str, id: u32) -> Error {
    Error::invalid(format!("{what} {id} is not in the container's user namespace"))
}

fn to_host(ranges: &[IdRange], inside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside).filter(|offset| *offset < range.count)?;
        range.outside.checked_add(offset)
    })
}

fn from_host(ranges: &[IdRange], outside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = outside.checked_sub(range.outside).filter(|offset| *offset < range.count)?;
        range.inside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange { inside, outside, count }
    }

    fn maps(uids: &[IdRange]) -> IdMaps {
        IdMaps { uids: uids.to_vec(), gids: vec![range(0, 100_000, 65_536)] }
    }

    #[test]
    fn ids_go_both_ways() {
        let maps = maps(&[range(0, 1000, 1), range(1, 100_000, 65_535)]);
        maps.check().unwrap();
        assert_eq!((maps.host_uid(0).unwrap(), maps.host_uid(1).unwrap()), (1000, 100_000));
        assert_eq!(maps.host_uid(65_535).unwrap(), 165_534);
        assert_eq!(
            maps.host_uid(65_536).unwrap_err().to_string(),
            "user 65536 is not in the container's user namespace"
        );
        assert_eq!(maps.inside(100_005, 100_007), (6, 7));
        assert_eq!(maps.inside(5, 6), (5, 6), "a host id without a name inside stays");
        assert_eq!(to_text(&maps.uids), "0 1000 1\n1 100000 65535\n");
        assert_eq!(from_text("         0       1000          1\n 1 100000 65535\n"), Some(maps.uids.clone()));
        assert_eq!(from_text("0 x 1"), None);
    }

    #[test]
    fn impossible_maps_are_named() {
        for (ranges, word) in [
            (vec![], "1 to 340"),
            (vec![range(0, 1, 0)], "not a range"),
            (vec![range(0, u32::MAX, 2)], "not a range"),
            (vec![range(0, 1000, 10), range(5, 2000, 10)], "overlaps"),
            (vec![range(0, 1000, 10), range(10, 1005, 10)], "overlaps"),
            (vec![range(1, 1000, 10)], "no root"),
        ] {
            let message = maps(&ranges).check().unwrap_err().to_string();
            assert!(message.contains(word), "{ranges:?}: {message}");
        }
    }
}
