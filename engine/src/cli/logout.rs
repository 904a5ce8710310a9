//! `dhow logout`: forgets who the person is.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::credentials::{HUB, domain_of, key_of};
use crate::cli::exit::Outcome;
use crate::cli::output;
use clap::Parser;

/// Log out from a registry
#[derive(Debug, Parser)]
#[command(name = "dhow logout")]
pub(crate) struct Args {
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[expect(clippy::unused_async, reason = "every verb is")]
pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let domain = args.server.as_deref().map_or_else(|| HUB.to_owned(), domain_of);
    let credentials = context.credentials();
    let shown = key_of(&domain);
    // Also where there are none: Docker says the same of both.
    output::print_line(&format!("Removing login credentials for {shown}"))?;
    if credentials.has(&domain)? || credentials.get(&domain)?.is_some() {
        credentials.erase(&domain)?;
    }
    Ok(0)
}
