//! `dhow cp`: files between a container and this machine.
//!
//! The engine archives a path and extracts into a directory; what a path means (its slash at the end, a missing
//! name, a link) is decided here, by Docker's rules (`rules.rs`), before anything is sent.

mod channel;
mod rules;

use crate::cli::arguments::Rules;
use crate::cli::client::{Client, Route, empty, wire};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::stop::container;
use crate::cli::{import, save, terminal};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use clap::Parser;
use dhow_model::units;
use dhow_store::filetree::{self, Extraction, Owners, Packer};
use dhow_sys::fsat::{self, resolve};
use http::{Method, Response};
use hyper::body::Incoming;
use rules::{Source, Target};
use serde::Deserialize;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

/// Copy files/folders between a container and the local filesystem
///
/// Use '-' as the source to read a tar archive from stdin and extract it to a directory destination in a
/// container. Use '-' as the destination to stream a tar archive of a container source to stdout.
#[derive(Debug, Parser)]
#[command(
    name = "dhow cp",
    override_usage = "dhow cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tdhow cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"
)]
pub(crate) struct Args {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "SRC")]
    source: String,
    #[arg(value_name = "DEST")]
    destination: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, mut args: Args) -> Outcome {
    for (what, text) in [("source", &args.source), ("destination", &args.destination)] {
        if text.is_empty() {
            return Err(Failure::new(format!("{what} can not be empty")));
        }
    }
    // Of no container: what follows the colon is a path here.
    for text in [&mut args.source, &mut args.destination] {
        if text.starts_with(':') {
            text.remove(0);
        }
    }
    let (source, destination) = (rules::split(&args.source), rules::split(&args.destination));
    let copied = match (source, destination) {
        (Some(_), Some(_)) => {
            return Err(Failure::new("copying between containers is not supported"));
        }
        (None, None) => return Err(Failure::new("must specify at least one container source")),
        (Some((who, path)), None) => from_container(context, &args, who, path).await?,
        (None, Some((who, path))) => to_container(context, &args, who, path).await?,
    };
    if let Some((bytes, target)) = copied
        && !args.quiet
        && terminal::output_is_terminal()
    {
        let size = units::human_size(bytes);
        output::warn_line(&format!("Successfully copied {size} to {target}"));
    }
    Ok(0)
}

/// What the engine says is at a path.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathStat {
    mode: u32,
    #[serde(default)]
    link_target: String,
}

impl PathStat {
    const DIRECTORY: u32 = 1 << 31;
    const LINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;

    fn is(&self, kind: u32) -> bool {
        self.mode & kind != 0
    }

    fn of<T>(answer: &Response<T>) -> Outcome<Self> {
        let missing = || Failure::new("the engine did not say what is at the path");
        let header = answer.headers().get("x-docker-container-path-stat").ok_or_else(missing)?;
        let json = BASE64.decode(header.as_bytes()).map_err(|_| missing())?;
        serde_json::from_slice(&json).map_err(wire)
    }
}

fn archive_route(who: &str, path: &str) -> Outcome<Route> {
    Ok(container(who, "/archive")?.with("path", path))
}

async fn stat(client: &Client, who: &str, path: &str) -> Outcome<PathStat> {
    let answer = client.send(Method::HEAD, archive_route(who, path)?.as_str(), empty()).await?;
    PathStat::of(&answer)
}

/// Bytes that were copied, and where to; `None` when there is nothing to tell.
type Copied = Option<(u64, String)>;

