//! Where a container's log lies, and what it tells of its container.

use crate::Engine;
use dhow_model::image::Image;
use dhow_model::log::{LogConfig, LogDriver, render_tag};
use dhow_model::{Error, Result};
use dhow_runtime::log::LogAbout;
use dhow_runtime::monitor::LogTarget;
use dhow_store::db::ContainerRecord;
use regex_lite::Regex;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The file that is written to, where the driver writes files.
pub(super) fn path(engine: &Engine, record: &ContainerRecord) -> Option<PathBuf> {
    match record.config.host.log.files().driver {
        LogDriver::JsonFile => Some(engine.layout().container_log(&record.id)),
        LogDriver::Local => Some(engine.layout().container_local_log(&record.id)),
        LogDriver::None | LogDriver::Syslog | LogDriver::Journald => None,
    }
}

/// What the monitor is told of the log; `None` when nothing is kept.
pub(super) fn target(engine: &Engine, record: &ContainerRecord, image: &Image) -> Result<Option<LogTarget>> {
    let config = &record.config.host.log;
    if config.driver == LogDriver::None {
        return Ok(None);
    }
    let path = path(engine, record).unwrap_or_default();
    if let (LogDriver::Local, Some(directory)) = (config.files().driver, path.parent()) {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        dhow_model::ResultExt::context(made, || format!("create {}", directory.display()))?;
    }
    let hostname = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let tag = match config.tag.as_str() {
        "" => record.id.short().to_owned(),
        template => render_tag(template, |field| tag_field(record, image, field))?,
    };
    let about = LogAbout {
        id: record.id.to_string(),
        name: record.name.clone(),
        image: record.config.image.clone(),
        tag,
        hostname,
        attributes: attributes(record)?,
    };
    Ok(Some(LogTarget { path, config: config.clone(), about }))
}

fn tag_field(record: &ContainerRecord, image: &Image, field: &str) -> Option<String> {
    Some(match field {
        "ID" => record.id.short().to_owned(),
        "FullID" => record.id.to_string(),
        "Name" => record.name.clone(),
        "ImageID" => image.id.short().to_owned(),
        "ImageFullID" => image.id.to_string(),
        "ImageName" => record.config.image.clone(),
        // Docker's is "docker".
        "DaemonName" => "dhow".to_owned(),
        _ => return None,
    })
}

/// The labels and variables that every entry carries, those that there are: by name, and by expression.
fn attributes(record: &ContainerRecord) -> Result<BTreeMap<String, String>> {
    let config = &record.config.host.log;
    let labels = record.config.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables = record.config.env.iter().filter_map(|entry| entry.split_once('='));
    let mut carried = BTreeMap::new();
    carry(&mut carried, labels, &config.labels, expression("labels-regex", &config.labels_regex)?);
    carry(&mut carried, variables, &config.env, expression("env-regex", &config.env_regex)?);
    Ok(carried)
}

fn carry<'a>(
    carried: &mut BTreeMap<String, String>,
    all: impl Iterator<Item = (&'a str, &'a str)>,
    names: &[String],
    matching: Option<Regex>,
) {
    let wanted = |name: &str| {
        names.iter().any(|have| have == name) || matching.as_ref().is_some_and(|regex| regex.is_match(name))
    };
    carried.extend(
        all.filter(|(name, _)| wanted(name)).map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
}

/// Refuses an expression that is none.
pub(super) fn check(config: &LogConfig) -> Result<()> {
    expression("labels-regex", &config.labels_regex)?;
    expression("env-regex", &config.env_regex).map(drop)
}

fn expression(option: &str, text: &str) -> Result<Option<Regex>> {
    if text.is_empty() {
        return Ok(None);
    }
    Regex::new(text)
        .map(Some)
        .map_err(|error| Error::invalid(format!("invalid log opt {option}={text}: {error}")))
}
