//! Where everything lies: the paths below the root (kept) and the state directory (gone at reboot).
//!
//! ```text
//! ROOT   /var/lib/dhow           0700
//!   state.db                     SQLite, WAL: the truth
//!   notify                       a counter that processes map and sleep on; advanced after each commit of events
//!   content/sha256/HEX           manifests and configs, whole and verified
//!   content/tmp/                 half-written blobs; emptied by recovery
//!   layers/HEX/                  one per diff id: diff/ (the tree), split (all of the tar but file data), or
//!                                tar (as it was), index (an EROFS image over it)
//!   layers/tmp/                  half-unpacked layers; emptied by recovery
//!   containers/ID/               upper/ work/ ID-json.log
//!   volumes/NAME/_data           named and anonymous volumes
//!   volumes/NAME/_data.filling   while a new one is filled from an image (runtime, copyup/journal.rs)
//!   volumes/.new-*, .gone-*      copies under way, what was removed
//!   seccomp/                     compiled filters, by digest of their source
//!   init/                        the program behind --init, by digest
//! STATE  /run/dhow               0700
//!   containers.lock              each container's lock is one byte of it (store, lock.rs)
//!   monitors                     the roll of living monitors, from which the kernel strikes out the dead (sys, roll.rs)
//!   containers/ID/attach.sock    the monitor's socket
//!   containers/ID/hostname, …    hosts, resolv.conf: written anew by each start, mounted on those of /etc
//!   containers/ID/monitor.lock   flock held by the monitor for its whole life
//!   layers/                      the namespace of the indexed layers' mounts is pinned here, while there are any
//!   execs/ID/attach.sock         the same for an exec session
//!   volumes/NAME                 the monitors that have a volume's filesystem mounted; locked while that changes
//! ```

use crate::{ContainerId, Digest};
use std::path::{Path, PathBuf};

/// The two directories of an engine, and every path below them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layout {
    root: PathBuf,
    state: PathBuf,
}

impl Layout {
    /// A layout over two absolute directories.
    pub fn new(root: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), state: state.into() }
    }

    /// What survives a reboot.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What does not.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The roll of living monitors.
    pub fn monitors(&self) -> PathBuf {
        self.state.join("monitors")
    }

    /// The SQLite database.
    pub fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// The file whose lock waiting writers of the database stand in a queue for.
    pub fn writers_queue(&self) -> PathBuf {
        self.root.join("writers.lock")
    }

    /// The file that is written to when events were added.
    pub fn notify(&self) -> PathBuf {
        self.root.join("notify")
    }

    /// Verified blobs.
    pub fn content(&self) -> PathBuf {
        self.root.join("content")
    }

    /// One verified blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("content/sha256").join(digest.hex())
    }

    /// Installed layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// One installed layer, by diff id.
    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    /// All containers' directories.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// A container's own directory.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.root.join("containers").join(id.as_str())
    }

    /// The current json-file log of a container; older ones end in `.1`, `.2`, ….
    pub fn container_log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join(format!("{id}-json.log"))
    }

    /// The same for the log driver `local`.
    pub fn container_local_log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("local-logs/container.log")
    }

    /// All volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// A volume's data.
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name).join("_data")
    }

    /// The monitors that have a volume's filesystem mounted.
    pub fn volume_users(&self, name: &str) -> PathBuf {
        self.state.join("volumes").join(name)
    }

    /// Compiled seccomp filters.
    pub fn seccomp(&self) -> PathBuf {
        self.root.join("seccomp")
    }

    /// The program behind `--init`.
    pub fn init(&self) -> PathBuf {
        self.root.join("init")
    }

    /// Where the namespace of the indexed layers' mounts is pinned.
    pub fn layer_mounts(&self) -> PathBuf {
        self.state.join("layers")
    }

    /// The containers' run-time directories.
    pub fn container_states(&self) -> PathBuf {
        self.state.join("containers")
    }

    /// A container's run-time directory.
    pub fn container_state(&self, id: &ContainerId) -> PathBuf {
        self.container_states().join(id.as_str())
    }

    /// An exec session's run-time directory.
    pub fn exec_state(&self, id: &ContainerId) -> PathBuf {
        self.state.join("execs").join(id.as_str())
    }
}
