//! `dhow system df`: what takes space.

use crate::cli::arguments::Rules;
use crate::cli::client::{Route, wire};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::listing::{self, Format, Row, fill, parse_template};
use crate::cli::table::short_id;
use crate::cli::template::{Data, Ordered};
use crate::cli::{images, output, ps, volume};
use bollard::models::{ImageSummary, Volume};
use clap::Parser;
use dhow_model::{Timestamp, units};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::SystemTime;

/// Show docker disk usage
#[derive(Debug, Parser)]
#[command(name = "dhow system df")]
pub(crate) struct Args {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

const TABLE: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const HEADERS: [(&str, &str); 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];
const RAW: &str = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\n\
                   reclaimable: {{.Reclaimable}}\n";
const IMAGES: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t\
                      {{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t\
                          {{.Status}}\t{{.Names}}";
const VOLUMES: &str = "{{.Name}}\t{{.Links}}\t{{.Size}}";
const BUILD_CACHE: &str = "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t\
                           {{.UsageCount}}\t{{.Shared}}";
const BUILD_CACHE_HEADERS: [(&str, &str); 7] = [
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

/// The answer since API 1.52.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(borrow)]
    image_usage: Kind<'a>,
    container_usage: Kind<'a>,
    volume_usage: Kind<'a>,
    build_cache_usage: Kind<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kind<'a> {
    active_count: u64,
    total_count: u64,
    reclaimable: u64,
    total_size: u64,
    /// `null` for none.
    #[serde(borrow, default)]
    items: Option<&'a RawValue>,
}

impl<'a> Kind<'a> {
    fn row(&self, name: &str, with_percent: bool) -> Row {
        let mut reclaimable = units::human_size_long(self.reclaimable);
        if with_percent && self.total_size > 0 {
            reclaimable += &format!(" ({}%)", self.reclaimable * 100 / self.total_size);
        }
        Row::new([
            ("Type", name.into()),
            ("TotalCount", self.total_count.to_string().into()),
            ("Active", self.active_count.to_string().into()),
            ("Size", units::human_size_long(self.total_size).into()),
            ("Reclaimable", reclaimable.into()),
        ])
        .of_type("*formatter.diskUsageImagesContext")
    }

    fn items<T: Deserialize<'a>>(&self) -> Outcome<Vec<T>> {
        self.items.map_or(Ok(Vec::new()), |items| serde_json::from_str(items.get()).map_err(wire))
    }
}

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let mut route = Route::new("/system/df");
    if args.verbose {
        route = route.with("verbose", "1");
    }
    let text = args.format.as_deref().filter(|f| !f.is_empty());
    let format = Format::parse(Format::raw_or(text, RAW), TABLE)?;
    let answer = context.client().await?.get_bytes(route.as_str()).await?;
    let answer: Answer<'_> = serde_json::from_slice(&answer).map_err(wire)?;
    let now = Timestamp::from(SystemTime::now());
    // Docker cuts ids and commands in tables alone.
    let view = ps::View::whole(now, !matches!(format, Format::Table(_)));
    let lists = |full_ids| Lists::of(&answer, now, &view, full_ids);
    let shown = match (args.verbose, &format) {
        (false, _) => format.render(
            &HEADERS,
            [
                answer.image_usage.row("Images", true),
                answer.container_usage.row("Containers", true),
                answer.volume_usage.row("Local Volumes", true),
                answer.build_cache_usage.row("Build Cache", false),
            ],
        )?,
        (true, Format::Table(_)) => lists(false)?.tables(answer.build_cache_usage.total_size)?,
        (true, Format::Json) => format!("{}\n", lists(true)?.json()),
        (true, Format::Lines(_)) => {
            let whole = Ordered::parse(lists(true)?.json().as_bytes()).map_err(wire)?;
            format!("{}\n", fill(&parse_template(text.unwrap_or_default())?, &whole)?)
        }
    };
    output::print(&shown)?;
    Ok(0)
}

/// The rows of `--verbose`.
struct Lists<'a> {
    images: Vec<Row>,
    containers: Vec<ps::Line<'a>>,
    volumes: Vec<Row>,
}

impl<'a> Lists<'a> {
    fn of(answer: &Answer<'a>, now: Timestamp, view: &'a ps::View, full_ids: bool) -> Outcome<Self> {
        let containers: Vec<ps::Listed<'_>> = answer.container_usage.items()?;
        let images: Vec<ImageSummary> = answer.image_usage.items()?;
        let volumes: Vec<Volume> = answer.volume_usage.items()?;
        Ok(Self {
            images: images.iter().map(|image| image_row(image, now, full_ids)).collect(),
            // The image's part of a container's size is in the images' list.
            containers: containers
                .into_iter()
                .map(|c| view.line(c.without_image_size()))
                .collect::<Outcome<_>>()?,
            volumes: volumes.into_iter().map(volume::ls::row).collect(),
        })
    }

    fn tables(&self, build_cache_bytes: u64) -> Outcome<String> {
        fn table<R: Data>(template: &str, headers: &[(&str, &str)], rows: &[R]) -> Outcome<String> {
            Format::parse(None, template)?.render(headers, rows)
        }
        Ok(format!(
            "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\n\
             Build cache usage: {}\n\n{}",
            table(IMAGES, &images::HEADERS, &self.images)?,
            table(CONTAINERS, &ps::HEADERS, &self.containers)?,
            table(VOLUMES, &volume::ls::HEADERS, &self.volumes)?,
            units::human_size_long(build_cache_bytes),
            table::<Row>(BUILD_CACHE, &BUILD_CACHE_HEADERS, &[])?,
        ))
    }

    /// In the order of Docker's fields.
    fn json(&self) -> String {
        fn list<R: Data>(rows: &[R]) -> String {
            rows.iter().map(listing::json).collect::<Vec<_>>().join(",")
        }
        format!(
            "{{\"Images\":[{}],\"Containers\":[{}],\"Volumes\":[{}],\"BuildCache\":[]}}",
            list(&self.images),
            list(&self.containers),
            list(&self.volumes)
        )
    }
}

/// One line per image, by its first tag.
fn image_row(image: &ImageSummary, now: Timestamp, full_id: bool) -> Row {
    let name = image.repo_tags.first().and_then(|tag| tag.rsplit_once(':')).unwrap_or(("<none>", "<none>"));
    let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
    let long = |n: i64| units::human_size_long(bytes(n));
    let created = Timestamp::from_seconds(image.created);
    Row::new([
        ("ID", if full_id { image.id.clone() } else { short_id(&image.id) }.into()),
        ("Repository", name.0.into()),
        ("Tag", name.1.into()),
        ("Digest", "".into()),
        ("CreatedSince", format!("{} ago", units::human_duration(now.since(created))).into()),
        ("CreatedAt", crate::local_time::Zone::local().go_string(created).into()),
        ("Size", units::human_size(bytes(image.size)).into()),
        ("Containers", image.containers.to_string().into()),
        ("VirtualSize", long(image.size).into()),
        ("SharedSize", long(image.shared_size).into()),
        ("UniqueSize", long(image.size - image.shared_size).into()),
    ])
    .of_type("*formatter.imageContext")
}
