//! `dhow start`: starts containers, and with `-a` or `-i` stays with one.

use crate::cli::arguments::Rules;
use crate::cli::attach::{attach_route, inspect};
use crate::cli::client::{Client, empty};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::resize::{self, Owner};
use crate::cli::signal_proxy::proxy_signals;
use crate::cli::stop::container;
use crate::cli::stream::{self, Ended, Wiring};
use crate::cli::{output, terminal, waiting};
use clap::Parser;
use http::Method;

/// Start one or more stopped containers
#[derive(Debug, Parser)]
#[command(name = "dhow start")]
pub(crate) struct Args {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

const CHECKPOINTS: &str = "dhow makes no checkpoints";
pub(crate) const RULES: Rules = Rules {
    stop_at_first: false,
    refused: &[("--checkpoint", CHECKPOINTS), ("--checkpoint-dir", CHECKPOINTS)],
};

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    if args.attach || args.interactive {
        let [name] = args.containers.as_slice() else {
            return Err(Failure::bare("you cannot start and attach multiple containers at once"));
        };
        return start_attached(context, &args, name).await;
    }
    let client = context.client().await?;
    let mut failed: Vec<&str> = Vec::new();
    for name in &args.containers {
        match start(&client, name).await {
            Ok(()) => output::print_line(name)?,
            Err(failure) => {
                failure.report();
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Failure::new(format!("failed to start containers: {}", failed.join(", "))))
}

/// Starts one container.
pub(crate) async fn start(client: &Client, name: &str) -> Outcome<()> {
    client.send(Method::POST, container(name, "/start")?.as_str(), empty()).await?;
    Ok(())
}

async fn start_attached(context: &Context, args: &Args, name: &str) -> Outcome {
    let client = context.client().await?;
    let found = inspect(&client, name).await?;
    let tty = found.config.tty;
    let stdin = args.interactive && found.config.open_stdin;
    terminal::require_terminal(stdin, tty)?;
    let detach_keys = context.detach_keys(args.detach_keys.as_deref(), tty)?;
    let _proxy = (!tty).then(|| proxy_signals(&client, &found.id));
    // Both before the start: nothing printed and no exit is missed.
    let route = attach_route(&found.id, stdin, true, true, detach_keys.text());
    let connection = client.hijack(route.as_str(), None).await?;
    let condition = if found.host_config.auto_remove { "removed" } else { "next-exit" };
    let waiting = waiting::register(&client, &found.id, condition).await?;
    let mut size = None;
    let started = async {
        start(&client, &found.id).await?;
        if tty && terminal::output_is_terminal() {
            size = Some(resize::follow_size(&client, Owner::Container(found.id.clone())));
        }
        Ok(())
    };
    let ended = stream::carry_from_start(connection, Wiring { stdin, tty, detach_keys }, started).await;
    drop(size);
    match ended? {
        Ended::Detached => Ok(0),
        Ended::Closed => waiting.finish().await,
    }
}
