//! `cargo xtask parity`: Docker's command line beside ours, verb by verb and flag by flag.
//!
//! ```text
//! docker.txt (what Docker has) ─┐
//!                               ├─→ compare ─→ what is missing, and engine/PARITY.md
//! dhow help --json (what we have) ┘
//! ```
//! A flag is present, or refused with a reason, or missing; none is read and ignored: `engine/tests` give every
//! refused one to the built program.

mod docker;
mod table;

use crate::{Result, process};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write engine/PARITY.md
    #[arg(long)]
    write: bool,
}

/// `dhow help --json`.
#[derive(Debug, Default, Deserialize)]
struct Tree {
    globals: Described,
    verbs: Vec<Described>,
    refused: Vec<RefusedVerb>,
}

#[derive(Debug, Default, Deserialize)]
struct Described {
    #[serde(default)]
    names: Vec<String>,
    flags: Vec<Flag>,
    refused: Vec<RefusedFlag>,
    #[serde(default)]
    limited: Vec<RefusedFlag>,
}

#[derive(Debug, Deserialize)]
struct Flag {
    names: Vec<String>,
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct RefusedFlag {
    flag: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct RefusedVerb {
    name: String,
    reason: String,
}

/// How a verb or a flag stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Present,
    /// Read, but some or all of its values are refused.
    Limited(String),
    Refused(String),
    Missing,
}

/// One verb of Docker's, compared.
#[derive(Debug)]
struct Row {
    verb: docker::Verb,
    state: State,
    /// Its other names that we do not know.
    missing_names: Vec<String>,
    flags: Vec<(String, State)>,
    /// What only we have.
    own: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let rows = compare(&docker::verbs()?, &our_tree()?);
    if arguments.write {
        fs::write(path(), table::markdown(&rows))
            .map_err(|e| format!("cannot write {}: {e}", path().display()))?;
    }
    for line in missing(&rows) {
        println!("{line}");
    }
    println!("{}", table::summary(&rows));
    Ok(())
}

/// Fails when the committed table is not what the program says, or when something of the container group is missing.
pub(crate) fn check() -> Result {
    let rows = compare(&docker::verbs()?, &our_tree()?);
    let committed =
        fs::read_to_string(path()).map_err(|e| format!("cannot read {}: {e}", path().display()))?;
    if committed != table::markdown(&rows) {
        return Err(
            "engine/PARITY.md is not what `dhow help --json` says: run `cargo xtask parity --write`".into()
        );
    }
    let missing: Vec<String> =
        missing(&rows).into_iter().filter(|line| line.starts_with("container ")).collect();
    match missing.first() {
        None => Ok(()),
        Some(first) => {
            Err(format!("neither there nor refused with a reason: {first} ({} in all)", missing.len()).into())
        }
    }
}

fn path() -> PathBuf {
    process::workspace().join("engine/PARITY.md")
}

fn our_tree() -> Result<Tree> {
    let text = process::output(&mut process::cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--package",
        "dhow",
        "--bin",
        "dhow",
        "--",
        "help",
        "--json",
    ]))?;
    Ok(serde_json::from_str(&text)?)
}

/// Everything that Docker has and we neither have nor refuse.
fn missing(rows: &[Row]) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        let verb = &row.verb.names[0];
        if row.state == State::Missing {
            lines.push(verb.clone());
        }
        lines.extend(row.missing_names.iter().map(|name| format!("{verb}: the name {name}")));
        let flags = row.flags.iter().filter(|(_, state)| *state == State::Missing);
        lines.extend(flags.map(|(flag, _)| format!("{verb} {flag}")));
    }
    lines
}

fn compare(docker: &[docker::Verb], ours: &Tree) -> Vec<Row> {
    docker.iter().map(|verb| compare_verb(verb, ours)).collect()
}

fn compare_verb(verb: &docker::Verb, ours: &Tree) -> Row {
    let of_globals = verb.names[0] == docker::GLOBALS;
    let knows = |described: &Described, name: &String| described.names.contains(name);
    let found = match of_globals {
        true => Some(&ours.globals),
        false => ours.verbs.iter().find(|v| verb.names.iter().any(|name| knows(v, name))),
    };
    let Some(found) = found else {
        return Row {
            state: refusal(verb, &ours.refused),
            verb: verb.clone(),
            missing_names: Vec::new(),
            flags: Vec::new(),
            own: Vec::new(),
        };
    };
    let flags: Vec<(String, State)> =
        verb.flags.iter().map(|flag| (flag.names.join(", "), compare_flag(flag, found))).collect();
    let known: BTreeMap<&str, ()> =
        verb.flags.iter().flat_map(|f| f.names.iter()).map(|name| (name.as_str(), ())).collect();
    let own =
        found.flags.iter().filter(|flag| !flag.names.iter().any(|name| known.contains_key(name.as_str())));
    Row {
        state: State::Present,
        missing_names: match of_globals {
            true => Vec::new(),
            false => verb.names.iter().filter(|name| !knows(found, name)).cloned().collect(),
        },
        own: own.map(|flag| flag.names.join(", ")).filter(|names| names != "-h, --help").collect(),
        verb: verb.clone(),
        flags,
    }
}

/// A verb is refused by itself, or with its whole group, or as the same verb without its group.
fn refusal(verb: &docker::Verb, refused: &[RefusedVerb]) -> State {
    let covers = |refused: &&RefusedVerb| {
        verb.names.iter().any(|name| {
            *name == refused.name
                || name.strip_prefix(&refused.name).is_some_and(|rest| rest.starts_with(' '))
        })
    };
    match refused.iter().find(covers) {
        Some(refused) => State::Refused(refused.reason.clone()),
        None => State::Missing,
    }
}

fn compare_flag(flag: &docker::Flag, ours: &Described) -> State {
    let has = |name: &String| ours.flags.iter().any(|f| f.names.contains(name) || f.aliases.contains(name));
    let reason = |list: &[RefusedFlag]| {
        list.iter().find(|refused| flag.names.contains(&refused.flag)).map(|refused| refused.reason.clone())
    };
    if let Some(reason) = reason(&ours.refused) {
        return State::Refused(reason);
    }
    // Both names of a flag must be there.
    if !flag.names.iter().all(has) {
        return State::Missing;
    }
    reason(&ours.limited).map_or(State::Present, State::Limited)
}

#[cfg(test)]
mod tests;
