//! `dhow ps`: lists containers.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, wire};
use crate::cli::context::Context;
use crate::cli::elements::Elements;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::listing::{
    CONTAINER_CONTEXT, Format, Shown, filter_map, label, parse_filter, wrong_arguments,
};
use crate::cli::output;
use crate::cli::table::{ellipsis, short};
use crate::cli::template::print::quote;
use crate::cli::template::{Data, Template};
use crate::local_time::Zone;
use bollard::models::{MountPoint, PortSummary};
use clap::Parser;
use dhow_model::{Timestamp, units};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::OnceCell;
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
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
                   state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n\
                   labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";
const RAW_QUIET: &str = "container_id: {{.ID}}";
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
    let asked = args.format.as_deref().filter(|f| !f.is_empty());
    let view = |shown| View {
        full: args.no_trunc,
        now: Timestamp::from(SystemTime::now()),
        zone: Zone::local(),
        shown,
    };
    asked.map_or(Ok(()), |text| check(text, &view(Shown::everything())))?;
    let text = match asked {
        Some(text) => Some(text.to_owned()),
        None if args.quiet => None,
        None => context.setting("psFormat"),
    };
    let (table, raw) = match args.size {
        true => (format!("{TABLE}\t{{{{.Size}}}}"), format!("{RAW}size: {{{{.Size}}}}\n")),
        false => (TABLE.to_owned(), RAW.to_owned()),
    };
    let raw = if args.quiet { RAW_QUIET } else { &raw };
    let format = Format::parse(Format::raw_or(text.as_deref(), raw), &table)?;
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
    let answer = context.client().await?.get(route.as_str()).await?;
    if args.quiet && asked.is_some() {
        output::warn_line("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    if args.quiet && asked != Some("raw") {
        let mut ids = String::new();
        each(answer, |listed| {
            ids.push_str(if args.no_trunc { &listed.id } else { short(&listed.id) });
            ids.push('\n');
            Ok(())
        })
        .await?;
        output::print(&ids)?;
        return Ok(0);
    }
    let view = view(format.shown());
    let mut picture = format.begin(&HEADERS)?;
    each(answer, |listed| picture.add(&view.line(listed)?)).await?;
    output::print(&picture.finish())?;
    Ok(0)
}

/// A template is tried before anything is asked for, also when there is no row to show, as Docker does.
fn check(format: &str, view: &View) -> Outcome<()> {
    let failed =
        |what: &'static str| move |why: String| Failure::new(format!("failed to {what} template: {why}"));
    let template = Template::parse(format).map_err(failed("parse"))?;
    template.execute(&view.line(Listed::default())?).map(drop).map_err(failed("execute"))
}

/// Shows `visit` the rows of an answer, each as soon as it is there.
async fn each(answer: Response<Incoming>, mut visit: impl FnMut(Listed<'_>) -> Outcome<()>) -> Outcome<()> {
    let mut body = answer.into_body();
    let mut elements = Elements::default();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(wire)?.into_data() else { continue };
        elements.push(&bytes).map_err(wire)?;
        while let Some(listed) = elements.next().map_err(wire)? {
            visit(listed)?;
        }
    }
    elements.finish().map_err(wire)
}

/// What a row of `GET /containers/json` holds that lists show. A thousand of them are read one at a time, and what
/// is as it was sent stays where it is, what few lists show unread: `bollard`'s type is 750 bytes before its texts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Listed<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    names: Option<Vec<Name<'a>>>,
    #[serde(borrow)]
    image: Cow<'a, str>,
    #[serde(rename = "ImageID", borrow)]
    image_id: Cow<'a, str>,
    #[serde(borrow)]
    command: Cow<'a, str>,
    created: i64,
    #[serde(borrow)]
    ports: Option<&'a RawValue>,
    size_rw: Option<i64>,
    size_root_fs: Option<i64>,
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    network_settings: Option<&'a RawValue>,
    #[serde(borrow)]
    mounts: Option<&'a RawValue>,
}

