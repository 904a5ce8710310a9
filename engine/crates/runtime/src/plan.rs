//! The planner: from a container's configuration and the host's facts to an ordered list of steps. Pure.
//!
//! The order is the point of this file. Mounts come before the pivot, because sources are host paths; masks
//! come right after `/proc` and `/sys`, before anything of the user's is mounted; everything that needs
//! privilege comes before the user change; the filter comes last but for what needs none.

use crate::cgroup::limits::{self, CgroupPlan};
use crate::facts::HostFacts;
use crate::idmap::IdMaps;
use crate::spec::{Donors, LaunchSpec, Rootfs};
use crate::step::Step;
use crate::volume_fs::VolumeFilesystem;
use dhow_model::container::{HostConfig, NetworkMode};
use dhow_model::resources::Ulimit;
use dhow_model::security::{Ipc, MASKED_PATHS, Namespace, READONLY_PATHS};
use dhow_model::{Error, Result};
use dhow_sys::clone;
use serde::{Deserialize, Serialize};
use std::fmt;

mod mounts;
mod process;
#[cfg(test)]
mod tests;

pub use process::ProcessPlan;
use process::check_text;
pub(crate) use process::{final_steps, working_dir};

/// Where `--init`'s program appears.
pub const INIT_PATH: &str = "/sbin/dhow-init";

/// What the monitor carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// A new container, or a further process in one.
    pub scene: Scene,
    /// The program and what it runs as.
    pub process: ProcessPlan,
    /// What the child does, in order; the last one is [`Step::Execute`].
    pub steps: Vec<Step>,
    /// What the monitor mounts in a mount namespace of its own before all that.
    pub volume_filesystems: Vec<VolumeFilesystem>,
}

/// What a launch happens in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one for each launch")]
pub enum Scene {
    /// A new container.
    Container {
        /// Its root filesystem.
        rootfs: Rootfs,
        /// Its limits and where they are written.
        cgroup: CgroupPlan,
        /// New namespaces: clone flags, without the cgroup namespace, which the child unshares later.
        namespaces: u64,
        /// Offsets of the monotonic and boot clocks in seconds, in a time namespace of its own.
        clock_offsets: Option<(i64, i64)>,
        /// The maps of a user namespace of its own, which then owns the other new ones.
        id_maps: Option<IdMaps>,
        /// Whose namespaces it joins.
        donors: Donors,
    },
    /// A further process.
    Exec {
        /// The container's first process.
        pid: i32,
        /// Which it is only if it started at this tick.
        start_ticks: u64,
        /// The cgroup to join.
        cgroup: crate::cgroup::CgroupPaths,
    },
}

