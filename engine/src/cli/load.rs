//! `dhow load`: reads images from a tar archive.

use crate::cli::arguments::{ONE_PLATFORM, Rules};
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::{import, output, terminal};
use clap::Parser;
use http::Method;
use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};

/// Load an image from a tar archive or STDIN
#[derive(Debug, Parser)]
#[command(name = "dhow load")]
pub(crate) struct Args {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long)]
    input: Option<PathBuf>,
    /// Suppress the progress output
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[("--platform", ONE_PLATFORM)] };

/// An OCI layout directory as an archive: the API takes nothing else.
fn archive_of_layout(path: &Path) -> Outcome<File> {
    let archive = || -> std::io::Result<File> {
        let mut builder = tar::Builder::new(tempfile::tempfile()?);
        builder.append_dir_all(".", path)?;
        let mut file = builder.into_inner()?;
        file.rewind()?;
        Ok(file)
    };
    archive().map_err(|e| Failure::new(format!("read {}: {e}", path.display())))
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let archive = match &args.input {
        Some(path) if path.is_dir() => archive_of_layout(path)?,
        Some(path) => import::open(path)?,
        None if terminal::input_is_terminal() => {
            return Err(Failure::bare("requested load from stdin, but stdin is empty"));
        }
        None => import::stdin_file()?,
    };
    // Progress is for a person who watches.
    let quiet = args.quiet || !terminal::output_is_terminal();
    let route = Route::new("/images/load").with("quiet", if quiet { "1" } else { "0" });
    let client = context.client().await?;
    let answer = client.send_file(Method::POST, route.as_str(), archive).await?;
    // What was loaded is the result, not progress: -q shows it too.
    import::follow(answer, output::print).await?;
    Ok(0)
}
