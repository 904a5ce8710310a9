//! `dhow system check`: reads everything again, and says what is wrong.

use crate::cli::arguments::Rules;
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::output;
use clap::Parser;
use dhow_model::units;
use serde::Deserialize;
use std::fmt::Write;

/// Check that what is stored is what its digests and the database say
///
/// Every blob and layer is read and hashed, and every image, container and volume is looked for. Ends with 1 when
/// something is broken. What is merely left over of interrupted work is no fault: prune removes it, too.
#[derive(Debug, Parser)]
#[command(name = "dhow system check")]
pub(crate) struct Args {
    /// Remove what is left over, and images that are broken and that no container needs
    #[arg(long)]
    repair: bool,
    /// Only say what is broken
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

/// The answer of `POST /dhow/check`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    blobs: u64,
    layers: u64,
    bytes: u64,
    images: u64,
    containers: u64,
    volumes: u64,
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Finding {
    kind: String,
    subject: String,
    what: String,
    broken: bool,
    repaired: Option<String>,
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let route = Route::new("/dhow/check").flag("repair", args.repair);
    let answer: Answer = context.client().await?.post_json(route.as_str(), &serde_json::json!({})).await?;
    let mut text = String::new();
    let broken = |finding: &&Finding| finding.broken && finding.repaired.is_none();
    for finding in answer.findings.iter().filter(|f| !args.quiet || broken(f)) {
        let Finding { kind, subject, what, .. } = finding;
        let state = match &finding.repaired {
            Some(done) => done.as_str(),
            None if finding.broken => "broken",
            None => "left over",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{kind} {subject}: {what}: {state}");
    }
    let count = answer.findings.iter().filter(broken).count();
    if !args.quiet {
        let Answer { blobs, layers, images, containers, volumes, .. } = answer;
        let _ = writeln!(
            text,
            "Checked {blobs} blobs and {layers} layers ({}), {images} images, {containers} containers, \
             {volumes} volumes: {}",
            units::human_size_long(answer.bytes),
            if count == 0 { "nothing is broken".to_owned() } else { format!("{count} broken") }
        );
    }
    output::print(&text)?;
    Ok(i32::from(count > 0))
}
