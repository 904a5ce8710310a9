//! How the command line reaches the engine of its own process.

use crate::cli::transport::{Connector, Stream};
use crate::cli::{Doors, EngineOptions, ServeOptions};
use crate::{Config, Engine, Result, Settings, api, serve};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Bytes in flight each way between the command line and the router: a few frames of output.
const PIPE_BYTES: usize = 256 << 10;

/// The command line, over an engine in this process.
pub fn command_line() -> ExitCode {
    crate::cli::main(std::env::args_os().skip(1), Doors { in_process, serve, detach_keys })
}

/// The command line goes before the file, and the file before what is built in.
fn config(options: &EngineOptions) -> Result<Config> {
    let settings = Settings::load(options.file.as_deref())?;
    let default = Config::default();
    let first = |option: &Option<PathBuf>, setting: &Option<PathBuf>, default: PathBuf| {
        option.clone().or_else(|| setting.clone()).unwrap_or(default)
    };
    Ok(Config {
        root: first(&options.root, &settings.data_root, default.root),
        state: first(&options.state, &settings.exec_root, default.state),
        helper: default.helper,
        settings,
    })
}

fn detach_keys(options: &EngineOptions) -> Result<String> {
    Settings::load(options.file.as_deref()).map(|settings| settings.detach_keys)
}

/// Each connection is a pipe in memory into the router that `dhow serve` puts on a socket.
fn in_process(options: &EngineOptions) -> Result<Connector> {
    // This process runs one command. No thread that works for the engine is there yet.
    dhow_sys::memory::shape_heap_for_a_short_life();
    let router = api::router(Engine::open(config(options)?)?);
    Ok(Arc::new(move || {
        let router = router.clone();
        Box::pin(async move {
            let (client, server) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(api::serve_router(router, server));
            Ok(Box::new(client) as Box<dyn Stream>)
        })
    }))
}

fn serve(options: &ServeOptions) -> Result<()> {
    serve::serve(config(&options.engine)?, &options.hosts)
}
