//! `dhow history`: shows how an image was made, newest layer first.

use crate::cli::arguments::{ONE_PLATFORM, Rules};
use crate::cli::client::{Route, encode_segment};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::listing::{Format, Row};
use crate::cli::output;
use crate::cli::table::{ellipsis, short_id};
use crate::local_time::Zone;
use bollard::models::ImageHistoryResponseItem;
use clap::{ArgAction, Parser};
use dhow_model::{Timestamp, units};
use std::time::SystemTime;

/// Show the history of an image
#[derive(Debug, Parser)]
#[command(name = "dhow history")]
pub(crate) struct Args {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true",
          default_missing_value = "true")]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(required = true)]
    image: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[("--platform", ONE_PLATFORM)] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let created = if args.human { "CreatedSince" } else { "CreatedAt" };
    let table =
        format!("{{{{.ID}}}}\t{{{{.{created}}}}}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}");
    let format = Format::parse(args.format.as_deref(), &table)?;
    let route = Route::new(&format!("/images/{}/history", encode_segment(&args.image)));
    let bytes = context.client().await?.get_bytes(route.as_str()).await?;
    let items: Vec<ImageHistoryResponseItem> =
        serde_json::from_slice(&bytes).map_err(crate::cli::client::wire)?;
    let shown_id = |id: &str| if args.no_trunc { id.to_owned() } else { short_id(id) };
    if args.quiet && args.format.is_none() {
        output::print(&items.iter().map(|i| format!("{}\n", shown_id(&i.id))).collect::<String>())?;
        return Ok(0);
    }
    let now = Timestamp::from(SystemTime::now());
    let zone = Zone::local();
    let rows: Vec<Row> = items
        .iter()
        .map(|item| {
            let moment = Timestamp::from_seconds(item.created);
            let since = format!("{} ago", units::human_duration(now.since(moment)));
            let at = zone.rfc3339(moment);
            let by = item.created_by.replace('\t', " ");
            let size = u64::try_from(item.size).unwrap_or(0);
            Row::new([
                ("ID", shown_id(&item.id).into()),
                ("CreatedSince", if args.human { since } else { at.clone() }.into()),
                ("CreatedAt", at.into()),
                ("CreatedBy", if args.no_trunc { by } else { ellipsis(&by, 45) }.into()),
                ("Size", if args.human { units::human_size(size) } else { size.to_string() }.into()),
                ("Comment", item.comment.clone().into()),
            ])
            .of_type("*image.historyContext")
        })
        .collect();
    let headers = [
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ];
    output::print(&format.render(&headers, &rows)?)?;
    Ok(0)
}
