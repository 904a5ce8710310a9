//! `--security-opt`: profiles in files are read here, because the engine may be on another machine.

use crate::cli::exit::{Failure, NOT_STARTED, Outcome};

/// What `--security-opt` becomes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// For the engine.
    pub(crate) options: Vec<String>,
    /// `systempaths=unconfined`: nothing masked, nothing read-only.
    pub(crate) bare_system_paths: bool,
}

/// Reads the options; the content of a seccomp profile takes its file's place.
pub(crate) fn parse(options: &[String]) -> Outcome<Options> {
    let mut parsed = Options::default();
    for option in options {
        let invalid = || Failure::usage(format!("invalid --security-opt: {option:?}"));
        let (key, value) = match option.split_once('=').or_else(|| option.split_once(':')) {
            Some((key, value)) => (key, value),
            None if option == "no-new-privileges" => (option.as_str(), ""),
            None => return Err(invalid()),
        };
        match (key, value) {
            ("systempaths", "unconfined") => parsed.bare_system_paths = true,
            ("systempaths", _) => return Err(invalid()),
            ("seccomp", "unconfined" | "builtin") => parsed.options.push(option.clone()),
            ("seccomp", path) => parsed.options.push(format!("seccomp={}", read_profile(path)?)),
            _ => parsed.options.push(option.clone()),
        }
    }
    Ok(parsed)
}

fn read_profile(path: &str) -> Outcome<String> {
    let fail = |why: String| {
        Failure::new(format!("opening seccomp profile ({path}) failed: {why}")).with_code(NOT_STARTED)
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        fail(match error.kind() {
            std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
            _ => format!("open {path}: {error}"),
        })
    })?;
    let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("compacting json for seccomp profile ({path}) failed: {error}"))
            .with_code(NOT_STARTED)
    })?;
    Ok(profile.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let all: Vec<String> =
            ["no-new-privileges", "seccomp=unconfined", "systempaths=unconfined", "apparmor:x"]
                .map(str::to_owned)
                .into();
        let parsed = parse(&all).unwrap();
        assert!(parsed.bare_system_paths);
        assert_eq!(parsed.options, ["no-new-privileges", "seccomp=unconfined", "apparmor:x"]);
        assert!(parse(&["nonsense".into()]).is_err());
        let missing = parse(&["seccomp=/nonexistent".into()]).unwrap_err();
        assert_eq!(
            missing.message,
            "opening seccomp profile (/nonexistent) failed: open /nonexistent: no such file or directory"
        );
    }

    #[test]
    fn a_profile_is_inlined() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\n \"defaultAction\" : \"SCMP_ACT_ALLOW\"\n}\n").unwrap();
        let parsed = parse(&[format!("seccomp={}", file.path().display())]).unwrap();
        assert_eq!(parsed.options, ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]);
    }
}
