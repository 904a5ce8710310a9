//! `--filter key=value`, as the Engine API carries it: a map from keys to accepted values.

use dhow_model::{Error, Result, Timestamp};
use regex_lite::Regex;
use std::collections::BTreeMap;

/// Accepted values by key. Values of one key are alternatives; keys must all match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// The values of a key; empty when the key is absent.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the key is absent, or one of its values satisfies `accept`.
    pub fn any(&self, key: &str, accept: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().any(|v| accept(v)))
    }

    /// The regular expressions of a key.
    pub(crate) fn patterns(&self, key: &str) -> Vec<Pattern> {
        self.values(key).iter().map(|text| Pattern::new(text)).collect()
    }

    /// Whether every `label=KEY` or `label=KEY=VALUE` holds, and no `label!=…` does.
    pub fn labels_match(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |want: &String| match want.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
            None => labels.contains_key(want),
        };
        self.values("label").iter().all(holds) && !self.values("label!").iter().any(holds)
    }

    /// The last value of a key that is true or false.
    ///
    /// # Errors
    /// `InvalidArgument` for any other value, in Docker's words.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.values(key).last().map(String::as_str) {
            None => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(other) => Err(Error::invalid(format!("invalid filter '{key}={other}'"))),
        }
    }

    /// The moment of `until`: what is younger is spared.
    ///
    /// # Errors
    /// `InvalidArgument` for what is neither a time nor a time ago, and for several, in Docker's words.
    pub fn until(&self) -> Result<Option<Timestamp>> {
        match self.values("until") {
            [] => Ok(None),
            [text] => crate::moment::parse(text).map(Some).ok_or_else(|| {
                Error::invalid(format!("failed to parse value as time or duration: {text:?}"))
            }),
            _ => Err(Error::invalid("more than one until filter specified")),
        }
    }

    /// Refuses keys that the verb does not know.
    ///
    /// # Errors
    /// `InvalidArgument` naming the key, in Docker's words.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }
}

/// A text as it is, or a regular expression that is found in it.
pub(crate) struct Pattern {
    text: String,
    /// `None`: not one, as Docker lets it pass.
    expression: Option<Regex>,
}

impl Pattern {
    /// Whether there are none, or one matches.
    pub(crate) fn any(patterns: &[Self], text: &str) -> bool {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
    }

    /// Never fails: what is no expression is only itself.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), expression: Regex::new(text).ok() }
    }

    /// Whether a name is it, or contains it.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.text == text || self.expression.as_ref().is_some_and(|expression| expression.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn keys_are_anded_values_are_ored_labels_are_anded() {
        let filters = Filters(BTreeMap::from([
            ("status".to_owned(), vec!["running".to_owned(), "paused".to_owned()]),
            ("label".to_owned(), vec!["a".to_owned(), "b=1".to_owned()]),
        ]));
        assert!(filters.any("status", |v| v == "paused"));
        assert!(!filters.any("status", |v| v == "exited"));
        assert!(filters.any("name", |_| false));
        let labels =
            |b: &str| BTreeMap::from([("a".to_owned(), String::new()), ("b".to_owned(), b.to_owned())]);
        assert!(filters.labels_match(&labels("1")));
        assert!(!filters.labels_match(&labels("2")));
        let without = |label: &str| Filters(BTreeMap::from([("label!".to_owned(), vec![label.to_owned()])]));
        assert!(!without("b=1").labels_match(&labels("1")));
        assert!(without("b=1").labels_match(&labels("2")));
        let until =
            |text: &str| Filters(BTreeMap::from([("until".to_owned(), vec![text.to_owned()])])).until();
        let asked = until("1h30m").unwrap().unwrap();
        assert_eq!(Timestamp::from(SystemTime::now()).since(asked).as_secs() / 60, 90);
        assert_eq!(until("1700000000").unwrap(), Some(Timestamp::from_seconds(1_700_000_000)));
        assert!(until("soon").unwrap_err().to_string().ends_with("as time or duration: \"soon\""));
        assert_eq!(filters.until().unwrap(), None);
        assert_eq!(filters.only(&["label"]).unwrap_err().to_string(), "invalid filter 'status'");
    }
}
