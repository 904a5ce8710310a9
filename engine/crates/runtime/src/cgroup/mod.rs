//! A container's control groups, the same to the caller on v1, hybrid and v2.

mod apply;
mod device_rules;
pub mod layout;
pub mod limits;
pub mod monitors;
pub mod support;
pub mod usage;

pub(crate) use apply::{Joining, make, open_joining, relimit};
pub use device_rules::{DevicePlan, DeviceRule};
pub(crate) use usage::NANOS_PER_TICK;

use crate::facts::HostFacts;
use dhow_model::{ContainerId, Error, Result, ResultExt};
use dhow_sys::process;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long [`Cgroup::remove`] waits for the last process to be gone.
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);
/// How long [`Cgroup::freeze`] waits for the kernel.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);

/// The directories of one container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CgroupPaths {
    /// One per mounted v1 hierarchy that we use.
    pub v1: Vec<V1Path>,
    /// The directory in the v2 hierarchy: with the controllers on a pure v2 machine, without on a hybrid one.
    pub unified: Option<PathBuf>,
}

/// A directory in a v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1Path {
    /// The controllers of the hierarchy, `cpu`, `cpuacct`, ….
    pub controllers: Vec<String>,
    /// The directory.
    pub path: PathBuf,
}

/// A container's cgroup that exists (or did, until [`Cgroup::remove`]).
#[derive(Debug)]
pub struct Cgroup {
    paths: CgroupPaths,
}

/// The cgroup of a container by its name, existing or not: for `rm` and recovery.
pub fn open_for(id: &ContainerId, parent: &str, facts: &HostFacts) -> Cgroup {
    Cgroup { paths: facts.cgroup.paths_for(parent, id.as_str()) }
}

impl Cgroup {
    /// A handle on directories that exist already.
    pub fn from_paths(paths: CgroupPaths) -> Self {
        Self { paths }
    }

    /// Its directories.
    pub fn paths(&self) -> &CgroupPaths {
        &self.paths
    }

    /// The directory that answers for a controller: v1's hierarchy of it, else v2's.
    fn directory(&self, controller: &str) -> Option<&Path> {
        self.v1_directory(controller).or(if self.paths.v1.is_empty() {
            self.paths.unified.as_deref()
        } else {
            None
        })
    }

    fn v1_directory(&self, controller: &str) -> Option<&Path> {
        let has = |v1: &&V1Path| v1.controllers.iter().any(|c| c == controller);
        self.paths.v1.iter().find(has).map(|v1| v1.path.as_path())
    }

