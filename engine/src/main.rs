//! The `dhow` executable: looks at its first argument and goes through one of two doors.
//!
//! - `dhow monitor`: the process that holds one container. Single-threaded, so it is chosen before anything
//!   that could start a thread.
//! - everything else, `dhow serve` included: the command line.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let _name = args.next();
    match args.next().as_deref().and_then(|a| a.to_str()) {
        Some("monitor") => exit_code(dhow::container::monitor_main()),
        _ => dhow::doors::command_line(),
    }
}

/// Exit codes are eight bits wide (exit(3)).
fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}
