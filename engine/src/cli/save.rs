//! `dhow save`: writes images to a tar archive.

use crate::cli::arguments::{ONE_PLATFORM, Rules};
use crate::cli::client::{Client, Route, wire};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::{Sink, Writer};
use crate::cli::terminal;
use clap::Parser;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Save one or more images to a tar archive (streamed to STDOUT by default)
#[derive(Debug, Parser)]
#[command(name = "dhow save")]
pub(crate) struct Args {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[("--platform", ONE_PLATFORM)] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.output.is_none() && terminal::output_is_terminal() {
        return Err(Failure::bare("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    if let Some(path) = &args.output {
        check_path(path, "save image")?;
    }
    let route = args.images.iter().fold(Route::new("/images/get"), |route, image| route.with("names", image));
    let client = context.client().await?;
    fetch(&client, route.as_str(), args.output.as_deref()).await?;
    Ok(0)
}

/// Writes what the engine answers to a file, or to standard output.
pub(crate) async fn fetch(client: &Client, route: &str, output: Option<&Path>) -> Outcome<()> {
    if let Some(path) = output {
        return save_to(client, route, path).await;
    }
    deliver(client.get(route).await?).await
}

/// Writes an answer's body to standard output.
pub(crate) async fn deliver(answer: Response<Incoming>) -> Outcome<()> {
    let stdout = Writer::new(Sink::Stdout);
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(wire)?.into_data() {
            stdout.write(data.into()).await?;
        }
    }
    Ok(())
}

/// Whether a file can be made there: found out before the engine starts to work.
pub(crate) fn check_path(path: &Path, what: &str) -> Outcome<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        let directory = directory.display();
        return Err(Failure::new(format!(
            "failed to {what}: invalid output path: stat {directory}: no such file or directory"
        )));
    }
    if path.is_dir() {
        return Err(Failure::new(format!("failed to {what}: cannot write to a directory")));
    }
    Ok(())
}

/// Writes beside the target and renames, so that a save that fails leaves what was there.
async fn save_to(client: &Client, route: &str, path: &Path) -> Outcome<()> {
    let fail = |error: std::io::Error| Failure::new(format!("write {}: {error}", path.display()));
    // A device or a pipe cannot be renamed over.
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        let file = File::options().write(true).open(path).map_err(fail)?;
        return client.get_into(route, file).await;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let file = File::create(&temporary).map_err(fail)?;
    let written = match client.get_into(route, file).await {
        Ok(()) => std::fs::rename(&temporary, path).map_err(fail),
        Err(failure) => Err(failure),
    };
    if written.is_err() {
        // The first error is the one that matters.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
