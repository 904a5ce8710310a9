//! `ps`: containers by state, name, image, label, and what they weigh. Only the summaries of containers are read, a
//! tenth of a record each.

use crate::Engine;
use crate::filters::{Filters, Pattern};
use crate::network::{Joined, Places};
use dhow_model::image::Image;
use dhow_model::mount::MountSource;
use dhow_model::network::Published;
use dhow_model::state::Status;
use dhow_model::{ContainerId, Digest, Error, Result, Timestamp};
use dhow_store::db::{ContainerSummary, Txn};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Stopped ones too.
    pub all: bool,
    /// At most so many, the newest; implies `all`.
    pub limit: Option<usize>,
    /// With sizes, which walks every writable layer.
    pub size: bool,
    /// Docker's filters.
    pub filters: Filters,
}

/// One row.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The container.
    pub container: ContainerSummary,
    /// Bytes of its writable layer, and of that and its image together.
    pub size: Option<(u64, u64)>,
    /// Its networks.
    pub joined: Vec<Joined>,
    /// The ports that it publishes now.
    pub published: Vec<Published>,
}

const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATUSES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTHS: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];
/// Where a container stands that `ps` shows without `--all`.
const RUNNING: [Status; 3] = [Status::Running, Status::Paused, Status::Restarting];

/// Lists containers, the newest first.
///
/// # Errors
/// As for [`each`].
pub fn list(engine: &Engine, options: &ListOptions) -> Result<Vec<Summary>> {
    let mut found = Vec::new();
    each(engine, options, |summary| {
        found.push(summary);
        Ok(())
    })?;
    Ok(found)
}

/// Shows `visit` the containers, the newest first, as they are read: it must not wait, for the database is being read
/// meanwhile. With sizes, all are read before the first is shown.
///
/// # Errors
/// `InvalidArgument` for an unknown filter or a bad value; what `visit` returns.
pub fn each(
    engine: &Engine,
    options: &ListOptions,
    mut visit: impl FnMut(Summary) -> Result<()>,
) -> Result<()> {
    if !options.size {
        return each_without_size(engine, options, visit);
    }
    let mut found = Vec::new();
    each_without_size(engine, options, |summary| {
        found.push(summary);
        Ok(())
    })?;
    let images = engine.db()?.read(|txn| txn.images())?;
    let image_sizes: BTreeMap<_, _> =
        images.into_iter().map(|(image, _)| (image.id, image.size_bytes)).collect();
    found.into_iter().try_for_each(|row| {
        let rw = writable_bytes(engine, &row.container.id)?;
        let size = Some((rw, rw + image_sizes.get(&row.container.image_id).copied().unwrap_or(0)));
        visit(Summary { size, ..row })
    })
}

