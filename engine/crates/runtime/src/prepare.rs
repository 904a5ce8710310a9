//! From a plan to operations: everything that may allocate, fail in many ways, or needs the host's paths.
//!
//! Runs in the monitor before the clone. What it makes is either a descriptor (a detached mount, an opened
//! file), which vanishes with it, or the cgroup, which `launch.rs` removes on failure.

use crate::cgroup::{self, Cgroup, Joining};
use crate::child::{Base, HiddenPath, MountOp, Op, Prepared, Program, Source};
use crate::future_root::FutureRoot;
use crate::idmap::{self, IdMaps};
use crate::launch::ChildStdio;
use crate::plan::{LaunchPlan, ProcessPlan, Scene};
use crate::rootfs::{Target, c_string};
use crate::spec::{Donor, Donors};
use crate::step::{MountStep, MountWhat, Place, SourceIds, Step};
use crate::user::{self, InRoot, ResolvedUser};
use crate::{copyup, devices, rootfs, timeline};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::memory::SharedNumbers;
use dhow_sys::mount::{self, FsContext};
use dhow_sys::process::ExecStrings;
use dhow_sys::{OnErrno, clone, openat2, process, rlimit};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

mod sources;
mod streams;

use sources::cgroup_view;
pub(crate) use sources::{bind_source, is_directory, shared_memory, tmpfs};
pub(crate) use streams::OurEnds;

/// CAP_SYS_ADMIN, which installing a filter without no-new-privileges needs.
const CAP_SYS_ADMIN: u64 = 1 << 21;
/// The group `tty` of every distribution, which devpts gives terminals to.
const TERMINAL_GROUP: u32 = 5;
/// Number of the first, and only, terminal of a fresh devpts.
const FIRST_TERMINAL: &CStr = c"0";

/// A launch that is ready to be cloned.
pub(crate) struct Ready {
    pub prepared: Prepared,
    pub ours: OurEnds,
    /// The cgroup made for a new container.
    pub cgroup: Option<Cgroup>,
    /// Clone straight into this v2 cgroup.
    pub unified: Option<OwnedFd>,
    /// The container to enter, for a further process.
    pub container: Option<OwnedFd>,
    /// Where failures are read.
    pub failures: OwnedFd,
    /// Where a child in a new user namespace asks for what it may not do itself.
    pub requests: Option<OwnedFd>,
    /// Whoever waits for the network reads from this.
    pub connected: Option<OwnedFd>,
}

/// Makes everything ready.
///
/// # Errors
/// Names what could not be made. A cgroup that was made is removed again.
pub(crate) fn prepare(plan: &LaunchPlan, stdio: ChildStdio) -> Result<Ready> {
    if plan.process.tty != matches!(stdio, ChildStdio::Pty { .. }) {
        return Err(Error::internal("the plan and the monitor disagree about the terminal"));
    }
    let mut cgroup = None;
    let ready = match &plan.scene {
        Scene::Container { rootfs, cgroup: cgroup_plan, id_maps, donors, .. } => {
            let entered = donors.pid.map(open_donor).transpose()?;
            let ids = id_maps.clone().map(Ids::of_new_namespace).transpose()?;
            let made = cgroup::make(cgroup_plan)?;
            timeline::mark("make the cgroup");
            let paths = made.cgroup.paths().clone();
            cgroup = Some(made.cgroup);
            let root = rootfs::mount(rootfs, ids.as_ref().map(Ids::for_mounts).transpose()?);
            timeline::mark("mount the root filesystem, detached");
            root.and_then(|root| {
                Preparation::new(plan, Some(root), made.joining, Some(paths), entered, ids)?.finish(stdio)
            })
        }
        Scene::Exec { pid, start_ticks, cgroup: paths } => {
            let container = open_container(*pid, *start_ticks)?;
            let joining = cgroup::open_joining(paths)?;
            let ids = idmap::of_process(*pid)?.map(|maps| Ids { maps, namespace: None });
            Preparation::new(plan, None, joining, None, Some(container), ids)?.finish(stdio)
        }
    };
    match ready {
        Ok(ready) => Ok(Ready { cgroup, ..ready }),
        Err(error) => {
            // The first error is the one to show.
            let _ = cgroup.map(Cgroup::remove);
            Err(error)
        }
    }
}

