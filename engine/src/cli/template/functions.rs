//! The functions of a template: Go's own, and Docker's (`json`, `join`, `split`, `title`, …).

use super::print::{quote, show};
use serde_json::Value;
use std::cmp::Ordering;

const KNOWN: [&str; 28] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "eq", "ne", "lt", "le", "gt",
    "ge", "json", "split", "join", "title", "lower", "upper", "pad", "truncate", "table", "html", "js",
    "urlquery", "call",
];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Whether Go takes it for true: not false, zero, empty or nil.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64().is_some_and(|n| n != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let fail = |why: String| Err(format!("error calling {name}: {why}"));
    let text = |at: usize| -> Result<&str, String> {
        match args.get(at) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("wrong type for value; expected string; got {}", kind(other))),
            None => Err(format!("wrong number of args for {name}: want {} got {}", at + 1, args.len())),
        }
    };
    match (name, args) {
        ("and", [first, ..]) => Ok(args.iter().find(|a| !truth(a)).or(args.last()).unwrap_or(first).clone()),
        ("or", [first, ..]) => Ok(args.iter().find(|a| truth(a)).or(args.last()).unwrap_or(first).clone()),
        ("not", [value]) => Ok((!truth(value)).into()),
        ("len", [value]) => match value {
            Value::String(text) => Ok(text.len().into()),
            Value::Array(items) => Ok(items.len().into()),
            Value::Object(fields) => Ok(fields.len().into()),
            Value::Null => Ok(0.into()),
            other => fail(format!("len of type {}", kind(other))),
        },
        ("index", [value, keys @ ..]) => {
            keys.iter().try_fold(value.clone(), |value, key| index(&value, key)).or_else(fail)
        }
        ("slice", [value, bounds @ ..]) => slice(value, bounds).or_else(fail),
        ("print", _) => Ok(print(args, false).into()),
        ("println", _) => Ok(print(args, true).into()),
        ("printf", [Value::String(format), rest @ ..]) => Ok(printf(format, rest).into()),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            for other in rest {
                match same(first, other) {
                    Ok(true) => return Ok(true.into()),
                    Ok(false) => {}
                    Err(why) => return fail(why.to_owned()),
                }
            }
            Ok(false.into())
        }
        ("ne", [a, b]) => same(a, b).map(|same| (!same).into()).or_else(|why| fail(why.to_owned())),
        ("lt" | "le" | "gt" | "ge", [a, b]) => match order(a, b) {
            Some(order) => Ok(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }
            .into()),
            None => fail("incompatible types for comparison".to_owned()),
        },
        ("json", [value]) => serde_json::to_string(value).map(Value::from).or_else(|e| fail(e.to_string())),
        ("split", [_, _]) => {
            let (whole, separator) = (text(0)?, text(1)?);
            Ok(whole.split(separator).map(Value::from).collect::<Vec<_>>().into())
        }
        ("join", [items, _]) => {
            let separator = text(1)?;
            match items {
                Value::Array(items) => Ok(items.iter().map(show).collect::<Vec<_>>().join(separator).into()),
                Value::Null => Ok("".into()),
                other => Err(format!("wrong type for value; expected []string; got {}", kind(other))),
            }
        }
        ("title", [_]) => Ok(title(text(0)?).into()),
        ("lower", [_]) => Ok(text(0)?.to_lowercase().into()),
        ("upper", [_]) => Ok(text(0)?.to_uppercase().into()),
        ("pad", [_, before, after]) => {
            let whole = text(0)?;
            if whole.is_empty() {
                return Ok("".into());
            }
            let blanks =
                |count: &Value| " ".repeat(count.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0));
            Ok(format!("{}{whole}{}", blanks(before), blanks(after)).into())
        }
        ("truncate", [_, length]) => {
            let length = length.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
            Ok(text(0)?.chars().take(length).collect::<String>().into())
        }
        // `table` only marks a format; Docker defines it as a function that prints nothing of its own.
        ("table", _) => Ok(args.last().cloned().unwrap_or(Value::Null)),
        ("html" | "js" | "urlquery", _) => {
            let text: String = args.iter().map(show).collect();
            Ok(match name {
                "html" => escape_html(&text),
                "js" => escape_js(&text),
                _ => escape_query(&text),
            }
            .into())
        }
        // Nothing in the data can be called.
        ("call", _) => Err("function \"call\" is not supported by dhow".to_owned()),
        _ => Err(format!("wrong number of args for {name}: got {}", args.len())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Object(fields), Value::String(name)) => Ok(fields.get(name).cloned().unwrap_or(Value::Null)),
        (Value::Array(items), Value::Number(number)) => {
            let at = number.as_u64().and_then(|n| usize::try_from(n).ok());
            at.and_then(|at| items.get(at)).cloned().ok_or_else(|| format!("index out of range: {number}"))
        }
        (Value::Null, _) => Err("index of untyped nil".to_owned()),
        (value, key) => Err(format!("cannot index {} with {}", kind(value), kind(key))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(v) => v
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or("cannot index slice/array with that type".to_owned()),
    };
    match value {
        Value::Array(items) => {
            let range = bound(0, 0)?..bound(1, items.len())?;
            items.get(range).map(|part| part.to_vec().into()).ok_or_else(|| "index out of range".to_owned())
        }
        Value::String(text) => {
            let range = bound(0, 0)?..bound(1, text.len())?;
            text.get(range).map(Value::from).ok_or_else(|| "index out of range".to_owned())
        }
        other => Err(format!("can't slice item of type {}", kind(other))),
    }
}

