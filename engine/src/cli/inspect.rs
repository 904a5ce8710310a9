//! `dhow inspect`, `container inspect`, `image inspect`: everything the engine knows about objects.
//!
//! What is shown has all fields that Docker's answer has, in Docker's order, and after them what is the engine's own.

use crate::cli::arguments::{self, ONE_PLATFORM, Rules};
use crate::cli::client::{Client, Route, encode_segment, wire};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::listing::{fill, parse_template};
use crate::cli::output;
use crate::cli::stop::container;
use crate::cli::template::{Kind, Ordered, Template};
use bytes::Bytes;
use clap::{CommandFactory, Parser};
use std::ffi::OsString;

/// Return low-level information on objects
#[derive(Debug, Parser)]
#[command(name = "dhow inspect")]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type")]
    kind: Option<String>,
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

/// Display detailed information on one or more containers
#[derive(Debug, Parser)]
#[command(name = "dhow container inspect")]
struct ContainerArgs {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// Display detailed information on one or more images
#[derive(Debug, Parser)]
#[command(name = "dhow image inspect")]
struct ImageArgs {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

impl Args {
    /// Objects of one kind, without sizes.
    pub(crate) fn of_kind(kind: &str, format: Option<String>, names: Vec<String>) -> Self {
        Self { format, size: false, kind: Some(kind.to_owned()), names }
    }
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };
const IMAGE_RULES: Rules = Rules { stop_at_first: false, refused: &[("--platform", ONE_PLATFORM)] };

/// How `container inspect` is declared.
pub(crate) fn declared_container() -> (clap::Command, Rules) {
    (ContainerArgs::command(), RULES)
}

/// How `image inspect` is declared.
pub(crate) fn declared_image() -> (clap::Command, Rules) {
    (ImageArgs::command(), IMAGE_RULES)
}

/// The kinds of objects, in the order in which a name is looked up.
const KINDS: [&str; 4] = ["container", "image", "network", "volume"];

/// `dhow container inspect`.
pub(crate) async fn execute_container(context: &Context, args: &[OsString]) -> Outcome {
    let ContainerArgs { format, size, names } = arguments::parse(RULES, args)?;
    execute(context, Args { format, size, kind: Some("container".to_owned()), names }).await
}

/// `dhow image inspect`.
pub(crate) async fn execute_image(context: &Context, args: &[OsString]) -> Outcome {
    let ImageArgs { format, names } = arguments::parse(IMAGE_RULES, args)?;
    execute(context, Args::of_kind("image", format, names)).await
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let kind = match args.kind.as_deref() {
        None | Some("") => None,
        Some(kind) if KINDS.contains(&kind) => Some(kind),
        Some(kind) => {
            let known = KINDS.map(|k| format!("{k:?}")).join(", ");
            return Err(Failure::new(format!("unknown type: {kind:?}: must be one of {known}")));
        }
    };
    let format = match args.format.as_deref() {
        None | Some("") => Shown::Array,
        Some("json") => Shown::Line,
        Some(text) => Shown::Template(parse_template(text)?),
    };
    let client = context.client().await?;
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in &args.names {
        match look_up(&client, kind, name, args.size).await {
            // With all that Docker's answer has, in its order.
            Ok((kind, json)) => found.push(Ordered::parse_struct(&json, kind).map_err(wire)?),
            Err(failure) => failures.push(failure),
        }
    }
    let texts = || found.iter().map(Ordered::json).collect::<Vec<_>>();
    match format {
        Shown::Array => output::print(&array(&texts()))?,
        Shown::Line => output::print_line(&format!("[{}]", texts().join(",")))?,
        Shown::Template(template) => {
            for object in &found {
                output::print_line(&fill(&template, object)?)?;
            }
        }
    }
    for failure in &failures {
        failure.report();
    }
    Ok(i32::from(!failures.is_empty()))
}

/// How objects are shown.
enum Shown {
    /// One indented array.
    Array,
    /// One array on one line.
    Line,
    /// A template.
    Template(Template),
}

/// Fetches one object; without a kind, the first kind that has it.
async fn look_up(client: &Client, kind: Option<&str>, name: &str, size: bool) -> Outcome<(Kind, Bytes)> {
    if let Some(kind) = kind {
        return fetch(client, kind, name, size).await;
    }
    for kind in KINDS {
        match fetch(client, kind, name, size).await {
            // Not this kind, or a kind that this engine does not have.
            Err(failure) if matches!(failure.status, Some(404 | 405 | 501)) => {}
            other => return other,
        }
    }
    Err(Failure::bare(format!("Error: No such object: {name}")))
}

async fn fetch(client: &Client, kind: &str, name: &str, size: bool) -> Outcome<(Kind, Bytes)> {
    let (kind, route) = match kind {
        "container" => (Kind::Container, container(name, "/json")?.flag("size", size)),
        "image" => (Kind::Image, Route::new(&format!("/images/{}/json", encode_segment(name)))),
        "network" => (Kind::Network, Route::of("/networks/", name, "")),
        _ => (Kind::Volume, Route::of("/volumes/", name, "")),
    };
    Ok((kind, client.get_bytes(route.as_str()).await?))
}

/// The array that Docker prints: four blanks a level.
fn array(objects: &[String]) -> String {
    if objects.is_empty() {
        return "[]\n".to_owned();
    }
    let shown: Vec<String> =
        objects.iter().map(|json| format!("    {}", indent(json.as_bytes(), 1, "    "))).collect();
    format!("[\n{}\n]\n", shown.join(",\n"))
}

/// Indents JSON text as Go's `json.Indent` by `unit` a level, keeping every other byte.
pub(crate) fn indent(json: &[u8], start: usize, unit: &str) -> String {
    let text = String::from_utf8_lossy(json);
    let mut shown = String::with_capacity(text.len() * 2);
    let mut depth = start;
    let mut chars = text.trim().chars().peekable();
    let mut in_text = false;
    let line = |shown: &mut String, depth: usize| {
        shown.push('\n');
        shown.extend(std::iter::repeat_n(unit, depth));
    };
    while let Some(c) = chars.next() {
        if in_text {
            shown.push(c);
            match c {
                '\\' => shown.extend(chars.next()),
                '"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                shown.push(c);
            }
            '{' | '[' => {
                shown.push(c);
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                match chars.peek() {
                    // Empty ones stay together.
                    Some('}' | ']') => shown.extend(chars.next()),
                    _ => {
                        depth += 1;
                        line(&mut shown, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut shown, depth);
                shown.push(c);
            }
            ',' => {
                shown.push(c);
                line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            c if c.is_whitespace() => {}
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_as_docker_does() {
        let json = r#"{"Id":"a,b:{\"","N":[1,2.50],"E":{},"L":[ ],"X":{"y":null}}"#.to_owned();
        let want = "[\n    {\n        \"Id\": \"a,b:{\\\"\",\n        \"N\": [\n            1,\n            2.50\n        ],\n        \"E\": {},\n        \"L\": [],\n        \"X\": {\n            \"y\": null\n        }\n    }\n]\n";
        assert_eq!(array(&[json]), want);
        assert_eq!(array(&[]), "[]\n");
        assert_eq!(array(&["1".to_owned(), "2\n".to_owned()]), "[\n    1,\n    2\n]\n");
    }
}
