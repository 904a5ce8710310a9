//! Lists of objects: `--filter`, `--format` (a table, JSON lines or a template), and rows to show.

use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::print_as_it_is;
use crate::cli::table::align_text;
use crate::cli::template::{Data, Template, html_safe};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};

/// Exit code of a template that cannot be parsed.
pub(crate) const BAD_TEMPLATE: i32 = 64;

/// One object as its list shows it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    fields: Value,
    labels: Option<HashMap<String, String>>,
    kind: &'static str,
}

/// What Docker's formatter of containers is called; of the others each list has its own.
pub(crate) const CONTAINER_CONTEXT: &str = "*formatter.ContainerContext";

impl Row {
    /// A row of named fields.
    pub(crate) fn new<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let fields: Map<String, Value> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { fields: fields.into(), labels: None, kind: CONTAINER_CONTEXT }
    }

    /// The name that Docker's Go type of such a row has.
    #[must_use]
    pub(crate) fn of_type(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// The labels that `.Label "name"` looks into.
    #[must_use]
    pub(crate) fn with_labels(mut self, labels: HashMap<String, String>) -> Self {
        self.labels = Some(labels);
        self
    }
}

impl Data for Row {
    fn value(&self) -> &Value {
        &self.fields
    }

    fn type_name(&self) -> Option<&str> {
        Some(self.kind)
    }

    fn method(&self, name: &str, args: &[Value]) -> Option<Value> {
        self.labels.as_ref().and_then(|labels| label(labels, name, args))
    }

    fn wrong_arguments(&self, name: &str, given: usize) -> Option<String> {
        self.labels.as_ref().and_then(|_| wrong_arguments(name, given))
    }
}

/// Only `.Label` is one.
pub(crate) fn wrong_arguments(name: &str, given: usize) -> Option<String> {
    (name == "Label").then(|| format!("wrong number of args for Label: want 1 got {given}"))
}

/// The method `.Label "name"`; `None` for another.
pub(crate) fn label(labels: &HashMap<String, String>, name: &str, args: &[Value]) -> Option<Value> {
    match (name, args) {
        ("Label", [Value::String(key)]) => Some(labels.get(key).cloned().unwrap_or_default().into()),
        _ => None,
    }
}

/// The headers of a list's fields.
struct Headers(Value);

impl Data for Headers {
    fn value(&self) -> &Value {
        &self.0
    }

    /// What has no header is for the rows to complain about, if there are any.
    fn append_text(&self, field: &str, text: &mut String) -> bool {
        text.push_str(self.0.get(field).and_then(Value::as_str).unwrap_or("<no value>"));
        true
    }

    fn method(&self, name: &str, args: &[Value]) -> Option<Value> {
        match (name, args) {
            // As Docker heads a label's column: the last part of its name, in words.
            ("Label", [Value::String(key)]) => {
                Some(key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " ").into())
            }
            _ => None,
        }
    }
}

/// Which fields of a row its list shows; none but these need be made.
pub(crate) struct Shown(Option<BTreeSet<String>>);

impl Shown {
    pub(crate) fn everything() -> Self {
        Self(None)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

/// How a list is shown.
pub(crate) enum Format {
    /// Aligned columns under headers.
    Table(Template),
    /// One text a row.
    Lines(Template),
    /// One JSON object a row.
    Json,
}

impl Format {
    /// Parses `--format`; `default_table` is a template of cells separated by tabs.
    pub(crate) fn parse(text: Option<&str>, default_table: &str) -> Outcome<Self> {
        // Shells pass `\t` as it is.
        let plain = |text: &str| text.replace("\\t", "\t").replace("\\n", "\n");
        match text {
            None | Some("" | "table") => Ok(Self::Table(parse_row(default_table)?)),
            Some("json") => {
                print_as_it_is();
                Ok(Self::Json)
            }
            Some(text) => {
                print_as_it_is();
                match text.strip_prefix("table").filter(|rest| rest.starts_with([' ', '\t', '{', '\\'])) {
                    Some(rest) => Ok(Self::Table(parse_row(plain(rest).trim())?)),
                    None => Ok(Self::Lines(parse_row(&plain(text.trim_matches(' ')))?)),
                }
            }
        }
    }

    /// `--format raw`, an old form with a field in each line, where a list has one: the template of it.
    pub(crate) fn raw_or<'a>(text: Option<&'a str>, raw: &'a str) -> Option<&'a str> {
        text.map(|text| if text == "raw" { raw } else { text })
    }

    /// The fields that it shows.
    pub(crate) fn shown(&self) -> Shown {
        Shown(match self {
            Self::Json => None,
            Self::Table(template) | Self::Lines(template) => template.fields(),
        })
    }

    /// Shows rows; `headers` names each field's column.
    pub(crate) fn render<R: Data>(
        &self,
        headers: &[(&str, &str)],
        rows: impl IntoIterator<Item = R>,
    ) -> Outcome<String> {
        let mut picture = self.begin(headers)?;
        rows.into_iter().try_for_each(|row| picture.add(&row))?;
        Ok(picture.finish())
    }

    /// Begins to show rows that come one at a time: a thousand of them need not all be there at once.
    ///
    /// # Errors
    /// The template's.
    pub(crate) fn begin(&self, headers: &[(&str, &str)]) -> Outcome<Picture<'_>> {
        let mut picture = Picture { format: self, text: String::new() };
        if let Self::Table(_) = self {
            let names: Map<String, Value> =
                headers.iter().map(|(field, header)| ((*field).to_owned(), (*header).into())).collect();
            picture.add(&Headers(names.into()))?;
        }
        Ok(picture)
    }
}

/// A list that is being shown.
pub(crate) struct Picture<'a> {
    format: &'a Format,
    /// A line a row, tabs between the cells of a table.
    text: String,
}

