//! Query parameters, read as Docker reads them, and the filters that one of them carries.

use super::status::ApiError;
use crate::filters::Filters;
use axum::extract::{FromRequestParts, Query};
use dhow_model::{Error, Result};
use http::request::Parts;
use serde_json::Value;
use std::collections::BTreeMap;

/// All parameters of a request, in order; a name may come several times.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, ApiError> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Error::invalid(format!("invalid query: {error}")))?;
        Ok(Self(query.0))
    }
}

impl Params {
    /// The first value of a name, if it is there and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// The same, owned.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// Every value of a name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
    }

    /// Docker's idea of truth: anything but nothing, `0`, `no`, `false` and `none`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    /// The same with another value for an absent parameter.
    pub(super) fn flag_or(&self, name: &str, absent: bool) -> bool {
        match self.0.iter().find(|(n, _)| n == name) {
            None => absent,
            Some((_, value)) => {
                !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
            }
        }
    }

    /// A whole number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Error::invalid(format!("invalid parameter {name}: {text:?} is not a number that fits"))
                })
            })
            .transpose()
    }

    /// The `filters` parameter.
    pub(super) fn filters(&self) -> Result<Filters> {
        self.text("filters").map_or_else(|| Ok(Filters::default()), parse_filters)
    }
}

/// Parses `{"status":["running"]}`, or the form of old clients, `{"status":{"running":true}}`.
pub(super) fn parse_filters(text: &str) -> Result<Filters> {
    let invalid = || Error::invalid(format!("invalid filter: {text}"));
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return Err(invalid()) };
    let mut filters = BTreeMap::new();
    for (key, values) in object {
        let values = match values {
            Value::Array(list) => list
                .into_iter()
                .map(|v| if let Value::String(v) = v { Ok(v) } else { Err(invalid()) })
                .collect::<Result<Vec<_>>>()?,
            Value::Object(map) => map
                .into_iter()
                .filter_map(|(value, on)| match on {
                    Value::Bool(true) => Some(Ok(value)),
                    Value::Bool(false) => None,
                    _ => Some(Err(invalid())),
                })
                .collect::<Result<Vec<_>>>()?,
            _ => return Err(invalid()),
        };
        if !values.is_empty() {
            filters.insert(key, values);
        }
    }
    Ok(Filters(filters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn truth_is_dockers() {
        for (value, want) in [
            ("1", true),
            ("true", true),
            ("yes", true),
            ("x", true),
            ("", false),
            ("0", false),
            (" False ", false),
            ("none", false),
            ("No", false),
        ] {
            assert_eq!(params(&[("a", value)]).flag("a"), want, "{value:?}");
        }
        assert!(!params(&[]).flag("a"));
        assert!(params(&[]).flag_or("a", true));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let p = params(&[("h", "24"), ("w", "-1"), ("t", "x"), ("e", "")]);
        assert_eq!(p.number::<u16>("h").unwrap(), Some(24));
        assert_eq!(p.number::<u16>("e").unwrap(), None);
        assert!(p.number::<u16>("w").is_err());
        assert!(p.number::<i64>("t").is_err());
    }

    #[test]
    fn both_forms_of_filters() {
        let want = Filters(BTreeMap::from([
            ("label".to_owned(), vec!["a".to_owned(), "b=1".to_owned()]),
            ("status".to_owned(), vec!["running".to_owned()]),
        ]));
        assert_eq!(parse_filters(r#"{"label":["a","b=1"],"status":["running"]}"#).unwrap(), want);
        assert_eq!(
            parse_filters(r#"{"label":{"a":true,"b=1":true,"c":false},"status":{"running":true}}"#).unwrap(),
            want
        );
        for bad in ["x", "[]", "{\"a\":1}", "{\"a\":[1]}", "{\"a\":{\"b\":1}}"] {
            assert!(parse_filters(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn filters_never_panic(text in "\\PC{0,60}") {
            let _ = parse_filters(&text);
        }
    }
}
