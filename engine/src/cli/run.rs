//! `dhow run`: creates a container, connects to it, starts it, and ends as it ends.
//!
//! ```text
//! create ─→ attach ─→ wait (registered) ─→ start ─→ streams until they end ─→ exit code
//! ```
//! Attaching and waiting come before the start, so that no output and no exit is missed, however short.

use crate::cli::arguments::Rules;
use crate::cli::attach::attach_route;
use crate::cli::client::Client;
use crate::cli::context::Context;
use crate::cli::create::create;
use crate::cli::detach::DetachKeys;
use crate::cli::exit::{Failure, NOT_STARTED, Outcome};
use crate::cli::resize::{self, Owner};
use crate::cli::signal_proxy::proxy_signals;
use crate::cli::spec::{self, REFUSED, SpecArgs};
use crate::cli::start::start;
use crate::cli::startup::Startup;
use crate::cli::stream::{self, Ended, Wiring};
use crate::cli::trace::TraceFlags;
use crate::cli::{output, terminal, waiting};
use clap::{ArgAction, Parser};
use hyper::upgrade::Upgraded;

/// Create and run a new container from an image
#[derive(Debug, Parser)]
#[command(name = "dhow run", disable_help_flag = true)]
pub(crate) struct Args {
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true")]
    sig_proxy: bool,
    /// Show where the time of the start went, when the container has ended (with -d: when it runs)
    #[arg(long)]
    trace_startup: bool,
    #[command(flatten)]
    trace: TraceFlags,
    #[command(flatten)]
    spec: SpecArgs,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: true, refused: REFUSED };
const NAME: &str = "dhow run";

pub(crate) async fn execute(context: &Context, mut args: Args) -> Outcome {
    let not_started = |failure: Failure| failure.with_code(NOT_STARTED).with_help_of(NAME);
    let mut startup = Startup::asked(args.trace_startup);
    let mut spec = spec::build(&args.spec).map_err(not_started)?;
    if args.detach {
        if args.spec.attaches_explicitly() {
            return Err(Failure::new("conflicting options: cannot specify both --attach and --detach")
                .with_help_of(NAME));
        }
        spec.detach();
    } else {
        terminal::require_terminal(spec.attach_stdin, spec.tty)?;
    }
    let trace = std::mem::take(&mut args.trace).plan(args.detach).map_err(not_started)?;
    let detach_keys = context.detach_keys(args.detach_keys.as_deref(), spec.tty).map_err(not_started)?;
    Startup::mark(&mut startup, "read the command line");
    let client = context.client().await.map_err(not_started)?;
    Startup::mark(&mut startup, "open the engine");
    let streams =
        Streams { stdin: spec.attach_stdin, stdout: spec.attach_stdout, stderr: spec.attach_stderr };
    let tty = spec.tty;
    let id = create(&client, &context.credentials(), &args.spec, spec).await.map_err(not_started)?;
    Startup::mark(&mut startup, "create the container");
    if args.detach {
        return run_detached(&client, &args, &id, startup).await;
    }
    let tracing = match trace {
        Some(plan) => Some(plan.begin_or_remove(&client, &id).await.map_err(not_started)?),
        None => None,
    };
    let _proxy = (args.sig_proxy && !tty).then(|| proxy_signals(&client, &id));
    let connection = attach(&client, &id, streams, &detach_keys).await.map_err(not_started)?;
    let condition = if args.spec.rm { "removed" } else { "next-exit" };
    let waiting = waiting::register(&client, &id, condition).await.map_err(not_started)?;
    Startup::mark(&mut startup, "attach and wait");
    let mut size = None;
    let mut failed = false;
    let started = async {
        start_timed(&client, &id, &mut startup).await.inspect_err(|_| failed = true)?;
        if tty && terminal::output_is_terminal() {
            size = Some(resize::follow_size(&client, Owner::Container(id.clone())));
        }
        Ok(())
    };
    let wiring = Wiring { stdin: streams.stdin, tty, detach_keys };
    let ended = stream::carry_from_start(connection, wiring, started).await;
    drop(size);
    if !failed && let Some(startup) = startup {
        startup.show();
    }
    match ended {
        Ok(Ended::Detached) => Ok(0),
        Ok(Ended::Closed) => {
            let code = waiting.finish().await;
            if let Some(tracing) = tracing {
                tracing.finish_beside().await;
            }
            code
        }
        Err(failure) if failed => {
            if args.spec.rm {
                // The engine removes it; when we end, it is gone. How the wait ends says nothing new.
                let _ = waiting.finish().await;
            }
            Err(failure.of_start().with_help_of(NAME))
        }
        Err(failure) => Err(failure),
    }
}

/// Which of our streams are connected.
#[derive(Debug, Clone, Copy)]
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

async fn attach(client: &Client, id: &str, streams: Streams, keys: &DetachKeys) -> Outcome<Upgraded> {
    let route = attach_route(id, streams.stdin, streams.stdout, streams.stderr, keys.text());
    client.hijack(route.as_str(), None).await
}

/// Starts, and asks for the engine's timeline if one is kept.
async fn start_timed(client: &Client, id: &str, startup: &mut Option<Startup>) -> Outcome<()> {
    match startup {
        Some(startup) => startup.start(client, id).await,
        None => start(client, id).await,
    }
}

/// `-d`: the id is all that is shown.
async fn run_detached(client: &Client, args: &Args, id: &str, mut startup: Option<Startup>) -> Outcome {
    // Docker's order: whoever reads the id can already look at the container when its start fails.
    let started = start_timed(client, id, &mut startup).await;
    output::print_line(id)?;
    match started {
        Ok(()) => {
            if let Some(startup) = startup {
                startup.show();
            }
            Ok(0)
        }
        Err(failure) => {
            if args.spec.rm {
                wait_until_removed(client, id).await;
            }
            Err(failure.of_start().with_help_of(NAME))
        }
    }
}

/// A container of `--rm` that did not start is removed by the engine: waits until it is gone.
async fn wait_until_removed(client: &Client, id: &str) {
    if let Ok(waiting) = waiting::register(client, id, "removed").await {
        // Gone is all that matters.
        let _ = waiting.finish().await;
    }
}
