//! `dhow push`: uploads an image to a registry.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, empty};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::progress::{Show, follow};
use crate::cli::pull::auth_header;
use clap::Parser;
use dhow_model::Reference;
use dhow_store::manifest::Platform;
use http::Method;

/// Upload an image to a registry
#[derive(Debug, Parser)]
#[command(name = "dhow push")]
pub(crate) struct Args {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Push the image only if it is for this platform (os[/arch[/variant]])
    #[arg(long)]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    #[arg(required = true, value_name = "NAME[:TAG]")]
    name: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let mut reference = Reference::parse(&args.name)?;
    if reference.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference"));
    }
    if args.all_tags && reference.tag().is_some() {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    if !args.all_tags && reference.tag().is_none() {
        reference = reference.with_default_tag();
        if !args.quiet {
            output::print_line("Using default tag: latest")?;
        }
    }
    let platform = args.platform.as_deref().filter(|p| !p.is_empty()).map(Platform::parse).transpose()?;
    let platform = platform.map(|platform| serde_json::to_string(&platform)).transpose();
    let platform = platform.map_err(|error| Failure::new(error.to_string()))?;
    let route = Route::of("/images/", &reference.familiar_name(), "/push")
        .maybe("tag", reference.tag())
        .maybe("platform", platform.as_deref());
    let headers = auth_header(&context.credentials(), reference.domain())?;
    let client = context.client().await?;
    let answer = client.send_with(Method::POST, route.as_str(), empty(), headers).await?;
    follow(answer, if args.quiet { Show::Nothing } else { Show::Stdout }).await?;
    if args.quiet {
        output::print_line(&reference.to_string())?;
    }
    Ok(0)
}