fn no_donor() -> Error {
    Error::internal("a step needs a container to join")
}

/// The pidfd of a container's first process, if it is still that process.
fn open_container(pid: i32, start_ticks: u64) -> Result<OwnedFd> {
    let gone = || Error::conflict("the container is not running");
    let pidfd = process::pidfd_open(pid).map_err(|_| gone())?;
    // Checked after opening: the descriptor cannot change its process any more.
    if process::start_ticks(pid).map_err(|_| gone())? != start_ticks {
        return Err(gone());
    }
    Ok(pidfd)
}

/// The pidfd of a container that is joined, if it still runs.
pub(crate) fn open_donor(donor: Donor) -> Result<OwnedFd> {
    open_container(donor.pid, donor.start_ticks)
        .map_err(|error| Error::new(error.kind(), "the container to join is not running"))
}

/// The ids of a container with a user namespace.
struct Ids {
    maps: IdMaps,
    /// A namespace with the same maps as the child's, which is yet to be cloned: what mounts are mapped through.
    namespace: Option<OwnedFd>,
}

impl Ids {
    fn of_new_namespace(maps: IdMaps) -> Result<Self> {
        let namespace = Some(maps.namespace()?);
        Ok(Self { maps, namespace })
    }

    fn for_mounts(&self) -> Result<rootfs::Mapping<'_>> {
        let namespace =
            self.namespace.as_ref().ok_or_else(|| Error::internal("no namespace to map ids through"))?;
        Ok(rootfs::Mapping { namespace: namespace.as_fd(), root: self.maps.root()? })
    }
}

struct Preparation<'a> {
    plan: &'a LaunchPlan,
    root: Option<OwnedFd>,
    joining: Joining,
    paths: Option<cgroup::CgroupPaths>,
    container: Option<OwnedFd>,
    /// With a user namespace.
    ids: Option<Ids>,
    /// As the container knows it.
    user: ResolvedUser,
    /// The terminal's devpts, kept until the terminal is opened in it.
    devpts: Option<OwnedFd>,
    /// See [`Ready::connected`].
    connected: Option<OwnedFd>,
}

impl<'a> Preparation<'a> {
    fn new(
        plan: &'a LaunchPlan,
        root: Option<OwnedFd>,
        joining: Joining,
        paths: Option<cgroup::CgroupPaths>,
        container: Option<OwnedFd>,
        ids: Option<Ids>,
    ) -> Result<Self> {
        let none = ResolvedUser { uid: 0, gid: 0, groups: Vec::new(), home: String::new() };
        let mut this =
            Self { plan, root, joining, paths, container, ids, user: none, devpts: None, connected: None };
        this.fill_volumes()?;
        this.user = this.resolve_user()?;
        if let Some(Ids { maps, .. }) = &this.ids {
            maps.host_uid(this.user.uid)?;
            this.user
                .groups
                .iter()
                .chain([&this.user.gid])
                .try_for_each(|gid| maps.host_gid(*gid).map(drop))?;
        }
        Ok(this)
    }

