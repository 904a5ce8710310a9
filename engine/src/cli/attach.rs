//! `dhow attach`: connects this terminal to a running container.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, wire};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::resize::{self, Owner};
use crate::cli::signal_proxy::proxy_signals;
use crate::cli::stop::container;
use crate::cli::stream::{self, Ended, Wiring};
use crate::cli::{terminal, waiting};
use clap::{ArgAction, Parser};
use serde::Deserialize;

/// Attach local standard input, output, and error streams to a running container
#[derive(Debug, Parser)]
#[command(name = "dhow attach")]
pub(crate) struct Args {
    /// Override the key sequence for detaching a container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true")]
    sig_proxy: bool,
    #[arg(required = true)]
    container: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

/// What is needed of `inspect` to attach to a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) config: Config,
    pub(crate) host_config: HostConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    pub(crate) running: bool,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    restarting: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Config {
    pub(crate) tty: bool,
    #[serde(default)]
    pub(crate) open_stdin: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HostConfig {
    #[serde(default)]
    pub(crate) auto_remove: bool,
}

/// What `start -a` and `attach` need to know about a container.
pub(crate) async fn inspect(client: &crate::cli::client::Client, name: &str) -> Outcome<Inspected> {
    let bytes = client.get_bytes(container(name, "/json")?.as_str()).await?;
    serde_json::from_slice(&bytes).map_err(wire)
}

/// The path that opens the streams of a container.
pub(crate) fn attach_route(
    id: &str,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    detach_keys: Option<&str>,
) -> Route {
    Route::of("/containers/", id, "/attach")
        .with("stream", "1")
        .flag("stdin", stdin)
        .flag("stdout", stdout)
        .flag("stderr", stderr)
        .maybe("detachKeys", detach_keys)
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let client = context.client().await?;
    let found = inspect(&client, &args.container).await?;
    if !found.state.running {
        return Err(Failure::bare("You cannot attach to a stopped container, start it first"));
    }
    if found.state.paused {
        return Err(Failure::bare("You cannot attach to a paused container, unpause it first"));
    }
    if found.state.restarting {
        return Err(Failure::bare("You cannot attach to a restarting container, wait until it is running"));
    }
    let stdin = !args.no_stdin && found.config.open_stdin;
    let tty = found.config.tty;
    terminal::require_terminal(!args.no_stdin, tty)?;
    let detach_keys = context.detach_keys(args.detach_keys.as_deref(), tty)?;
    let waiting = waiting::register(&client, &found.id, "not-running").await?;
    let _proxy = (args.sig_proxy && !tty).then(|| proxy_signals(&client, &found.id));
    let route = attach_route(&found.id, stdin, true, true, detach_keys.text());
    let connection = client.hijack(route.as_str(), None).await?;
    let owner = Owner::Container(found.id.clone());
    let _size = if tty && terminal::output_is_terminal() {
        resize::redraw(&client, &owner).await;
        Some(resize::follow_size(&client, owner))
    } else {
        None
    };
    match stream::carry(connection, Wiring { stdin, tty, detach_keys }).await? {
        Ended::Detached => Err(stream::detached()),
        Ended::Closed => waiting.finish().await,
    }
}