/// Turns a container into a plan. Pure.
///
/// # Errors
/// `InvalidArgument` for what cannot be (an empty command, a volume on `/proc`), `Unsupported` for what this
/// machine cannot do (a limit without its controller), `Conflict` for a user namespace beside namespaces of
/// the host's that it would have no power over.
pub fn plan_launch(spec: &LaunchSpec, facts: &HostFacts) -> Result<LaunchPlan> {
    let host = &spec.config.host;
    let security = &host.security;
    if let Some(maps) = &spec.id_maps {
        maps.check()?;
        check_user_namespace(host)?;
    }
    check_donors(spec)?;
    let cgroup = limits::plan(spec, facts)?;
    let mut steps = Vec::with_capacity(80);
    if !cgroup.paths.v1.is_empty() {
        steps.push(Step::JoinCgroups);
    }
    if spec.id_maps.is_some() {
        steps.push(Step::BecomeRoot);
    }
    if spec.donors.ipc.is_some() {
        steps.push(Step::JoinIpc);
    }
    if spec.donors.network.is_some() {
        steps.push(Step::JoinNetwork);
    }
    steps.push(Step::NewSession);
    if security.cgroup == Namespace::Private {
        steps.push(Step::NewCgroupNamespace);
    }
    if host.network.is_own() {
        steps.push(Step::LoopbackUp);
    }
    steps.push(Step::PrivateMounts);
    steps.push(Step::AttachRoot);
    let late_mounts = mounts::own(spec, facts, &mut steps)?;
    // As late as possible, because the monitor connects it meanwhile; but its interfaces have parameters, too.
    let connected = host.is_connected();
    let is_early = connected && host.sysctls.keys().any(|key| key.starts_with("net"));
    if is_early {
        steps.push(Step::AwaitNetwork);
    }
    for (key, value) in &host.sysctls {
        steps.push(Step::Sysctl { path: sysctl_path(key, spec)?, value: value.clone() });
    }
    // Right away, while `/proc` and `/sys` are as we made them. A `/sys` of the user's is masked once it is there.
    let (late, early): (Vec<Step>, Vec<Step>) =
        hidden_paths(spec).partition(|step| mounts::is_replaced(spec, "/sys") && step.is_below_sys());
    steps.extend(early);
    mounts::user(spec, late_mounts, &mut steps)?;
    steps.extend(late);
    if spec.config.tty {
        steps.push(Step::Console);
    }
    if security.uts == Namespace::Private {
        steps.push(Step::HostName(check_text("host name", &spec.config.hostname)?.to_owned()));
        if !spec.config.domainname.is_empty() {
            steps.push(Step::DomainName(check_text("domain name", &spec.config.domainname)?.to_owned()));
        }
    }
    let working_dir = working_dir(&spec.config.working_dir)?;
    if working_dir != "/" {
        steps.push(Step::EnsureDirectory(working_dir.clone()));
    }
    if host.readonly_rootfs {
        steps.push(Step::ReadOnlyRoot);
    }
    if host.resources.oom_score_adj != 0 {
        steps.push(Step::OomScore(host.resources.oom_score_adj));
    }
    if connected && !is_early {
        steps.push(Step::AwaitNetwork);
    }
    steps.push(Step::PivotRoot);
    rlimit_steps(&host.resources.ulimits, facts, &mut steps)?;

    let process = process::of_container(spec, facts)?;
    final_steps(&process, &mut steps);
    let mut namespaces = clone::NEWNS;
    for (own, flag) in [
        (security.pid == Namespace::Private, clone::NEWPID),
        (security.ipc.is_own(), clone::NEWIPC),
        (security.uts == Namespace::Private, clone::NEWUTS),
        (host.network.is_own(), clone::NEWNET),
        (spec.id_maps.is_some(), clone::NEWUSER),
    ] {
        if own {
            namespaces |= flag;
        }
    }
    let scene = Scene::Container {
        rootfs: spec.rootfs.clone(),
        cgroup,
        namespaces,
        clock_offsets: None,
        id_maps: spec.id_maps.clone(),
        donors: spec.donors.clone(),
    };
    let volume_filesystems = spec.volumes.iter().filter_map(|volume| volume.filesystem.clone());
    // One volume may be mounted at two places.
    let volume_filesystems = volume_filesystems.fold(Vec::new(), |mut list, filesystem| {
        if !list.contains(&filesystem) {
            list.push(filesystem);
        }
        list
    });
    Ok(LaunchPlan { scene, process, steps, volume_filesystems })
}

/// A user namespace has power only over namespaces that it owns: without that, mounting procfs, sysfs or message
/// queues fails with a mere EPERM. Docker refuses the same, in these words.
pub fn check_user_namespace(host: &HostConfig) -> Result<()> {
    if host.security.privileged {
        return Err(Error::conflict(
            "privileged mode is incompatible with user namespaces. You must run the container in the host \
             namespace when running privileged mode",
        ));
    }
    for (shared, what) in [
        (host.network == NetworkMode::Host, "network"),
        (host.security.pid == Namespace::Host, "PID"),
        (host.security.ipc == Ipc::Host, "IPC"),
    ] {
        if shared {
            return Err(Error::conflict(format!(
                "cannot share the host's {what} namespace when user namespaces are enabled"
            )));
        }
    }
    Ok(())
}

/// What is to be joined must be there, and what is there must be wanted.
fn check_donors(spec: &LaunchSpec) -> Result<()> {
    let host = &spec.config.host;
    let donors = &spec.donors;
    for (joins, donor, what) in [
        (matches!(host.security.pid, Namespace::Container(_)), donors.pid, "PID"),
        (matches!(host.security.ipc, Ipc::Container(_)), donors.ipc, "IPC"),
        (matches!(host.network, NetworkMode::Container(_)), donors.network, "network"),
    ] {
        if joins != donor.is_some() {
            return Err(Error::internal(format!("no container to join the {what} namespace of")));
        }
        if joins && spec.id_maps.is_some() {
            return Err(Error::conflict(format!(
                "cannot join the {what} namespace of another container when user namespaces are enabled"
            )));
        }
    }
    Ok(())
}

