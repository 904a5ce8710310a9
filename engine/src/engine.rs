//! The services that verbs use, behind one cheap handle.

use crate::events::Bell;
use crate::settings::Settings;
use crate::trace::Hub;
use dhow_model::{ContainerId, Layout, Result, ResultExt};
use dhow_runtime::HostFacts;
use dhow_store::content::Content;
use dhow_store::db::StateDb;
use dhow_store::layer::{LayerStore, Layers};
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Where an engine keeps its things.
#[derive(Debug, Clone)]
pub struct Config {
    /// What survives a reboot: images, containers, the database.
    pub root: PathBuf,
    /// What does not: sockets and locks. On a tmpfs.
    pub state: PathBuf,
    /// The executable that serves as `dhow monitor` and `dhow init`. The running one, unless the engine is
    /// embedded in a program of someone else.
    pub helper: PathBuf,
    /// What holds unless a command says otherwise; the directories above go first.
    pub settings: Settings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/dhow"),
            state: PathBuf::from("/run/dhow"),
            helper: PathBuf::from("/proc/self/exe"),
            settings: Settings::default(),
        }
    }
}

/// A container engine over one root. Cheap to clone; every clone is the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Services>);

struct Services {
    layout: Layout,
    helper: PathBuf,
    settings: Settings,
    /// Idle connections. A verb takes one, so that no verb waits for another's transaction in our own process.
    connections: Mutex<Vec<StateDb>>,
    content: Content,
    layers: Layers,
    facts: OnceLock<HostFacts>,
    bell: Bell,
    trace: Hub,
    /// Clients that attached before the start: the monitor's ends of their sockets.
    early_clients: Mutex<HashMap<ContainerId, Vec<UnixStream>>>,
}

/// More idle connections than this are closed: each holds a page cache and three descriptors.
const IDLE_CONNECTIONS: usize = 4;

impl Engine {
    /// Opens the engine, making its directories and its database when they are missing, and settles what a
    /// crash left behind.
    ///
    /// # Errors
    /// When a directory or the database cannot be made or read, naming it.
    pub fn open(config: Config) -> Result<Self> {
        // The helper outlives this process and must not depend on what /proc/self then is.
        let helper = if config.helper.starts_with("/proc/self") {
            std::fs::read_link(&config.helper)
                .context(|| format!("find the executable behind {}", config.helper.display()))?
        } else {
            config.helper
        };
        let absolute =
            |path: PathBuf| std::path::absolute(&path).context(|| format!("resolve {}", path.display()));
        let layout = Layout::new(absolute(config.root)?, absolute(config.state)?);
        dhow_store::trust::ensure(&layout)?;
        let db = StateDb::open(&layout)?;
        let engine = Self(Arc::new(Services {
            content: Content::open(&layout)?,
            layers: Layers::open(&layout)?
                .with_form(config.settings.layer_form, Arc::new(crate::image::HostMounter)),
            layout,
            helper,
            settings: config.settings,
            connections: Mutex::new(vec![db]),
            facts: OnceLock::new(),
            bell: Bell::default(),
            trace: Hub::default(),
            early_clients: Mutex::default(),
        }));
        crate::recover::recover(&engine)?;
        Ok(engine)
    }

    /// Which registries are asked how.
    pub(crate) fn registry_settings(&self) -> dhow_registry::Settings {
        dhow_registry::Settings {
            insecure: self.0.settings.insecure_registries.clone(),
            mirrors: self.0.settings.registry_mirrors.clone(),
            ..dhow_registry::Settings::default()
        }
    }

    /// The paths.
    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// The executable that becomes monitor and init.
    pub(crate) fn helper(&self) -> &std::path::Path {
        &self.0.helper
    }

    /// What holds unless a command says otherwise.
    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Blobs.
    pub(crate) fn content(&self) -> &Content {
        &self.0.content
    }

    /// Layers.
    pub(crate) fn layers(&self) -> &dyn LayerStore {
        &self.0.layers
    }

    /// The concrete layer store, for recovery and collection.
    pub(crate) fn layer_store(&self) -> &Layers {
        &self.0.layers
    }

    /// A database connection, returned to the pool on drop.
    ///
    /// # Errors
    /// When a new connection is needed and cannot be opened.
    pub(crate) fn db(&self) -> Result<Connection<'_>> {
        let idle = locked(&self.0.connections).pop();
        let db = match idle {
            Some(db) => db,
            None => StateDb::open(&self.0.layout)?,
        };
        Ok(Connection { db: Some(db), pool: &self.0.connections })
    }

    /// Closes the connections that nobody uses. When none is left SQLite closes all files: it keeps those of closed
    /// connections while any holds a lock, because the process's locks would go with them (fcntl(2)).
    pub(crate) fn close_idle_connections(&self) {
        let idle = std::mem::take(&mut *locked(&self.0.connections));
        drop(idle);
    }

    /// What this machine and kernel offer. Probed once.
    ///
    /// # Errors
    /// When `/proc` or the cgroup mounts cannot be read.
    pub(crate) fn facts(&self) -> Result<&HostFacts> {
        if let Some(facts) = self.0.facts.get() {
            return Ok(facts);
        }
        let facts = dhow_runtime::facts::probe()?;
        Ok(self.0.facts.get_or_init(|| facts))
    }

    /// Rings when events were committed.
    pub(crate) fn bell(&self) -> &Bell {
        &self.0.bell
    }

    /// The readers of the probes.
    pub(crate) fn trace_hub(&self) -> &Hub {
        &self.0.trace
    }

    /// Keeps the monitor's end of an attached client until the container starts.
    pub(crate) fn add_early_client(&self, id: &ContainerId, monitor_end: UnixStream) {
        locked(&self.0.early_clients).entry(id.clone()).or_default().push(monitor_end);
    }

    /// Takes the clients that wait for a start.
    pub(crate) fn take_early_clients(&self, id: &ContainerId) -> Vec<UnixStream> {
        locked(&self.0.early_clients).remove(id).unwrap_or_default()
    }
}

/// A poisoned lock here means a panic elsewhere; the maps themselves are whole after every statement.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pooled database connection.
pub(crate) struct Connection<'a> {
    db: Option<StateDb>,
    pool: &'a Mutex<Vec<StateDb>>,
}

impl Deref for Connection<'_> {
    type Target = StateDb;
    fn deref(&self) -> &StateDb {
        // Present until drop.
        self.db.as_ref().unwrap_or_else(|| unreachable!())
    }
}

impl DerefMut for Connection<'_> {
    fn deref_mut(&mut self) -> &mut StateDb {
        self.db.as_mut().unwrap_or_else(|| unreachable!())
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let mut pool = locked(self.pool);
        if pool.len() < IDLE_CONNECTIONS {
            pool.extend(self.db.take());
        } else {
            // More were in use at once than are kept.
            crate::tidy::request();
        }
    }
}
