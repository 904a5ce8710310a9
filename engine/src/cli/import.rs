//! `dhow import`: makes an image of one layer from a root filesystem in a tar archive.
//!
//! Also what `load` shares with it: archives as request bodies, and the engine's stream of messages.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, empty, wire};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use bytes::{Bytes, BytesMut};
use clap::Parser;
use dhow_model::Reference;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

/// Import the contents from a tarball to create a filesystem image
#[derive(Debug, Parser)]
#[command(name = "dhow import")]
pub(crate) struct Args {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long)]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long)]
    platform: Option<String>,
    #[arg(required = true, value_name = "FILE|URL|-")]
    source: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if let Some(reference) = args.reference.as_deref() {
        Reference::parse(reference)?;
    }
    let is_url = args.source.starts_with("http://") || args.source.starts_with("https://");
    let (from, file) = match args.source.as_str() {
        "-" => ("-", Some(stdin_file()?)),
        url if is_url => (url, None),
        path => ("-", Some(open(Path::new(path))?)),
    };
    let mut route = Route::new("/images/create")
        .with("fromSrc", from)
        .maybe("repo", args.reference.as_deref())
        .maybe("message", args.message.as_deref())
        .maybe("platform", args.platform.as_deref());
    for change in &args.change {
        route = route.with("changes", change);
    }
    let client = context.client().await?;
    let answer = match file {
        Some(file) => client.send_file(Method::POST, route.as_str(), file).await?,
        None => client.send(Method::POST, route.as_str(), empty()).await?,
    };
    follow(answer, output::print).await?;
    Ok(0)
}

/// An archive.
pub(crate) fn open(path: &Path) -> Outcome<File> {
    let fail = |why: &str| Failure::new(format!("open {}: {why}", path.display()));
    let file = File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => fail("no such file or directory"),
        std::io::ErrorKind::PermissionDenied => fail("permission denied"),
        _ => fail(&e.to_string()),
    })?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(Failure::new(format!("read {}: is a directory", path.display())));
    }
    Ok(file)
}

/// Standard input, whatever it is.
pub(crate) fn stdin_file() -> Outcome<File> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned();
    fd.map(File::from).map_err(|error| Failure::new(format!("read standard input: {error}")))
}

/// One of the messages that the engine sends while it works.
#[derive(Debug, Deserialize)]
struct Message {
    stream: Option<String>,
    status: Option<String>,
    id: Option<String>,
    error: Option<String>,
    progress: Option<String>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
    #[serde(rename = "progressDetail")]
    progress_detail: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct ErrorDetail {
    message: Option<String>,
}

/// Shows the engine's messages until they end; an error among them is the failure.
pub(crate) async fn follow(
    answer: Response<Incoming>,
    mut show: impl FnMut(&str) -> Outcome<()>,
) -> Outcome<()> {
    let mut body = answer.into_body();
    let mut pending = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(wire)?.into_data() else { continue };
        take(&mut pending, &data, &mut show)?;
    }
    Ok(())
}

fn take(pending: &mut BytesMut, data: &Bytes, show: &mut impl FnMut(&str) -> Outcome<()>) -> Outcome<()> {
    pending.extend_from_slice(data);
    let mut values = serde_json::Deserializer::from_slice(pending).into_iter::<Message>();
    let mut used = 0;
    while let Some(message) = values.next() {
        let message = match message {
            Ok(message) => message,
            Err(error) if error.is_eof() => break,
            Err(error) => return Err(Failure::new(format!("unexpected message of the engine: {error}"))),
        };
        used = values.byte_offset();
        if let Some(text) = message.error_detail.and_then(|d| d.message).or(message.error) {
            return Err(Failure::new(text));
        }
        if let Some(text) = message.stream {
            show(&text)?;
        } else if let Some(status) = message.status {
            // How far it is: a line that would be overwritten by the next.
            let moving = message.progress.is_some()
                || message.progress_detail.is_some_and(|d| d.as_object().is_some_and(|o| !o.is_empty()));
            if !moving {
                show(&message.id.map_or_else(|| format!("{status}\n"), |id| format!("{id}: {status}\n")))?;
            }
        }
    }
    drop(values);
    let _ = pending.split_to(used);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let mut shown = String::new();
        let mut pending = BytesMut::new();
        let mut feed = |text: &'static str| {
            take(&mut pending, &Bytes::from_static(text.as_bytes()), &mut |line| {
                shown.push_str(line);
                Ok(())
            })
        };
        feed("{\"status\":\"sha256:12\"}\r\n{\"stream\":\"Loaded").unwrap();
        feed(" image: x\\n\"}\r\n{\"status\":\"Loading\",\"progressDetail\":{\"current\":1},\"id\":\"l\"}")
            .unwrap();
        let failure = feed("{\"errorDetail\":{\"message\":\"broken\"},\"error\":\"broken\"}").unwrap_err();
        assert_eq!(failure.message, "broken");
        assert_eq!(shown, "sha256:12\nLoaded image: x\n");
    }
}
