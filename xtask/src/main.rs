//! `cargo xtask`: the one door to every task that is more than `cargo build`.
//!
//! | task | what it does |
//! |---|---|
//! | `setup` | installs the Debian packages that tests and benchmarks use |
//! | `test` | `setup`, then every test |
//! | `check` | all that can be said about the code without running it |
//! | `bpf` | the eBPF probes: compiles them, or compares the committed object with its sources |
//! | `header` | `include/dhow.h` from the C ABI's sources, or compares the two |
//! | `parity` | our command line beside Docker's, and `engine/PARITY.md` |
//! | `fuzz` | libFuzzer over archives, indexes, manifests, references |
//! | `vm` | the root tests on Debian's kernel and pure cgroup v2, in a virtual machine |
//! | `bench start` | how long a container takes, beside the kernel's floor and other engines |
//! | `bench net` | how fast bytes pass between containers and through published ports |
//! | `bench layers` | layers in both forms, beside `tar` and other engines |
//! | `bench trace` | what tracing costs, and how many events it can take |
//!
//! A task stops at its first failure with one line that says what failed.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: printing is what it is for"
)]

mod bench;
mod bpf;
mod check;
mod fuzz;
mod header;
mod parity;
mod process;
mod setup;
mod test;
mod vm;

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
    /// Run the root tests on another kernel and pure cgroup v2, in a virtual machine (as root)
    Vm(vm::Arguments),
    /// Compile the eBPF probes and make their Rust bindings, which are committed
    Bpf(bpf::Arguments),
    /// Make include/dhow.h of ffi/src
    Header(header::Arguments),
    /// Compare our command line with Docker's, and print what is missing
    Parity(parity::Arguments),
    /// Fuzz what reads bytes from strangers
    Fuzz(fuzz::Arguments),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run by `bench`, inside namespaces of its own
    #[command(hide = true)]
    BenchAgent {
        scratch: PathBuf,
        #[command(flatten)]
        workload: bench::Workload,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::run(),
        Task::Test(arguments) => test::run(&arguments),
        Task::Check(arguments) => check::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
        Task::Bpf(arguments) => bpf::run(&arguments),
        Task::Header(arguments) => header::run(&arguments),
        Task::Parity(arguments) => parity::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench(what) => bench::run(&what),
        Task::BenchAgent { scratch, workload } => bench::agent::serve(&scratch, workload),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
