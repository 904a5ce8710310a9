//! `system check`: whether what is on the disk is what the database and the digests say. With `repair`, what is left
//! over goes, and what is broken is taken away where nothing needs it.
//!
//! | found | a problem? | repair |
//! |---|---|---|
//! | the database is not sound | yes | none: its file is left alone |
//! | a blob or layer whose bytes are not its digest's, or that is missing | yes | the images that need it are removed, to be pulled again, unless a container was made of one |
//! | the same of a signature or another referrer of an image | yes | the referrer is forgotten, to be pulled again |
//! | a container's or volume's directory is missing | yes | none: `rm` is the user's |
//! | data of a volume that the database does not know | yes | none: it may be dear to somebody |
//! | the firewall's table of networks, or a bridge that containers are on, is gone | yes | the table is written anew |
//! | blobs, layers, half-fetched blobs, directories of containers that nothing knows | no | removed |
//!
//! Everything is read once: blobs are hashed, layers are written as tar into a hash.

use crate::Engine;
use crate::image::referrers::{is_about, is_about_digests};
use crate::image::{gc, remove};
use dhow_model::image::Image;
use dhow_model::{ContainerId, Digest, ErrorKind, Reference, Result, ResultExt};
use dhow_store::db::{Artifact, ContainerSummary, Referrer};
use dhow_store::partial::Partials;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the check has to say about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing: `layer`, `blob`, `container`, ….
    pub kind: &'static str,
    /// Which: a digest, an id, a name.
    pub subject: String,
    /// What is wrong with it, in one sentence without a capital.
    pub what: String,
    /// Whether something is broken; otherwise it is merely left over.
    pub broken: bool,
    /// What was done about it.
    pub repaired: Option<String>,
}

impl Finding {
    fn broken(kind: &'static str, subject: impl ToString, what: impl Into<String>) -> Self {
        Self { kind, subject: subject.to_string(), what: what.into(), broken: true, repaired: None }
    }

