//! `dhow ps`: lists containers.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, wire};
use crate::cli::context::Context;
use crate::cli::elements::Elements;
use crate::cli::exit::Outcome;
use crate::cli::listing::{Format, Row, Shown, filter_map, parse_filter};
use crate::cli::output;
use crate::cli::table::{ellipsis, short, short_id};
use crate::cli::template::print::quote;
use crate::local_time::Zone;
use bollard::models::{MountPoint, PortSummary};
use clap::Parser;
use dhow_model::{Timestamp, units};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

/// List containers
#[derive(Debug, Parser)]
#[command(name = "dhow ps")]
pub(crate) struct Args {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, default_value = "-1", allow_negative_numbers = true)]
    last: i32,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
pub(crate) const HEADERS: [(&str, &str); 16] = [
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("Label", "LABEL"),
];

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let text = args
        .format
        .clone()
        .filter(|f| !f.is_empty())
        .or_else(|| if args.quiet { None } else { context.setting("psFormat") });
    let table = if args.size { format!("{TABLE}\t{{{{.Size}}}}") } else { TABLE.to_owned() };
    let format = Format::parse(text.as_deref(), &table)?;
    let last = if args.latest && args.last < 0 { 1 } else { args.last };
    // Sizes are expensive: they are asked for only when they are shown.
    let size = args.size || text.as_deref().is_some_and(shows_size);
    let mut route = Route::new("/containers/json").flag("all", args.all).flag("size", size);
    if last > 0 {
        route = route.with("limit", &last.to_string());
    }
    if !args.filter.is_empty() {
        let filters = serde_json::to_string(&filter_map(&args.filter)).map_err(wire)?;
        route = route.with("filters", &filters);
    }
    let answer = context.client().await?.get_bytes(route.as_str()).await?;
    let containers = Elements::<Listed<'_>>::of(&answer);
    if args.quiet && args.format.as_deref().is_none_or(str::is_empty) {
        let mut ids = String::new();
        for container in containers {
            let id = container.map_err(wire)?.id;
            ids.push_str(if args.no_trunc { &id } else { short(&id) });
            ids.push('\n');
        }
        output::print(&ids)?;
        return Ok(0);
    }
    let view = View {
        full: args.no_trunc,
        now: Timestamp::from(SystemTime::now()),
        zone: Zone::local(),
        shown: format.shown(),
    };
    output::print(&format.render_each(&HEADERS, containers.map(|c| Ok(view.row(c.map_err(wire)?))))?)?;
    Ok(0)
}

/// What a row of `GET /containers/json` holds that lists show. A thousand of them are read one at a time, and what
/// is as it was sent stays where it is: `bollard`'s type is 750 bytes before its texts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Listed<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(deserialize_with = "or_default")]
    names: Vec<String>,
    #[serde(borrow)]
    image: Cow<'a, str>,
    #[serde(rename = "ImageID", borrow)]
    image_id: Cow<'a, str>,
    #[serde(borrow)]
    command: Cow<'a, str>,
    created: i64,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<PortSummary>,
    #[serde(deserialize_with = "or_default")]
    size_rw: i64,
    #[serde(deserialize_with = "or_default")]
    size_root_fs: i64,
    #[serde(deserialize_with = "or_default")]
    labels: HashMap<String, String>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(deserialize_with = "or_default")]
    network_settings: Joined,
    #[serde(deserialize_with = "or_default")]
    mounts: Vec<MountPoint>,
}

/// Engines write `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

impl Listed<'_> {
    /// The image's part of its size is told elsewhere.
    pub(crate) fn without_image_size(self) -> Self {
        Self { size_root_fs: 0, ..self }
    }
}

/// The names of its networks.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Joined {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, IgnoredAny>,
}

/// Whether a format shows the sizes, or all there is.
fn shows_size(format: &str) -> bool {
    let mut parts = format.split("json .");
    parts.next();
    format.contains(".Size") || parts.any(|rest| !rest.starts_with(char::is_alphabetic))
}

/// How rows are shown.
pub(crate) struct View {
    full: bool,
    now: Timestamp,
    zone: Zone,
    shown: Shown,
}

impl View {
    /// Every field, cut to what a table has room for.
    pub(crate) fn whole(now: Timestamp) -> Self {
        Self { full: false, now, zone: Zone::local(), shown: Shown::everything() }
    }

    pub(crate) fn row(&self, c: Listed<'_>) -> Row {
        let created = Timestamp::from_seconds(c.created);
        let field = |name, value: &dyn Fn() -> String| self.shown.field(name, value);
        let fields = [
            field("ID", &|| if self.full { c.id.to_string() } else { short_id(&c.id) }),
            field("Names", &|| self.names(&c.names)),
            field("Image", &|| self.image(&c.image, &c.image_id)),
            field("Command", &|| {
                if self.full { quote(&c.command) } else { quote(&ellipsis(&c.command, 20)) }
            }),
            field("CreatedAt", &|| self.zone.go_string(created)),
            field("RunningFor", &|| format!("{} ago", units::human_duration(self.now.since(created)))),
            field("Ports", &|| ports(c.ports.clone())),
            field("State", &|| c.state.to_string()),
            field("Status", &|| c.status.to_string()),
            field("Size", &|| size(c.size_rw, c.size_root_fs)),
            field("Labels", &|| sorted_labels(&c.labels)),
            field("Mounts", &|| self.mounts(&c.mounts)),
            field("LocalVolumes", &|| {
                c.mounts.iter().filter(|m| m.driver.as_deref() == Some("local")).count().to_string()
            }),
            field("Networks", &|| {
                c.network_settings.networks.keys().map(String::as_str).collect::<Vec<_>>().join(",")
            }),
        ];
        let platform = ("Platform", serde_json::Value::Null);
        Row::new(fields.into_iter().flatten().chain([platform])).with_labels(c.labels)
    }

