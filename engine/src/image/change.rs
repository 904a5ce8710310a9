//! Dockerfile instructions that change an image's configuration, as `import` and `commit` take them with `-c`.

use dhow_model::image::ImageConfig;
use dhow_model::mount::parse_target;
use dhow_model::signal::Signal;
use dhow_model::{Error, Result};
use std::iter::Peekable;
use std::str::Chars;

/// Applies one Dockerfile instruction, as `--change` takes it. Pure.
pub(crate) fn apply(config: &mut ImageConfig, change: &str) -> Result<()> {
    apply_over(&[], config, change)
}

/// The same for a configuration that will lie over another, whose variables are known, too.
pub(crate) fn apply_over(below: &[String], config: &mut ImageConfig, change: &str) -> Result<()> {
    let change = change.trim();
    let (instruction, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let rest = rest.trim();
    let invalid = |why: &str| Error::invalid(format!("invalid change {change:?}: {why}"));
    if rest.is_empty() {
        return Err(Error::invalid(match instruction {
            "" => "file with no instructions".to_owned(),
            _ => format!("{} requires at least one argument", instruction.to_ascii_uppercase()),
        }));
    }
    let command = || -> Result<Vec<String>> {
        if rest.starts_with('[')
            && let Ok(words) = serde_json::from_str(rest)
        {
            return Ok(words);
        }
        Ok(["/bin/sh", "-c", rest].map(str::to_owned).to_vec())
    };
    let open = || invalid("a quote or a brace is open");
    // Those of this instruction itself hold from the next one on.
    let env: Vec<String> = config.env.iter().chain(below).cloned().collect();
    let expanded = || word(rest, &env).ok_or_else(open);
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command()?,
        "ENTRYPOINT" => config.entrypoint = command()?,
        "ENV" => {
            for (key, value) in
                pairs(rest, &env).ok_or_else(|| Error::invalid("ENV must have two arguments"))?
            {
                set_env(&mut config.env, &key, format!("{key}={value}"));
            }
        }
        "LABEL" => config
            .labels
            .extend(pairs(rest, &env).ok_or_else(|| Error::invalid("LABEL must have two arguments"))?),
        "USER" => config.user = expanded()?,
        "WORKDIR" => {
            let rest = expanded()?;
            // From where the last one left it, as in a Dockerfile.
            config.working_dir = parse_directory(&format!(
                "{}/{rest}",
                if rest.starts_with('/') { "" } else { &config.working_dir }
            ));
        }
        "STOPSIGNAL" => config.stop_signal = Signal::parse(&expanded()?)?.to_string(),
        "EXPOSE" => {
            for port in expanded()?.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                if number.parse::<u16>().is_err() || !["tcp", "udp", "sctp"].contains(&protocol) {
                    return Err(Error::invalid(format!("invalid containerPort: {port}")));
                }
                config.exposed_ports.insert(format!("{number}/{protocol}"));
            }
        }
        "VOLUME" => {
            let paths: Vec<String> = if rest.starts_with('[') {
                serde_json::from_str(rest).map_err(|_| invalid("malformed JSON list"))?
            } else {
                words(rest, &env).ok_or_else(open)?
            };
            for path in paths {
                config.volumes.insert(parse_target(&path)?);
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(super::healthcheck::parse(rest)?),
        "ONBUILD" => config.on_build.push(
            trigger(rest)
                .ok_or_else(|| invalid("want an instruction, and not FROM, MAINTAINER or ONBUILD itself"))?,
        ),
        other => {
            let other = other.to_ascii_lowercase();
            return Err(Error::invalid(format!("{other} is not a valid change command")));
        }
    }
    Ok(())
}

/// Sets a variable, where it stands if it is there.
pub(crate) fn set_env(env: &mut Vec<String>, name: &str, entry: String) {
    let is_it = |have: &&mut String| have.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
    match env.iter_mut().find(is_it) {
        Some(have) => *have = entry,
        None => env.push(entry),
    }
}

/// An instruction for a later build; Docker's rule for which. Pure.
fn trigger(rest: &str) -> Option<String> {
    let (instruction, _) = rest.split_once(char::is_whitespace)?;
    let instruction = instruction.to_ascii_uppercase();
    let known = [
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ];
    known.contains(&instruction.as_str()).then(|| rest.to_owned())
}

/// Cleans an absolute path as text.
fn parse_directory(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `A=1 B="two words" 'C=3'`, or the old form `A one value`.
fn pairs(text: &str, env: &[String]) -> Option<Vec<(String, String)>> {
    let first = text.split_whitespace().next()?;
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(key.to_owned(), word(value.trim(), env)?)]);
    }
    words(text, env)?
        .iter()
        .map(|word| {
            word.split_once('=').filter(|(k, _)| !k.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned()))
        })
        .collect()
}

/// One word, whatever blanks it has, as [`words`] reads them.
fn word(text: &str, env: &[String]) -> Option<String> {
    let read = read(text, env, |_| false)?;
    Some(read.into_iter().next().unwrap_or_default())
}

