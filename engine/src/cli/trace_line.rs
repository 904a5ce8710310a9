//! One event of a trace as a line for people.
//!
//! Names and paths are chosen by the traced processes: what could steer a terminal is written escaped.

use crate::local_time::Zone;
use dhow_model::Timestamp;
use serde_json::Value;
use std::fmt::Write;

/// `TIME NAME PID COMM what it did`; nothing for the end, which says nothing to people.
pub(crate) fn line(event: &Value, zone: &Zone) -> Option<String> {
    let text = |key: &str| event[key].as_str().unwrap_or_default().escape_debug().to_string();
    let number = |key: &str| event[key].as_i64().unwrap_or_default();
    let kind = event["kind"].as_str()?;
    let time = Timestamp::parse(event["time"].as_str()?).ok()?;
    let mut line = zone.rfc3339_fixed(time);
    if let Some(name) = event["name"].as_str() {
        let _ = write!(line, " {name}");
    }
    if kind == "lost" {
        let _ = write!(line, " lost {}", lost(event));
        return Some(line);
    }
    if kind == "end" {
        return None;
    }
    // Writing to a string cannot fail.
    let _ = write!(line, " {} {} {kind}", number("pid"), text("comm"));
    let _ = match kind {
        "fork" => write!(line, " by {}", number("ppid")),
        "exec" => write!(line, " {} {}", text("path"), words(&event["args"])),
        "exit" => write!(line, " {}", ending(event)),
        "oom" => write!(line, " {} KiB of address space", number("total_vm_bytes") / 1024),
        "open" => {
            let result = event["fd"].as_i64().map_or_else(|| text("error"), |fd| fd.to_string());
            write!(line, " {} {} = {result}", text("path"), text("flags"))
        }
        _ => Ok(()),
    };
    if event["truncated"] == true {
        line.push_str(" (truncated)");
    }
    Some(line)
}

/// Arguments, each in quotes.
fn words(args: &Value) -> String {
    let words = args.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")
}

fn ending(event: &Value) -> String {
    let mut text = match (event["code"].as_i64(), event["signal"].as_str()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => signal.to_owned(),
        (None, None) => String::new(),
    };
    for (key, words) in [("core_dumped", " (core dumped)"), ("oom_killed", " (out of memory)")] {
        if event[key] == true {
            text.push_str(words);
        }
    }
    text
}

/// `3 exec, 4 fork: …`.
fn lost(event: &Value) -> String {
    let counts = event["lost"].as_object().into_iter().flatten();
    let counts: Vec<String> = counts.map(|(kind, count)| format!("{count} {kind}")).collect();
    let why = match event["place"].as_str() {
        Some("queue") => "they were not read in time",
        _ => "the buffer was full",
    };
    format!("{}: {why}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines() {
        let with = |extra: Value| {
            let mut event =
                json!({"time": "1970-01-01T00:00:01.5Z", "name": "web", "pid": 7, "ppid": 1, "comm": "sh"});
            event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            line(&event, &Zone::default())
        };
        let head = "1970-01-01T00:00:01.500000000Z web";
        for (extra, want) in [
            (json!({"kind": "fork"}), "7 sh fork by 1"),
            (
                json!({"kind": "exec", "path": "/bin/\u{1b}[2J", "args": ["a b", "\u{1b}"], "truncated": true}),
                r#"7 sh exec /bin/\u{1b}[2J "a b" "\u{1b}" (truncated)"#,
            ),
            (json!({"kind": "exit", "code": 3}), "7 sh exit 3"),
            (
                json!({"kind": "exit", "signal": "SIGKILL", "oom_killed": true}),
                "7 sh exit SIGKILL (out of memory)",
            ),
            (
                json!({"kind": "open", "path": "/x", "flags": "O_RDONLY", "error": "ENOENT"}),
                "7 sh open /x O_RDONLY = ENOENT",
            ),
            (
                json!({"kind": "open", "path": "/x", "flags": "O_RDONLY", "fd": 3}),
                "7 sh open /x O_RDONLY = 3",
            ),
            (
                json!({"kind": "lost", "lost": {"exec": 2}, "place": "ring"}),
                "lost 2 exec: the buffer was full",
            ),
        ] {
            assert_eq!(with(extra.clone()), Some(format!("{head} {want}")), "{extra}");
        }
        assert_eq!(with(json!({"kind": "end"})), None);
    }
}
