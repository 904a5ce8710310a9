//! Options before the verb: which engine, and how loud.

use crate::cli::EngineOptions;
use crate::cli::arguments::{self, Rules};
use crate::cli::exit::{Failure, Outcome};
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options before the verb.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "dhow", about = "A container engine", disable_help_flag = true)]
pub(crate) struct Globals {
    /// Location of client config files
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) config: Option<PathBuf>,
    /// The engine's configuration file, instead of /etc/dhow/dhow.json
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Name of the Docker context that says which engine to talk to
    #[arg(short, long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Print every request on standard error
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,
    /// Engine to talk to, instead of the one in this process
    #[arg(short = 'H', long = "host", value_name = "URL")]
    pub(crate) hosts: Vec<String>,
    /// debug, info, warn, error or fatal
    #[arg(short, long, value_name = "LEVEL", value_parser = parse_level)]
    pub(crate) log_level: Option<String>,
    /// Where the engine keeps images and containers
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) root: Option<PathBuf>,
    /// Where the engine keeps sockets and locks
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) state: Option<PathBuf>,
    /// Print the version and quit
    #[arg(short, long)]
    pub(crate) version: bool,
    /// Print help
    #[arg(short, long)]
    help: bool,
    #[arg(hide = true)]
    command: Vec<OsString>,
}

const NO_TLS: &str = "engines are reached by unix socket or plain TCP";
pub(crate) const RULES: Rules = Rules {
    stop_at_first: true,
    refused: &[
        ("--tls", NO_TLS),
        ("--tlscacert", NO_TLS),
        ("--tlscert", NO_TLS),
        ("--tlskey", NO_TLS),
        ("--tlsverify", NO_TLS),
    ],
};

fn parse_level(text: &str) -> Result<String, String> {
    match text {
        "debug" | "info" | "warn" | "error" | "fatal" => Ok(text.to_owned()),
        _ => Err("want debug, info, warn, error or fatal".to_owned()),
    }
}

/// Splits the command line into the options before the verb, and the verb with all that follows.
pub(crate) fn parse(args: &[OsString]) -> Outcome<(Globals, Vec<OsString>)> {
    let mut globals: Globals = arguments::parse(RULES, args)?;
    let command = if globals.help { vec!["--help".into()] } else { std::mem::take(&mut globals.command) };
    if globals.hosts.len() > 1 && command.first().is_none_or(|verb| verb != "serve") {
        return Err(Failure::usage("specify only one -H"));
    }
    Ok((globals, command))
}

impl Globals {
    /// The in-process engine's directories.
    pub(crate) fn engine(&self) -> EngineOptions {
        EngineOptions { root: self.root.clone(), state: self.state.clone(), file: self.config_file.clone() }
    }

    /// Whether requests are printed.
    pub(crate) fn trace(&self) -> bool {
        self.debug || self.log_level.as_deref() == Some("debug")
    }
}