impl Picture<'_> {
    /// # Errors
    /// The template's.
    pub(crate) fn add(&mut self, row: &impl Data) -> Outcome<()> {
        match self.format {
            Format::Json => self.text.push_str(&json(row)),
            Format::Table(template) | Format::Lines(template) => {
                self.text = template
                    .append(row, std::mem::take(&mut self.text))
                    .map_err(|why| Failure::new(format!("template parsing error: {why}")))?;
            }
        }
        self.text.push('\n');
        Ok(())
    }

    pub(crate) fn finish(self) -> String {
        if let Format::Table(_) = self.format { align_text(&self.text) } else { self.text }
    }
}

/// A row as one JSON object, as Go writes it.
pub(crate) fn json(row: &impl Data) -> String {
    html_safe(&row.value().to_string())
}

fn parse_row(text: &str) -> Outcome<Template> {
    Template::parse(text).map_err(|why| Failure::new(format!("template parsing error: {why}")))
}

/// Parses a template, or says in Docker's words why not.
pub(crate) fn parse_template(text: &str) -> Outcome<Template> {
    print_as_it_is();
    Template::parse(text)
        .map_err(|why| Failure::new(format!("template parsing error: {why}")).with_code(BAD_TEMPLATE))
}

/// Fills in a template.
pub(crate) fn fill(template: &Template, data: &dyn Data) -> Outcome<String> {
    template.execute(data).map_err(|why| Failure::new(format!("template parsing error: {why}")))
}

/// Parses one `--filter name=value`.
pub(crate) fn parse_filter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
    Ok((name.trim().to_lowercase(), value.trim().to_owned()))
}

/// The API's form of filters.
pub(crate) fn filter_map(filters: &[(String, String)]) -> HashMap<String, Vec<String>> {
    let mut map: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in filters {
        map.entry(name.clone()).or_default().push(value.clone());
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let labels = HashMap::from([("com.example.env".to_owned(), "prod".to_owned())]);
        vec![
            Row::new([("ID", "1".into()), ("Names", "web".into())]).with_labels(labels),
            Row::new([("ID", "2".into()), ("Names", "a-longer-name".into())]).with_labels(HashMap::new()),
        ]
    }

    fn shown(format: Option<&str>) -> String {
        let headers = [("ID", "CONTAINER ID"), ("Names", "NAMES")];
        Format::parse(format, "{{.ID}}\t{{.Names}}").unwrap().render(&headers, rows()).unwrap()
    }

    #[test]
    fn formats() {
        let table = "CONTAINER ID   NAMES\n1              web\n2              a-longer-name\n";
        assert_eq!(shown(None), table);
        assert_eq!(shown(Some("table")), table);
        assert_eq!(
            shown(Some(r"table {{.Names}}\t{{.ID}}")),
            "NAMES           CONTAINER ID\nweb             1\na-longer-name   2\n"
        );
        assert_eq!(shown(Some("{{.Names}}")), "web\na-longer-name\n");
        assert_eq!(
            shown(Some("json")),
            "{\"ID\":\"1\",\"Names\":\"web\"}\n{\"ID\":\"2\",\"Names\":\"a-longer-name\"}\n"
        );
        let shows = |format: &str, field: &str| Format::parse(Some(format), "").unwrap().shown().has(field);
        assert!(shows("{{.ID}}", "ID") && shows("{{.Id}}", "ID") && !shows("{{.ID}}", "Names"));
        assert!(shows("{{with $x := .Names}}{{.}}{{end}}", "ID"), "a dot alone may be the whole row");
        assert!(shows("json", "ID") && shows("{{json .}}", "ID") && shows("{{(index $ \"ID\")}}", "ID"));
        // A row as a whole is what `json` alone shows; a part of it is not made safe for HTML.
        let row = Row::new([("A", "<&>".into())]);
        let shown_as = |format: &str| {
            Format::parse(Some(format), "").unwrap().render(&[], std::slice::from_ref(&row)).unwrap()
        };
        assert_eq!(shown_as("json"), "{\"A\":\"\\u003c\\u0026\\u003e\"}\n");
        assert_eq!(shown_as("{{json .}}"), shown_as("json"));
        assert_eq!(shown_as("{{json .A}}"), "\"<&>\"\n");
        assert_eq!(shown(Some("{{.ID}}={{.Label \"com.example.env\"}}")), "1=prod\n2=\n");
    }

    #[test]
    fn filters() {
        assert_eq!(parse_filter("Status = exited "), Ok(("status".into(), "exited".into())));
        assert_eq!(parse_filter("label=a=b"), Ok(("label".into(), "a=b".into())));
        assert!(parse_filter("status").is_err());
        let map = filter_map(&[("a".into(), "1".into()), ("a".into(), "2".into())]);
        assert_eq!(map["a"], ["1", "2"]);
    }
}
