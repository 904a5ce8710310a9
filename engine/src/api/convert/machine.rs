//! What a request is checked against: how many CPUs and memory nodes this machine has, and which limits.

use crate::Engine;
use dhow_model::Result;
use dhow_runtime::cgroup::support::Support;
use std::collections::BTreeSet;

/// The machine's CPUs and memory nodes.
#[derive(Debug, Clone)]
pub(in crate::api) struct Machine {
    /// Online CPUs, `0-7`.
    pub(super) cpus: String,
    /// Online memory nodes, `0`.
    pub(super) nodes: String,
    /// Limits that the kernel has.
    pub(super) support: Support,
}

impl Machine {
    /// Reads what is online now.
    ///
    /// # Errors
    /// When the facts about this machine cannot be read.
    pub(in crate::api) fn probe(engine: &Engine) -> Result<Self> {
        // Kernels without CPU hotplug or NUMA still have these files; without /sys only number 0 is sure.
        let read = |path: &str| {
            std::fs::read_to_string(path).map_or_else(|_| "0".to_owned(), |text| text.trim().to_owned())
        };
        Ok(Self {
            cpus: read("/sys/devices/system/cpu/online"),
            nodes: read("/sys/devices/system/node/online"),
            support: Support::probe(&engine.facts()?.cgroup),
        })
    }

    /// How many CPUs are online.
    pub(super) fn cpu_count(&self) -> usize {
        parse_list(&self.cpus).map_or(1, |list| list.len().max(1))
    }
}

/// Docker's bound on a list, and far above any machine: guards against `0-4000000000`.
const NUMBER_MAX: u32 = 8192;

/// Parses a list in the kernel's form, `0-2,4` (cpuset(7)).
pub(super) fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let number = |digits: &str| digits.trim().parse::<u32>().ok().filter(|n| *n <= NUMBER_MAX);
    let mut list = BTreeSet::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => {
                list.insert(number(part)?);
            }
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return None;
                }
                list.extend(first..=last);
            }
        }
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let list = |text| parse_list(text).map(|l| l.into_iter().collect::<Vec<_>>());
        assert_eq!(list("0-2,4"), Some(vec![0, 1, 2, 4]));
        assert_eq!(list("3"), Some(vec![3]));
        for bad in ["", "a", "2-1", "-1", "0-4000000000", "1,", "1-2-3"] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }
}
