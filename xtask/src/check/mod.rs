//! `cargo xtask check`: all that can be said about the code without running it.

mod dependencies;
mod documents;
mod sources;

use crate::{Result, bpf, header, parity, process};
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also ask the advisory database, which needs the network
    #[arg(long)]
    advisories: bool,
}

/// The version that the rules in deny.toml were written for.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// The checks, cheapest first; the first failure ends it.
pub(crate) fn run(arguments: &Arguments) -> Result {
    step("format");
    process::run(&mut process::cargo(&["fmt", "--all", "--check"]))?;
    step("sources");
    sources::check()?;
    step("paths named in ARCHITECTURE.md");
    documents::check()?;
    step("dependency directions");
    dependencies::check()?;
    step("licences, banned crates, sources of crates");
    deny(arguments)?;
    step("probes and their bindings");
    bpf::check()?;
    step("include/dhow.h");
    header::check()?;
    step("lints");
    process::run(
        process::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--quiet"])
            .args(["--", "-D", "warnings"]),
    )?;
    step("documentation");
    process::run(
        process::cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    step("engine/PARITY.md");
    parity::check()?;
    println!("check: all good");
    Ok(())
}

fn step(name: &str) {
    println!("check: {name}");
}

/// cargo-deny over deny.toml.
fn deny(arguments: &Arguments) -> Result {
    let program = match process::find_program("cargo-deny") {
        Some(program) => program,
        None => {
            println!("check: installing cargo-deny {CARGO_DENY_VERSION}");
            process::run(
                process::cargo(&["install", "cargo-deny", "--version", CARGO_DENY_VERSION, "--locked"])
                    .args(["--quiet", "--no-default-features"])
                    // Its own build must not land in, or wait for, this workspace's.
                    .env_remove("CARGO_TARGET_DIR"),
            )?;
            process::find_program("cargo-deny").ok_or("cargo-deny was installed, but is not found")?
        }
    };
    let mut command = Command::new(program);
    command.args(["--workspace", "--log-level", "error", "--locked", "check", "--hide-inclusion-graph"]);
    command.args(["licenses", "bans", "sources"]).current_dir(process::workspace());
    if arguments.advisories {
        command.arg("advisories");
    } else {
        println!(
            "check: advisories are not looked up, that needs the network: `cargo xtask check --advisories`"
        );
    }
    process::run(&mut command)
}
