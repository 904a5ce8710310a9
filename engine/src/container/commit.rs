//! `commit`: an image of what a container has changed, on top of the image that it was made of.
//!
//! ```text
//!   freeze ─ upper directory against the layers (diff) ─ pack ═pipe═► install a layer ─ thaw ─ record
//! ```
//! The layer has exactly what `diff` shows, in the form of any layer. The layers below are shared.

use super::{diff, files, pause};
use crate::image::{change, gc};
use crate::{Engine, events};
use dhow_model::container::ContainerConfig;
use dhow_model::image::{History, Image, ImageConfig};
use dhow_model::signal::Signal;
use dhow_model::state::Status;
use dhow_model::{ContainerId, Digest, Error, ErrorKind, Reference, Result, ResultExt, Timestamp};
use dhow_store::db::{ContainerRecord, LayerRecord};
use dhow_store::filetree::{self, Change};
use dhow_store::image_config::{self, ParsedConfig};
use dhow_store::layer::{Expected, InstalledLayer, LayerSource, LayerStore};
use std::io::BufWriter;
use std::os::fd::{AsFd, OwnedFd};

/// What the image is called and says.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The tag it gets, if any.
    pub reference: Option<Reference>,
    /// By whom.
    pub author: String,
    /// Its history entry's comment.
    pub comment: String,
    /// A configuration that goes before the container's.
    pub config: ImageConfig,
    /// Dockerfile instructions on top of that: `CMD ["sh"]`, `ENV A=1`, ….
    pub changes: Vec<String>,
    /// The container is frozen meanwhile, if it runs.
    pub pause: bool,
}

/// Makes an image of a container.
///
/// # Errors
/// `NotFound`; `InvalidArgument` for a change that is no instruction, naming it; `Conflict` when the container is
/// being removed.
pub fn commit(engine: &Engine, who: &str, request: &CommitRequest) -> Result<Digest> {
    let record = super::find_settled(engine, who)?;
    if matches!(record.state.status, Status::Removing | Status::Dead) {
        return Err(Error::conflict(format!(
            "You cannot commit container {} which is being removed",
            record.id
        )));
    }
    let mut own = request.config.clone();
    for text in &request.changes {
        change::apply_over(&record.config.env, &mut own, text)?;
    }
    let image = files::image_of(engine, &record)?;
    let config = merge(own, &record.config, &image.config);
    gc::install(engine, || {
        let now = events::now();
        let layer = {
            let _thawed = request.pause.then(|| Frozen::new(engine, &record)).transpose()?.flatten();
            layer_of(engine, &record)?
        };
        let made = assemble(engine, &image, &record, request, config, layer.as_ref(), now)?;
        keep(engine, &record, request, &made, layer, now)?;
        Ok(made.id)
    })
}

/// A container that is frozen until this goes.
struct Frozen<'a> {
    engine: &'a Engine,
    id: ContainerId,
}

impl<'a> Frozen<'a> {
    /// `None` for one that does not run, or is frozen by its user.
    fn new(engine: &'a Engine, record: &ContainerRecord) -> Result<Option<Self>> {
        if record.state.status != Status::Running {
            return Ok(None);
        }
        match pause::pause(engine, record.id.as_str()) {
            Ok(()) => Ok(Some(Self { engine, id: record.id.clone() })),
            // It ended or was frozen since.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // Its state says that it is frozen: a user sees it, and can unpause it.
        let _ = pause::go_on(self.engine, &self.id);
    }
}

/// Installs what the container changed; `None` when that is nothing.
fn layer_of(engine: &Engine, record: &ContainerRecord) -> Result<Option<InstalledLayer>> {
    let Some((upper, changes)) = diff::changes(engine, record)? else { return Ok(None) };
    if changes.is_empty() {
        return Ok(None);
    }
    install(engine.layers(), &upper, &changes, &files::Translation::of(record)).map(Some)
}

fn install(
    layers: &dyn LayerStore,
    upper: &OwnedFd,
    changes: &[Change],
    owners: &files::Translation,
) -> Result<InstalledLayer> {
    let (reader, writer) = std::io::pipe().context(|| "make a pipe".to_owned())?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut out = BufWriter::with_capacity(PIECE_BYTES, writer);
            let inside = |uid, gid| owners.inside(uid, gid);
            filetree::pack_changes(upper.as_fd(), changes, inside, &mut out)
        });
        let source = LayerSource::Reader { reader: Box::new(reader), size: None };
        let installed = layers.install(source, Expected::default(), &());
        let packed = packing.join().map_err(|_| Error::internal("a thread that packs a layer panicked"))?;
        match (packed, installed) {
            (Ok(()), installed) => installed,
            // The pipe broke because nobody took what was in it: that failure is the one to tell.
            (Err(error), Err(first)) if error.kind() == ErrorKind::Unavailable => Err(first),
            (Err(error), _) => Err(error),
        }
    })
    .context(|| "make the layer".to_owned())
}

