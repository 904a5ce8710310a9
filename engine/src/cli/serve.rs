//! `dhow serve`: the engine behind Docker's API, for other clients.

use crate::cli::arguments::{self, Rules};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::globals::Globals;
use crate::cli::{Doors, EngineOptions, ServeOptions};
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;

/// Serve the Docker Engine API
#[derive(Debug, Parser)]
#[command(name = "dhow serve")]
pub(crate) struct Args {
    /// Where to listen: unix:///path, tcp://address:port or fd://
    #[arg(short = 'H', long = "host", value_name = "URL")]
    hosts: Vec<String>,
    /// Where the engine keeps images and containers
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
    /// Where the engine keeps sockets and locks
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
    /// The engine's configuration file, instead of /etc/dhow/dhow.json
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
}

pub(crate) fn execute(globals: &Globals, doors: Doors, rest: &[OsString]) -> Outcome {
    let args: Args = arguments::parse(Rules::default(), rest)?;
    if globals.context.is_some() {
        return Err(Failure::usage(
            "conflicting options: --context names a remote engine, serve is this one",
        ));
    }
    let mut hosts = globals.hosts.clone();
    hosts.extend(args.hosts);
    let engine = EngineOptions {
        root: args.root.or_else(|| globals.root.clone()),
        state: args.state.or_else(|| globals.state.clone()),
        file: args.config_file.or_else(|| globals.config_file.clone()),
    };
    (doors.serve)(&ServeOptions { engine, hosts })?;
    Ok(0)
}