    /// How often the OOM killer struck in it, as far as the kernel counts. 0 without a memory controller.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn oom_kills(&self) -> Result<u64> {
        let Some(directory) = self.directory("memory") else { return Ok(0) };
        let file = if self.paths.v1.is_empty() { "memory.events" } else { "memory.oom_control" };
        let path = directory.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text
                .lines()
                .find_map(|line| line.strip_prefix("oom_kill "))
                .and_then(|count| count.trim().parse().ok())
                .unwrap_or(0)),
            // A v2 cgroup without the memory controller.
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory.exists() => Ok(0),
            Err(error) => Err(error).context(|| format!("read {}", path.display())),
        }
    }

    /// A descriptor that becomes readable when memory runs out; drain it with one `read`, then ask
    /// [`Cgroup::oom_kills`]. v1: an eventfd, which also fires when the cgroup is removed. v2: an inotify on
    /// `memory.events`, which also fires at other memory events. `None` without a memory controller.
    ///
    /// # Errors
    /// When the kernel refuses the registration.
    pub fn oom_event_fd(&self) -> Result<Option<OwnedFd>> {
        let Some(directory) = self.directory("memory") else { return Ok(None) };
        if self.paths.v1.is_empty() {
            let path = directory.join("memory.events");
            let watch = || -> nix::Result<OwnedFd> {
                let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
                inotify.add_watch(&path, AddWatchFlags::IN_MODIFY)?;
                Ok(inotify.into())
            };
            return watch().map(Some).context(|| format!("watch {}", path.display()));
        }
        let path = directory.join("memory.oom_control");
        let control = File::open(&path).context(|| format!("open {}", path.display()))?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .context(|| "eventfd".to_owned())?;
        let registration = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
        let path = directory.join("cgroup.event_control");
        fs::write(&path, registration).context(|| format!("write {}", path.display()))?;
        Ok(Some(event.into()))
    }

    /// Sends SIGKILL to every process in it, frozen ones included, and leaves it thawed. Does what it can: a
    /// process that is gone meanwhile is fine.
    pub fn kill_all(&self) {
        if let Some(unified) = &self.paths.unified {
            // Linux 5.14: one write kills the whole tree, atomically against forks.
            if write_control(&unified.join("cgroup.kill"), "1").is_ok() {
                let _ = self.thaw();
                return;
            }
        }
        // Frozen, nobody forks while the list is read.
        let _ = self.freeze();
        for pid in self.pids().unwrap_or_default() {
            if let Ok(pidfd) = process::pidfd_open(pid) {
                let _ = process::pidfd_send_signal(pidfd.as_fd(), SIGKILL);
            }
        }
        let _ = self.thaw();
    }

    /// Removes its directories, nested ones too. A directory that is gone already is fine.
    ///
    /// # Errors
    /// When a directory stays busy: processes are still in it.
    pub fn remove(self) -> Result<()> {
        let mut result = Ok(());
        for directory in self.directories() {
            let removed = remove_tree(directory);
            if result.is_ok() {
                result = removed.context(|| format!("remove cgroup {}", directory.display()));
            }
        }
        result
    }

    /// Stops every process in it; returns when all are stopped.
    ///
    /// # Errors
    /// `Unsupported` without a freezer.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true)
    }

    /// Lets them run again. A cgroup that is gone has nobody who waits: frozen or not, whoever is killed on v2
    /// ends at once, and who removed the cgroup may have been quicker.
    ///
    /// # Errors
    /// `Unsupported` without a freezer.
    pub fn thaw(&self) -> Result<()> {
        match self.set_frozen(false) {
            Err(_) if self.freezer().is_ok_and(|freezer| !freezer.control.exists()) => Ok(()),
            other => other,
        }
    }

    /// Whether all of it is stopped.
    ///
    /// # Errors
    /// `Unsupported` without a freezer.
    pub fn is_frozen(&self) -> Result<bool> {
        self.freezer()?.is(true)
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let freezer = self.freezer()?;
        let value = freezer.value(frozen);
        let deadline = std::time::Instant::now() + FREEZE_PATIENCE;
        let mut pause = Duration::from_micros(50);
        loop {
            // v1 may need to be told again when a process forked at the wrong moment.
            write_control(&freezer.control, value)
                .context(|| format!("write {value:?} to {}", freezer.control.display()))?;
            if freezer.is(frozen)? {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                let state = freezer.state.display();
                let word = if frozen { "frozen" } else { "thawed" };
                return Err(Error::internal(format!("{state}: not {word} after {FREEZE_PATIENCE:?}")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// v1's controller if it is mounted (a hybrid machine's v2 hierarchy could freeze too, but only one of them
    /// is to be asked), else v2's.
    fn freezer(&self) -> Result<Freezer> {
        match (self.v1_directory("freezer"), &self.paths.unified) {
            (Some(directory), _) => {
                let state = directory.join("freezer.state");
                Ok(Freezer {
                    control: state.clone(),
                    state,
                    values: ["THAWED", "FROZEN"],
                    lines: ["THAWED", "FROZEN"],
                })
            }
            (None, Some(directory)) => Ok(Freezer {
                control: directory.join("cgroup.freeze"),
                state: directory.join("cgroup.events"),
                values: ["0", "1"],
                lines: ["frozen 0", "frozen 1"],
            }),
            (None, None) => Err(Error::unsupported("this machine has no cgroup freezer")),
        }
    }

    /// Its processes, nested cgroups included.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let Some(directory) = self.directories().next() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        collect_pids(directory, &mut pids)
            .context(|| format!("list processes of {}", directory.display()))?;
        Ok(pids)
    }

    /// v2 first: it is the one that the clone itself joins.
    fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.unified.iter().chain(self.paths.v1.iter().map(|v1| &v1.path))
    }
}

/// Where a cgroup is frozen, and where it says that it is: (not frozen, frozen).
struct Freezer {
    control: PathBuf,
    state: PathBuf,
    values: [&'static str; 2],
    lines: [&'static str; 2],
}

impl Freezer {
    fn value(&self, frozen: bool) -> &'static str {
        self.values[usize::from(frozen)]
    }

    fn is(&self, frozen: bool) -> Result<bool> {
        let text = fs::read_to_string(&self.state).context(|| format!("read {}", self.state.display()))?;
        Ok(text.lines().any(|line| line == self.lines[usize::from(frozen)]))
    }
}

/// Never makes a file: a cgroup that is gone is not there any more.
fn write_control(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

const SIGKILL: i32 = 9;

fn collect_pids(directory: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = fs::read_to_string(directory.join("cgroup.procs"))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // A nested cgroup may vanish meanwhile.
            let _ = collect_pids(&entry.path(), pids);
        }
    }
    Ok(())
}

/// rmdir, retried while the last process leaves; children first when the container made some.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let deadline = std::time::Instant::now() + REMOVE_PATIENCE;
    let mut pause = Duration::from_micros(50);
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if std::time::Instant::now() > deadline => return Err(error),
            Err(_) => {
                for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        remove_tree(&entry.path())?;
                    }
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
    }
}