async fn to_container(context: &Context, args: &Args, who: &str, path: &str) -> Outcome<Copied> {
    let client = context.client().await?;
    let mut target = Target { path: path.to_owned(), exists: false, is_directory: false };
    let mut found = stat(&client, who, path).await;
    if let Ok(link) = found.as_ref()
        && link.is(PathStat::LINK)
    {
        target.path = rules::join_link(path, &link.link_target);
        found = stat(&client, who, &target.path).await;
    }
    if let Ok(found) = &found {
        if found.is(PathStat::DEVICE) {
            return Err(Failure::new(format!(
                "destination \"{who}:{path}\" must be a directory or a regular file: got a device"
            )));
        }
        (target.exists, target.is_directory) = (true, found.is(PathStat::DIRECTORY));
    }
    let put = |directory: &str| -> Outcome<Route> {
        Ok(archive_route(who, directory)?
            .with("noOverwriteDirNonDir", "true")
            .flag("copyUIDGID", args.archive))
    };
    if args.source == "-" {
        if !target.is_directory {
            return Err(Failure::new(format!("destination \"{who}:{path}\" must be a directory")));
        }
        client.send_file(Method::PUT, put(&target.path)?.as_str(), import::stdin_file()?).await?;
        return Ok(None);
    }
    let source = Source::of_local(&args.source, args.follow_link)?;
    let (directory, name) = rules::place(&source, &target)?;
    let (body, packing) = channel::upload(move |out| pack(&source, &name, out));
    let sent = client.send(Method::PUT, put(&directory)?.as_str(), body).await;
    // A file that cannot be read here breaks the request: say what was the cause, not what came of it.
    let packed = packing.finish().await;
    match (sent, packed) {
        (Ok(_), Ok(bytes)) => Ok(Some((bytes, format!("{who}:{}", target.path)))),
        (Err(failure), Err(channel::Broken::Refused)) | (Err(failure), Ok(_)) => Err(failure),
        (_, Err(channel::Broken::Failed(error))) => Err(error.into()),
        (Ok(_), Err(channel::Broken::Refused)) => {
            Err(Failure::new("the engine did not take all of the files"))
        }
    }
}

/// Archives a local file or directory, under another name if so decided.
fn pack(source: &Source, name: &str, out: &mut dyn Write) -> dhow_model::Result<()> {
    let mut packer = Packer::new(out);
    let open = |path: &Path| {
        fsat::open_directory(path).map_err(|e| {
            dhow_model::Error::invalid(format!(
                "open {}: {}",
                path.display(),
                dhow_sys::error::reason(e.errno)
            ))
        })
    };
    if source.is_directory {
        packer.tree(open(Path::new(&source.path))?.as_fd(), format!("{name}/").as_bytes())?;
    } else {
        let (directory, base) = rules::split_entry(&source.path);
        packer.file(open(Path::new(&directory))?.as_fd(), base.as_bytes(), name.as_bytes())?;
    }
    packer.finish()
}

async fn from_container(context: &Context, args: &Args, who: &str, path: &str) -> Outcome<Copied> {
    let target = if args.destination == "-" { None } else { Some(rules::absolute(&args.destination)?) };
    if let Some(target) = &target {
        rules::check_output(target)?;
    }
    let client = context.client().await?;
    let (mut path, mut renamed) = (path.to_owned(), None);
    if args.follow_link
        && let Ok(link) = stat(&client, who, &path).await
        && link.is(PathStat::LINK)
    {
        let target = rules::join_link(&path, &link.link_target);
        (path, renamed) = rules::rebase(&path, &target);
    }
    let answer = client.get(archive_route(who, &path)?.as_str()).await?;
    let found = PathStat::of(&answer)?;
    let Some(target) = target else {
        save::deliver(answer).await?;
        return Ok(None);
    };
    let source = Source { path, is_directory: found.is(PathStat::DIRECTORY), renamed };
    let owned = args.archive;
    let bytes = extract(answer, source, target.clone(), owned).await?;
    Ok(Some((bytes, target)))
}

/// Extracts an answer's body on this machine. A hostile container decides what is in it: nothing is written but
/// below the directory, and no link of the archive is followed out of it.
async fn extract(answer: Response<Incoming>, source: Source, target: String, owned: bool) -> Outcome<u64> {
    channel::download(answer, move |input| {
        let target = Target::of_local(&target).map_err(to_model)?;
        let (directory, name) = rules::place(&source, &target).map_err(to_model)?;
        let root = fsat::open_directory(Path::new(&directory)).map_err(|e| {
            dhow_model::Error::invalid(format!("open {directory}: {}", dhow_sys::error::reason(e.errno)))
        })?;
        let (_, old) = rules::split_entry(&source.path);
        let rename = move |member: &[u8]| rules::replace_first(member, &old, &name);
        filetree::extract(
            input,
            Extraction {
                root: root.as_fd(),
                base: Vec::new(),
                resolve: resolve::BENEATH,
                owners: if owned { Owners::Archived(Box::new(|uid, gid| (uid, gid))) } else { Owners::Ours },
                keep_kinds: true,
                with_base: false,
                rename: &rename,
            },
        )
    })
    .await
}

fn to_model(failure: Failure) -> dhow_model::Error {
    dhow_model::Error::invalid(failure.message)
}