fn each_without_size(
    engine: &Engine,
    options: &ListOptions,
    mut visit: impl FnMut(Summary) -> Result<()>,
) -> Result<()> {
    let wanted = Wanted::parse(&options.filters)?;
    let all = options.all || options.limit.is_some() || wanted.names_states();
    let mut left = options.limit.unwrap_or(usize::MAX);
    engine.db()?.read(|txn| {
        let (places, mut ports) = (Places::read(txn)?, BTreeMap::<ContainerId, Vec<Published>>::new());
        for port in txn.published()? {
            ports.entry(port.container.clone()).or_default().push(port);
        }
        let edges = Edges::read(txn, &options.filters)?;
        let mut images = ImageNames::default();
        txn.each_container_summary((!all).then_some(&RUNNING), |mut container| {
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            images.name(txn, &mut container);
            if edges.hold(&container, &options.filters) {
                let about = &container.about;
                let joined = places.of(&container.id, &container.name, &about.network, &about.endpoints);
                let published = ports.remove(&container.id).unwrap_or_default();
                let summary = Summary { container, size: None, joined, published };
                if wanted.accepts(&summary) {
                    left -= 1;
                    visit(summary)?;
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    })
}

/// What images are called now.
#[derive(Default)]
struct ImageNames(HashMap<String, Option<Digest>>);

impl ImageNames {
    /// A container's image is called what it was made from for as long as that still means the same; then by its id.
    fn name(&mut self, txn: &Txn<'_>, row: &mut ContainerSummary) {
        let typed = &row.about.image;
        if !self.0.contains_key(typed) {
            self.0.insert(typed.clone(), txn.find_image_id(typed).ok());
        }
        if self.0.get(typed).and_then(Option::as_ref) != Some(&row.image_id) {
            row.about.image = row.image_id.to_string();
        }
    }
}

/// The filters that name other objects, looked up.
struct Edges {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    /// By the name that was asked for: the image's id, and those of all images that are made of it.
    ancestors: BTreeMap<String, BTreeSet<Digest>>,
}

impl Edges {
    fn read(txn: &Txn<'_>, filters: &Filters) -> Result<Self> {
        let created = |key: &str| -> Result<Option<Timestamp>> {
            filters.values(key).last().map(|who| txn.find_container(who).map(|r| r.created)).transpose()
        };
        let ancestors = filters
            .values("ancestor")
            .iter()
            // An image that is not there is nobody's ancestor.
            .filter_map(|name| txn.find_image(name).ok().map(|image| (name, image)))
            .map(|(name, image)| Ok((name.clone(), family(txn, &image)?)))
            .collect::<Result<_>>()?;
        Ok(Self { before: created("before")?, since: created("since")?, ancestors })
    }

    fn hold(&self, row: &ContainerSummary, filters: &Filters) -> bool {
        self.before.is_none_or(|edge| row.created < edge)
            && self.since.is_none_or(|edge| row.created > edge)
            && filters.any("ancestor", |name| {
                self.ancestors.get(name).is_some_and(|family| family.contains(&row.image_id))
            })
    }
}

/// An image and what is made of it: images whose lowest layers are all of its layers, and which have more.
fn family(txn: &Txn<'_>, image: &Image) -> Result<BTreeSet<Digest>> {
    let images = if image.layers.is_empty() { Vec::new() } else { txn.images()? };
    let children = images
        .into_iter()
        .map(|(other, _)| other)
        .filter(|other| other.layers.len() > image.layers.len() && other.layers.starts_with(&image.layers));
    Ok(children.map(|child| child.id).chain([image.id.clone()]).collect())
}

/// The filters that need nothing but the row, checked.
struct Wanted<'a> {
    filters: &'a Filters,
    names: Vec<Pattern>,
    ids: Vec<Pattern>,
    exposed: Vec<String>,
    published: Vec<String>,
    exit_codes: Vec<i32>,
    task: Option<bool>,
}

impl<'a> Wanted<'a> {
    fn parse(filters: &'a Filters) -> Result<Self> {
        filters.only(&FILTERS)?;
        if let Some(status) = filters.values("status").iter().find(|s| !STATUSES.contains(&s.as_str())) {
            return Err(Error::invalid(format!("invalid filter 'status={status}'")));
        }
        if let Some(health) = filters.values("health").iter().find(|h| !HEALTHS.contains(&h.as_str())) {
            return Err(Error::invalid(format!(
                "invalid value for health ({health}): must be one of none, starting, healthy, unhealthy"
            )));
        }
        let exit_code = |code: &String| {
            code.parse::<i32>()
                .map_err(|_| Error::invalid(format!("invalid filter 'exited={code}': want an exit code")))
        };
        let ports = |key: &str| -> Result<Vec<String>> {
            let lists: Result<Vec<_>> =
                filters.values(key).iter().map(|text| parse_ports(key, text)).collect();
            Ok(lists?.into_iter().flatten().collect())
        };
        Ok(Self {
            names: filters.patterns("name"),
            ids: filters.patterns("id"),
            exposed: ports("expose")?,
            published: ports("publish")?,
            exit_codes: filters.values("exited").iter().map(exit_code).collect::<Result<_>>()?,
            task: filters.flag("is-task")?,
            filters,
        })
    }

    /// Whether it asks for containers that `ps` would not show of itself.
    fn names_states(&self) -> bool {
        !self.filters.values("status").is_empty() || !self.exit_codes.is_empty()
    }

    fn accepts(&self, summary: &Summary) -> bool {
        let row = &summary.container;
        let (state, about) = (&row.state, &row.about);
        let on = |want: &str| {
            let is = |joined: &Joined| {
                joined.name == want
                    || joined.network.as_ref().is_some_and(|n| n.id.as_str().starts_with(want))
            };
            about.network.word() == want || summary.joined.iter().any(is)
        };
        let published: Vec<String> =
            summary.published.iter().map(|p| format!("{}/{}", p.host_port, p.protocol.as_str())).collect();
        let ended = state.status == Status::Exited && state.started_at.is_some();
        self.filters.any("status", |want| want == state.shown_status())
            && (self.exit_codes.is_empty() || (ended && self.exit_codes.contains(&state.exit_code)))
            && Pattern::any(&self.ids, row.id.as_str())
            // Docker's names have a slash in front, which users may write or not.
            && (Pattern::any(&self.names, &row.name) || Pattern::any(&self.names, &format!("/{}", row.name)))
            && self.filters.any("volume", |want| {
                about.mounts.iter().any(|mount| {
                    mount.target == want || matches!(&mount.source, MountSource::Volume { name, .. } if name == want)
                })
            })
            && self.filters.any("network", on)
            && self.filters.any("health", |want| {
                state.life.health.map_or("none", |health| health.status.as_str()) == want
            })
            && (self.exposed.is_empty() || about.exposed_ports.iter().any(|port| self.exposed.contains(port)))
            && (self.published.is_empty() || published.iter().any(|port| self.published.contains(port)))
            // No container is a service's, and all are isolated one way.
            && self.task != Some(true)
            && self.filters.any("isolation", |want| want == "default")
            && self.filters.labels_match(&about.labels)
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`: every port as it is kept.
fn parse_ports(key: &str, text: &str) -> Result<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => {
            Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
        }
        _ => Err(Error::invalid(format!("invalid filter '{key}={text}': want a port or a range of ports"))),
    }
}

/// Bytes that the files of the writable layer occupy, as their sizes say.
pub(crate) fn writable_bytes(engine: &Engine, id: &ContainerId) -> Result<u64> {
    crate::system::disk::tree_bytes(&engine.layout().container(id).join("upper"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_like_dockers() {
        let matches = |text: &str, name: &str| {
            Pattern::new(text).matches(name) || Pattern::new(text).matches(&format!("/{name}"))
        };
        for text in ["web", "^/web-1$", "^web-1$", "1$", "web-[0-9]", "^w.*1"] {
            assert!(matches(text, "web-1"), "{text}");
        }
        for text in ["^eb", "web$", "WEB", "(web-1"] {
            assert!(!matches(text, "web-1"), "{text}");
        }
        assert!(matches("(web", "(web"), "not an expression, but the name itself");
    }

    #[test]
    fn ports() {
        assert_eq!(parse_ports("expose", "80").unwrap(), ["80/tcp"]);
        assert_eq!(parse_ports("expose", "8000-8002/udp").unwrap(), ["8000/udp", "8001/udp", "8002/udp"]);
        for text in ["", "x", "2-1", "70000", "80/", "1-"] {
            assert!(parse_ports("expose", text).is_err() || text == "80/", "{text}");
        }
    }

    #[test]
    fn filters_are_checked() {
        let refused = |key: &str, value: &str| {
            let filters = Filters(BTreeMap::from([(key.to_owned(), vec![value.to_owned()])]));
            Wanted::parse(&filters).err().map(|error| error.to_string())
        };
        assert_eq!(refused("status", "exited"), None);
        assert_eq!(refused("status", "gone").unwrap(), "invalid filter 'status=gone'");
        assert_eq!(refused("color", "red").unwrap(), "invalid filter 'color'");
        assert_eq!(refused("is-task", "maybe").unwrap(), "invalid filter 'is-task=maybe'");
        assert!(refused("exited", "x").is_some() && refused("publish", "http").is_some());
    }
}
