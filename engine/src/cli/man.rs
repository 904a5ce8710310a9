//! `dhow man`: the manual pages, one for each verb, made of the same declarations as its help.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::tree;
use crate::cli::verbs::VERBS;
use clap::Parser;
use clap_mangen::Man;
use std::path::{Path, PathBuf};

/// Write the manual pages into a directory
#[derive(Debug, Parser)]
#[command(name = "dhow man")]
pub(crate) struct Args {
    /// Where they go, for instance /usr/local/share/man/man1
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[allow(clippy::unused_async, reason = "every verb is awaited")]
pub(crate) async fn execute(_: &Context, args: Args) -> Outcome {
    let write = |name: &str, text: &[u8]| {
        let path = args.directory.join(name);
        std::fs::write(&path, text).map_err(|e| cannot_write(&path, &e))
    };
    std::fs::create_dir_all(&args.directory).map_err(|e| cannot_write(&args.directory, &e))?;
    write("dhow.1", &page(tree::command(), "dhow", "dhow")?)?;
    for (verb, _, others) in VERBS {
        let Some(command) = tree::verb(verb) else { continue };
        write(&file_name(verb), &page(command, &dashed(verb), verb)?)?;
        for other in *others {
            // The same page by another name.
            write(&file_name(other), format!(".so man1/{}\n", file_name(verb)).as_bytes())?;
        }
    }
    Ok(0)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()))
}

/// `dhow-container-ls`.
fn dashed(verb: &str) -> String {
    format!("dhow-{}", verb.replace(' ', "-"))
}

fn file_name(verb: &str) -> String {
    format!("{}.1", dashed(verb))
}

fn page(command: clap::Command, name: &str, verb: &str) -> Outcome<Vec<u8>> {
    let typed = if verb == "dhow" { verb.to_owned() } else { format!("dhow {verb}") };
    let command = command.name(name.to_owned()).bin_name(typed).display_name(name.to_owned());
    let mut text = Vec::new();
    Man::new(command)
        .manual("dhow")
        .source(concat!("dhow ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)
        .map_err(|e| Failure::new(format!("make the manual page of {name}: {e}")))?;
    Ok(text)
}