impl Listed<'_> {
    /// The image's part of its size is told elsewhere.
    pub(crate) fn without_image_size(self) -> Self {
        Self { size_root_fs: None, ..self }
    }
}

/// In a list, serde borrows only where a type of its own says so.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Name<'_> {
    fn without_slash(&self) -> &str {
        self.0.strip_prefix('/').unwrap_or(&self.0)
    }
}

/// The names of its networks.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Joined {
    networks: Option<BTreeMap<String, IgnoredAny>>,
}

/// Reads a part that is shown. Engines write `null` for what is empty.
fn part<T: Default + DeserializeOwned>(raw: Option<&RawValue>) -> Outcome<T> {
    let read = raw.map(|raw| serde_json::from_str::<Option<T>>(raw.get())).transpose().map_err(wire)?;
    Ok(read.flatten().unwrap_or_default())
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

/// One container as its list shows it: each field is made when it is asked for.
pub(crate) struct Line<'a> {
    view: &'a View,
    listed: Listed<'a>,
    ports: Vec<PortSummary>,
    labels: HashMap<String, String>,
    networks: BTreeMap<String, IgnoredAny>,
    mounts: Vec<MountPoint>,
    /// All fields, once something asks for more than a text.
    whole: OnceCell<Value>,
}

impl View {
    /// Every field; cut to what a table has room for, unless they are wanted in full.
    pub(crate) fn whole(now: Timestamp, full: bool) -> Self {
        Self { full, now, zone: Zone::local(), shown: Shown::everything() }
    }

    /// # Errors
    /// When a part that is shown is not what it should be.
    pub(crate) fn line<'a>(&'a self, listed: Listed<'a>) -> Outcome<Line<'a>> {
        let when = |fields: &[&str], raw: Option<&'a RawValue>| {
            raw.filter(|_| fields.iter().any(|field| self.shown.has(field)))
        };
        Ok(Line {
            view: self,
            ports: part(when(&["Ports"], listed.ports))?,
            labels: part(when(&["Labels", "Label"], listed.labels))?,
            networks: part::<Joined>(when(&["Networks"], listed.network_settings))?
                .networks
                .unwrap_or_default(),
            mounts: part(when(&["Mounts", "LocalVolumes"], listed.mounts))?,
            listed,
            whole: OnceCell::new(),
        })
    }
}

/// The fields that are texts.
const TEXTS: [&str; 14] = [
    "ID",
    "Names",
    "Image",
    "Command",
    "CreatedAt",
    "RunningFor",
    "Ports",
    "State",
    "Status",
    "Size",
    "Labels",
    "Mounts",
    "LocalVolumes",
    "Networks",
];

impl Data for Line<'_> {
    fn value(&self) -> &Value {
        self.whole.get_or_init(|| {
            let fields = TEXTS.into_iter().filter_map(|name| {
                let mut text = String::new();
                self.append_text(name, &mut text).then(|| (name.to_owned(), text.into()))
            });
            // What Docker does not know of an image of one platform.
            Value::Object(fields.chain([("Platform".to_owned(), Value::Null)]).collect())
        })
    }

    fn append_text(&self, field: &str, text: &mut String) -> bool {
        let (view, c) = (self.view, &self.listed);
        let created = || Timestamp::from_seconds(c.created);
        match field {
            "ID" => text.push_str(if view.full { &c.id } else { short(&c.id) }),
            "Names" => self.append_names(text),
            "Image" => text.push_str(view.image(&c.image, &c.image_id)),
            "Command" if view.full => text.push_str(&quote(&c.command)),
            "Command" => text.push_str(&quote(&ellipsis(&c.command, 20))),
            "CreatedAt" => text.push_str(&view.zone.go_string(created())),
            "RunningFor" => {
                text.push_str(&units::human_duration(view.now.since(created())));
                text.push_str(" ago");
            }
            "Ports" => text.push_str(&ports(&self.ports)),
            "State" => text.push_str(&c.state),
            "Status" => text.push_str(&c.status),
            "Size" => text.push_str(&size(c.size_rw.unwrap_or(0), c.size_root_fs.unwrap_or(0))),
            "Labels" => text.push_str(&sorted_labels(&self.labels)),
            "Mounts" => text.push_str(&view.mounts(&self.mounts)),
            "LocalVolumes" => {
                let local = self.mounts.iter().filter(|m| m.driver.as_deref() == Some("local"));
                text.push_str(&local.count().to_string());
            }
            "Networks" => {
                let names: Vec<&str> = self.networks.keys().map(String::as_str).collect();
                text.push_str(&names.join(","));
            }
            _ => return false,
        }
        true
    }

    fn type_name(&self) -> Option<&str> {
        Some(CONTAINER_CONTEXT)
    }

    fn method(&self, name: &str, args: &[Value]) -> Option<Value> {
        label(&self.labels, name, args)
    }

    fn wrong_arguments(&self, name: &str, given: usize) -> Option<String> {
        wrong_arguments(name, given)
    }
}

