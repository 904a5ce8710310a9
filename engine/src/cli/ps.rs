//! `dhow ps`: lists containers.

use crate::cli::arguments::Rules;
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::listing::{Format, Row, Shown, filter_map, parse_filter};
use crate::cli::output;
use crate::cli::table::{ellipsis, short_id};
use crate::cli::template::print::quote;
use crate::local_time::Zone;
use bollard::models::{ContainerSummary, MountPoint, PortSummary};
use bollard::query_parameters::ListContainersOptionsBuilder;
use clap::Parser;
use dhow_model::{Timestamp, units};
use std::collections::HashMap;
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
    let mut options = ListContainersOptionsBuilder::default().all(args.all).size(size);
    if last > 0 {
        options = options.limit(last);
    }
    if !args.filter.is_empty() {
        options = options.filters(&filter_map(&args.filter));
    }
    let containers = context.client().await?.docker.list_containers(Some(options.build())).await?;
    if args.quiet && args.format.as_deref().is_none_or(str::is_empty) {
        let ids = containers.iter().map(|c| {
            let id = c.id.as_deref().unwrap_or_default();
            if args.no_trunc { format!("{id}\n") } else { format!("{}\n", short_id(id)) }
        });
        output::print(&ids.collect::<String>())?;
        return Ok(0);
    }
    let view = View {
        full: args.no_trunc,
        now: Timestamp::from(SystemTime::now()),
        zone: Zone::local(),
        shown: format.shown(),
    };
    output::print(&format.render(&HEADERS, containers.into_iter().map(|c| view.row(c)))?)?;
    Ok(0)
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

    pub(crate) fn row(&self, c: ContainerSummary) -> Row {
        let id = c.id.unwrap_or_default();
        let created = Timestamp::from_seconds(c.created.unwrap_or_default());
        let mounts = c.mounts.unwrap_or_default();
        let labels = c.labels.unwrap_or_default();
        let field = |name, value: &dyn Fn() -> String| self.shown.field(name, value);
        let fields = [
            field("ID", &|| if self.full { id.clone() } else { short_id(&id) }),
            field("Names", &|| self.names(c.names.as_deref().unwrap_or_default())),
            field("Image", &|| {
                self.image(c.image.as_deref().unwrap_or_default(), c.image_id.as_deref().unwrap_or_default())
            }),
            field("Command", &|| {
                let command = c.command.as_deref().unwrap_or_default();
                if self.full { quote(command) } else { quote(&ellipsis(command, 20)) }
            }),
            field("CreatedAt", &|| self.zone.go_string(created)),
            field("RunningFor", &|| format!("{} ago", units::human_duration(self.now.since(created)))),
            field("Ports", &|| ports(c.ports.clone().unwrap_or_default())),
            field("State", &|| c.state.map(|s| s.to_string()).unwrap_or_default()),
            field("Status", &|| c.status.clone().unwrap_or_default()),
            field("Size", &|| size(c.size_rw.unwrap_or_default(), c.size_root_fs.unwrap_or_default())),
            field("Labels", &|| sorted_labels(&labels)),
            field("Mounts", &|| self.mounts(&mounts)),
            field("LocalVolumes", &|| {
                mounts.iter().filter(|m| m.driver.as_deref() == Some("local")).count().to_string()
            }),
            field("Networks", &|| {
                let networks = c.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
                let mut names: Vec<_> =
                    networks.into_iter().flat_map(|n| n.keys().map(String::as_str)).collect();
                names.sort_unstable();
                names.join(",")
            }),
        ];
        let platform = ("Platform", serde_json::Value::Null);
        Row::new(fields.into_iter().flatten().chain([platform])).with_labels(labels)
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
