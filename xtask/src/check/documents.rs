//! Every path that ARCHITECTURE.md names exists: a map that lies is worse than none.

use crate::{Result, process};
use std::path::Path;

/// Where a path in the document may start from.
const BASES: [&str; 4] = ["", "engine", "engine/src", "engine/crates"];

/// Endings by which a word in backticks is taken for a path even without a slash.
const ENDINGS: [&str; 7] = [".rs", ".toml", ".md", ".json", ".c", ".h", ".yaml"];

/// Looks up every path.
pub(crate) fn check() -> Result {
    let root = process::workspace();
    let file = root.join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("cannot read ARCHITECTURE.md: {e}"))?;
    let lost: Vec<&str> = named_paths(&text).filter(|path| !exists(&root, path)).collect();
    if lost.is_empty() {
        Ok(())
    } else {
        Err(format!("ARCHITECTURE.md names what does not exist: {}", lost.join(", ")).into())
    }
}

fn exists(root: &Path, path: &str) -> bool {
    BASES.iter().any(|base| root.join(base).join(path).exists())
}

/// What stands in backticks and looks like a path of this repository.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    // Code blocks hold drawings and commands; every odd piece between backticks is a word of code.
    let prose = text.split("\n```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).filter(|word| is_path(word))
}

/// Relative, without placeholders (`ID`, `<name>`, `*`), and with a slash or a known ending.
fn is_path(word: &str) -> bool {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let placeholder =
        word.split('/').any(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase()));
    let ending = ENDINGS.iter().any(|e| word.ends_with(e));
    // `application/json` and the like: with a slash in the middle only a known ending tells.
    plain && !placeholder && !word.starts_with('/') && (ending || word.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_other_words() {
        let text = "`engine/src/main.rs` calls `Engine::open`, see `cli/`.\n```text\n`no/such.rs`\n```\n\
                    Not `/run/dhow/`, `containers/ID/`, `text/plain`, nor `a b.rs`; but `Cargo.toml`.";
        assert_eq!(named_paths(text).collect::<Vec<_>>(), ["engine/src/main.rs", "cli/", "Cargo.toml"]);
    }
}
