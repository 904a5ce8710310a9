//! The command line: Docker's verbs and flags, spoken to an engine over its API and nothing else.
//!
//! ```text
//! argv → globals (this file) → verbs.rs (which verb) → <verb>.rs (its flags) → client.rs → transport.rs → engine
//!                                                        │
//!                                exit.rs (one line, exit code) ← table.rs, listing.rs, stream.rs (output)
//! ```
//!
//! Nothing here knows how an engine works: [`Doors`] says how to reach the one in this process. Parsing
//! finishes before anything is connected, so a wrong flag touches nothing.

mod arguments;
mod attach;
mod client;
mod commit;
mod completion;
mod container;
mod context;
mod cp;
mod create;
mod credentials;
mod detach;
mod diff;
mod elements;
mod events;
mod exec;
mod exit;
mod export;
mod globals;
mod history;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod listing;
mod load;
mod login;
mod logout;
mod logs;
mod man;
mod manifest;
mod moment;
mod network;
mod output;
mod pause;
mod port;
mod progress;
mod prune;
mod ps;
mod pull;
mod push;
mod rename;
mod resize;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod serve;
mod signal_proxy;
mod spec;
mod start;
mod startup;
mod stats;
mod stop;
mod stream;
mod system;
mod table;
mod tag;
mod template;
mod terminal;
mod top;
mod trace;
mod trace_line;
pub mod transport;
mod tree;
mod unpause;
mod update;
mod verbs;
mod version;
mod volume;
mod wait;
mod waiting;

use context::Context;
use exit::{Failure, Outcome};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the in-process engine keeps its things; `None`: its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--state`.
    pub state: Option<PathBuf>,
    /// `--config-file`.
    pub file: Option<PathBuf>,
}

/// What `dhow serve` was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// The engine.
    pub engine: EngineOptions,
    /// `-H`, as typed: `unix:///path`, `tcp://address:port`, `fd://`. Empty: the default socket.
    pub hosts: Vec<String>,
}

/// The ways from the command line into the engine of this executable.
#[derive(Clone, Copy)]
pub struct Doors {
    /// Opens the engine and makes a connector of in-memory streams to its API. Called within the command
    /// line's runtime, at most once, after all flags are parsed.
    pub in_process: fn(&EngineOptions) -> dhow_model::Result<transport::Connector>,
    /// Serves the API until it is told to stop. Called outside of any runtime.
    pub serve: fn(&ServeOptions) -> dhow_model::Result<()>,
    /// The detach keys of the engine of this process, where nobody names any; empty: the usual ones.
    pub detach_keys: fn(&EngineOptions) -> dhow_model::Result<String>,
}

/// Runs one command. `args` are the arguments after the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>, doors: Doors) -> ExitCode {
    startup::note_beginning();
    let args: Vec<OsString> = args.into_iter().collect();
    let code = match dispatch(&args, doors) {
        Ok(code) => code,
        Err(failure) => {
            failure.report();
            failure.code
        }
    };
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

fn dispatch(args: &[OsString], doors: Doors) -> Outcome {
    let (globals, rest) = globals::parse(args)?;
    if globals.version {
        output::print_line(&format!("dhow version {}", env!("CARGO_PKG_VERSION")))?;
        return Ok(0);
    }
    let Some(command) = verbs::resolve(&rest)? else {
        output::print(&verbs::help())?;
        return Ok(0);
    };
    if command.verb == "serve" {
        return serve::execute(&globals, doors, command.rest);
    }
    // One thread is enough for one person's command, and costs nothing to start.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("start the event loop: {e}")))?;
    let context = Context::new(globals, doors);
    let outcome = runtime.block_on(verbs::execute(&context, &command));
    // A thread may wait for a key that never comes: nobody waits for it.
    runtime.shutdown_background();
    outcome
}
