//! Which tests run in the machine: the one list.
//!
//! A test belongs here when it asks something of the kernel: another version, or pure cgroup v2, could answer
//! otherwise. Pure tests do not. In the machine there is busybox, and nothing of Debian's: no debootstrap, no
//! podman, no docker daemon.

use super::build::{Built, Program};
use crate::Result;
use std::path::PathBuf;

/// A test program and what of it runs.
struct Suite {
    package: &'static str,
    /// `lib`, or the name of an integration test.
    target: &'static str,
    /// Beginnings of test names, each of which must be one of a test. An empty one means all of them.
    take: &'static [&'static str],
    /// The same, for CI.
    subset: &'static [&'static str],
    /// How many of its tests run at once.
    threads: u8,
    /// What cannot run there: the test, and why.
    skip: &'static [(&'static str, &'static str)],
}

const SUITES: [Suite; 4] = [
    Suite {
        package: "dhow-sys",
        target: "lib",
        take: &[""],
        subset: &[],
        // Beside a busy test, one of `spawn` sees the file of the program that it killed stay busy, on 6.1.
        threads: 1,
        skip: &[],
    },
    Suite {
        package: "dhow-runtime",
        target: "lib",
        take: &["cgroup::", "rootfs::", "monitor::"],
        subset: &["cgroup::"],
        threads: 2,
        skip: &[],
    },
    Suite {
        package: "dhow-runtime",
        target: "root",
        take: &[""],
        subset: &["limits::", "mounts::an_overlay_of_many_layers"],
        threads: 2,
        skip: &[(
            "process::clocks_of_its_own",
            "on 6.1 a thread that had other clocks for its children cannot start threads any more, as the \
             test does; a monitor has one thread",
        )],
    },
    Suite {
        package: "dhow",
        target: "it",
        take: &[
            "hello::",
            "run::",
            "lifecycle::",
            "limits::",
            "pause::",
            "crash::",
            "crowd::",
            "security::",
            "trace::",
            "tty::",
            "images::many_layers_work",
            "causes::",
            "devices::",
            "flags::",
            "namespaces::",
            "networks::",
            "nfs::",
            "parents::",
            "ports::",
            "resources::",
            "update::",
            "userns::",
            "advertisement::",
            "volumes::",
            "volume_content::",
        ],
        subset: &[
            "hello::",
            "limits::",
            "lifecycle::stop_waits_then_kills_and_kill_does_not_wait",
            "networks::containers_of_a_network_find_each_other",
            "networks::a_lost_table_is_noticed_and_repaired",
            "ports::a_port_is_reached_from_everywhere",
            "pause::a_paused_container_stands_still_until_it_is_unpaused",
            "pause::what_ends_a_paused_container",
            "run::streams_stay_apart_and_exit_codes_pass_through",
        ],
        threads: 2,
        skip: &[("resources::real_time_needs_its_runtime", "its image is made by debootstrap")],
    },
];

/// A program with the tests that are to run, by their whole names.
pub(crate) struct Chosen {
    /// `dhow-runtime root`
    pub(crate) label: String,
    /// On this machine.
    pub(crate) executable: PathBuf,
    pub(crate) tests: Vec<String>,
    pub(crate) threads: u8,
}

/// Resolves the list. A beginning that no test has is an error: the list must not shrink unnoticed.
pub(crate) fn choose(built: &Built, subset: bool, filters: &[String]) -> Result<Vec<Chosen>> {
    let mut chosen = Vec::new();
    for suite in &SUITES {
        let program: &Program = built.program(suite.package, suite.target)?;
        let label = format!("{} {}", suite.package, suite.target);
        let wanted = if subset { suite.subset } else { suite.take };
        let mut tests = select(&label, &program.tests()?, wanted, suite.skip)?;
        tests.retain(|t| {
            filters.is_empty() || filters.iter().any(|f| format!("{label} {t}").contains(f.as_str()))
        });
        if !tests.is_empty() {
            chosen.push(Chosen {
                label,
                executable: program.executable.clone(),
                tests,
                threads: suite.threads,
            });
        }
    }
    if chosen.is_empty() { Err("no test has such a name".into()) } else { Ok(chosen) }
}

/// The pure part of [`choose`].
fn select(label: &str, all: &[String], wanted: &[&str], skip: &[(&str, &str)]) -> Result<Vec<String>> {
    let known = |start: &str| all.iter().any(|t| t.starts_with(start));
    for start in wanted.iter().copied().chain(skip.iter().map(|(name, _)| *name)) {
        if !known(start) {
            return Err(format!("xtask/src/vm/suites.rs names {start:?}, which {label} does not have").into());
        }
    }
    let skipped = |test: &str| skip.iter().any(|(name, _)| test.starts_with(name));
    let taken = |test: &str| wanted.iter().any(|start| test.starts_with(start)) && !skipped(test);
    Ok(all.iter().filter(|t| taken(t)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_exact() {
        let all = ["a::one", "a::two", "b::one"].map(str::to_owned);
        let select = |wanted: &[&str], skip: &[(&str, &str)]| select("x", &all, wanted, skip);
        assert_eq!(select(&["a::"], &[("a::two", "needs docker")]).unwrap(), ["a::one"]);
        assert_eq!(select(&[""], &[]).unwrap().len(), 3);
        assert!(select(&[], &[]).unwrap().is_empty());
        assert!(select(&["c::"], &[]).unwrap_err().to_string().contains("\"c::\""));
        assert!(select(&[""], &[("b::gone", "why")]).is_err());
    }
}
