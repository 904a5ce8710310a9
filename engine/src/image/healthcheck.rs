//! `HEALTHCHECK` as a change to an image's configuration: `HEALTHCHECK [--interval=… …] CMD …` or `NONE`.

use dhow_model::health::HealthCheck;
use dhow_model::{Error, Result, units};
use std::time::Duration;

/// Reads what follows the word `HEALTHCHECK`.
pub(super) fn parse(text: &str) -> Result<HealthCheck> {
    let invalid = |why: &str| Error::invalid(format!("invalid change HEALTHCHECK {text}: {why}"));
    let mut check = HealthCheck::default();
    let mut rest = text.trim();
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        let (name, value) = flag.split_once('=').ok_or_else(|| invalid("a flag has no value"))?;
        let time = || -> Result<Duration> { units::parse_duration(value) };
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                check.retries = value.parse().map_err(|_| invalid("--retries wants a whole number"))?;
            }
            _ => return Err(invalid(&format!("unknown flag: {name}"))),
        }
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" if command.is_empty() => return Err(invalid("missing command after HEALTHCHECK CMD")),
        "CMD" if command.starts_with('[') => {
            let words: Vec<String> =
                serde_json::from_str(command).map_err(|_| invalid("malformed JSON list"))?;
            std::iter::once("CMD".to_owned()).chain(words).collect()
        }
        "CMD" => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        _ => return Err(invalid("unknown type: want CMD or NONE")),
    };
    check.check()?;
    Ok(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let check = parse("--interval=5s --retries=2  CMD curl -f http://x/ || exit 1").unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "curl -f http://x/ || exit 1"]);
        assert_eq!((check.interval, check.retries), (Duration::from_secs(5), 2));
        assert_eq!(parse(r#"CMD ["a", "b c"]"#).unwrap().test, ["CMD", "a", "b c"]);
        assert_eq!(parse("none").unwrap().test, ["NONE"]);
        for bad in ["", "CMD", "NONE x", "--interval CMD x", "--odd=1 CMD x", "RUN x", "CMD [1]"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
