//! `dhow network ls`: lists networks.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, wire};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::listing::{Format, Row, filter_map, parse_filter};
use crate::cli::output;
use crate::cli::table::short_id;
use crate::local_time::Zone;
use bollard::models::NetworkInspect;
use clap::Parser;
use dhow_model::Timestamp;
use serde_json::Value;

/// List networks
#[derive(Debug, Parser)]
#[command(name = "dhow network ls")]
pub(crate) struct Args {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

const HEADERS: [(&str, &str); 9] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

const RAW: &str = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";
const RAW_QUIET: &str = "network_id: {{.ID}}";

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let asked = args.format.clone().filter(|f| !f.is_empty());
    let text = asked.or_else(|| if args.quiet { None } else { context.setting("networksFormat") });
    let raw = if args.quiet { RAW_QUIET } else { RAW };
    let table = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
    let format = Format::parse(Format::raw_or(text.as_deref(), raw), table)?;
    let mut route = Route::new("/networks");
    if !args.filter.is_empty() {
        let filters = serde_json::to_string(&filter_map(&args.filter)).map_err(wire)?;
        route = route.with("filters", &filters);
    }
    let answer = context.client().await?.get_bytes(route.as_str()).await?;
    let mut networks: Vec<NetworkInspect> = serde_json::from_slice(&answer).map_err(wire)?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let id = |network: &NetworkInspect| {
        let id = network.id.clone().unwrap_or_default();
        if args.no_trunc { id } else { short_id(&id).to_owned() }
    };
    if args.quiet && args.format.as_deref().is_none_or(str::is_empty) {
        output::print(&networks.iter().map(|n| format!("{}\n", id(n))).collect::<String>())?;
        return Ok(0);
    }
    let zone = Zone::local();
    let rows: Vec<Row> = networks.iter().map(|network| row(network, id(network), &zone)).collect();
    output::print(&format.render(&HEADERS, &rows)?)?;
    Ok(0)
}

fn row(network: &NetworkInspect, id: String, zone: &Zone) -> Row {
    let labels = network.labels.clone().unwrap_or_default();
    let mut shown: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    shown.sort();
    let text = |value: &Option<String>| -> Value { value.clone().unwrap_or_default().into() };
    let flag = |value: Option<bool>| -> Value { value.unwrap_or(false).to_string().into() };
    let created = network.created.as_deref().and_then(|time| Timestamp::parse(time).ok());
    Row::new([
        ("ID", id.into()),
        ("Name", text(&network.name)),
        ("Driver", text(&network.driver)),
        ("Scope", text(&network.scope)),
        ("IPv4", flag(network.enable_ipv4)),
        ("IPv6", flag(network.enable_ipv6)),
        ("Internal", flag(network.internal)),
        ("Labels", shown.join(",").into()),
        ("CreatedAt", created.map(|time| zone.go_string(time)).unwrap_or_default().into()),
    ])
    .of_type("*network.networkContext")
    .with_labels(labels)
}