/// What goes through the pipe at once.
const PIECE_BYTES: usize = 64 << 10;

/// The new image's configuration, as Docker merges it: what was said for the image goes before what the container
/// has; a new entrypoint drops the old command. Pure.
fn merge(own: ImageConfig, container: &ContainerConfig, from: &ImageConfig) -> ImageConfig {
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let text = |own: String, other: &str| if own.is_empty() { other.to_owned() } else { own };
    let mut env = container.env.clone();
    own.env.into_iter().for_each(|entry| change::set_env(&mut env, &name(&entry), entry.clone()));
    let cmd = match (own.entrypoint.is_empty(), own.cmd.is_empty()) {
        (true, true) => container.cmd.clone(),
        _ => own.cmd,
    };
    let mut labels = container.labels.clone();
    labels.extend(own.labels);
    // A signal that nobody named is not one of the image's.
    let signal = match container.stop_signal {
        Signal::TERM => from.stop_signal.clone(),
        signal => signal.to_string(),
    };
    ImageConfig {
        user: text(own.user, &container.user),
        env,
        entrypoint: if own.entrypoint.is_empty() { container.entrypoint.clone() } else { own.entrypoint },
        cmd,
        working_dir: text(own.working_dir, &container.working_dir),
        labels,
        volumes: container.volumes.iter().cloned().chain(own.volumes).collect(),
        exposed_ports: container.exposed_ports.iter().cloned().chain(own.exposed_ports).collect(),
        stop_signal: text(own.stop_signal, &signal),
        healthcheck: own.healthcheck.or_else(|| container.healthcheck.clone()),
        shell: if own.shell.is_empty() { from.shell.clone() } else { own.shell },
        on_build: own.on_build,
    }
}

/// The new image's configuration blob, put in place.
fn assemble(
    engine: &Engine,
    image: &Image,
    record: &ContainerRecord,
    request: &CommitRequest,
    config: ImageConfig,
    layer: Option<&InstalledLayer>,
    now: Timestamp,
) -> Result<Image> {
    let below = image_config::parse(&engine.content().read_small(&image.id)?)?;
    let mut sizes = Vec::new();
    for diff_id in &image.layers {
        sizes.push(engine.layers().info(diff_id)?.size_bytes);
    }
    let mut parsed = ParsedConfig { created: Some(now), author: request.author.clone(), config, ..below };
    parsed.history.push(History {
        created: Some(now),
        created_by: record.config.cmd.join(" "),
        comment: request.comment.clone(),
        empty_layer: layer.is_none(),
        size_bytes: 0,
    });
    if let Some(layer) = layer {
        parsed.diff_ids.push(layer.diff_id.clone());
        sizes.push(layer.size_bytes);
    }
    let id = engine.content().put_bytes(&parsed.to_json()?, None)?;
    Ok(parsed.into_image(id, None, &sizes, now))
}

/// Rows, tag and events, in one transaction.
fn keep(
    engine: &Engine,
    record: &ContainerRecord,
    request: &CommitRequest,
    image: &Image,
    layer: Option<InstalledLayer>,
    now: Timestamp,
) -> Result<()> {
    engine.db()?.write_durable(|txn| {
        if let Some(layer) = layer {
            txn.insert_layer(&LayerRecord {
                diff_id: layer.diff_id,
                size_bytes: layer.size_bytes,
                installed: now,
            })?;
        }
        txn.insert_image(image)?;
        let shown = request.reference.as_ref().map(Reference::familiar).unwrap_or_default();
        let about = [
            ("comment", request.comment.clone()),
            ("imageID", image.id.to_string()),
            ("imageRef", shown.clone()),
        ];
        txn.append_event(&events::container("commit", record, about), now)?;
        if let Some(reference) = &request.reference {
            txn.tag(reference, &image.id)?;
            txn.append_event(&events::image("tag", &image.id, &shown), now)?;
        }
        Ok(())
    })
}