    fn left_over(kind: &'static str, subject: impl ToString, what: impl Into<String>) -> Self {
        Self { broken: false, ..Self::broken(kind, subject, what) }
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Layers that were read.
    pub layers: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Images, containers and volumes that were looked at.
    pub images: u64,
    /// See `images`.
    pub containers: u64,
    /// See `images`.
    pub volumes: u64,
    /// In the order of the table above.
    pub findings: Vec<Finding>,
}

/// Checks everything. Nobody removes images meanwhile; they may be pulled and used.
///
/// # Errors
/// When a directory or the database cannot be read at all. What is merely wrong is a finding.
pub fn check(engine: &Engine, repair: bool) -> Result<Report> {
    let mut report = Report::default();
    if let Err(error) = engine.db()?.check() {
        report.findings.push(Finding::broken(
            "database",
            engine.layout().database().display(),
            error.to_string(),
        ));
        // Nothing that it says can be relied on.
        return Ok(report);
    }
    {
        let _lock = gc::installing(engine)?;
        images(engine, &mut report)?;
    }
    containers(engine, &mut report, repair)?;
    volumes(engine, &mut report)?;
    networks(engine, &mut report, repair)?;
    if repair {
        repair_images(engine, &mut report)?;
    }
    Ok(report)
}

/// Blobs, layers, and what images need of them.
fn images(engine: &Engine, report: &mut Report) -> Result<()> {
    let (images, layer_rows, needed_blobs, others) = engine.db()?.read(|txn| {
        let others = Others { referrers: txn.referrers()?, artifacts: txn.artifacts()? };
        Ok((txn.images()?, txn.layers()?, gc::referenced_blobs(txn)?, others))
    })?;
    report.images = (images.len() + others.artifacts.len()) as u64;
    let mut bad = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (digest, bytes) in engine.content().list()? {
        if !needed_blobs.contains(&digest) {
            report.findings.push(Finding::left_over(
                "blob",
                &digest,
                format!("no image needs its {bytes} bytes"),
            ));
            continue;
        }
        if let Err(error) = engine.content().verify(&digest) {
            bad.insert(digest.clone(), error.to_string());
        }
        report.blobs += 1;
        report.bytes += bytes;
        seen.insert(digest);
    }
    for missing in needed_blobs.difference(&seen) {
        bad.insert(missing.clone(), "it is missing".to_owned());
    }
    complain("blob", &bad, &images, &others, report);

    let rows: BTreeSet<Digest> = layer_rows.into_iter().map(|row| row.diff_id).collect();
    let installed: BTreeSet<Digest> = engine.layers().list()?.into_iter().collect();
    let mut bad = BTreeMap::new();
    for diff_id in rows.difference(&installed) {
        bad.insert(diff_id.clone(), "it is missing".to_owned());
    }
    for diff_id in &installed {
        if !rows.contains(diff_id) {
            report.findings.push(Finding::left_over("layer", diff_id, "no image needs it"));
            continue;
        }
        if let Err(error) = engine.layers().export_tar(diff_id, &mut std::io::sink()) {
            bad.insert(diff_id.clone(), error.to_string());
        }
        report.layers += 1;
        report.bytes += engine.layers().info(diff_id).map_or(0, |info| info.tar_bytes);
    }
    complain("layer", &bad, &images, &Others::default(), report);
    let partial = Partials::open(engine.layout())?;
    for (digest, bytes) in partial.list()? {
        let what = format!("{bytes} bytes were fetched; the next pull goes on there");
        report.findings.push(Finding::left_over("partial blob", digest, what));
    }
    Ok(())
}

/// All that an image needs: its layers, its configuration, its manifest, and indexes that it was pulled by.
fn parts(image: &Image, references: &[Reference]) -> Vec<Digest> {
    let index = references.iter().filter_map(Reference::digest);
    image.layers.iter().chain([&image.id]).chain(&image.manifest).chain(index).cloned().collect()
}

/// What has blobs beside images.
#[derive(Default)]
struct Others {
    referrers: Vec<Referrer>,
    artifacts: Vec<(Artifact, Vec<Reference>)>,
}

/// Whether an artifact needs a blob.
fn is_part(artifact: &Artifact, references: &[Reference], digest: &Digest) -> bool {
    artifact.parts().contains_key(digest) || references.iter().any(|r| r.digest() == Some(digest))
}

/// Findings for broken things, naming the images that need them.
fn complain(
    kind: &'static str,
    bad: &BTreeMap<Digest, String>,
    images: &[(Image, Vec<Reference>)],
    others: &Others,
    report: &mut Report,
) {
    for (digest, what) in bad {
        let in_referrers: Vec<&Referrer> =
            others.referrers.iter().filter(|r| r.parts().any(|part| part.digest == *digest)).collect();
        let users = images.iter().filter(|(image, references)| {
            parts(image, references).contains(digest)
                || in_referrers.iter().any(|referrer| is_about(referrer, image, references))
        });
        let name = |id: &Digest, references: &[Reference]| match references.iter().find(|r| r.tag().is_some())
        {
            Some(reference) => reference.familiar(),
            None => id.short().to_owned(),
        };
        let mut names: Vec<String> = users.map(|(image, references)| name(&image.id, references)).collect();
        let of_artifacts = others.artifacts.iter().filter(|(artifact, references)| {
            let is_about = |referrer: &&Referrer| is_about_digests(referrer, Some(artifact.id()), references);
            is_part(artifact, references, digest) || in_referrers.iter().any(is_about)
        });
        names.extend(of_artifacts.map(|(artifact, references)| name(artifact.id(), references)));
        let what = match names.as_slice() {
            [] => what.clone(),
            names => format!("{what} (needed by {})", names.join(", ")),
        };
        report.findings.push(Finding::broken(kind, digest, what));
    }
}

fn containers(engine: &Engine, report: &mut Report, repair: bool) -> Result<()> {
    let layout = engine.layout();
    // Directories first: a container's row is there before its directory, and goes after it.
    let mut directories = BTreeSet::new();
    for parent in [layout.containers(), layout.container_states()] {
        directories.extend(names_in(&parent)?.into_iter().filter_map(|name| ContainerId::parse(&name).ok()));
    }
    let rows = engine.db()?.read(|txn| txn.container_summaries())?;
    let known: BTreeSet<&ContainerId> = rows.iter().map(|row| &row.id).collect();
    report.containers = rows.len() as u64;
    for row in &rows {
        let directory = layout.container(&row.id);
        if was_prepared(row) && !directory.join("upper").is_dir() {
            let what = format!("its writable layer {} is missing", directory.join("upper").display());
            report.findings.push(Finding::broken("container", &row.name, what));
        }
    }
    for id in directories {
        let paths = [layout.container(&id), layout.container_state(&id)];
        if known.contains(&id) || !paths.iter().any(|path| path.exists()) {
            continue;
        }
        let mut finding =
            Finding::left_over("container", &id, "a directory of a container that is not there");
        if repair {
            paths.iter().try_for_each(|path| remove_tree(path))?;
            finding.repaired = Some("removed".to_owned());
        }
        report.findings.push(finding);
    }
    Ok(())
}

/// Whether it was started, and so has a writable layer.
fn was_prepared(row: &ContainerSummary) -> bool {
    row.state.started_at.is_some()
}

/// What the kernel has of networks. Nothing of it is on the disk, so all can be made again.
fn networks(engine: &Engine, report: &mut Report, repair: bool) -> Result<()> {
    for fault in crate::network::check::find(engine)? {
        let mut finding = Finding::broken("network", fault.subject, fault.what);
        if fault.is_table && repair {
            crate::network::check::repair(engine)?;
            finding.repaired = Some("written anew".to_owned());
        }
        report.findings.push(finding);
    }
    Ok(())
}

fn volumes(engine: &Engine, report: &mut Report) -> Result<()> {
    let layout = engine.layout();
    let directories = names_in(&layout.volumes())?;
    let rows = engine.db()?.read(|txn| txn.volumes())?;
    report.volumes = rows.len() as u64;
    for row in &rows {
        let data = layout.volume_data(&row.name);
        if !data.is_dir() {
            let what = format!("its directory {} is missing", data.display());
            report.findings.push(Finding::broken("volume", &row.name, what));
        }
    }
    for name in directories {
        // Names with a dot in front are what a removal or a copy has under way.
        let is_volume = !name.starts_with('.');
        if is_volume && !rows.iter().any(|row| row.name == name) && layout.volume_data(&name).is_dir() {
            let what = format!(
                "there is data in {}, and no such volume: create it to have the data back, or remove the directory",
                layout.volume_data(&name).display()
            );
            report.findings.push(Finding::broken("volume", name, what));
        }
    }
    Ok(())
}

/// Removes what is left over, and images that cannot be relied on.
fn repair_images(engine: &Engine, report: &mut Report) -> Result<()> {
    let bad: BTreeSet<String> = report
        .findings
        .iter()
        .filter(|f| f.broken && matches!(f.kind, "blob" | "layer"))
        .map(|f| f.subject.clone())
        .collect();
    let mut kept = BTreeMap::new();
    if !bad.is_empty() {
        for (image, references) in engine.db()?.read(|txn| txn.images())? {
            if !parts(&image, &references).iter().any(|part| bad.contains(part.as_str())) {
                continue;
            }
            let users = engine.db()?.read(|txn| txn.containers_using_image(&image.id))?;
            if let Some(user) = users.first() {
                kept.extend(
                    parts(&image, &references).into_iter().map(|part| (part, user.short().to_owned())),
                );
                continue;
            }
            match remove::remove(engine, image.id.as_str(), true) {
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }
    remove_artifacts(engine, &bad)?;
    let forgotten = forget_referrers(engine, &bad)?;
    let partial = Partials::open(engine.layout())?;
    partial.sweep()?;
    // What a pull fetches just now stays.
    let fetched: BTreeSet<Digest> = partial.list()?.into_iter().map(|(digest, _)| digest).collect();
    let lock = gc::alone(engine)?;
    let swept = gc::sweep(engine, &lock)?;
    drop(lock);
    let gone: BTreeSet<&str> = swept.layers.iter().chain(&swept.blobs).map(Digest::as_str).collect();
    for finding in &mut report.findings {
        finding.repaired = match (finding.kind, finding.broken) {
            ("blob" | "layer", _) if gone.contains(finding.subject.as_str()) => Some("removed".to_owned()),
            ("partial blob", _) => {
                let stays = fetched.iter().any(|digest| digest.as_str() == finding.subject);
                (!stays).then(|| "removed".to_owned())
            }
            ("blob", true) if forgotten.contains(&finding.subject) => {
                Some("forgotten: pull the image again to have it".to_owned())
            }
            ("blob" | "layer", true) => {
                match kept.iter().find(|(part, _)| part.as_str() == finding.subject) {
                    None => Some("removed with the images that need it: pull them again".to_owned()),
                    Some((_, user)) => {
                        finding.what =
                            format!("{}; container {user} must be removed before a repair", finding.what);
                        None
                    }
                }
            }
            _ => finding.repaired.take(),
        };
    }
    Ok(())
}

/// Removes the artifacts that broken blobs are of.
fn remove_artifacts(engine: &Engine, bad: &BTreeSet<String>) -> Result<()> {
    if bad.is_empty() {
        return Ok(());
    }
    for (artifact, references) in engine.db()?.read(|txn| txn.artifacts())? {
        let parts: Vec<Digest> = artifact.parts().into_keys().cloned().collect();
        let mut parts = parts.iter().chain(references.iter().filter_map(Reference::digest));
        if !parts.any(|part| bad.contains(part.as_str())) {
            continue;
        }
        match remove::remove(engine, artifact.id().as_str(), true) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Forgets the referrers that broken blobs are of; returns the digests of all of their parts.
fn forget_referrers(engine: &Engine, bad: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    if bad.is_empty() {
        return Ok(BTreeSet::new());
    }
    engine.db()?.write(|txn| {
        let mut forgotten = txn.referrers()?;
        forgotten.retain(|referrer| referrer.parts().any(|part| bad.contains(part.digest.as_str())));
        forgotten.iter().try_for_each(|referrer| txn.forget_referrer(referrer))?;
        let parts = forgotten.iter().flat_map(Referrer::parts);
        Ok(parts.map(|part| part.digest.to_string()).collect())
    })
}

/// The names in a directory; none if it is missing.
fn names_in(directory: &Path) -> Result<Vec<String>> {
    let reading = || format!("list {}", directory.display());
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(reading)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.context(reading)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
