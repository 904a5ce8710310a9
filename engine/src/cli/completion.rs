//! `dhow completion`: scripts that let a shell complete verbs and flags.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::{output, tree};
use clap::Parser;
use clap_complete::Shell;

/// Generate the autocompletion script for the specified shell
#[derive(Debug, Parser)]
#[command(name = "dhow completion")]
pub(crate) struct Args {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL")]
    shell: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[allow(clippy::unused_async, reason = "every verb is awaited")]
pub(crate) async fn execute(_: &Context, args: Args) -> Outcome {
    let shell = match args.shell.as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        other => {
            return Err(Failure::new(format!("no completion for {other:?}: want bash, zsh or fish"))
                .with_help_of("dhow completion"));
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree::command(), "dhow", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
