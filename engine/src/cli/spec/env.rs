//! Environment variables and labels, from flags and from files.

use crate::cli::exit::{Failure, NOT_STARTED, Outcome};

/// `NAME=value`, or `NAME` to take the value of our own environment, or to unset the image's when we have none.
pub(crate) fn parse_variable(text: &str) -> Result<String, String> {
    let (name, has_value) = text.split_once('=').map_or((text, false), |(name, _)| (name, true));
    if name.is_empty() {
        return Err(format!("invalid environment variable: {text}"));
    }
    if has_value {
        return Ok(text.to_owned());
    }
    Ok(std::env::var(name).map_or_else(|_| name.to_owned(), |value| format!("{name}={value}")))
}

/// `key=value`, or `key`.
pub(crate) fn parse_label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid label '{text}': empty name"));
    }
    Ok(text.to_owned())
}

/// The variables of files, then those of flags, which win because they come later.
pub(crate) fn collect(files: &[String], flags: &[String]) -> Outcome<Vec<String>> {
    let mut all = Vec::new();
    for path in files {
        let text = read(path)?;
        all.extend(parse_lines(&text, |name| std::env::var(name).ok()).map_err(|why| in_file(path, &why))?);
    }
    all.extend_from_slice(flags);
    Ok(all)
}

/// The labels of files, then those of flags.
pub(crate) fn collect_labels(files: &[String], flags: &[String]) -> Outcome<Vec<(String, String)>> {
    let mut all = Vec::new();
    for path in files {
        let text = read(path)?;
        // A label without a value is a label.
        all.extend(parse_lines(&text, |_| Some(String::new())).map_err(|why| in_file(path, &why))?);
    }
    all.extend_from_slice(flags);
    let split = |text: String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text, String::new()),
    };
    Ok(all.into_iter().map(split).collect())
}

fn in_file(path: &str, why: &str) -> Failure {
    Failure::new(format!("invalid file {path}: {why}")).with_code(NOT_STARTED)
}

fn read(path: &str) -> Outcome<String> {
    let bytes = std::fs::read(path).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(format!("open {path}: {why}")).with_code(NOT_STARTED)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
        in_file(path, &format!("invalid utf8 bytes at line {line}"))
    })
}

/// One variable a line; `#` begins a comment line; a name alone takes its value from `look_up`, or is left out.
fn parse_lines(text: &str, look_up: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        match value {
            Some(_) => variables.push(line.to_owned()),
            None => variables.extend(look_up(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        assert_eq!(parse_variable("A=b=c").unwrap(), "A=b=c");
        assert_eq!(parse_variable("A=").unwrap(), "A=");
        assert_eq!(parse_variable("DHOW_SURELY_UNSET").unwrap(), "DHOW_SURELY_UNSET");
        assert_eq!(parse_variable("=").unwrap_err(), "invalid environment variable: =");
        assert!(parse_variable("").is_err());
    }

    #[test]
    fn files() {
        let text = "\u{feff}# comment\n\n  A=1\nB= two words \nHOST\nGONE\r\nC=x#y\n";
        let look_up = |name: &str| (name == "HOST").then(|| "h".to_owned());
        assert_eq!(parse_lines(text, look_up).unwrap(), ["A=1", "B= two words ", "HOST=h", "C=x#y"]);
        assert_eq!(parse_lines("A B=1", |_| None).unwrap_err(), "variable 'A B' contains whitespaces");
        assert_eq!(parse_lines("=1", |_| None).unwrap_err(), "no variable name on line '=1'");
        assert_eq!(
            collect(&["/nonexistent".into()], &[]).unwrap_err().message,
            "open /nonexistent: no such file or directory"
        );
    }

    #[test]
    fn labels() {
        assert!(parse_label("=x").is_err());
        let labels = collect_labels(&[], &["a=b=c".into(), "d".into()]).unwrap();
        assert_eq!(labels, [("a".to_owned(), "b=c".to_owned()), ("d".to_owned(), String::new())]);
    }
}
