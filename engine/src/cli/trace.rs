//! `dhow trace`: shows what the processes of containers do. Also the tracing half of `run --trace`.
//!
//! ```text
//! flags ─→ Plan (output opened) ─→ GET /dhow/trace ─(head: probes attached)→ lines ─→ text or JSON ─→ output
//! ```

use crate::cli::arguments::Rules;
use crate::cli::client::{Client, Route, collect, empty, wire};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::{self, Sink, Writer};
use crate::cli::table::align;
use crate::cli::trace_line::line;
use crate::local_time::Zone;
use bytes::BytesMut;
use clap::{Args as ClapArgs, Parser};
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// Show what the processes of containers do, as the kernel sees it
#[derive(Debug, Parser)]
#[command(name = "dhow trace")]
pub(crate) struct Args {
    /// Kinds of events: fork, exec, exit, oom, open; "open" slows every system call of the machine meanwhile
    #[arg(short, long, value_name = "KINDS", default_value = LIFECYCLE, value_parser = parse_kinds)]
    kinds: String,
    /// How events are shown: text, or JSON lines
    #[arg(long, visible_alias = "trace-format", default_value = "text", value_parser = parse_format)]
    format: Format,
    /// Write events to this file instead of standard output
    #[arg(short, long, visible_alias = "trace-output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Room for events that were not read yet: a power of two, like 8m
    #[arg(long, visible_alias = "trace-buffer", value_name = "SIZE", value_parser = parse_buffer)]
    buffer: Option<u32>,
    /// End when each container has ended once
    #[arg(long)]
    until_exit: bool,
    /// Show what this kernel offers, and end
    #[arg(long)]
    probe: bool,
    /// Containers; none: all of them, those to come included
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

/// What is traced unless something else is asked for: the life of processes.
const LIFECYCLE: &str = "fork,exec,exit,oom";

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.probe {
        if !args.containers.is_empty() {
            return Err(Failure::usage(
                "conflicting options: --probe is about the kernel, not about containers",
            ));
        }
        return probe(&*context.client().await?).await;
    }
    let plan = Plan {
        kinds: args.kinds,
        format: args.format,
        buffer: args.buffer,
        until_exit: args.until_exit,
        to: Destination::open(args.output, Sink::Stdout)?,
    };
    let client = context.client().await?;
    let tracing = plan.begin(&client, &args.containers).await?;
    let mut stop = Box::pin(stopped());
    tokio::select! {
        ended = tracing.finish() => ended.map(|()| 0),
        // What was read so far is written; the kernel forgets the rest with our connection.
        asked = &mut stop => asked.map(|()| 0),
    }
}

/// Waits until somebody wants no more.
async fn stopped() -> Outcome<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// A line for each probe.
async fn probe(client: &Client) -> Outcome {
    let answer = collect(client.get("/dhow/trace/probe").await.map_err(explain)?).await?;
    let probes: Vec<Value> = serde_json::from_slice(&answer).map_err(wire)?;
    let mut rows = vec![["PROBE", "ATTACHES TO", "FOR", "STATE"].map(str::to_owned).to_vec()];
    let mut works = true;
    for probe in &probes {
        let text = |key: &str| probe[key].as_str().unwrap_or_default().to_owned();
        let state = match probe["reason"].as_str() {
            None => "works".to_owned(),
            Some(reason) => format!("refused: {reason}"),
        };
        works &= probe["works"] == true;
        rows.push(vec![text("name"), text("attaches_to"), text("purpose"), state]);
    }
    output::print(&align(&rows))?;
    Ok(i32::from(!works))
}

/// The tracing flags of `run`.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct TraceFlags {
    /// Show what the container's processes do: a list of fork, exec, exit, oom, open; without a list all but open
    #[arg(long, value_name = "KINDS", num_args = 0..=1, require_equals = true, default_missing_value = LIFECYCLE,
          value_parser = parse_kinds)]
    trace: Option<String>,
    /// How events are shown: text, or JSON lines
    #[arg(long, value_parser = parse_format)]
    trace_format: Option<Format>,
    /// Write events to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    trace_output: Option<PathBuf>,
    /// Room for events that were not read yet: a power of two, like 8m
    #[arg(long, value_name = "SIZE", value_parser = parse_buffer)]
    trace_buffer: Option<u32>,
}

