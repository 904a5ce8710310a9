//! Where the monitored process comes from: the kernel for real, an ordinary child in tests.

use super::confine;
use super::recorder::NextRun;
use super::spec::MonitorSpec;
use crate::cgroup::Cgroup;
use crate::external::{self, ExternalGroup};
use crate::launch::{ChildStdio, launch_while};
use crate::layers;
use crate::plan::{LaunchPlan, Scene};
use crate::volume_fs::{self, Stay};
use dhow_model::{Error, Result, ResultExt};
use dhow_sys::{clone, process};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Starts the process, again and again if need be.
pub(super) trait Launcher {
    /// The next start differs in this from what it was planned with.
    fn adapt(&mut self, next: NextRun);

    /// Starts it; its program runs when this returns. Calls `meanwhile` with the new process's number while
    /// it waits for that; an error of it is the launch's.
    fn launch(&mut self, stdio: ChildStdio, meanwhile: &mut dyn FnMut(i32) -> Result<()>) -> Result<Process>;

    /// The program runs, and whoever waited for that knows: gives up the rights that no further launch takes.
    fn confine(&self) {}

    /// Nothing happens for a while, or the last run is over: gives back what the start took of the machine's memory.
    fn settle(&self) {}
}

/// Once in a monitor's life: what its container's volumes are, in the mount namespace that is its own.
fn mount_volumes(plan: &LaunchPlan) -> Result<()> {
    volume_fs::mount_all(&plan.volume_filesystems.iter().collect::<Vec<_>>(), Stay::Long)
}

/// A process that runs. Our ends of its streams are non-blocking.
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) start_ticks: u64,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) pty: Option<OwnedFd>,
    pub(super) group: Option<Box<dyn Group>>,
}

/// What holds a container's processes together: its cgroup.
pub(super) trait Group {
    /// How often the OOM killer struck.
    fn oom_kills(&self) -> Result<u64>;
    /// Readable when it struck again.
    fn oom_event(&self) -> Result<Option<OwnedFd>>;
    /// Ends every process in it.
    fn kill_all(&self);
    /// Removes it; no process is in it.
    fn remove(self: Box<Self>) -> Result<()>;
}

impl Group for Cgroup {
    fn oom_kills(&self) -> Result<u64> {
        Cgroup::oom_kills(self)
    }
    fn oom_event(&self) -> Result<Option<OwnedFd>> {
        self.oom_event_fd()
    }
    fn kill_all(&self) {
        Cgroup::kill_all(self);
    }
    fn remove(self: Box<Self>) -> Result<()> {
        Cgroup::remove(*self)
    }
}

/// Launches by the plan. Between launches the plan lies in the sealed memfd that it came in, where it costs
/// this process nothing.
pub(super) struct KernelLauncher {
    source: File,
    plan: Option<LaunchPlan>,
    next: Option<NextRun>,
    settled: bool,
    /// An exec session or a health probe: it is over when its process is.
    launches_once: bool,
    /// Of the container's indexed layers.
    tars: Vec<PathBuf>,
}

impl KernelLauncher {
    pub(super) fn new(source: File, plan: LaunchPlan) -> Self {
        let tars = match &plan.scene {
            Scene::Container { rootfs, .. } => layers::tars_of(rootfs),
            Scene::Exec { .. } => Vec::new(),
        };
        let launches_once = matches!(plan.scene, Scene::Exec { .. });
        Self { source, plan: Some(plan), next: None, settled: false, launches_once, tars }
    }
}

impl Launcher for KernelLauncher {
    fn adapt(&mut self, next: NextRun) {
        self.next = Some(next);
    }

    fn launch(&mut self, stdio: ChildStdio, meanwhile: &mut dyn FnMut(i32) -> Result<()>) -> Result<Process> {
        let mut plan = match self.plan.take() {
            Some(plan) => plan,
            None => read_spec(&self.source)?.plan,
        };
        if let (Scene::Container { cgroup, donors, .. }, Some(next)) = (&mut plan.scene, self.next.take()) {
            (*cgroup, *donors) = (next.cgroup, next.donors);
        }
        if !self.settled && !plan.volume_filesystems.is_empty() {
            process::unshare(clone::NEWNS).context(|| "make a mount namespace".to_owned())?;
            mount_volumes(&plan)?;
        }
        self.settled = true;
        let launched = launch_while(&plan, stdio, meanwhile)?;
        Ok(Process {
            pid: launched.pid,
            pidfd: launched.pidfd,
            start_ticks: launched.start_ticks,
            stdin: launched.stdin,
            stdout: launched.stdout,
            stderr: launched.stderr,
            pty: launched.pty,
            group: launched.cgroup.map(|cgroup| Box::new(cgroup) as Box<dyn Group>),
        })
    }

    fn confine(&self) {
        if self.launches_once {
            // It goes on with what it has if the kernel refuses: no container is worse off.
            let _ = confine::after_last_launch();
        }
    }

    fn settle(&self) {
        layers::drop_pages_of(&self.tars);
    }
}

impl Group for ExternalGroup {
    fn oom_kills(&self) -> Result<u64> {
        self.cgroup.oom_kills()
    }
    fn oom_event(&self) -> Result<Option<OwnedFd>> {
        self.cgroup.oom_event_fd()
    }
    fn kill_all(&self) {
        self.cgroup.kill_all();
    }
    fn remove(self: Box<Self>) -> Result<()> {
        self.external.delete();
        self.cgroup.remove()
    }
}

/// Has another runtime launch by the plan.
pub(super) struct ExternalLauncher {
    source: File,
    settled: bool,
    next: Option<NextRun>,
}

impl ExternalLauncher {
    pub(super) fn new(source: File) -> Self {
        Self { source, settled: false, next: None }
    }
}

impl Launcher for ExternalLauncher {
    fn adapt(&mut self, next: NextRun) {
        self.next = Some(next);
    }

    fn launch(&mut self, stdio: ChildStdio, meanwhile: &mut dyn FnMut(i32) -> Result<()>) -> Result<Process> {
        let mut spec = read_spec(&self.source)?;
        if !self.settled {
            external::settle_in()?;
            mount_volumes(&spec.plan)?;
            self.settled = true;
        }
        if let (Scene::Container { cgroup, donors, .. }, Some(next)) =
            (&mut spec.plan.scene, self.next.take())
        {
            (*cgroup, *donors) = (next.cgroup, next.donors);
        }
        let runtime = spec.external.ok_or_else(|| Error::internal("there is no external runtime"))?;
        let (launched, external) = external::launch(&spec.plan, runtime, spec.id.as_str(), stdio, meanwhile)?;
        let group =
            launched.cgroup.map(|cgroup| Box::new(ExternalGroup { cgroup, external }) as Box<dyn Group>);
        Ok(Process {
            pid: launched.pid,
            pidfd: launched.pidfd,
            start_ticks: launched.start_ticks,
            stdin: launched.stdin,
            stdout: launched.stdout,
            stderr: launched.stderr,
            pty: launched.pty,
            group,
        })
    }
}

/// Reads a monitor's spec from its memfd, wherever its offset is.
pub(super) fn read_spec(source: &File) -> Result<MonitorSpec> {
    let what = || "read the monitor's specification".to_owned();
    let length = usize::try_from(source.metadata().context(what)?.len()).context(what)?;
    let mut bytes = vec![0; length];
    source.read_exact_at(&mut bytes, 0).context(what)?;
    postcard::from_bytes(&bytes).context(what)
}
