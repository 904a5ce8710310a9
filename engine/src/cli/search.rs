//! `dhow search`: looks for images at Docker Hub or another registry.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, collect, empty, wire};
use crate::cli::context::Context;
use crate::cli::credentials::HUB;
use crate::cli::exit::Outcome;
use crate::cli::listing::{Format, Row};
use crate::cli::output;
use crate::cli::pull::auth_header;
use crate::cli::table::ellipsis;
use clap::Parser;
use http::Method;
use serde::Deserialize;

/// Search Docker Hub for images
#[derive(Debug, Parser)]
#[command(name = "dhow search")]
pub(crate) struct Args {
    /// Filter output based on conditions provided
    #[arg(short, long, value_parser = crate::cli::listing::parse_filter)]
    filter: Vec<(String, String)>,
    /// Pretty-print search using a Go template
    #[arg(long)]
    format: Option<String>,
    /// Max number of search results
    #[arg(long, default_value_t = 0)]
    limit: u32,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(required = true)]
    term: String,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

#[derive(Deserialize)]
struct Found {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    is_official: bool,
}

const HEADERS: [(&str, &str); 4] =
    [("Name", "NAME"), ("Description", "DESCRIPTION"), ("StarCount", "STARS"), ("IsOfficial", "OFFICIAL")];

/// As many characters of a description fit beside the rest.
const DESCRIPTION_WIDTH: usize = 45;

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let table = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
    let format = Format::parse(args.format.as_deref(), table)?;
    let mut route = Route::new("/images/search").with("term", &args.term);
    if args.limit > 0 {
        route = route.with("limit", &args.limit.to_string());
    }
    if !args.filter.is_empty() {
        let filters = serde_json::to_string(&crate::cli::listing::filter_map(&args.filter)).map_err(wire)?;
        route = route.with("filters", &filters);
    }
    let domain = args.term.split_once('/').map(|(host, _)| host).filter(|host| host.contains(['.', ':']));
    let headers = auth_header(&context.credentials(), domain.unwrap_or(HUB))?;
    let client = context.client().await?;
    let answer = client.send_with(Method::GET, route.as_str(), empty(), headers).await?;
    let found: Vec<Found> = serde_json::from_slice(&collect(answer).await?).map_err(wire)?;
    let rows: Vec<Row> = found
        .into_iter()
        .map(|found| {
            // One line each, whatever the registry says.
            let description = found.description.replace(['\n', '\r', '\t'], " ");
            let description =
                if args.no_trunc { description } else { ellipsis(&description, DESCRIPTION_WIDTH) };
            let official = if found.is_official { "[OK]" } else { "" };
            Row::new([
                ("Name", found.name.into()),
                ("Description", description.into()),
                ("StarCount", found.star_count.to_string().into()),
                ("IsOfficial", official.into()),
            ])
        })
        .collect();
    output::print(&format.render(&HEADERS, &rows)?)?;
    Ok(0)
}