/// Go's `Sprint` puts blanks between operands when neither is a string, `Sprintln` always.
fn print(args: &[Value], line: bool) -> String {
    let mut text = String::new();
    for (at, value) in args.iter().enumerate() {
        let neither = at > 0 && !args[at - 1].is_string() && !value.is_string();
        if at > 0 && (line || neither) {
            text.push(' ');
        }
        text.push_str(&show(value));
    }
    if line {
        text.push('\n');
    }
    text
}

/// The verbs that formats use: `%s %v %d %q %x %t %f %%`, with width and precision.
fn printf(format: &str, args: &[Value]) -> String {
    let mut text = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(next) =
            chars.next_if(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | '#' | ' '))
        {
            spec.push(next);
        }
        let Some(verb) = chars.next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        let Some(value) = args.next() else {
            text.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        text.push_str(&padded(&one(verb, &spec, value), &spec));
    }
    text
}

fn one(verb: char, spec: &str, value: &Value) -> String {
    let precision = spec.split_once('.').and_then(|(_, p)| p.parse::<usize>().ok());
    match (verb, value) {
        ('v' | 's', _) => {
            let shown = show(value);
            if verb == 's' {
                precision.map_or(shown.clone(), |p| shown.chars().take(p).collect())
            } else {
                shown
            }
        }
        ('q', Value::String(text)) => quote(text),
        ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
        ('f', Value::Number(number)) => {
            format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or_default())
        }
        ('t', Value::Bool(truth)) => truth.to_string(),
        ('x', Value::Number(number)) => {
            number.as_i64().map_or_else(|| number.to_string(), |n| format!("{n:x}"))
        }
        ('x', Value::String(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        _ => format!("%!{verb}({}={})", kind(value), show(value)),
    }
}

fn padded(text: &str, spec: &str) -> String {
    let width = spec.split('.').next().unwrap_or_default().trim_start_matches(['-', '+', '#', ' ']);
    let zero = width.starts_with('0') && !spec.starts_with('-');
    let width: usize = width.parse().unwrap_or(0);
    match () {
        () if spec.starts_with('-') => format!("{text:<width$}"),
        () if zero => format!("{text:0>width$}"),
        () => format!("{text:>width$}"),
    }
}

/// Go compares what is of one basic kind, and anything with nil.
fn same(a: &Value, b: &Value) -> Result<bool, &'static str> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(a == b || a.as_f64() == b.as_f64()),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("non-comparable type")
        }
        _ => Err("incompatible types for comparison"),
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// The first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let shown = if start { c.to_uppercase().next().unwrap_or(c) } else { c };
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            shown
        })
        .collect()
}

/// Go's `HTMLEscapeString`.
fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => escaped.push('\u{fffd}'),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Go's `JSEscapeString`.
fn escape_js(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '<' | '>' | '&' | '=' => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Go's `url.QueryEscape`.
fn escape_query(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
