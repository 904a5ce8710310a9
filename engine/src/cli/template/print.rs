//! Shows a JSON value as Go's `fmt` shows the value it came from.

use crate::structs::struct_fields;
use serde_json::Value;
use std::fmt::Write;

/// `%v`.
pub(super) fn show(value: &Value) -> String {
    match value {
        // At the top, a null was a map's missing entry or an empty interface.
        Value::Null => "<no value>".to_owned(),
        other => inner(other),
    }
}

fn inner(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inner).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(object) if let Some(fields) = struct_fields(object) => {
            let shown = fields.iter().map(|field| match object.get(*field) {
                Some(Value::Number(number)) if is_duration(field) => {
                    number.as_i64().map_or_else(|| number.to_string(), duration)
                }
                // Only the command of a check that has none.
                Some(Value::Null) if *field == "Test" => "[]".to_owned(),
                Some(value) => inner(value),
                // Left out because it was empty: a pointer, or a text.
                None if *field == "Health" => "<nil>".to_owned(),
                None => String::new(),
            });
            format!("{{{}}}", shown.collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let mut text = "map[".to_owned();
            for (index, (name, value)) in fields.iter().enumerate() {
                let blank = if index == 0 { "" } else { " " };
                // Writing to a string cannot fail.
                let _ = match value {
                    Value::Object(value) if value.is_empty() && is_member(name) => {
                        write!(text, "{blank}{name}:{{}}")
                    }
                    value => write!(text, "{blank}{name}:{}", inner(value)),
                };
            }
            text.push(']');
            text
        }
    }
}

/// Whether a field of a health check is a time, which Go prints as such.
pub(super) fn is_duration(name: &str) -> bool {
    ["Interval", "Timeout", "StartPeriod", "StartInterval"].contains(&name)
}

/// Nanoseconds as Go's `time.Duration` prints them: `1m30s`, `1.5s`, `250ms`, `0s`.
pub(super) fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let whole = nanoseconds.unsigned_abs();
    // A number with up to nine digits behind its point, without the zeros at its end.
    let decimal = |unit: u64, digits: usize| {
        let text = format!("{}.{:0digits$}", whole_of(whole, unit), whole % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match whole {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{whole}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", decimal(1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000, 6)),
        _ => {
            let seconds = whole / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let text = decimal(1_000_000_000, 9);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{text}s"),
                (0, minutes) => format!("{sign}{minutes}m{text}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{text}s"),
            }
        }
    }
}

/// The units in it; of seconds, those beside the whole minutes.
fn whole_of(whole: u64, unit: u64) -> u64 {
    if unit == 1_000_000_000 { whole / unit % 60 } else { whole / unit }
}

/// Whether it is one of a set, which Go writes as a map to empty structs: exposed ports, and places of volumes.
fn is_member(name: &str) -> bool {
    name.starts_with('/') || ["/tcp", "/udp", "/sctp"].iter().any(|protocol| name.ends_with(protocol))
}

/// `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
