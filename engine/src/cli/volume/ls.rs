//! `dhow volume ls`: lists volumes.

use super::CLUSTER;
use crate::cli::arguments::Rules;
use crate::cli::client::{Route, wire};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::listing::{Format, Row, filter_map, parse_filter};
use crate::cli::output;
use bollard::models::{Volume, VolumeListResponse};
use clap::Parser;
use dhow_model::units;
use serde_json::Value;

/// List volumes
#[derive(Debug, Parser)]
#[command(name = "dhow volume ls")]
pub(crate) struct Args {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long, value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[("--cluster", CLUSTER)] };

pub(crate) const HEADERS: [(&str, &str); 10] = [
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Availability", "AVAILABILITY"),
    ("Status", "STATUS"),
];

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let asked = args.format.clone().filter(|f| !f.is_empty());
    let text = asked.or_else(|| if args.quiet { None } else { context.setting("volumesFormat") });
    let raw = if args.quiet { "name: {{.Name}}" } else { "name: {{.Name}}\ndriver: {{.Driver}}\n" };
    let format = Format::parse(Format::raw_or(text.as_deref(), raw), "{{.Driver}}\t{{.Name}}")?;
    let mut route = Route::new("/volumes");
    if !args.filter.is_empty() {
        let filters = serde_json::to_string(&filter_map(&args.filter)).map_err(wire)?;
        route = route.with("filters", &filters);
    }
    let answer = context.client().await?.get_bytes(route.as_str()).await?;
    let found: VolumeListResponse = serde_json::from_slice(&answer).map_err(wire)?;
    let mut volumes = found.volumes.unwrap_or_default();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    if args.quiet && args.format.as_deref().is_none_or(str::is_empty) {
        output::print(&volumes.iter().map(|v| format!("{}\n", v.name)).collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<Row> = volumes.into_iter().map(row).collect();
    output::print(&format.render(&HEADERS, &rows)?)?;
    Ok(0)
}

pub(crate) fn row(volume: Volume) -> Row {
    let mut labels: Vec<String> = volume.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.sort();
    // Docker measures for `system df` alone, and has the last three for volumes of a cluster.
    let none = || Value::from("N/A");
    let (links, size) = volume.usage_data.map_or_else(
        || (none(), none()),
        |usage| {
            let bytes = u64::try_from(usage.size).unwrap_or(0);
            (usage.ref_count.to_string().into(), units::human_size_long(bytes).into())
        },
    );
    Row::new([
        ("Name", volume.name.into()),
        ("Driver", volume.driver.into()),
        ("Scope", volume.scope.map(|s| s.to_string()).unwrap_or_default().into()),
        ("Mountpoint", volume.mountpoint.into()),
        ("Labels", labels.join(",").into()),
        ("Links", links),
        ("Size", size),
        ("Group", none()),
        ("Availability", none()),
        ("Status", none()),
    ])
    .of_type("*formatter.volumeContext")
    .with_labels(volume.labels)
}
