//! `cargo xtask`: the one door to every task that is more than `cargo build`.
//!
//! | task | what it does |
//! |---|---|
//! | `setup` | installs the Debian packages that tests and benchmarks use |
//! | `test` | `setup`, then every test |
//! | `check` | all that can be said about the code without running it |
//! | `bench start` | how long a container takes, beside the kernel's floor and other engines |
//!
//! A task stops at its first failure with one line that says what failed.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: printing is what it is for"
)]

mod bench;
mod check;
mod process;
mod setup;
mod test;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What every task returns: the error is one readable line.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The one door to every task: setup, test, check, bench", version = None)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages that tests and benchmarks use (as root; nothing to do when all are there)
    Setup,
    /// Run every test: unit, documentation and integration (as root)
    Test(test::Arguments),
    /// Check format, lints, documentation, licences, dependency directions, named paths, sources
    Check(check::Arguments),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run by `bench`, inside namespaces of its own
    #[command(hide = true)]
    BenchAgent { scratch: PathBuf },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::run(),
        Task::Test(arguments) => test::run(&arguments),
        Task::Check(arguments) => check::run(&arguments),
        Task::Bench(what) => bench::run(&what),
        Task::BenchAgent { scratch } => bench::agent::serve(&scratch),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