    /// The name without its slash; with `--no-trunc` also those that links gave it.
    fn names(&self, names: &[String]) -> String {
        let names: Vec<&str> = names.iter().map(|n| n.strip_prefix('/').unwrap_or(n)).collect();
        match names.iter().find(|n| !n.contains('/')) {
            Some(own) if !self.full => (*own).to_owned(),
            _ => names.join(","),
        }
    }

    fn image(&self, name: &str, id: &str) -> String {
        if name.is_empty() {
            return "<no image>".to_owned();
        }
        if self.full {
            return name.to_owned();
        }
        let short = short_id(id);
        if !short.is_empty() && short_id(name) == short {
            return short;
        }
        match name.split_once('@') {
            Some((plain, _)) if !plain.is_empty() => plain.to_owned(),
            _ => name.to_owned(),
        }
    }

    fn mounts(&self, mounts: &[MountPoint]) -> String {
        let names = mounts.iter().map(|m| {
            let name =
                m.name.as_deref().filter(|n| !n.is_empty()).or(m.source.as_deref()).unwrap_or_default();
            if self.full { name.to_owned() } else { ellipsis(name, 15) }
        });
        names.collect::<Vec<_>>().join(",")
    }
}

/// `0B (virtual 1.98MB)`.
fn size(rw: i64, root: i64) -> String {
    let human = |bytes: i64| units::human_size(u64::try_from(bytes).unwrap_or(0));
    if root > 0 { format!("{} (virtual {})", human(rw), human(root)) } else { human(rw) }
}

fn sorted_labels(labels: &HashMap<String, String>) -> String {
    let mut pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.sort();
    pairs.join(",")
}

/// `0.0.0.0:80->80/tcp, 443/tcp`; neighbouring ports of one address and protocol as a range.
fn ports(mut ports: Vec<PortSummary>) -> String {
    struct Group {
        ip: String,
        protocol: String,
        first: u16,
        last: u16,
    }
    let show = |g: &Group| {
        let range = if g.first == g.last { g.first.to_string() } else { format!("{}-{}", g.first, g.last) };
        if g.ip.is_empty() {
            format!("{range}/{}", g.protocol)
        } else {
            format!("{}->{range}/{}", join_host_port(&g.ip, &range), g.protocol)
        }
    };
    let protocol = |p: &PortSummary| p.typ.map(|t| t.to_string()).unwrap_or_default();
    ports.sort_by_cached_key(|p| {
        (p.private_port, p.ip.clone().unwrap_or_default(), p.public_port, protocol(p))
    });
    let mut groups: Vec<Group> = Vec::new();
    let mut shown = Vec::new();
    let mut mapped = Vec::new();
    for port in ports {
        let (ip, protocol) = (port.ip.clone().unwrap_or_default(), protocol(&port));
        let current = port.private_port;
        if !ip.is_empty() && port.public_port != Some(current) {
            let public = port.public_port.unwrap_or_default().to_string();
            mapped.push(format!("{}->{current}/{protocol}", join_host_port(&ip, &public)));
            continue;
        }
        match groups.iter_mut().find(|g| g.ip == ip && g.protocol == protocol) {
            None => groups.push(Group { ip, protocol, first: current, last: current }),
            Some(group) if group.last.checked_add(1) == Some(current) => group.last = current,
            Some(group) => {
                shown.push(show(group));
                (group.first, group.last) = (current, current);
            }
        }
    }
    shown.extend(groups.iter().map(show));
    shown.extend(mapped);
    shown.join(", ")
}

fn join_host_port(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::PortSummaryTypeEnum::TCP;

    #[test]
    fn port_lists() {
        let port = |ip: Option<&str>, private: u16, public: Option<u16>| PortSummary {
            ip: ip.map(str::to_owned),
            private_port: private,
            public_port: public,
            typ: Some(TCP),
        };
        assert_eq!(
            ports(vec![port(None, 81, None), port(None, 80, None), port(None, 443, None)]),
            "80-81/tcp, 443/tcp"
        );
        assert_eq!(
            ports(vec![port(Some("0.0.0.0"), 80, Some(8080)), port(Some("::"), 80, Some(80))]),
            "[::]:80->80/tcp, 0.0.0.0:8080->80/tcp"
        );
    }

    #[test]
    fn sizes_are_asked_for_when_they_are_shown() {
        for (format, shown) in
            [("{{.Size}}", true), ("{{json .}}", true), ("{{json .Names}}", false), ("json", false)]
        {
            assert_eq!(shows_size(format), shown, "{format}");
        }
    }

    #[test]
    fn cells() {
        assert_eq!(size(0, 1_982_325), "0B (virtual 1.98MB)");
        assert_eq!(size(5, 0), "5B");
        let view = View::whole(Timestamp(0));
        assert_eq!(view.names(&["/a/b".into(), "/own".into()]), "own");
        assert_eq!(view.image("sha256:0123456789abcdef", "sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(view.image("x@sha256:00", "sha256:11"), "x");
        assert_eq!(view.image("", "sha256:11"), "<no image>");
    }
}
