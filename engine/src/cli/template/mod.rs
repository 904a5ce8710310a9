//! Go's `text/template`, as far as `--format` is used: fields, pipelines, `if`, `range`, `with`, variables,
//! and Docker's functions.
//!
//! `lexer` cuts the text into literal pieces and tokens, `parser` builds a tree, `eval` walks it over JSON
//! values, `functions` are the named functions, `print` shows a value as Go would.

mod eval;
mod fields;
mod functions;
mod lexer;
mod parser;
pub(crate) mod print;

pub(crate) use crate::structs::{KeyOrders, Kind, Ordered};
use serde_json::Value;
use std::collections::BTreeSet;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    text: String,
    parsed: parser::Parsed,
}

/// What a template is evaluated over.
pub(crate) trait Data {
    /// The fields of `.`.
    fn value(&self) -> &Value;

    /// Adds the text of one field, if that is a text: what most of a list consists of is neither copied nor, in data
    /// that is made when it is asked for, kept. False if it is none, or is not there.
    fn append_text(&self, field: &str, text: &mut String) -> bool {
        let found = self.value().get(field).and_then(Value::as_str);
        text.push_str(found.unwrap_or_default());
        found.is_some()
    }

    /// The Go type of `.`, for Docker's words about a field that is not there.
    fn type_name(&self) -> Option<&str> {
        None
    }

    /// The order of its objects' fields, if it is known.
    fn orders(&self) -> Option<&KeyOrders> {
        None
    }

    /// A method of `.` that takes arguments (`.Label "x"`).
    fn method(&self, _name: &str, _args: &[Value]) -> Option<Value> {
        None
    }

    /// What is wrong about a method of `.` that is called with so many arguments; `None` if there is no such method.
    fn wrong_arguments(&self, _name: &str, _given: usize) -> Option<String> {
        None
    }
}

impl<T: Data + ?Sized> Data for &T {
    fn value(&self) -> &Value {
        (**self).value()
    }

    fn append_text(&self, field: &str, text: &mut String) -> bool {
        (**self).append_text(field, text)
    }

    fn type_name(&self) -> Option<&str> {
        (**self).type_name()
    }

    fn orders(&self) -> Option<&KeyOrders> {
        (**self).orders()
    }

    fn method(&self, name: &str, args: &[Value]) -> Option<Value> {
        (**self).method(name, args)
    }

    fn wrong_arguments(&self, name: &str, given: usize) -> Option<String> {
        (**self).wrong_arguments(name, given)
    }
}

impl Data for Value {
    fn value(&self) -> &Value {
        self
    }
}

impl Data for Ordered {
    fn value(&self) -> &Value {
        Ordered::value(self)
    }

    fn orders(&self) -> Option<&KeyOrders> {
        Some(Ordered::orders(self))
    }

    fn type_name(&self) -> Option<&str> {
        Ordered::type_name(self)
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The reason in Go's words: `template: :1: …`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parsed = lexer::lex(text).and_then(parser::parse);
        let parsed =
            parsed.map_err(|(at, why)| format!("template: :{}: {why}", line_and_column(text, at).0))?;
        Ok(Self { text: text.to_owned(), parsed })
    }

    /// The names of the fields that it looks at; `None` for all of them.
    pub(crate) fn fields(&self) -> Option<BTreeSet<String>> {
        fields::of(&self.parsed)
    }

    /// Fills in the template.
    ///
    /// # Errors
    /// The reason in Go's words: `template: :1:2: executing "" at <.Name>: …`.
    pub(crate) fn execute(&self, data: &dyn Data) -> Result<String, String> {
        self.append(data, String::new())
    }

    /// The same, behind a text that is there already.
    ///
    /// # Errors
    /// As for `execute`.
    pub(crate) fn append(&self, data: &dyn Data, text: String) -> Result<String, String> {
        eval::execute(&self.parsed, data, text).map_err(|fault| {
            let (line, column) = line_and_column(&self.text, fault.at);
            format!("template: :{line}:{column}: executing \"\" at <{}>: {}", fault.part, fault.why)
        })
    }
}

/// Go's JSON may be put into HTML as it is.
pub(crate) fn html_safe(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// The line of a byte, from 1, and its place in it, from 0.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    (line, before.len() - start)
}

#[cfg(test)]
mod tests;
