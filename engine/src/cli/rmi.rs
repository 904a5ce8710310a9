//! `dhow rmi`: removes images, or only their names.

use crate::cli::arguments::{ONE_PLATFORM, Rules};
use crate::cli::client::{Route, collect, empty, encode_segment, wire};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::output;
use bollard::models::ImageDeleteResponseItem;
use clap::Parser;
use http::Method;

/// Remove one or more images
#[derive(Debug, Parser)]
#[command(name = "dhow rmi")]
pub(crate) struct Args {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[("--platform", ONE_PLATFORM)] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let client = context.client().await?;
    let mut code = 0;
    for image in &args.images {
        let route = Route::new(&format!("/images/{}", encode_segment(image)))
            .flag("force", args.force)
            .flag("noprune", args.no_prune);
        let removed = async { collect(client.send(Method::DELETE, route.as_str(), empty()).await?).await };
        match removed.await {
            Ok(body) => {
                let items: Vec<ImageDeleteResponseItem> = serde_json::from_slice(&body).map_err(wire)?;
                let mut text = String::new();
                for item in items {
                    if let Some(name) = item.deleted.filter(|n| !n.is_empty()) {
                        text.push_str(&format!("Deleted: {name}\n"));
                    } else if let Some(name) = item.untagged {
                        text.push_str(&format!("Untagged: {name}\n"));
                    }
                }
                output::print(&text)?;
            }
            Err(failure) => {
                failure.report();
                // With --force an image that is gone already is what was wanted.
                if !(args.force && failure.is_not_found()) {
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}