impl Line<'_> {
    /// The name without its slash; with `--no-trunc` also those that links gave it.
    fn append_names(&self, text: &mut String) {
        let names = self.listed.names.as_deref().unwrap_or_default();
        let own = names.iter().map(Name::without_slash).find(|name| !name.contains('/'));
        match own {
            Some(own) if !self.view.full => text.push_str(own),
            _ => {
                let all: Vec<&str> = names.iter().map(Name::without_slash).collect();
                text.push_str(&all.join(","));
            }
        }
    }
}

impl View {
    fn image<'a>(&self, name: &'a str, id: &'a str) -> &'a str {
        if name.is_empty() {
            return "<no image>";
        }
        if self.full {
            return name;
        }
        let short_of_id = short(id);
        if !short_of_id.is_empty() && short(name) == short_of_id {
            return short_of_id;
        }
        match name.split_once('@') {
            Some((plain, _)) if !plain.is_empty() => plain,
            _ => name,
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
fn ports(ports: &[PortSummary]) -> String {
    if ports.is_empty() {
        return String::new();
    }
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
    let mut ports: Vec<&PortSummary> = ports.iter().collect();
    ports.sort_by_cached_key(|p| {
        (p.private_port, p.ip.clone().unwrap_or_default(), p.public_port, protocol(p))
    });
    let mut groups: Vec<Group> = Vec::new();
    let mut shown = Vec::new();
    let mut mapped = Vec::new();
    for port in ports {
        let (ip, protocol) = (port.ip.clone().unwrap_or_default(), protocol(port));
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
            ports(&[port(None, 81, None), port(None, 80, None), port(None, 443, None)]),
            "80-81/tcp, 443/tcp"
        );
        assert_eq!(
            ports(&[port(Some("0.0.0.0"), 80, Some(8080)), port(Some("::"), 80, Some(80))]),
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
        let view = View::whole(Timestamp(0), false);
        let line = |json: &'static str| view.line(serde_json::from_str(json).unwrap()).unwrap();
        let shown = |json, field| {
            let mut text = String::new();
            assert!(line(json).append_text(field, &mut text));
            text
        };
        assert_eq!(shown(r#"{"Names":["/a/b","/own"]}"#, "Names"), "own");
        assert_eq!(shown(r#"{"Names":null,"Labels":null,"Mounts":null}"#, "LocalVolumes"), "0");
        assert_eq!(shown(r#"{"Labels":{"b":"2","a":"1"}}"#, "Labels"), "a=1,b=2");
        assert_eq!(shown(r#"{"NetworkSettings":{"Networks":{"y":{},"x":{}}}}"#, "Networks"), "x,y");
        assert_eq!(line("{}").value().as_object().unwrap().len(), TEXTS.len() + 1);
        assert!(view.line(serde_json::from_str(r#"{"Ports":7}"#).unwrap()).is_err());
        assert_eq!(view.image("sha256:0123456789abcdef", "sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(view.image("x@sha256:00", "sha256:11"), "x");
        assert_eq!(view.image("", "sha256:11"), "<no image>");
    }
}