/// What an unprivileged container does not see, or cannot change.
fn hidden_paths(spec: &LaunchSpec) -> impl Iterator<Item = Step> {
    let security = &spec.config.host.security;
    let hide = !security.privileged && !security.systempaths_unconfined;
    let readonly = READONLY_PATHS.iter().map(|path| Step::ReadOnlyPath((*path).to_owned()));
    let masked = MASKED_PATHS.iter().map(|path| Step::Mask((*path).to_owned()));
    readonly.chain(masked).filter(move |_| hide)
}

/// Adds the limits, lowered to what we may give.
pub(crate) fn rlimit_steps(ulimits: &[Ulimit], facts: &HostFacts, steps: &mut Vec<Step>) -> Result<()> {
    for limit in ulimits {
        let own = facts
            .rlimits
            .iter()
            .find(|own| own.name == limit.name)
            .ok_or_else(|| Error::invalid(format!("invalid ulimit type: {}", limit.name)))?;
        let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        let mut hard = number(limit.hard);
        if !facts.may_raise_rlimits() {
            hard = hard.min(own.hard);
        }
        steps.push(Step::Rlimit { name: limit.name.clone(), soft: number(limit.soft).min(hard), hard });
    }
    Ok(())
}

/// `net.ipv4.ip_forward` → `net/ipv4/ip_forward`, if it is namespaced and the namespace is the container's.
fn sysctl_path(key: &str, spec: &LaunchSpec) -> Result<String> {
    let security = &spec.config.host.security;
    let path = key.replace('.', "/");
    let refuse = |why: &str| Err(Error::invalid(format!("sysctl {key:?} {why}")));
    if path.split('/').any(|part| part.is_empty() || part == "..") || key.contains('\0') {
        return refuse("is not a valid name");
    }
    const IPC: [&str; 9] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
        "fs/mqueue",
    ];
    let private = if path.starts_with("net/") {
        spec.config.host.network != NetworkMode::Host
    } else if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
        security.ipc.is_own()
    } else if path == "kernel/domainname" {
        security.uts == Namespace::Private
    } else {
        return refuse("is not in a separate kernel namespace");
    };
    if private { Ok(path) } else { refuse("cannot be set in the host's namespace") }
}

impl fmt::Display for LaunchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scene {
            Scene::Container { rootfs, cgroup, namespaces, clock_offsets, id_maps, donors } => {
                match rootfs {
                    Rootfs::Directory(path) => writeln!(f, "rootfs directory {}", path.display())?,
                    Rootfs::Overlay { lower, upper, work, volatile } => {
                        let how = if *volatile { " volatile" } else { "" };
                        writeln!(f, "rootfs overlay upper={} work={}{how}", upper.display(), work.display())?;
                        lower.iter().try_for_each(|l| writeln!(f, "  lower {}", l.path().display()))?;
                    }
                }
                write!(f, "namespaces")?;
                for (flag, name) in [
                    (clone::NEWNS, "mount"),
                    (clone::NEWPID, "pid"),
                    (clone::NEWIPC, "ipc"),
                    (clone::NEWUTS, "uts"),
                    (clone::NEWNET, "net"),
                    (clone::NEWUSER, "user"),
                ] {
                    if namespaces & flag != 0 {
                        write!(f, " {name}")?;
                    }
                }
                writeln!(f)?;
                for (what, donor) in [("pid", donors.pid), ("ipc", donors.ipc), ("net", donors.network)] {
                    if let Some(donor) = donor {
                        writeln!(f, "{what} namespace of process {} since {}", donor.pid, donor.start_ticks)?;
                    }
                }
                if let Some((monotonic, boot)) = clock_offsets {
                    writeln!(f, "clocks monotonic+{monotonic} boottime+{boot}")?;
                }
                if let Some(maps) = id_maps {
                    for (what, ranges) in [("users", &maps.uids), ("groups", &maps.gids)] {
                        for range in ranges {
                            writeln!(
                                f,
                                "{what} {} are {} of the host, {}",
                                range.inside, range.outside, range.count
                            )?;
                        }
                    }
                }
                write!(f, "{cgroup}")?;
            }
            Scene::Exec { pid, start_ticks, .. } => {
                writeln!(f, "in the container of process {pid} since {start_ticks}")?
            }
        }
        write!(f, "{}", self.process)?;
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "{number:3} {step}"))
    }
}
