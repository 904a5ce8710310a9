//! `dhow load`: reads images from a tar archive.

use crate::cli::arguments::{ONE_PLATFORM, Rules};
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::transport::Body;
use crate::cli::{import, output, terminal};
use clap::Parser;
use http::Method;
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
fn layout_body(path: &Path) -> Outcome<Body> {
    let archive = || -> std::io::Result<std::fs::File> {
        let mut builder = tar::Builder::new(tempfile::tempfile()?);
        builder.append_dir_all(".", path)?;
        let mut file = builder.into_inner()?;
        file.rewind()?;
        Ok(file)
    };
    let file = archive().map_err(|e| Failure::new(format!("read {}: {e}", path.display())))?;
    Ok(import::body_of(file))
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let body = match &args.input {
        Some(path) if path.is_dir() => layout_body(path)?,
        Some(path) => import::file_body(path)?,
        None if terminal::input_is_terminal() => {
            return Err(Failure::bare("requested load from stdin, but stdin is empty"));
        }
        None => import::stdin_body(),
    };
    // Progress is for a person who watches.
    let quiet = args.quiet || !terminal::output_is_terminal();
    let route = Route::new("/images/load").with("quiet", if quiet { "1" } else { "0" });
    let client = context.client().await?;
    let answer = client.send(Method::POST, route.as_str(), body).await?;
    // What was loaded is the result, not progress: -q shows it too.
    import::follow(answer, output::print).await?;
    Ok(0)
}
