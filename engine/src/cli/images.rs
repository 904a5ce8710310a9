//! `dhow images`: lists images.

use crate::cli::arguments::{ONE_PLATFORM, Rules};
use crate::cli::context::Context;
use crate::cli::exit::Outcome;
use crate::cli::listing::{Format, Row, filter_map, parse_filter};
use crate::cli::output;
use crate::cli::table::short_id;
use crate::local_time::Zone;
use bollard::models::ImageSummary;
use bollard::query_parameters::ListImagesOptionsBuilder;
use clap::Parser;
use dhow_model::{Timestamp, units};
use std::time::SystemTime;

/// List images
#[derive(Debug, Parser)]
#[command(name = "dhow images")]
pub(crate) struct Args {
    /// Show all images (default hides intermediate and dangling images)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// Only images of this repository, or with this tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[("--tree", ONE_PLATFORM)] };

pub(crate) const HEADERS: [(&str, &str); 11] = [
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const RAW_NAME: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\n";
const RAW_REST: &str = "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
const RAW_QUIET: &str = "image_id: {{.ID}}";

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let text = args
        .format
        .clone()
        .filter(|f| !f.is_empty())
        .or_else(|| if args.quiet { None } else { context.setting("imagesFormat") });
    let digest = if args.digests { "{{.Digest}}\t" } else { "" };
    let table = format!(
        "{{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest}{{{{.ID}}}}\t{{{{.CreatedSince}}}}\t{{{{.Size}}}}"
    );
    let raw = match (args.quiet, args.digests) {
        (true, _) => RAW_QUIET.to_owned(),
        (false, true) => format!("{RAW_NAME}digest: {{{{.Digest}}}}\n{RAW_REST}"),
        (false, false) => format!("{RAW_NAME}{RAW_REST}"),
    };
    let format = Format::parse(Format::raw_or(text.as_deref(), &raw), &table)?;
    let mut filters = args.filter.clone();
    if let Some(repository) = &args.repository {
        filters.push(("reference".to_owned(), repository.clone()));
    }
    let mut options = ListImagesOptionsBuilder::default().all(args.all).digests(args.digests);
    if !filters.is_empty() {
        options = options.filters(&filter_map(&filters));
    }
    let images = context.client().await?.docker.list_images(Some(options.build())).await?;
    let quiet = args.quiet && args.format.as_deref().is_none_or(str::is_empty);
    let shown_id = |id: &str| if args.no_trunc { id.to_owned() } else { short_id(id) };
    let now = Timestamp::from(SystemTime::now());
    let zone = Zone::local();
    let by_digest = args.digests || text.as_deref().is_some_and(|f| f.contains(".Digest"));
    let mut ids = String::new();
    let mut rows = Vec::new();
    for image in &images {
        for name in names(image, by_digest) {
            if quiet {
                ids.push_str(&shown_id(&image.id));
                ids.push('\n');
                continue;
            }
            let created = Timestamp::from_seconds(image.created);
            let size = units::human_size(u64::try_from(image.size).unwrap_or(0));
            let virtual_size = units::human_size_long(u64::try_from(image.size).unwrap_or(0));
            let count = |n: i64| if n < 0 { "N/A".to_owned() } else { n.to_string() };
            rows.push(
                Row::new([
                    ("ID", shown_id(&image.id).into()),
                    ("Repository", name.repository.into()),
                    ("Tag", name.tag.into()),
                    ("Digest", name.digest.into()),
                    ("CreatedSince", format!("{} ago", units::human_duration(now.since(created))).into()),
                    ("CreatedAt", zone.go_string(created).into()),
                    ("Size", size.into()),
                    ("Containers", count(image.containers).into()),
                    ("VirtualSize", virtual_size.into()),
                    ("SharedSize", "N/A".into()),
                    ("UniqueSize", "N/A".into()),
                ])
                .of_type("*formatter.imageContext"),
            );
        }
    }
    let shown = if quiet { ids } else { format.render(&HEADERS, &rows)? };
    output::print(&shown)?;
    Ok(0)
}

/// One line's name of an image.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    repository: String,
    tag: String,
    digest: String,
}

const NONE: &str = "<none>";

/// An image has a line for each tag, and for each digest when those are shown; or one without any name.
fn names(image: &ImageSummary, by_digest: bool) -> Vec<Name> {
    let digests: Vec<(&str, &str)> =
        image.repo_digests.iter().filter_map(|d| d.rsplit_once('@')).filter(|(r, _)| *r != NONE).collect();
    let mut names = Vec::new();
    for reference in &image.repo_tags {
        let Some((repository, tag)) = reference.rsplit_once(':') else { continue };
        if repository == NONE {
            continue;
        }
        let own: Vec<&str> = digests.iter().filter(|(r, _)| *r == repository).map(|(_, d)| *d).collect();
        let line = |digest: &str| Name {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest.to_owned(),
        };
        if by_digest && !own.is_empty() {
            names.extend(own.into_iter().map(line));
        } else {
            names.push(line(NONE));
        }
    }
    for (repository, digest) in digests {
        // A repository that has a tag was listed with it.
        if !names.iter().any(|n: &Name| n.repository == repository) {
            let digest = if by_digest { digest } else { NONE };
            names.push(Name {
                repository: repository.to_owned(),
                tag: NONE.to_owned(),
                digest: digest.to_owned(),
            });
        }
    }
    if names.is_empty() {
        names.push(Name { repository: NONE.to_owned(), tag: NONE.to_owned(), digest: NONE.to_owned() });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_image() {
        let image = |tags: &[&str], digests: &[&str]| ImageSummary {
            repo_tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            repo_digests: digests.iter().map(|t| (*t).to_owned()).collect(),
            ..Default::default()
        };
        let shown = |i: &ImageSummary, d| {
            names(i, d)
                .into_iter()
                .map(|n| format!("{} {} {}", n.repository, n.tag, n.digest))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(&image(&["h:5000/a:1", "a:2"], &[]), false), ["h:5000/a 1 <none>", "a 2 <none>"]);
        assert_eq!(shown(&image(&["a:1"], &["a@sha256:00"]), true), ["a 1 sha256:00"]);
        assert_eq!(shown(&image(&[], &["a@sha256:00"]), false), ["a <none> <none>"]);
        assert_eq!(shown(&image(&["<none>:<none>"], &["<none>@<none>"]), false), ["<none> <none> <none>"]);
    }
}