    /// Before anything is read from the root: a volume may bring the passwd file.
    fn fill_volumes(&self) -> Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        for step in &self.plan.steps {
            if let Step::Mount(MountStep { what: MountWhat::Bind(bind), target, .. }) = step
                && bind.copy_up
            {
                let maps = self.ids.as_ref().map(|ids| &ids.maps);
                copyup::fill(root.as_fd(), &c_string(target.as_str())?, &bind.path, maps)?;
            }
        }
        Ok(())
    }

    fn resolve_user(&self) -> Result<ResolvedUser> {
        let process = &self.plan.process;
        if let Scene::Exec { pid, .. } = &self.plan.scene {
            let path = format!("/proc/{pid}/root");
            let root = mount::open_path(&c_string(path.as_str())?).context(|| format!("open {path}"))?;
            return user::resolve(&InRoot(root.as_fd()), &process.user, &process.group_add);
        }
        user::resolve(&FutureRoot::of(self.plan, self.root()?), &process.user, &process.group_add)
    }

    fn root(&self) -> Result<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd).ok_or_else(|| Error::internal("a step needs a root filesystem"))
    }

    fn finish(mut self, stdio: ChildStdio) -> Result<Ready> {
        let mut ops = Vec::with_capacity(self.plan.steps.len());
        for step in &self.plan.steps {
            let op = self.op(step).map_err(|error| {
                let kind =
                    if error.kind() == ErrorKind::Internal { ErrorKind::StartFailed } else { error.kind() };
                error.with_kind(kind)
            })?;
            ops.push(op);
        }
        let (streams, ours) = self.streams(stdio)?;
        let (failures, failure) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "pipe2".to_owned())?;
        let program = program(&self.plan.process, &self.user)?;
        let (requests, monitor) = if self.new_namespace() {
            let (ours, theirs) = UnixStream::pair().context(|| "socketpair".to_owned())?;
            (Some(ours.into()), Some(theirs.into()))
        } else {
            (None, None)
        };
        // One more than there are steps: when the first of them began.
        let times = timeline::is_kept()
            .then(|| SharedNumbers::new(ops.len() + 1))
            .transpose()
            .context(|| "map memory".to_owned())?;
        let prepared = Prepared { ops, root: self.root, streams, program, failure, times, monitor };
        Ok(Ready {
            prepared,
            ours,
            cgroup: None,
            unified: self.joining.unified,
            container: self.container,
            failures,
            requests,
            connected: self.connected,
        })
    }

    fn op(&mut self, step: &Step) -> Result<Op> {
        Ok(match step {
            Step::JoinCgroups => Op::JoinCgroups(std::mem::take(&mut self.joining.tasks)),
            Step::JoinNamespaces => self.join_namespaces()?,
            Step::JoinIpc => {
                Op::JoinNamespaces { process: open_donor(self.donor_of_ipc()?)?, kinds: clone::NEWIPC }
            }
            Step::JoinNetwork => Op::JoinNamespaces {
                process: open_donor(self.donors().and_then(|d| d.network).ok_or_else(no_donor)?)?,
                kinds: clone::NEWNET,
            },
            Step::BecomeRoot => Op::BecomeRoot,
            Step::OomScore(_) | Step::Rlimit { .. } if self.new_namespace() => Op::AskMonitor,
            Step::NewSession => Op::NewSession,
            Step::NewCgroupNamespace => Op::NewCgroupNamespace,
            Step::LoopbackUp => Op::LoopbackUp,
            Step::AwaitNetwork => self.await_network()?,
            Step::PrivateMounts => Op::PrivateMounts,
            Step::AttachRoot => Op::AttachRoot,
            Step::Mount(mount) => Op::Mount(self.mount(mount)?),
            Step::Symlink { path, target } => {
                let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
                let directory = if directory.is_empty() { "/" } else { directory };
                Op::Symlink {
                    directory: c_string(directory)?,
                    name: c_string(name)?,
                    target: c_string(target.as_str())?,
                }
            }
            Step::MarkContainer => Op::MarkContainer,
            Step::Console => {
                Op::Console { number: FIRST_TERMINAL.to_owned(), target: Target::new("/dev/console")? }
            }
            Step::Sysctl { path, value } => {
                Op::Sysctl { path: c_string(format!("sys/{path}"))?, value: value.as_bytes().to_vec() }
            }
            Step::Mask(path) => Op::Mask(hidden(path)?),
            Step::ReadOnlyPath(path) => Op::ReadOnlyPath(hidden(path)?),
            Step::HostName(name) => Op::HostName(name.as_bytes().to_vec()),
            Step::DomainName(name) => Op::DomainName(name.as_bytes().to_vec()),
            Step::EnsureDirectory(path) => Op::EnsureDirectory(Target::in_root(self.root()?, path)?),
            Step::ReadOnlyRoot => Op::ReadOnlyRoot,
            Step::PivotRoot => Op::PivotRoot,
            Step::OomScore(score) => Op::OomScore(score.to_string().into_bytes()),
            Step::Rlimit { name, soft, hard } => Op::Rlimit {
                resource: rlimit::number(name)
                    .ok_or_else(|| Error::invalid(format!("invalid ulimit type: {name}")))?,
                soft: *soft,
                hard: *hard,
            },
            Step::Stdio => Op::Stdio,
            Step::CloseDescriptors => Op::CloseDescriptors,
            Step::WorkingDirectory(path) => Op::WorkingDirectory(c_string(path.as_str())?),
            Step::BoundingSet(mask) => Op::BoundingSet(*mask),
            Step::BecomeUser => self.become_user(),
            Step::DieWithMonitor => Op::DieWithMonitor,
            Step::NoNewPrivileges => Op::NoNewPrivileges,
            Step::Seccomp => Op::Seccomp(
                self.plan.process.seccomp.clone().ok_or_else(|| Error::internal("a step needs a filter"))?,
            ),
            Step::Capabilities(mask) => Op::Capabilities(*mask),
            Step::Execute => Op::Execute,
        })
    }

    fn await_network(&mut self) -> Result<Op> {
        let event: OwnedFd =
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC).context(|| "eventfd2".to_owned())?.into();
        self.connected = Some(event.try_clone().context(|| "dup a descriptor".to_owned())?);
        Ok(Op::AwaitNetwork(event))
    }

    fn donors(&self) -> Option<&Donors> {
        match &self.plan.scene {
            Scene::Container { donors, .. } => Some(donors),
            Scene::Exec { .. } => None,
        }
    }

    fn donor_of_ipc(&self) -> Result<Donor> {
        self.donors().and_then(|donors| donors.ipc).ok_or_else(no_donor)
    }

    /// Whether the child is born into a user namespace, and so without any of the host's privileges.
    fn new_namespace(&self) -> bool {
        self.ids.as_ref().is_some_and(|ids| ids.namespace.is_some())
    }

    /// Ids of the container as the host has them.
    fn host_ids(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        match &self.ids {
            Some(Ids { maps, .. }) => Ok((maps.host_uid(uid)?, maps.host_gid(gid)?)),
            None => Ok((uid, gid)),
        }
    }

    /// The options of a tmpfs with the container's ids in them: a tmpfs made by us takes the host's.
    fn tmpfs_options(&self, options: &[String]) -> Result<Vec<String>> {
        let mut mapped = options.to_vec();
        if let Some(Ids { maps, .. }) = &self.ids {
            for (key, of_root) in [("uid", maps.host_uid(0)?), ("gid", maps.host_gid(0)?)] {
                let given = mapped.iter_mut().find_map(|option| {
                    let id = option.strip_prefix(key)?.strip_prefix('=')?.parse().ok()?;
                    Some((option, id))
                });
                match given {
                    Some((option, id)) => {
                        let id = if key == "uid" { maps.host_uid(id)? } else { maps.host_gid(id)? };
                        *option = format!("{key}={id}");
                    }
                    None => mapped.push(format!("{key}={of_root}")),
                }
            }
        }
        Ok(mapped)
    }

    fn become_user(&self) -> Op {
        let process = &self.plan.process;
        let filter_needs_privilege = process.seccomp.is_some() && !process.no_new_privileges;
        let keep = process.capabilities | if filter_needs_privilege { CAP_SYS_ADMIN } else { 0 };
        Op::BecomeUser { uid: self.user.uid, gid: self.user.gid, groups: self.user.groups.clone(), keep }
    }

    /// All namespaces that differ from ours, but the pid namespace, which the clone itself enters.
    fn join_namespaces(&self) -> Result<Op> {
        let Scene::Exec { pid, .. } = &self.plan.scene else {
            return Err(Error::internal("only a further process joins namespaces"));
        };
        let container = self.container.as_ref().ok_or_else(|| Error::internal("no container to join"))?;
        let mut kinds = 0;
        for (name, flag) in [
            ("mnt", clone::NEWNS),
            ("uts", clone::NEWUTS),
            ("ipc", clone::NEWIPC),
            ("net", clone::NEWNET),
            ("cgroup", clone::NEWCGROUP),
            ("user", clone::NEWUSER),
        ] {
            if differs(*pid, name)? {
                kinds |= flag;
            }
        }
        let process = container.try_clone().context(|| "dup a pidfd".to_owned())?;
        Ok(Op::JoinNamespaces { process, kinds })
    }

    fn mount(&mut self, step: &MountStep) -> Result<MountOp> {
        let attributes = step.flags.attributes();
        let mut is_directory = true;
        let source = match &step.what {
            MountWhat::Proc => Source::Proc,
            MountWhat::Sysfs => Source::Sysfs,
            MountWhat::Mqueue => Source::Mqueue,
            MountWhat::Dev(plan) => Source::Ready(devices::make(plan, attributes, self.host_ids(0, 0)?)?),
            MountWhat::Devpts => Source::Ready(self.devpts(attributes)?),
            MountWhat::Tmpfs { name, options } => {
                Source::Ready(tmpfs(name, &self.tmpfs_options(options)?, attributes, &step.target)?)
            }
            MountWhat::CgroupDirectory => Source::Ready(self.cgroup_directory(attributes)?),
            MountWhat::CgroupV1(index) => {
                let v1 = self.paths.as_ref().and_then(|paths| paths.v1.get(*index));
                Source::Ready(cgroup_view(v1.map(|v1| v1.path.as_path()), attributes)?)
            }
            MountWhat::CgroupV2 => {
                let unified = self.paths.as_ref().and_then(|paths| paths.unified.as_deref());
                Source::Ready(cgroup_view(unified, attributes)?)
            }
            MountWhat::CgroupHost(path) => Source::Ready(cgroup_view(Some(path), attributes)?),
            MountWhat::SharedMemory => {
                Source::Ready(shared_memory(open_donor(self.donor_of_ipc()?)?.as_fd(), attributes)?)
            }
            MountWhat::Bind(bind) => {
                let source = bind_source(bind, step)?;
                is_directory = sources::is_directory(&source, step)?;
                self.give_source(bind.ids, source.as_fd(), &bind.path)?;
                Source::Ready(source)
            }
            MountWhat::Image(image) => {
                let mapping = self.ids.as_ref().map(Ids::for_mounts).transpose()?;
                let source = rootfs::of_image(&image.lower, &image.subpath, mapping, &image.scratch)?;
                is_directory = sources::is_directory(&source, step)?;
                Source::Ready(source)
            }
        };
        let target = match step.place {
            Place::Own | Place::OwnFile => Target::new(&step.target)?,
            Place::User | Place::UserOnProc => Target::in_root(self.root()?, &step.target)?,
        };
        Ok(MountOp { source, attributes, target, is_directory, place: step.place })
    }

    /// Makes the owners of a source what the plan wants them to be in a user namespace.
    fn give_source(&self, whose: SourceIds, source: BorrowedFd<'_>, path: &Path) -> Result<()> {
        let Some(ids) = &self.ids else { return Ok(()) };
        match whose {
            SourceIds::Host => Ok(()),
            SourceIds::Container => ids.for_mounts()?.apply(source, path),
            SourceIds::Given => {
                let (uid, gid) = ids.maps.root()?;
                std::os::unix::fs::chown(path, Some(uid), Some(gid))
                    .context(|| format!("chown {}", path.display()))
            }
        }
    }

    fn devpts(&mut self, attributes: u64) -> Result<OwnedFd> {
        let terminals = c_string(self.host_ids(0, TERMINAL_GROUP)?.1.to_string())?;
        let make = || -> dhow_sys::Result<OwnedFd> {
            let context = FsContext::open(c"devpts")?;
            context.set(c"ptmxmode", c"0666")?;
            context.set(c"mode", c"0620")?;
            context.set(c"gid", &terminals)?;
            context.mount(attributes)
        };
        let mount = make().on("fsmount", "devpts").context(|| "mount at /dev/pts".to_owned())?;
        self.devpts = Some(mount.try_clone().context(|| "dup a mount".to_owned())?);
        Ok(mount)
    }

    /// A tmpfs with a directory for each hierarchy, and a link for each controller of a joint one.
    fn cgroup_directory(&self, attributes: u64) -> Result<OwnedFd> {
        let mut options = vec!["mode=755".to_owned()];
        options.push("size=64k".to_owned());
        let writable = attributes & !mount::ATTR_RDONLY;
        let mount_fd = tmpfs("tmpfs", &options, writable, "/sys/fs/cgroup")?;
        for v1 in self.paths.iter().flat_map(|paths| &paths.v1) {
            let name = c_string(v1.controllers.join(","))?;
            openat2::mkdir_at(mount_fd.as_fd(), &name, 0o755)
                .context(|| format!("mkdir /sys/fs/cgroup/{name:?}"))?;
            for controller in v1.controllers.iter().filter(|_| v1.controllers.len() > 1) {
                openat2::symlink_at(&name, mount_fd.as_fd(), &c_string(controller.as_str())?)
                    .context(|| format!("symlink /sys/fs/cgroup/{controller}"))?;
            }
        }
        if attributes & mount::ATTR_RDONLY != 0 {
            mount::set_attributes(mount_fd.as_fd(), mount::ATTR_RDONLY, 0, 0, false)
                .context(|| "make /sys/fs/cgroup read-only".to_owned())?;
        }
        Ok(mount_fd)
    }
}

