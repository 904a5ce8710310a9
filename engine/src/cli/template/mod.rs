//! Go's `text/template`, as far as `--format` is used: fields, pipelines, `if`, `range`, `with`, variables,
//! and Docker's functions.
//!
//! `lexer` cuts the text into literal pieces and tokens, `parser` builds a tree, `eval` walks it over JSON
//! values, `functions` are the named functions, `print` shows a value as Go would.

mod eval;
mod functions;
mod lexer;
mod parser;
pub(crate) mod print;

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<parser::Node>,
}

/// What a template is evaluated over.
pub(crate) trait Data {
    /// The fields of `.`.
    fn value(&self) -> &Value;

    /// A method of `.` that takes arguments (`.Label "x"`).
    fn method(&self, _name: &str, _args: &[Value]) -> Option<Value> {
        None
    }
}

impl Data for Value {
    fn value(&self) -> &Value {
        self
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The reason, in Go's words where people know them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let nodes = parser::parse(lexer::lex(text)?)?;
        Ok(Self { nodes })
    }

    /// Fills in the template.
    ///
    /// # Errors
    /// The reason, for instance a field that is not there.
    pub(crate) fn execute(&self, data: &dyn Data) -> Result<String, String> {
        eval::execute(&self.nodes, data)
    }
}

#[cfg(test)]
mod tests;
