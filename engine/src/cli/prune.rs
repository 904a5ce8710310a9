//! What the `prune` verbs share: the question before, the filters, and the count after.

use crate::cli::client::{Client, Route};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::listing::{filter_map, parse_filter};
use crate::cli::output;
use clap::Args as ClapArgs;
use dhow_model::units;
use serde_json::Value;
use std::io::{BufRead, Write};

/// The flags of every `prune`.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct PruneArgs {
    /// Provide filter values (e.g. "until=24h")
    #[arg(long, value_parser = parse_filter)]
    pub(crate) filter: Vec<(String, String)>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}

impl PruneArgs {
    /// Warns and asks, unless told not to; false when the answer is no.
    pub(crate) fn confirmed(&self, warning: &str) -> Outcome<bool> {
        if self.force {
            return Ok(true);
        }
        confirm(&format!("{warning}\nAre you sure you want to continue?"), &mut std::io::stdin().lock())
    }

    /// Prunes; returns the engine's report.
    pub(crate) async fn post(&self, client: &Client, path: &str, more: &[(&str, &str)]) -> Outcome<Value> {
        let mut filters = self.filter.clone();
        filters.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let mut route = Route::new(path);
        if !filters.is_empty() {
            let text = serde_json::to_string(&filter_map(&filters)).map_err(crate::cli::client::wire)?;
            route = route.with("filters", &text);
        }
        client.post_json(route.as_str(), &serde_json::json!({})).await
    }
}

/// Asks a question that is answered with `y` or anything else.
fn confirm(question: &str, answers: &mut dyn BufRead) -> Outcome<bool> {
    output::print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(|e| Failure::new(format!("read the answer: {e}")))?;
    // Without a terminal nobody has ended the line.
    if !answer.ends_with('\n') {
        let _ = writeln!(std::io::stdout());
    }
    Ok(matches!(answer.trim(), "y" | "Y"))
}

/// `Deleted Containers:` and the list, when there is one; then what it gave.
pub(crate) fn report(title: &str, deleted: &[String], reclaimed: &Value) -> String {
    section(title, deleted) + &total(reclaimed.as_u64().unwrap_or(0))
}

/// A list under its title, when there is one.
pub(crate) fn section(title: &str, deleted: &[String]) -> String {
    if deleted.is_empty() { String::new() } else { format!("{title}:\n{}\n\n", deleted.join("\n")) }
}

/// The last line.
pub(crate) fn total(bytes: u64) -> String {
    format!("Total reclaimed space: {}\n", units::human_size_long(bytes))
}

/// The names in a list of the report.
pub(crate) fn names(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (answer, yes) in [("y\n", true), ("Y\n", true), ("\n", false), ("", false), ("yes\n", false)] {
            assert_eq!(confirm("Sure?", &mut answer.as_bytes()), Ok(yes), "{answer:?}");
        }
    }

    #[test]
    fn reports() {
        assert_eq!(report("Deleted Containers", &[], &0.into()), "Total reclaimed space: 0B\n");
        assert_eq!(
            report("Deleted Containers", &["a".into(), "b".into()], &1_500.into()),
            "Deleted Containers:\na\nb\n\nTotal reclaimed space: 1.5kB\n"
        );
        // What must not be there is a filter of its own name.
        assert_eq!(parse_filter("label!=a=b"), Ok(("label!".into(), "a=b".into())));
    }
}
