//! Dockerfile instructions that change an image's configuration, as `import` and `commit` take them with `-c`.

use dhow_model::image::ImageConfig;
use dhow_model::mount::parse_target;
use dhow_model::signal::Signal;
use dhow_model::{Error, Result};

/// Applies one Dockerfile instruction, as `--change` takes it. Pure.
pub(crate) fn apply(config: &mut ImageConfig, change: &str) -> Result<()> {
    let change = change.trim();
    let (instruction, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let rest = rest.trim();
    let invalid = |why: &str| Error::invalid(format!("invalid change {change:?}: {why}"));
    if rest.is_empty() {
        return Err(invalid("the instruction needs a value"));
    }
    let command = || -> Result<Vec<String>> {
        if rest.starts_with('[')
            && let Ok(words) = serde_json::from_str(rest)
        {
            return Ok(words);
        }
        Ok(["/bin/sh", "-c", rest].map(str::to_owned).to_vec())
    };
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command()?,
        "ENTRYPOINT" => config.entrypoint = command()?,
        "ENV" => {
            for (key, value) in pairs(rest).ok_or_else(|| invalid("want NAME=value"))? {
                let prefix = format!("{key}=");
                config.env.retain(|have| !have.starts_with(&prefix));
                config.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest).ok_or_else(|| invalid("want name=value"))?),
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => {
            // From where the last one left it, as in a Dockerfile.
            config.working_dir = parse_directory(&format!(
                "{}/{rest}",
                if rest.starts_with('/') { "" } else { &config.working_dir }
            ));
        }
        "STOPSIGNAL" => config.stop_signal = Signal::parse(rest)?.to_string(),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                if number.parse::<u16>().is_err() || !["tcp", "udp", "sctp"].contains(&protocol) {
                    return Err(invalid("want PORT[/tcp|udp|sctp]"));
                }
                config.exposed_ports.insert(format!("{number}/{protocol}"));
            }
        }
        "VOLUME" => {
            let paths: Vec<String> = if rest.starts_with('[') {
                serde_json::from_str(rest).map_err(|_| invalid("malformed JSON list"))?
            } else {
                rest.split_whitespace().map(str::to_owned).collect()
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
        _ => return Err(invalid("not an instruction that changes an image's configuration")),
    }
    Ok(())
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
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = words(text)?;
    let first = words.first()?;
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    words
        .iter()
        .map(|word| {
            word.split_once('=').filter(|(k, _)| !k.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned()))
        })
        .collect()
}

/// Splits at blanks outside quotes, and takes the quotes away. `None` for an open quote.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut inside = false;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.push(characters.next()?);
                inside = true;
            }
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                inside = true;
            }
            (c, None) if c.is_whitespace() => {
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
        assert_eq!(config.env, ["B=two words", "A=2", "OLD=a value"]);
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