impl TraceFlags {
    /// Checks the flags together and opens the output, before there is a container.
    pub(crate) fn plan(self, detach: bool) -> Outcome<Option<Plan>> {
        let Some(kinds) = self.trace else {
            if self.trace_format.is_some() || self.trace_output.is_some() || self.trace_buffer.is_some() {
                return Err(Failure::usage(
                    "--trace-format, --trace-output and --trace-buffer say nothing without --trace",
                ));
            }
            return Ok(None);
        };
        if detach {
            return Err(Failure::usage(
                "conflicting options: cannot specify both --trace and --detach; use dhow trace CONTAINER",
            ));
        }
        Ok(Some(Plan {
            kinds,
            format: self.trace_format.unwrap_or(Format::Text),
            buffer: self.trace_buffer,
            until_exit: true,
            to: Destination::open(self.trace_output, Sink::Stderr)?,
        }))
    }
}

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

fn parse_format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("want text or json".to_owned()),
    }
}

/// Checked here so that a wrong word is a wrong flag; the engine reads it again.
fn parse_kinds(text: &str) -> Result<String, String> {
    let known = |word: &str| LIFECYCLE.split(',').chain(["open"]).any(|kind| kind == word);
    match text.split(',').find(|word| !known(word)) {
        None => Ok(text.to_owned()),
        Some(word) => Err(format!("unknown kind of event {word:?}: want fork, exec, exit, oom or open")),
    }
}

fn parse_buffer(text: &str) -> Result<u32, String> {
    let bytes = dhow_model::units::parse_bytes(text).map_err(|error| error.to_string())?;
    let bytes = u32::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two() && *bytes >= 4096);
    bytes.ok_or_else(|| "want a power of two, 4k or more".to_owned())
}

/// Where events go.
#[derive(Debug)]
enum Destination {
    Stream(Writer),
    File(std::fs::File, PathBuf),
}

impl Destination {
    fn open(file: Option<PathBuf>, stream: Sink) -> Outcome<Self> {
        let Some(path) = file else { return Ok(Self::Stream(Writer::new(stream))) };
        match std::fs::File::create(&path) {
            Ok(file) => Ok(Self::File(file, path)),
            Err(error) => {
                Err(Failure::usage(format!("cannot write the trace to {}: {error}", path.display())))
            }
        }
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Outcome<()> {
        match self {
            Self::Stream(writer) => writer.write(bytes).await,
            Self::File(file, path) => file
                .write_all(&bytes)
                .map_err(|error| Failure::new(format!("write the trace to {}: {error}", path.display()))),
        }
    }
}

/// A trace that was asked for and is not running yet.
#[derive(Debug)]
pub(crate) struct Plan {
    kinds: String,
    format: Format,
    buffer: Option<u32>,
    until_exit: bool,
    to: Destination,
}

impl Plan {
    /// Opens the stream: when this returns, nothing of the containers is missed.
    pub(crate) async fn begin(self, client: &Client, containers: &[String]) -> Outcome<Tracing> {
        let mut route = Route::new("/dhow/trace").with("kinds", &self.kinds);
        for container in containers {
            route = route.with("container", container);
        }
        let buffer = self.buffer.map(|bytes| bytes.to_string());
        route = route.maybe("buffer", buffer.as_deref()).maybe("until", self.until_exit.then_some("exit"));
        let answer = client.get(route.as_str()).await.map_err(explain)?;
        Ok(Tracing { task: tokio::spawn(copy(answer, self.format, self.to)) })
    }

