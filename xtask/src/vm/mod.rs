//! `cargo xtask vm`: the root tests on another kernel and on pure cgroup v2, in a virtual machine.
//!
//! ```text
//!   suites.rs   which tests run there: the one list          ──┐ names
//!   build.rs    cargo builds them, and says which test is where ┘   │
//!   kernel.rs   Debian's cloud kernel, fetched once by apt          │
//!   image.rs    a disk: tests, dhow, their libraries, busybox, init.sh; an initramfs: modules, boot.sh
//!   machine.rs  qemu; init.sh writes to its second serial line what the tests say
//!   verdict.rs  what the lines amount to
//! ```
//!
//! Emulated (`-accel tcg`), so that it runs wherever CI runs. Whatever is missing fails it: a kernel that
//! cannot be fetched, a machine that does not boot or does not end, a test that is not there, a count that is
//! not the number of tests that were asked for.

mod build;
mod image;
mod kernel;
mod machine;
mod suites;
mod verdict;

use crate::{Result, process, setup};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this, `it limits::` or `freez`; may be given several times
    #[arg(long, value_name = "NAME")]
    filter: Vec<String>,
    /// Only the few tests that tell most: what CI runs
    #[arg(long)]
    subset: bool,
    /// Seconds after which the machine is ended
    #[arg(long, default_value_t = 1800)]
    timeout: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    if !cfg!(target_arch = "x86_64") {
        return Err("the virtual machine is an x86-64 one, and so must be the tests' programs".into());
    }
    let begin = Instant::now();
    setup::run()?;
    let kernel = kernel::ensure(&process::target_dir().join("vm"))?;
    println!("vm: kernel {}", kernel.release);
    let built = build::build()?;
    let chosen = suites::choose(&built, arguments.subset, &arguments.filter)?;
    let tests: usize = chosen.iter().map(|suite| suite.tests.len()).sum();
    let image = image::make(&process::target_dir().join("vm"), &kernel, &built, &chosen)?;
    println!("vm: {tests} tests of {} programs", chosen.len());
    let lines = machine::run(&kernel, &image, Duration::from_secs(arguments.timeout))?;
    let verdict = verdict::of(&chosen, &lines)?;
    println!("vm: {verdict}, in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}
