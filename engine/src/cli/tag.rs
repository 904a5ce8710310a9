//! `dhow tag`: gives an image another name.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, empty, encode_segment};
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use clap::Parser;
use dhow_model::Reference;
use http::Method;

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
#[derive(Debug, Parser)]
#[command(name = "dhow tag")]
pub(crate) struct Args {
    #[arg(required = true, value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    #[arg(required = true, value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let target = Reference::parse(&args.target).map_err(|e| {
        Failure::new(format!("Error parsing reference: {:?} is not a valid repository/tag: {e}", args.target))
    })?;
    if target.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let target = target.with_default_tag();
    let route = Route::new(&format!("/images/{}/tag", encode_segment(&args.source)))
        .with("repo", &target.familiar_name())
        .with("tag", target.tag().unwrap_or("latest"));
    context.client().await?.send(Method::POST, route.as_str(), empty()).await?;
    Ok(0)
}
