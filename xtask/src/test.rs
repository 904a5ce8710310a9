//! `cargo xtask test`: every test of the workspace.

use crate::{Result, process, setup};
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Given to `cargo test` as they are: a name, `-p PACKAGE`, `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Installs what the tests use, then runs them.
///
/// There is no quiet way around the tests that need root: they are most of what proves an engine.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !process::is_root() {
        return Err("the integration tests run real containers, mounts and cgroups: run this as root; \
                    `cargo test --workspace --lib` runs the others"
            .into());
    }
    setup::run()?;
    // A shell that runs a command in the background lets it ignore Ctrl-C, and so would every program that the tests
    // start and interrupt: coreutils' env gives all of them the usual signals back.
    let cargo = process::cargo(&["test", "--workspace", "--locked"]);
    let mut tests = Command::new("env");
    tests
        .args(["--default-signal=INT", "--default-signal=QUIT"])
        .arg(cargo.get_program())
        .args(cargo.get_args());
    process::run(tests.args(&arguments.rest).current_dir(process::workspace()))
}
