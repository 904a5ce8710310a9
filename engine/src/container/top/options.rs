//! The options of `ps` that people give to `top`: which columns to show. Which processes is not theirs to choose, so
//! what selects processes is taken only where it selects all. Everything else is refused by name.

use super::columns::{self, Column};
use dhow_model::{Error, Result};

/// `ps -f`.
const FULL: &[(&str, &str)] = &[
    ("user", "UID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("c", "C"),
    ("stime", "STIME"),
    ("tty", "TTY"),
    ("time", "TIME"),
    ("args", "CMD"),
];
/// `ps u`.
const BY_USER: &[(&str, &str)] = &[
    ("user", "USER"),
    ("pid", "PID"),
    ("pcpu", "%CPU"),
    ("pmem", "%MEM"),
    ("vsz", "VSZ"),
    ("rss", "RSS"),
    ("tty", "TTY"),
    ("stat", "STAT"),
    ("stime", "START"),
    ("bsdtime", "TIME"),
    ("args", "COMMAND"),
];
/// `ps -e`.
const SHORT: &[(&str, &str)] = &[("pid", "PID"), ("tty", "TTY"), ("time", "TIME"), ("comm", "CMD")];
/// `ps ax`.
const BSD: &[(&str, &str)] =
    &[("pid", "PID"), ("tty", "TTY"), ("stat", "STAT"), ("bsdtime", "TIME"), ("args", "COMMAND")];

/// Reads the options; none mean `-ef`, as in Docker. Pure.
pub(super) fn parse(text: &str) -> Result<Vec<Column>> {
    let text = if text.trim().is_empty() { "-ef" } else { text };
    let mut chosen: Vec<Column> = Vec::new();
    let mut format = SHORT;
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let long = word.strip_prefix("--");
        let list = match long {
            Some("format") => Some(words.next().unwrap_or_default()),
            Some(long) => match long.split_once('=') {
                Some(("format", list)) => Some(list),
                _ => return refuse(word),
            },
            None => match letters(word, &mut format)? {
                Some("") => Some(words.next().unwrap_or_default()),
                other => other,
            },
        };
        if let Some(list) = list {
            chosen.extend(parse_list(list)?);
        }
    }
    if chosen.is_empty() {
        for (name, title) in format {
            chosen.extend(columns::find(name).map(|column| column.titled(title)));
        }
    }
    // Docker's engine needs it to tell the container's processes from the host's, and its users know the words.
    if !chosen.iter().any(|column| column.name == "pid") {
        return Err(Error::invalid("Couldn't find PID field in ps output"));
    }
    Ok(chosen)
}

/// A word of single letters, with a dash or (BSD's way) without one. What follows an `o` is a list of columns.
fn letters<'a>(
    word: &'a str,
    format: &mut &'static [(&'static str, &'static str)],
) -> Result<Option<&'a str>> {
    let (dashed, rest) = word.strip_prefix('-').map_or((false, word), |rest| (true, rest));
    let mut bsd = !dashed;
    for (at, letter) in rest.char_indices() {
        match letter {
            // All processes, with a terminal or not.
            'e' | 'A' if dashed => {}
            'a' | 'x' => {
                bsd = true;
                if std::ptr::eq(*format, SHORT) {
                    *format = BSD;
                }
            }
            'f' if dashed => *format = FULL,
            'u' if bsd => *format = BY_USER,
            // Lines are never cut.
            'w' => {}
            'o' => return Ok(Some(&rest[at + 1..])),
            _ => return refuse(word),
        }
    }
    if rest.is_empty() { refuse(word) } else { Ok(None) }
}

fn refuse<T>(word: &str) -> Result<T> {
    Err(Error::unsupported(format!(
        "the ps option {word:?} is not supported by dhow: top takes -e, -f, -A, a, u, x, w and -o COLUMN,..."
    )))
}

/// `pid,comm=NAME`: a head of one's own reaches to the end of the list, as ps(1) has it.
fn parse_list(list: &str) -> Result<Vec<Column>> {
    let (names, title) = list.split_once('=').map_or((list, None), |(names, title)| (names, Some(title)));
    let mut columns = Vec::new();
    for name in names.split(',') {
        columns.push(columns::find(name).ok_or_else(|| {
            Error::unsupported(format!("the column {name:?} of ps is not supported by dhow"))
        })?);
    }
    match (title, columns.pop()) {
        (Some(title), Some(last)) => columns.push(last.titled(title)),
        (None, Some(last)) => columns.push(last),
        (_, None) => {}
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> std::result::Result<String, String> {
        let columns = parse(text).map_err(|error| error.to_string())?;
        Ok(columns.into_iter().map(|column| column.title).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_people_type() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        let by_user = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND";
        for (text, want) in [
            ("", full),
            ("-ef", full),
            ("-e -f", full),
            ("-efww", full),
            ("aux", by_user),
            ("-aux", by_user),
            ("u", by_user),
            ("ax", "PID TTY STAT TIME COMMAND"),
            ("-e", "PID TTY TIME CMD"),
            ("-A", "PID TTY TIME CMD"),
            ("-o pid,cmd", "PID CMD"),
            ("-eo pid,comm,etime", "PID COMMAND ELAPSED"),
            ("axo pid,args", "PID COMMAND"),
            ("-opid -o user=WHO", "PID WHO"),
            ("--format pid,rss", "PID RSS"),
            ("--format=pid,%mem", "PID %MEM"),
        ] {
            assert_eq!(titles(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(titles("-o comm"), Err("Couldn't find PID field in ps output".to_owned()));
        for text in ["-C sh", "--sort pid", "-L", "-p 1", "-u root", "x;reboot", "-", "--help"] {
            let message = titles(text).unwrap_err();
            assert!(message.contains("is not supported by dhow"), "{text}: {message}");
        }
        assert_eq!(titles("-o pid,lwp").unwrap_err(), "the column \"lwp\" of ps is not supported by dhow");
    }
}
