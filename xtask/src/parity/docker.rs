//! Docker's command line: the text beside this file, read.

use crate::Result;

/// The verb that stands for the options before a verb.
pub(super) const GLOBALS: &str = "docker";

/// A verb of Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verb {
    /// The full name first: `container ls`.
    pub(super) names: Vec<String>,
    pub(super) flags: Vec<Flag>,
}

/// A flag of Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flag {
    pub(super) names: Vec<String>,
}

impl Verb {
    /// The first word of its full name, when there are two.
    pub(super) fn group(&self) -> &str {
        self.names[0].split_once(' ').map_or("", |(group, _)| group)
    }
}

pub(super) fn verbs() -> Result<Vec<Verb>> {
    parse(include_str!("docker.txt"))
}

pub(super) fn parse(text: &str) -> Result<Vec<Verb>> {
    let mut verbs: Vec<Verb> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let names = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
        match (line.strip_prefix("  "), verbs.last_mut()) {
            (None, _) => verbs.push(Verb { names: names(line), flags: Vec::new() }),
            (Some(flag), Some(verb)) => {
                let (flag, _kind) =
                    flag.rsplit_once(' ').ok_or_else(|| format!("a flag without a type: {line:?}"))?;
                verb.flags.push(Flag { names: names(flag) });
            }
            (Some(_), None) => return Err(format!("a flag before the first verb: {line:?}").into()),
        }
    }
    Ok(verbs)
}
