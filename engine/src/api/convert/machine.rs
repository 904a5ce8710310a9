//! What a request is checked against: how many CPUs and memory nodes this machine has, which limits, and what this
//! process cannot keep from a container.

use crate::Engine;
use dhow_model::Result;
use dhow_model::security::{CAPABILITIES, Security, capability_bit};
use dhow_runtime::cgroup::support::Support;
use dhow_sys::birth::Irreversible;
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
    /// What of this process reaches containers against its will.
    pub(super) caller: Caller,
}

/// What this process hands on to its containers, because the kernel lets nobody undo it.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Caller {
    /// Attributes.
    pub(super) irreversible: Irreversible,
    /// Capabilities that it cannot give.
    pub(super) missing_capabilities: u64,
}

/// The way out of all of them.
const ANOTHER: &str = "Ask a process without that restriction, such as a dhow serve of the system's";

impl Caller {
    fn probe(engine: &Engine) -> Result<Self> {
        let facts = engine.facts()?;
        Ok(Self {
            irreversible: Irreversible::of_this_process(),
            missing_capabilities: !(facts.bounding_capabilities & facts.effective_capabilities),
        })
    }

    /// What will be otherwise in a container than it should be. Who asks for everything gets all there is, as in Docker.
    pub(super) fn warn(&self, security: &Security, warnings: &mut Vec<String>) {
        let Irreversible { no_new_privileges, seccomp, no_writable_code, securebits, nice } =
            self.irreversible;
        for (is_so, what) in [
            (
                no_new_privileges && !security.no_new_privileges,
                "no_new_privs: setuid programs gain nothing in it",
            ),
            (seccomp, "seccomp filter: it refuses in it what it refuses here"),
            (no_writable_code, "memory-deny-write-execute: compilers that run what they make fail in it"),
            (securebits, "locked securebits: they change what its users may do"),
            (nice, "niceness: it has no right to lower it"),
        ] {
            if is_so {
                warnings.push(format!("The container has its caller's {what}. {ANOTHER}"));
            }
        }
        let wants_all = security.privileged || security.cap_add.iter().any(|name| name == "ALL");
        let missing = security.capability_mask() & self.missing_capabilities;
        let missing: Vec<&str> = CAPABILITIES
            .into_iter()
            .filter(|name| !wants_all && capability_bit(name).is_some_and(|bit| missing & bit != 0))
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            warnings
                .push(format!("The container is without {missing}: its caller has none to give. {ANOTHER}"));
        }
    }
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
            caller: Caller::probe(engine)?,
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