    /// The same for a container that was made for it and has not started: without a trace it is of no use.
    pub(crate) async fn begin_or_remove(self, client: &Client, container: &str) -> Outcome<Tracing> {
        let begun = self.begin(client, &[container.to_owned()]).await;
        if begun.is_err() {
            let route = Route::of("/containers/", container, "").with("force", "1").with("v", "1");
            // The first failure is the one to show.
            let _ = client.send(Method::DELETE, route.as_str(), empty()).await;
        }
        begun
    }
}

/// An engine of somebody else knows no such route.
fn explain(mut failure: Failure) -> Failure {
    if failure.status == Some(404) && failure.message == "page not found" {
        failure.message = "this engine does not offer tracing: it is not dhow's".to_owned();
    }
    failure
}

/// A running trace. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Tracing {
    task: JoinHandle<Outcome<()>>,
}

impl Tracing {
    /// Waits until everything is written.
    pub(crate) async fn finish(mut self) -> Outcome<()> {
        match (&mut self.task).await {
            Ok(written) => written,
            Err(stopped) => Err(Failure::new(format!("the trace broke off: {stopped}"))),
        }
    }
}

impl Tracing {
    /// The same after a container's end: its exit code is the command's, a failure of the trace is only told.
    /// Nobody is left to pass a signal on to, so that one ends the waiting.
    pub(crate) async fn finish_beside(self) {
        let ended = tokio::select! {
            ended = self.finish() => ended,
            asked = stopped() => asked,
        };
        if let Err(failure) = ended {
            failure.report();
        }
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Copies events until the stream ends, and says at the end how many are missing.
async fn copy(answer: Response<Incoming>, format: Format, mut to: Destination) -> Outcome<()> {
    let mut body = answer.into_body();
    let mut pending = BytesMut::new();
    let zone = Zone::local();
    let mut lost = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(wire)?.into_data() else { continue };
        pending.extend_from_slice(&data);
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        let lines = pending.split_to(end + 1).freeze();
        for text in lines[..].split(|byte| *byte == b'\n').filter(|text| text.starts_with(LOST)) {
            lost += losses(text);
        }
        let bytes = match format {
            Format::Json => lines.to_vec(),
            Format::Text => in_words(&lines, &zone)?,
        };
        to.write(bytes).await?;
    }
    if lost > 0 {
        output::warn_line(&format!("dhow: {lost} events of the trace were lost"));
    }
    Ok(())
}

/// How a line begins that tells of losses.
const LOST: &[u8] = br#"{"kind":"lost""#;

fn losses(line: &[u8]) -> u64 {
    let event: Value = serde_json::from_slice(line).unwrap_or_default();
    event["lost"].as_object().map_or(0, |lost| lost.values().filter_map(Value::as_u64).sum())
}

fn in_words(lines: &[u8], zone: &Zone) -> Outcome<Vec<u8>> {
    let mut text = String::new();
    for bytes in lines.split(|byte| *byte == b'\n').filter(|bytes| !bytes.is_empty()) {
        let event: Value = serde_json::from_slice(bytes)
            .map_err(|error| Failure::new(format!("unexpected event of a trace: {error}")))?;
        if let Some(line) = line(&event, zone) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_checked_alone_and_together() {
        assert!(parse_kinds("exec,open").is_ok());
        assert!(parse_kinds("exec,").unwrap_err().contains("unknown kind of event \"\""));
        assert_eq!(parse_buffer("64k"), Ok(65536));
        assert!(parse_buffer("3m").is_err() && parse_buffer("1k").is_err() && parse_buffer("x").is_err());
        let flags = |trace: Option<&str>, format| TraceFlags {
            trace: trace.map(str::to_owned),
            trace_format: format,
            trace_output: None,
            trace_buffer: None,
        };
        assert!(flags(None, None).plan(false).unwrap().is_none());
        assert!(flags(None, Some(Format::Json)).plan(false).unwrap_err().message.contains("without --trace"));
        assert!(flags(Some("exec"), None).plan(true).unwrap_err().message.contains("--detach"));
        assert!(flags(Some("exec"), None).plan(false).unwrap().is_some());
    }

    #[test]
    fn losses_are_added_up() {
        assert_eq!(losses(br#"{"kind":"lost","lost":{"exec":3,"fork":4},"place":"ring"}"#), 7);
    }
}