/// Splits at blanks outside quotes, takes the quotes away, and puts variables in, but not within single quotes. `None`
/// for an open quote or brace.
fn words(text: &str, env: &[String]) -> Option<Vec<String>> {
    read(text, env, char::is_whitespace)
}

fn read(text: &str, env: &[String], splits: impl Fn(char) -> bool) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut inside = false;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.push(characters.next()?);
                inside = true;
            }
            ('$', None | Some('"')) => {
                word.push_str(&variable(&mut characters, env)?);
                inside = true;
            }
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                inside = true;
            }
            (c, None) if splits(c) => {
                if inside {
                    words.push(std::mem::take(&mut word));
                }
                inside = false;
            }
            (c, None) => {
                word.push(c);
                inside = true;
            }
        }
    }
    if inside {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

/// What stands for the variable behind a `$`: `NAME`, `{NAME}`, `{NAME:-otherwise}`, `{NAME:+instead}`. A `$` before
/// anything else is itself.
fn variable(text: &mut Peekable<Chars<'_>>, env: &[String]) -> Option<String> {
    let value = |name: &str| env.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    if text.next_if_eq(&'{').is_some() {
        let mut inner = String::new();
        loop {
            match text.next()? {
                '}' => break,
                c => inner.push(c),
            }
        }
        let (name, rest) = inner.split_at(inner.find(':').unwrap_or(inner.len()));
        let set = value(name).filter(|value| !value.is_empty());
        return match (rest.get(..2), rest.get(2..)) {
            _ if name.is_empty() => None,
            (Some(":-"), Some(otherwise)) => Some(set.unwrap_or(otherwise).to_owned()),
            (Some(":+"), Some(instead)) => Some(set.map_or("", |_| instead).to_owned()),
            _ if rest.is_empty() => Some(value(name).unwrap_or_default().to_owned()),
            _ => None,
        };
    }
    let mut name = String::new();
    while let Some(c) =
        text.next_if(|c| c.is_ascii_alphabetic() || *c == '_' || (!name.is_empty() && c.is_ascii_digit()))
    {
        name.push(c);
    }
    Some(if name.is_empty() { "$".to_owned() } else { value(&name).unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<ImageConfig> {
        let mut config = ImageConfig::default();
        for change in changes {
            apply(&mut config, change)?;
        }
        Ok(config)
    }

    #[test]
    fn instructions() {
        let config = changed(&[
            "CMD [\"sh\", \"-c\", \"x\"]",
            "entrypoint run me",
            "ENV A=1 B=\"two words\"",
            "ENV A=2",
            "ENV OLD a value",
            "LABEL k='v w'",
            "EXPOSE 80 53/udp",
            "STOPSIGNAL quit",
            "VOLUME /data/",
            "WORKDIR /w/x",
            "WORKDIR ../y",
            "ONBUILD RUN make",
            "USER 1:2",
        ])
        .unwrap();
        assert_eq!(config.cmd, ["sh", "-c", "x"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run me"]);
        assert_eq!(config.env, ["A=2", "B=two words", "OLD=a value"]);
        assert_eq!(config.labels["k"], "v w");
        assert_eq!(config.exposed_ports.iter().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(config.stop_signal, "SIGQUIT");
        assert!(config.volumes.contains("/data"));
        assert_eq!(
            (config.working_dir.as_str(), config.on_build.as_slice()),
            ("/w/y", &["RUN make".to_owned()][..])
        );
    }

    #[test]
    fn variables() {
        let config = changed(&[
            "ENV A=1 EMPTY=",
            r#"ENV B=$A C="${A}x" D='$A' E=\$A F=${NONE:-other} G=${A:+set} H=${EMPTY:-e}${NONE:+no} I=a$ J=$NONE."#,
            "ENV OLD $A and ${B}",
            "LABEL l=$B",
            "WORKDIR /w$A",
            "USER u${A}",
            "EXPOSE 80$A",
            "VOLUME /v$A /w",
            "CMD echo $A",
        ])
        .unwrap();
        let wanted =
            ["A=1", "EMPTY=", "B=1", "C=1x", "D=$A", "E=$A", "F=other", "G=set", "H=e", "I=a$", "J=."];
        assert_eq!(config.env[..11], wanted.map(str::to_owned));
        assert_eq!(config.env[11], "OLD=1 and 1");
        assert_eq!((config.labels["l"].as_str(), config.working_dir.as_str()), ("1", "/w1"));
        assert_eq!(config.user, "u1");
        assert!(config.exposed_ports.contains("801/tcp") && config.volumes.contains("/v1"));
        assert_eq!(config.cmd, ["/bin/sh", "-c", "echo $A"], "a shell's own variables are the shell's");
        assert!(changed(&["ENV A=${B"]).is_err() && changed(&["ENV A=${B:?x}"]).is_err());
    }

    #[test]
    fn bad_changes_are_named() {
        for bad in [
            "",
            "CMD",
            "FROM x",
            "EXPOSE http",
            "ENV ",
            "ENV =1 A=2",
            "LABEL a=\"b",
            "STOPSIGNAL x",
            "ONBUILD FROM x",
            "ONBUILD RUN",
            "VOLUME [1]",
        ] {
            assert!(changed(&[bad]).is_err(), "{bad}");
        }
    }
}
