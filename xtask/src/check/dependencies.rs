//! Which crate may depend on which: the directions that keep the layers apart.

use crate::{Result, process};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Every package of the workspace, and which others it may name. What is not here is forbidden.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("dhow-model", &[]),
    ("dhow-sys", &["dhow-model"]),
    ("dhow-runtime", &["dhow-model", "dhow-sys"]),
    ("dhow-inflate", &[]),
    ("dhow-store", &["dhow-inflate", "dhow-model", "dhow-sys"]),
    ("dhow-ebpf", &["dhow-model"]),
    ("dhow-registry", &["dhow-model"]),
    // It is told what to make, by verbs and by the monitor: it sees neither runtime nor store.
    ("dhow-net", &["dhow-model", "dhow-sys"]),
    (
        "dhow",
        &["dhow-model", "dhow-sys", "dhow-runtime", "dhow-store", "dhow-ebpf", "dhow-registry", "dhow-net"],
    ),
    ("dhow-ffi", &["dhow"]),
    ("dhow-bench", &["dhow", "dhow-inflate", "dhow-model"]),
    ("xtask", &[]),
];

/// What runs inside a monitor: single-threaded, about a megabyte, without any of `HEAVY`, however deep.
const LEAN: [&str; 7] =
    ["dhow-model", "dhow-sys", "dhow-runtime", "dhow-inflate", "dhow-store", "dhow-registry", "dhow-net"];
const HEAVY: [&str; 7] = ["tokio", "hyper", "reqwest", "axum", "bollard", "clap", "async-std"];

/// The part of `cargo metadata` that is looked at.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `dev`, `build`, or nothing for an ordinary one.
    kind: Option<String>,
}

/// Compares what cargo resolves with the tables.
pub(crate) fn check() -> Result {
    let text = process::output(&mut process::cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let problems = problems(&serde_json::from_str(&text)?);
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n       ").into()) }
}

/// Every forbidden edge, as a sentence.
fn problems(metadata: &Metadata) -> Vec<String> {
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let members: BTreeSet<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    let mut problems = Vec::new();
    for id in &members {
        let name = names.get(id).copied().unwrap_or(id);
        let Some((_, allowed)) = ALLOWED.iter().find(|(n, _)| *n == name) else {
            problems.push(format!("{name} is not in the table of xtask/src/check/dependencies.rs"));
            continue;
        };
        // Tests may use more (an engine's fixture in a lower crate), but not of the workspace: that would
        // be a circle that only cargo understands.
        for dependency in nodes.get(id).map_or(&[][..], |n| &n.deps) {
            let on = names.get(dependency.pkg.as_str()).copied().unwrap_or_default();
            if members.contains(dependency.pkg.as_str()) && !allowed.contains(&on) {
                problems.push(format!("{name} must not depend on {on}"));
            }
        }
        if LEAN.contains(&name) {
            for (heavy, path) in reached(id, &nodes, &names) {
                problems.push(format!("{name} must not bring in {heavy}, however deep: {path}"));
            }
        }
    }
    problems
}

/// Which of `HEAVY` a package reaches through ordinary and build dependencies, and by which way.
fn reached<'m>(
    from: &'m str,
    nodes: &BTreeMap<&'m str, &'m Node>,
    names: &BTreeMap<&'m str, &'m str>,
) -> Vec<(&'m str, String)> {
    let name = |id: &str| names.get(id).copied().unwrap_or_default();
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![(from, name(from).to_owned())];
    let mut found = Vec::new();
    while let Some((id, path)) = open.pop() {
        for dependency in nodes.get(id).map_or(&[][..], |n| &n.deps) {
            let next = dependency.pkg.as_str();
            let only_tests = dependency.dep_kinds.iter().all(|k| k.kind.as_deref() == Some("dev"));
            if only_tests || !seen.insert(next) {
                continue;
            }
            let path = format!("{path} → {}", name(next));
            if HEAVY.contains(&name(next)) {
                found.push((name(next), path.clone()));
            }
            open.push((next, path));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(edges: &[(&str, &str, Option<&str>)]) -> Metadata {
        let mut nodes: BTreeMap<&str, Vec<Dependency>> = BTreeMap::new();
        for (from, to, kind) in edges {
            nodes.entry(to).or_default();
            nodes.entry(from).or_default().push(Dependency {
                pkg: (*to).to_owned(),
                dep_kinds: vec![Kind { kind: kind.map(str::to_owned) }],
            });
        }
        let ids: Vec<String> = nodes.keys().map(|n| (*n).to_owned()).collect();
        Metadata {
            packages: ids.iter().map(|id| Package { id: id.clone(), name: id.clone() }).collect(),
            workspace_members: ids.iter().filter(|id| id.starts_with("dhow")).cloned().collect(),
            resolve: Resolve {
                nodes: nodes.into_iter().map(|(id, deps)| Node { id: id.to_owned(), deps }).collect(),
            },
        }
    }

    #[test]
    fn layers_point_one_way() {
        assert!(
            problems(&metadata(&[("dhow-runtime", "dhow-sys", None), ("dhow-sys", "libc", None)])).is_empty()
        );
        assert_eq!(
            problems(&metadata(&[("dhow-runtime", "dhow-store", None)])),
            ["dhow-runtime must not depend on dhow-store"]
        );
    }

    #[test]
    fn heavy_crates_are_found_however_deep_but_not_in_tests() {
        let edges = [("dhow-store", "http", None), ("http", "tokio", None)];
        assert_eq!(
            problems(&metadata(&edges)),
            ["dhow-store must not bring in tokio, however deep: dhow-store → http → tokio"]
        );
        assert!(problems(&metadata(&[("dhow-store", "tokio", Some("dev"))])).is_empty());
    }
}