fn hidden(path: &str) -> Result<HiddenPath> {
    let (below, relative) = match (path.strip_prefix("/proc/"), path.strip_prefix("/sys/")) {
        (Some(rest), _) => (Base::Proc, rest),
        (_, Some(rest)) => (Base::Sys, rest),
        _ => return Err(Error::internal(format!("{path} is neither below /proc nor below /sys"))),
    };
    Ok(HiddenPath { below, relative: c_string(relative)?, whole: c_string(path)? })
}

/// Whether a process is in another namespace of this kind than we are.
fn differs(pid: i32, name: &str) -> Result<bool> {
    let link = |path: String| std::fs::read_link(&path).context(|| format!("readlink {path}"));
    Ok(link(format!("/proc/{pid}/ns/{name}"))? != link(format!("/proc/thread-self/ns/{name}"))?)
}

fn program(process: &ProcessPlan, user: &ResolvedUser) -> Result<Program> {
    let c_strings = |list: &[String]| list.iter().map(|s| c_string(s.as_str())).collect::<Result<Vec<_>>>();
    let mut env = process.env.clone();
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    let candidates = c_strings(&process.candidates)?;
    let argv = c_strings(&process.argv)?;
    let below_init = |candidate: &CString| {
        let head = [c"dhow-init".to_owned(), candidate.clone()];
        ExecStrings::new(head.into_iter().chain(argv.iter().cloned()).collect())
    };
    let init = if process.init { candidates.iter().map(below_init).collect() } else { Vec::new() };
    Ok(Program { candidates, init, argv: ExecStrings::new(argv), env: ExecStrings::new(c_strings(&env)?) })
}
