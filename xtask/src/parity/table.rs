//! The comparison as `engine/PARITY.md`: one flag a line and no sums, so that two changes seldom meet.

use super::{Row, State, docker};
use std::fmt::Write;

/// Where the groups stand in the table; others follow by name.
const ORDER: [&str; 6] = ["container", "image", "volume", "network", "system", ""];

const HEAD: &str = "# Docker's command line and dhow's\n\n\
    Made by `cargo xtask parity --write` from Docker's own list and `dhow help --json`; `cargo xtask check` compares.\n\n\
    *present*: it does what Docker documents. *limited*: read, but values that need what dhow lacks are refused. \
    *refused*: an error that says why. *missing*: unknown to dhow. Nothing is read and ignored.\n";

pub(super) fn markdown(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    let mut groups: Vec<&str> = rows.iter().map(|row| row.verb.group()).collect();
    groups.sort_by_key(|group| (ORDER.iter().position(|g| g == group).unwrap_or(ORDER.len()), *group));
    groups.dedup();
    for group in groups {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.verb.group() == group).collect();
        let title = if group.is_empty() { "Without a group" } else { group };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {title}\n\n");
        text.push_str("| verb | flag | state | |\n|---|---|---|---|\n");
        for row in rows {
            show_row(&mut text, row);
        }
    }
    text
}

fn show_row(text: &mut String, row: &Row) {
    let verb = match row.verb.names[0].as_str() {
        docker::GLOBALS => "(before the verb)",
        verb => verb,
    };
    let others = &row.verb.names[1..];
    let shown: Vec<String> = others.iter().filter(|n| !row.missing_names.contains(n)).cloned().collect();
    let (state, mut note) = words(&row.state);
    if row.state == State::Present && !shown.is_empty() {
        note = format!("also {}", shown.join(", "));
    }
    for name in &row.missing_names {
        note = format!("{note}; the name {name} is missing").trim_start_matches("; ").to_owned();
    }
    let _ = writeln!(text, "| {verb} | | {state} | {note} |");
    for (flag, state) in &row.flags {
        let (state, note) = words(state);
        let _ = writeln!(text, "| {verb} | {flag} | {state} | {note} |");
    }
    for flag in &row.own {
        let _ = writeln!(text, "| {verb} | {flag} | dhow's own | |");
    }
}

fn words(state: &State) -> (&'static str, String) {
    match state {
        State::Present => ("present", String::new()),
        State::Limited(why) => ("limited", why.clone()),
        State::Refused(why) => ("refused", why.clone()),
        State::Missing => ("missing", String::new()),
    }
}

/// `12 verbs: 10 present, 1 refused, 1 missing. …`
fn count(rows: &[&Row]) -> String {
    let tally = |states: Vec<&State>| {
        let of = |wanted: &str| states.iter().filter(|state| words(state).0 == wanted).count();
        let parts: Vec<String> = ["present", "limited", "refused", "missing"]
            .into_iter()
            .filter(|word| of(word) > 0)
            .map(|word| format!("{} {word}", of(word)))
            .collect();
        parts.join(", ")
    };
    let verbs = tally(rows.iter().map(|row| &row.state).collect());
    let flags = tally(rows.iter().flat_map(|row| row.flags.iter().map(|(_, state)| state)).collect());
    match flags.as_str() {
        "" => format!("Verbs: {verbs}."),
        flags => format!("Verbs: {verbs}. Flags of the present verbs: {flags}."),
    }
}

pub(super) fn summary(rows: &[Row]) -> String {
    let of = |group: &str| rows.iter().filter(|row| row.verb.group() == group).collect::<Vec<_>>();
    format!("container: {}\nall: {}", count(&of("container")), count(&rows.iter().collect::<Vec<_>>()))
}
