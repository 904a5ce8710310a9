//! `dhow exec`: runs another process in a running container.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, wire};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, NOT_EXECUTABLE, Outcome};
use crate::cli::resize::{self, Owner};
use crate::cli::spec::env;
use crate::cli::stop::container;
use crate::cli::stream::{self, Ended, Wiring};
use crate::cli::terminal;
use bollard::models::{ExecConfig, ExecInspectResponse, ExecStartConfig};
use clap::Parser;
use serde::Deserialize;

/// Execute a command in a running container
#[derive(Debug, Parser)]
#[command(name = "dhow exec")]
pub(crate) struct Args {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_parser = env::parse_variable)]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long)]
    workdir: Option<String>,
    #[arg(required = true)]
    container: String,
    #[arg(required = true)]
    command: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: true, refused: &[] };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let detach_keys = context.detach_keys(args.detach_keys.as_deref(), args.tty)?;
    let attach_stdin = args.interactive && !args.detach;
    terminal::require_terminal(attach_stdin, args.tty)?;
    let console_size = console_size(args.tty);
    let config = ExecConfig {
        attach_stdin: Some(attach_stdin),
        attach_stdout: Some(!args.detach),
        attach_stderr: Some(!args.detach),
        console_size: console_size.clone(),
        detach_keys: detach_keys.text().map(str::to_owned),
        tty: Some(args.tty),
        env: Some(env::collect(&args.env_file, &args.env)?),
        cmd: Some(args.command.clone()),
        privileged: Some(args.privileged),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
    };
    let client = context.client().await?;
    let created: Created = client.post_json(container(&args.container, "/exec")?.as_str(), &config).await?;
    let start = Route::of("/exec/", &created.id, "/start");
    let start_config = ExecStartConfig { detach: Some(args.detach), tty: Some(args.tty), console_size };
    if args.detach {
        client.post(start.as_str(), &start_config).await?;
        return Ok(0);
    }
    let body = serde_json::to_vec(&start_config).map_err(wire)?;
    let connection = client.hijack(start.as_str(), Some(body.into())).await.map_err(exec_failure)?;
    let _size = (args.tty && terminal::output_is_terminal())
        .then(|| resize::follow_size(&client, Owner::Exec(created.id.clone())));
    let wiring = Wiring { stdin: attach_stdin, tty: args.tty, detach_keys };
    if stream::carry(connection, wiring).await? == Ended::Detached {
        return Err(stream::detached());
    }
    let inspected = client.get_bytes(Route::of("/exec/", &created.id, "/json").as_str()).await?;
    let inspected: ExecInspectResponse = serde_json::from_slice(&inspected).map_err(wire)?;
    let code = inspected.exit_code.unwrap_or_default();
    i32::try_from(code).map_err(|_| Failure::new(format!("unexpected exit code {code}")))
}

/// Rows and columns for a process that gets a terminal.
pub(crate) fn console_size(tty: bool) -> Option<Vec<usize>> {
    let (rows, columns) = tty.then(terminal::size).flatten()?;
    Some(vec![usize::from(rows), usize::from(columns)])
}

/// A process that could not be started has the codes that a shell would give: 127 and 126.
fn exec_failure(failure: Failure) -> Failure {
    let failed = failure.clone().of_start();
    if matches!(failed.code, crate::cli::exit::NOT_FOUND | NOT_EXECUTABLE) { failed } else { failure }
}
