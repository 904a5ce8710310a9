//! `cargo xtask header`: `include/dhow.h`, made of `ffi/src` by cbindgen. It is committed, so that who compiles a
//! C program needs no Rust; `--check` says whether it is what the sources say.

use crate::{Result, process};
use std::fs;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if the committed header is another than the sources make
    #[arg(long)]
    check: bool,
}

/// Makes it, or compares.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if arguments.check {
        return check();
    }
    let path = process::workspace().join("include/dhow.h");
    fs::write(&path, make()?).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(())
}

/// Fails with the first line that differs.
pub(crate) fn check() -> Result {
    let path = process::workspace().join("include/dhow.h");
    let committed = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    match first_difference(&committed, &make()?) {
        None => Ok(()),
        Some(line) => {
            Err(format!("include/dhow.h is not what ffi/src makes (line {line}): run `cargo xtask header`")
                .into())
        }
    }
}

fn make() -> Result<String> {
    let ffi = process::workspace().join("ffi");
    let config = cbindgen::Config::from_file(ffi.join("cbindgen.toml"))?;
    let bindings = cbindgen::Builder::new().with_crate(&ffi).with_config(config).generate()?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(String::from_utf8(text)?)
}

/// The number of the first line that is not the same in both.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one.lines().zip(other.lines()).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("a", "a\n"), Some(2));
    }
}
